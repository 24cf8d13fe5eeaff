/**
 * The MC146818 real-time clock with 128 bytes of CMOS RAM at ports 70h and 71h, interrupting on IRQ 8. Nothing ticks:
 * the registers are brought up to date when somebody looks, and only an enabled interrupt arms a timer.
 *
 * Sources: Motorola MC146818 data sheet; Intel ICH9 data sheet (316972), real time clock registers.
 */
import { ticksAt, timeOfTicks } from "../device/clock.ts";
import { defineDevice } from "../device/define.ts";
import { raw } from "../device/raw.ts";
import { PorticoError } from "../errors.ts";
import { bytePorts } from "./byte-ports.ts";
import { advance, type CalendarFormat, decodeTime, encodeTime, secondsToAlarm, TIME_REGISTER } from "./rtc-calendar.ts";

export interface RtcOptions {
  /** CMOS bytes by index (0Eh..7Fh). The checksum at 2Eh and 2Fh is computed unless given. */
  readonly cmos?: Readonly<Record<number, number>>;
}

export interface Rtc {
  /** Bit 7 of port 70h: the guest holds NMIs back. */
  readonly nmiMasked: boolean;
  /** Whether the interrupt reaches IRQ 8. An HPET in legacy replacement mode takes that line over (HPET 1.0a, 2.3.3). */
  connectInterrupt(connected: boolean): void;
}

const IRQ8 = 8;
const CMOS_BYTES = 128;
const A = 0x0a;
const B = 0x0b;
const C = 0x0c;
const D = 0x0d;
const FIRST_RAM = 0x0e;

/** Register A: update in progress, divider, rate selection (data sheet, tables 4 and 5). */
const REG_A = { updateInProgress: 0x80, divider: 0x70, rate: 0x0f } as const;
/** 32.768 kHz and the two faster time bases count; the codes above are tests and the divider reset. */
const LAST_COUNTING_DIVIDER = 0x20;
const REG_B = { set: 0x80, periodic: 0x40, alarm: 0x20, update: 0x10, squareWave: 0x08, binary: 0x04, hours24: 0x02 };
/** Register C. The flags stand where register B has their enables. */
const REG_C = { irq: 0x80, flags: 0x70 } as const;
/** Register D: valid RAM and time. */
const BATTERY_GOOD = 0x80;
/** After power-on as a BIOS leaves it: 32.768 kHz, 1024 Hz periodic rate; 24 hours, BCD. */
const DEFAULT_A = 0x26;
const DEFAULT_B = REG_B.hours24;

const CRYSTAL_HZ = 32_768;
const SECOND = 1_000_000_000;
/** "The first update cycle begins one-half second later" than the divider reset is removed. */
const FIRST_UPDATE = SECOND / 2;
/** UIP: from t_BUC = 244 us before an update cycle to its end, t_UC = 1984 us (data sheet, table 6). */
const UPDATE_WINDOW = 244_000 + 1_984_000;

const CHECKSUM = { first: 0x10, last: 0x2d, high: 0x2e, low: 0x2f } as const;

