/** ACPI fixed hardware: power management event, control, timer and general-purpose event blocks. ACPI 6.5, section 4.8. */
import { defineDevice } from "../device/define.ts";
import { raw } from "../device/raw.ts";
import { bytePorts } from "./byte-ports.ts";

/** PM timer frequency and width. Section 4.8.2.1. */
export const PM_TIMER_HZ = 3_579_545;
const PM_TIMER_MASK = 0xff_ffff;
/** TMR_STS is set whenever the most significant bit (bit 23) changes, in either direction. Section 4.8.2.1. */
const MSB_PERIOD = 2 ** 23;

/** PM1 status and enable registers. Tables 4.11 and 4.12. */
export const PM1_EVENT = {
  timer: 1 << 0,
  busMaster: 1 << 4,
  globalLock: 1 << 5,
  powerButton: 1 << 8,
  sleepButton: 1 << 9,
  rtc: 1 << 10,
  wake: 1 << 15,
} as const;
const PM1_CAN_INTERRUPT =
  PM1_EVENT.timer | PM1_EVENT.globalLock | PM1_EVENT.powerButton | PM1_EVENT.sleepButton | PM1_EVENT.rtc;

/** PM1 control register. Table 4.13. SLP_EN and GBL_RLS always read as zero. */
const PM1_CONTROL = {
  sciEnable: 1 << 0,
  busMasterReload: 1 << 1,
  sleepTypeShift: 10,
  sleepType: 7 << 10,
  sleepEnable: 1 << 13,
} as const;
const PM1_CONTROL_KEPT = PM1_CONTROL.busMasterReload | PM1_CONTROL.sleepType;

const EVENT_LENGTH = 4;
const CONTROL_LENGTH = 2;
const TIMER_LENGTH = 4;

export interface AcpiPmOptions {
  /** First port of the PM1 event block (4 ports: status, enable). */
  readonly event: number;
  /** First port of the PM1 control block (2 ports). */
  readonly control: number;
  /** First port of the PM timer block (4 ports). */
  readonly timer: number;
  /** GPE0 block: the first half of its ports is status, the second enable. */
  readonly gpe0: { readonly base: number; readonly length: number };
  /** The SCI: active while any enabled event is pending. */
  readonly sciGsi: number;
  /** SLP_TYP value that, with SLP_EN, powers the machine off (S5); others do nothing. */
  readonly s5SleepType: number;
}

export interface AcpiPm {
  /** Someone presses the power button briefly: an event, which the OS takes as a request to shut down. */
  powerButton(): void;
  sleepButton(): void;
  /** General-purpose event `index` happens. */
  generalPurposeEvent(index: number): void;
}

/** There is no SMI: the machine is always in ACPI mode, so SCI_EN reads as one (FADT SMI_CMD = 0, section 4.8.3.2.1). */
export const acpiPm = defineDevice("acpi-pm", (host, options: AcpiPmOptions): AcpiPm => {
  const ticks = host.clock.counter(PM_TIMER_HZ);
  const sci = host.interrupt(options.sciGsi);
  const r = host.registers({
    /** Status bits but TMR_STS, which is derived. */
    status: "u16",
    enable: "u16",
    control: "u16",
    /** ticks div 2^23 when TMR_STS was last clear: it is set as soon as the quotient differs. */
    timerSeen: "u64",
  });
  const gpeBytes = options.gpe0.length / 2;
  const gpeStatus = new Uint8Array(gpeBytes);
  const gpeEnable = new Uint8Array(gpeBytes);
  const overflow = host.timer(update);

  const msbPeriods = () => Math.floor(ticks.read() / MSB_PERIOD);
  const status = () => r.status | (msbPeriods() !== r.timerSeen ? PM1_EVENT.timer : 0);

  function update(): void {
    const pending = status();
    let active = (pending & r.enable & PM1_CAN_INTERRUPT) !== 0;
    for (let i = 0; i < gpeBytes; i++) active ||= (gpeStatus[i] & gpeEnable[i]) !== 0;
    sci.set(active);
    // Somebody waits for the next change of the timer's top bit only if it is enabled and has not happened yet.
    if ((r.enable & ~pending & PM1_EVENT.timer) !== 0) overflow.set(ticks.timeOf((r.timerSeen + 1) * MSB_PERIOD));
    else overflow.cancel();
  }

  function clearStatus(bits: number): void {
    r.status &= ~bits;
    if ((bits & PM1_EVENT.timer) !== 0) r.timerSeen = msbPeriods();
    update();
  }

  host.ports(
    { base: options.event, length: EVENT_LENGTH },
    bytePorts(
      EVENT_LENGTH,
      (offset) => ((offset < 2 ? status() : r.enable) >> (8 * (offset & 1))) & 0xff,
      (offset, value) => {
        const shift = 8 * (offset & 1);
        if (offset < 2) return clearStatus(value << shift);
        r.enable = (r.enable & ~(0xff << shift)) | (value << shift);
        update();
      },
    ),
  );

  host.ports(
    { base: options.control, length: CONTROL_LENGTH },
    bytePorts(
      CONTROL_LENGTH,
      (offset) => ((r.control | PM1_CONTROL.sciEnable) >> (8 * offset)) & 0xff,
      (offset, value) => {
        const shift = 8 * offset;
        const written = (r.control & ~(0xff << shift)) | (value << shift);
        r.control = written & PM1_CONTROL_KEPT;
        const sleepType = (written & PM1_CONTROL.sleepType) >> PM1_CONTROL.sleepTypeShift;
        if ((written & PM1_CONTROL.sleepEnable) !== 0 && sleepType === options.s5SleepType) host.board.powerOff();
      },
    ),
  );

  host.ports(
    { base: options.timer, length: TIMER_LENGTH },
    { read: raw((x) => x.shrU(x.low(x.and(x.counter(ticks), PM_TIMER_MASK)), x.shl(x.offset, 3))) },
  );

  host.ports(
    options.gpe0,
    bytePorts(
      options.gpe0.length,
      (offset) => (offset < gpeBytes ? gpeStatus[offset] : gpeEnable[offset - gpeBytes]),
      (offset, value) => {
        if (offset < gpeBytes) gpeStatus[offset] &= ~value;
        else gpeEnable[offset - gpeBytes] = value;
        update();
      },
    ),
  );

  function reset(): void {
    r.timerSeen = msbPeriods();
    gpeStatus.fill(0);
    gpeEnable.fill(0);
  }
  reset();
  host.onReset(reset);
  host.state({
    save: () => ({ gpeStatus: [...gpeStatus], gpeEnable: [...gpeEnable] }),
    load: (saved) => {
      gpeStatus.set(saved.gpeStatus);
      gpeEnable.set(saved.gpeEnable);
    },
  });

  const event = (bit: number) =>
    host.input(() => {
      r.status |= bit;
      update();
    });
  return {
    powerButton: event(PM1_EVENT.powerButton),
    sleepButton: event(PM1_EVENT.sleepButton),
    generalPurposeEvent: host.input((index: number) => {
      gpeStatus[index >> 3] |= 1 << (index & 7);
      update();
    }),
  };
});
