/**
 * PS/2 mouse with IntelliMouse wheel and IntelliMouse Explorer buttons. IBM PS/2 Hardware Interface Technical Reference,
 * "Mouse"; the wheel protocols as Microsoft documents them for Windows ("Five-Button Wheel Mouse Support").
 */
import { savedCounts, savedLike } from "../device/saved.ts";
import type { DeviceHost, Timer } from "../device/types.ts";
import { type Ps2Cable, type Ps2Device, REPLY } from "./ps2-device.ts";

const COMMAND = {
  scaling1: 0xe6,
  scaling2: 0xe7,
  setResolution: 0xe8,
  status: 0xe9,
  setStream: 0xea,
  readData: 0xeb,
  resetWrap: 0xec,
  setWrap: 0xee,
  setRemote: 0xf0,
  identify: 0xf2,
  setSampleRate: 0xf3,
  enable: 0xf4,
  disable: 0xf5,
  setDefaults: 0xf6,
  resend: 0xfe,
  reset: 0xff,
} as const;

/** First status byte; bits 2:0 are left, middle, right. */
const STATUS = { remote: 1 << 6, enabled: 1 << 5, scaling2: 1 << 4 } as const;

const DEFAULT_RATE = 100;
const DEFAULT_RESOLUTION = 2;
const SAMPLE_RATES: readonly number[] = [10, 20, 40, 60, 80, 100, 200];

/** Identities, and the sample rates that, set in a row, lead to them. */
const PLAIN = 0;
const WHEEL = { id: 3, knock: [200, 100, 80] } as const;
const EXPLORER = { id: 4, knock: [200, 200, 80] } as const;

/** Scaling 2:1 of small movements; larger ones are doubled. */
const SCALED = [0, 1, 1, 3, 6, 9] as const;

/** First byte of a movement report. */
const REPORT = { always: 1 << 3, negativeX: 1 << 4, negativeY: 1 << 5 } as const;
/** Movement beyond this in one report (nine bits with sign) waits for the next one. */
const MOVE_MAX = 255;

/** Buttons as `MouseEvent.buttons` numbers them. */
export const BUTTON = { left: 1, right: 2, middle: 4, back: 8, forward: 16 } as const;

const SHAPE = {
  id: "u8",
  remote: "u8",
  wrap: "u8",
  enabled: "u8",
  scaling2: "u8",
  resolution: "u8",
  rate: "u8",
  /** The command whose parameter is due, or 0. */
  command: "u8",
  /** The last byte was not understood: the next such gets an error instead of a request to resend. */
  refused: "u8",
  buttons: "u8",
  reportedButtons: "u8",
  /** ns from which the next report may leave. */
  nextReport: "u64",
} as const;

export class Ps2Mouse implements Ps2Device {
  private readonly r;
  private readonly now: () => number;
  private readonly cable: Ps2Cable;
  private readonly sample: Timer;
  private out: number[] = [];
  /** What `resend` repeats. */
  private last: number[] = [];
  /** Movement not yet reported: right, up, wheel towards the user. */
  private moved: [number, number, number] = [0, 0, 0];
  private rates: number[] = [];

  constructor(host: DeviceHost, cable: Ps2Cable) {
    this.r = host.registers(SHAPE);
    this.now = host.clock.now;
    this.cable = cable;
    this.sample = host.timer(() => this.reportIfDue());
    host.state({
      save: () => ({ out: [...this.out], last: [...this.last], moved: [...this.moved], rates: [...this.rates] }),
      load: (saved) => {
        this.out = savedCounts("what a mouse is to send", saved.out);
        this.last = savedCounts("what a mouse sent last", saved.last);
        this.moved = Object.values(savedLike("how a mouse has moved", saved.moved, this.moved)) as typeof this.moved;
        this.rates = savedCounts("a mouse's rates", saved.rates);
      },
    });
    this.reset();
  }