export const rtc = defineDevice("rtc-mc146818", (host, options: RtcOptions): Rtc => {
  const cmos = initialCmos(options.cmos ?? {});
  const board = host.registers({
    /** 1: the interrupt does not reach IRQ 8. */
    disconnected: "u8",
    index: "u8",
    nmiMasked: "u8",
  });
  const divider = host.registers(
    {
      /** The divider chain reads virtual time plus `phase` (ns, below a second); updates are at its whole seconds. */
      phase: "u32",
      /** The chain when the flags were last brought up to date. */
      checked: "u64",
    },
    { keepOnReset: true },
  );
  const irq8 = host.interrupt(IRQ8);
  const event = host.timer(() => {
    catchUp();
    settle();
  });

  const chain = () => host.clock.now() + divider.phase;
  const counting = () => (cmos[A] & REG_A.divider) <= LAST_COUNTING_DIVIDER;
  const format = (b = cmos[B]): CalendarFormat => ({
    binary: (b & REG_B.binary) !== 0,
    hours24: (b & REG_B.hours24) !== 0,
  });
  const periodTicks = () => periodicTicks(cmos[A] & REG_A.rate);
  const secondOfDay = () => decodeTime(cmos, format()).secondOfDay;

  /** Brings time and flags up to now. */
  function catchUp(): void {
    const now = chain();
    const before = divider.checked;
    divider.checked = now;
    if (!counting()) return;
    const period = periodTicks();
    const periods = (at: number) => Math.floor(ticksAt(at, CRYSTAL_HZ) / period);
    if (period > 0 && periods(now) > periods(before)) cmos[C] |= REG_B.periodic;
    const seconds = Math.floor(now / SECOND) - Math.floor(before / SECOND);
    if (seconds === 0 || cmos[B] & REG_B.set) return;
    if (secondsToAlarm(cmos, secondOfDay(), format()) <= seconds) cmos[C] |= REG_B.alarm;
    cmos[C] |= REG_B.update;
    encodeTime(cmos, advance(decodeTime(cmos, format()), seconds), format());
  }

  /** Drives IRQ 8 from the flags, or arms the timer for the next one that would raise it. */
  function settle(): void {
    const requested = (cmos[C] & cmos[B] & REG_C.flags) !== 0;
    irq8.set(requested && !board.disconnected);
    if (requested || board.disconnected || !counting()) event.cancel();
    else event.set(nextInterrupt() - divider.phase);
  }

  function nextInterrupt(): number {
    const b = cmos[B];
    const now = chain();
    let next = Number.POSITIVE_INFINITY;
    const period = periodTicks();
    if (b & REG_B.periodic && period > 0) {
      next = timeOfTicks((Math.floor(ticksAt(now, CRYSTAL_HZ) / period) + 1) * period, CRYSTAL_HZ);
    }
    if (b & REG_B.set) return next;
    const second = Math.floor(now / SECOND);
    if (b & REG_B.update) next = Math.min(next, (second + 1) * SECOND);
    if (b & REG_B.alarm) next = Math.min(next, (second + secondsToAlarm(cmos, secondOfDay(), format())) * SECOND);
    return next;
  }

  function read(register: number): number {
    catchUp();
    switch (register) {
      case A: {
        const updating = counting() && !(cmos[B] & REG_B.set) && chain() % SECOND >= SECOND - UPDATE_WINDOW;
        return cmos[A] | (updating ? REG_A.updateInProgress : 0);
      }
      case C: {
        const flags = cmos[C];
        cmos[C] = 0;
        settle();
        return flags | (flags & cmos[B] & REG_C.flags ? REG_C.irq : 0);
      }
      case D:
        return BATTERY_GOOD;
      default:
        return cmos[register];
    }
  }

  function write(register: number, value: number): void {
    catchUp();
    switch (register) {
      case A: {
        const wasCounting = counting();
        cmos[A] = value & ~REG_A.updateInProgress;
        if (counting() && !wasCounting) {
          const now = host.clock.now();
          divider.phase = (((FIRST_UPDATE - now) % SECOND) + SECOND) % SECOND;
          divider.checked = chain();
        }
        break;
      }
      case B:
        writeB(value);
        break;
      case C:
      case D:
        return;
      default:
        cmos[register] = value;
    }
    if (register < FIRST_RAM) settle();
  }

  function writeB(value: number): void {
    const before = cmos[B];
    // SET inhibits updates and clears the update interrupt's enable.
    cmos[B] = value & REG_B.set ? value & ~REG_B.update : value;
    const formatBits = REG_B.binary | REG_B.hours24;
    // Hardware leaves the bytes in the old format until software writes them. While the clock runs we convert them:
    // nothing sensible depends on garbage, and software that forgets keeps its time.
    if ((before ^ value) & formatBits && !((before | value) & REG_B.set)) {
      encodeTime(cmos, advance(decodeTime(cmos, format(before)), 0), format());
    }
  }

  const data = bytePorts(
    2,
    // The index port cannot be read back (ICH9, NMI_EN).
    (offset) => (offset === 0 ? 0xff : read(board.index)),
    (offset, value) => {
      if (offset === 0) {
        board.index = value & 0x7f;
        board.nmiMasked = value >> 7;
      } else {
        write(board.index, value);
      }
    },
  );
  host.ports(
    { base: 0x70, length: 2 },
    {
      read: data.read,
      write: {
        raw: raw((x) => {
          if (x.width !== 1) x.decline();
          x.if(x.offset, () => x.decline());
          const value = x.value;
          x.set(board, "index", x.and(value, 0x7f));
          x.set(board, "nmiMasked", x.shrU(value, 7));
        }),
        ring0: data.write,
      },
    },
  );

  const { epochNs } = host.clock;
  divider.phase = Number(epochNs % BigInt(SECOND));
  divider.checked = chain();
  const day = Math.floor(Number(epochNs / BigInt(SECOND)) / 86_400);
  // 1970-01-01 was a Thursday, the fifth day of a week that starts with Sunday as 1.
  const epoch = { day, secondOfDay: Number(epochNs / BigInt(SECOND)) - day * 86_400, weekday: ((day + 4) % 7) + 1 };
  encodeTime(cmos, advance(epoch, Math.floor(divider.checked / SECOND)), format());

  // RESET# clears the interrupt enables, the square wave and the flags; the rest has its own power.
  host.onReset(() => {
    catchUp();
    cmos[B] &= ~(REG_B.periodic | REG_B.alarm | REG_B.update | REG_B.squareWave);
    cmos[C] = 0;
    settle();
  });
  host.state({
    save: () => cmos.slice(),
    load: (saved: Uint8Array) => cmos.set(saved),
  });

  return {
    get nmiMasked() {
      return board.nmiMasked === 1;
    },
    connectInterrupt(connected) {
      catchUp();
      board.disconnected = connected ? 0 : 1;
      settle();
    },
  };
});

/** Periodic interrupt rate in crystal ticks (data sheet, table 5): codes 1 and 2 repeat 8 and 9; 0 is off. */
function periodicTicks(rate: number): number {
  if (rate === 0) return 0;
  return 2 ** ((rate <= 2 ? rate + 7 : rate) - 1);
}

function initialCmos(bytes: Readonly<Record<number, number>>): Uint8Array {
  const cmos = new Uint8Array(CMOS_BYTES);
  cmos[A] = DEFAULT_A;
  cmos[B] = DEFAULT_B;
  for (const [key, value] of Object.entries(bytes)) {
    const index = Number(key);
    const valid = index >= FIRST_RAM && index < CMOS_BYTES && index !== TIME_REGISTER.century;
    if (!valid || !Number.isInteger(value) || value < 0 || value > 0xff) {
      throw new PorticoError(
        "CMOS_BYTE_INVALID",
        `CMOS byte ${key} = ${value}: an index is 0x0e..0x7f (but not the century, 0x32), a value 0..255`,
      );
    }
    cmos[index] = value;
  }
  if (bytes[CHECKSUM.high] === undefined && bytes[CHECKSUM.low] === undefined) {
    const sum = cmos.subarray(CHECKSUM.first, CHECKSUM.last + 1).reduce((total, byte) => total + byte, 0);
    cmos[CHECKSUM.high] = sum >> 8;
    cmos[CHECKSUM.low] = sum & 0xff;
  }
  return cmos;
}

/**
 * The CMOS bytes that tell firmware and old systems how much RAM there is: 15h/16h base memory in KiB, 17h/18h and
 * 30h/31h memory above 1 MiB in KiB, 34h/35h above 16 MiB and 5Bh-5Dh above 4 GiB in units of 64 KiB.
 */
export function cmosMemorySize(bytesBelow4GiB: number, bytesAbove4GiB = 0): Record<number, number> {
  const KIB = 1024;
  const units = (bytes: number, unit: number, most: number) => Math.min(most, Math.max(0, Math.floor(bytes / unit)));
  const base = units(bytesBelow4GiB, KIB, 640);
  const above1M = units(bytesBelow4GiB - KIB * KIB, KIB, 0xffff);
  const above16M = units(bytesBelow4GiB - 16 * KIB * KIB, 64 * KIB, 0xffff);
  const above4G = units(bytesAbove4GiB, 64 * KIB, 0xff_ffff);
  return {
    21: base & 0xff,
    22: base >> 8,
    23: above1M & 0xff,
    24: above1M >> 8,
    48: above1M & 0xff,
    49: above1M >> 8,
    52: above16M & 0xff,
    53: above16M >> 8,
    91: above4G & 0xff,
    92: (above4G >> 8) & 0xff,
    93: above4G >> 16,
  };
}