  /** As after power-on and a passed self-test: a mouse with two or three buttons, stream mode, not reporting. */
  reset(): void {
    const { r } = this;
    this.out = [];
    this.last = [];
    this.rates = [];
    r.id = PLAIN;
    r.wrap = 0;
    r.command = 0;
    r.refused = 0;
    r.nextReport = 0;
    this.setDefaults();
  }

  /** `dx` right, `dy` down, `dz` wheel towards the user, in counts; `buttons` as `MouseEvent.buttons`. */
  move(dx: number, dy: number, dz: number, buttons: number): void {
    const add = (axis: 0 | 1 | 2, counts: number) => {
      // Nobody asks a mouse how far it went last year.
      this.moved[axis] = Math.max(-0x8000, Math.min(0x7fff, this.moved[axis] + Math.trunc(counts)));
    };
    add(0, dx);
    add(1, -dy);
    add(2, dz);
    this.r.buttons = buttons & 0x1f;
    this.reportIfDue();
  }

  // --- the cable --------------------------------------------------------------------------------------------------

  get ready(): boolean {
    return this.out.length > 0;
  }

  send(): number {
    const byte = this.out.shift()!;
    if (this.out.length === 0) this.reportIfDue();
    return byte;
  }

  write(byte: number): void {
    const { r } = this;
    this.out = [];
    if (r.wrap !== 0 && byte !== COMMAND.reset && byte !== COMMAND.resetWrap) {
      this.answer(byte);
    } else if (r.command !== 0) {
      const { command } = r;
      r.command = 0;
      this.takeParameter(command, byte);
    } else {
      this.execute(byte);
    }
    this.reportIfDue();
    this.cable.attention();
  }

  private answer(...bytes: number[]): void {
    this.out.push(...bytes);
    this.last = bytes;
    this.r.refused = 0;
  }

  private refuse(): void {
    const again = this.r.refused !== 0;
    this.out.push(again ? REPLY.error : REPLY.resend);
    this.r.refused = again ? 0 : 1;
  }

  private execute(command: number) {
    const { r } = this;
    switch (command) {
      case COMMAND.scaling1:
      case COMMAND.scaling2:
        r.scaling2 = command === COMMAND.scaling2 ? 1 : 0;
        break;
      case COMMAND.setResolution:
      case COMMAND.setSampleRate:
        r.command = command;
        break;
      case COMMAND.status:
        return this.answer(REPLY.acknowledge, this.status(), r.resolution, r.rate);
      case COMMAND.readData:
        return this.answer(REPLY.acknowledge, ...this.takeReport());
      case COMMAND.setStream:
      case COMMAND.setRemote:
        r.remote = command === COMMAND.setRemote ? 1 : 0;
        this.forgetMovement();
        break;
      case COMMAND.setWrap:
      case COMMAND.resetWrap:
        r.wrap = command === COMMAND.setWrap ? 1 : 0;
        this.forgetMovement();
        break;
      case COMMAND.identify:
        return this.answer(REPLY.acknowledge, r.id);
      case COMMAND.enable:
      case COMMAND.disable:
        r.enabled = command === COMMAND.enable ? 1 : 0;
        this.forgetMovement();
        break;
      case COMMAND.setDefaults:
        this.setDefaults();
        break;
      case COMMAND.resend:
        this.out.push(...this.last);
        return;
      case COMMAND.reset:
        this.reset();
        return this.answer(REPLY.acknowledge, REPLY.selfTestPassed, r.id);
      default:
        return this.refuse();
    }
    this.answer(REPLY.acknowledge);
  }

  private takeParameter(command: number, byte: number) {
    const { r } = this;
    if (command === COMMAND.setResolution) {
      if (byte > 3) return this.refuse();
      r.resolution = byte;
    } else {
      if (!SAMPLE_RATES.includes(byte)) return this.refuse();
      r.rate = byte;
      this.listenForKnock(byte);
    }
    this.answer(REPLY.acknowledge);
  }

  private listenForKnock(rate: number): void {
    this.rates = [...this.rates.slice(-2), rate];
    const heard = (knock: readonly number[]) => knock.every((expected, i) => this.rates[i] === expected);
    if (heard(WHEEL.knock) && this.r.id === PLAIN) this.r.id = WHEEL.id;
    // Explorers open their fourth and fifth button only to those who know the wheel already.
    if (heard(EXPLORER.knock) && this.r.id === WHEEL.id) this.r.id = EXPLORER.id;
  }

  private setDefaults(): void {
    const { r } = this;
    r.remote = 0;
    r.enabled = 0;
    r.scaling2 = 0;
    r.resolution = DEFAULT_RESOLUTION;
    r.rate = DEFAULT_RATE;
    this.forgetMovement();
  }

  private status(): number {
    const { r } = this;
    const left = (r.buttons & BUTTON.left) !== 0 ? 4 : 0;
    const middle = (r.buttons & BUTTON.middle) !== 0 ? 2 : 0;
    const right = (r.buttons & BUTTON.right) !== 0 ? 1 : 0;
    return (
      (r.remote !== 0 ? STATUS.remote : 0) |
      (r.enabled !== 0 ? STATUS.enabled : 0) |
      (r.scaling2 !== 0 ? STATUS.scaling2 : 0) |
      left |
      middle |
      right
    );
  }

  // --- reports ----------------------------------------------------------------------------------------------------

  private forgetMovement(): void {
    this.moved = [0, 0, 0];
    this.r.reportedButtons = this.r.buttons;
  }

  private get hasNews(): boolean {
    const { r } = this;
    const visible = r.id === EXPLORER.id ? 0x1f : 0x07;
    const wheel = r.id !== PLAIN && this.moved[2] !== 0;
    return this.moved[0] !== 0 || this.moved[1] !== 0 || wheel || ((r.buttons ^ r.reportedButtons) & visible) !== 0;
  }

  /** Stream mode: a report when there is news, the last one has left, and the sample rate allows. */
  private reportIfDue(): void {
    const { r } = this;
    const streaming = r.enabled !== 0 && r.remote === 0 && r.wrap === 0 && r.command === 0;
    if (!streaming || this.out.length > 0 || !this.hasNews) return;
    const now = this.now();
    if (now < r.nextReport) {
      this.sample.set(r.nextReport);
      return;
    }
    r.nextReport = now + Math.floor(1e9 / r.rate);
    this.last = this.takeReport();
    this.out.push(...this.last);
    this.cable.attention();
  }

  private takeReport(): number[] {
    const { r } = this;
    const scaling = r.scaling2 !== 0 && r.remote === 0;
    const dx = this.takeMovement(0, scaling);
    const dy = this.takeMovement(1, scaling);
    // PS/2 numbers left, right and middle as the standard of the web does.
    const first = REPORT.always | (r.buttons & 7) | (dx < 0 ? REPORT.negativeX : 0) | (dy < 0 ? REPORT.negativeY : 0);
    const report = [first, dx & 0xff, dy & 0xff];
    r.reportedButtons = r.buttons;
    if (r.id === PLAIN) {
      this.moved[2] = 0;
      return report;
    }
    const dz = Math.max(-8, Math.min(7, this.moved[2]));
    this.moved[2] -= dz;
    // Explorer: bits 5 and 4 are the fifth and the fourth button, the wheel keeps four bits.
    report.push(r.id === WHEEL.id ? dz & 0xff : (dz & 0x0f) | ((r.buttons & 0x18) << 1));
    return report;
  }

  private takeMovement(axis: 0 | 1, scaling: boolean): number {
    const most = scaling ? MOVE_MAX >> 1 : MOVE_MAX;
    const moved = Math.max(-most, Math.min(most, this.moved[axis]));
    this.moved[axis] -= moved;
    if (!scaling) return moved;
    const size = Math.abs(moved);
    return Math.sign(moved) * (SCALED[size] ?? 2 * size);
  }
}
