/**
 * PS/2 keyboard with 101/102 keys and scan code sets 1, 2 and 3. IBM PS/2 Hardware Interface Technical Reference,
 * "101- and 102-Key Keyboards": commands from and to the system.
 */
import { savedCounts } from "../device/saved.ts";
import type { DeviceHost, Timer } from "../device/types.ts";
import { type Ps2Cable, type Ps2Device, REPLY } from "./ps2-device.ts";
import { EXTENDED, KEY_TYPE, KEYS, type Key, RELEASE, set2ToSet1 } from "./ps2-keys.ts";

const COMMAND = {
  setLeds: 0xed,
  echo: 0xee,
  scanCodeSet: 0xf0,
  identify: 0xf2,
  setTypematic: 0xf3,
  enable: 0xf4,
  disable: 0xf5,
  setDefaults: 0xf6,
  allTypematic: 0xf7,
  allMakeBreak: 0xf8,
  allMake: 0xf9,
  allTypematicMakeBreak: 0xfa,
  keyTypematic: 0xfb,
  keyMakeBreak: 0xfc,
  keyMake: 0xfd,
  resend: 0xfe,
  reset: 0xff,
} as const;
/** Commands are from here on; anything below is a parameter. */
const FIRST_COMMAND = COMMAND.setLeds;
const IDENTITY = [0xab, 0x83] as const;

/** Places for scan codes. */
const BUFFER_SIZE = 16;
/** Key changes that wait for room in the buffer before the keyboard gives up and reports an overrun. */
const BACKLOG_SIZE = 1024;
const OVERRUN = [0, 0xff, 0x00, 0x00] as const;

/** 500 ms delay, 10.9 repeats a second. */
const DEFAULT_TYPEMATIC = 0x2b;
/** Delay (1 + bits 6:5) * 250 ms; period (8 + bits 2:0) * 2^(bits 4:3) * 1/240 s. */
const DELAY_UNIT_NS = 250e6;
const PERIOD_UNIT_NS = 1e9 / 240;

/** Scan codes in set 2 of the two keys whose codes depend on others, or have no release. */
const PRINT_SCREEN = { shifted: 0xe07c, system: 0x84, fakeShift: 0xe012 } as const;
const PAUSE = { make: [0xe1, 0x14, 0x77, 0xe1, RELEASE, 0x14, RELEASE, 0x77], control: 0xe07e } as const;

const SHAPE = {
  enabled: "u8",
  set: "u8",
  leds: "u8",
  typematic: "u8",
  /** The command whose parameter is due, or 0. */
  command: "u8",
  lastSent: "u8",
  overrun: "u8",
  /** How the print-screen key was made: what its release must undo. */
  printScreen: "u16",
} as const;

export class Ps2Keyboard implements Ps2Device {
  private readonly r;
  private readonly now: () => number;
  private readonly cable: Ps2Cable;
  private readonly repeat: Timer;
  /** What is to be sent: answers go before scan codes. */
  private answers: number[] = [];
  private codes: number[] = [];
  /** Key changes that have not yet found room. */
  private backlog: { name: string; down: boolean }[] = [];
  private readonly held = new Set<string>();
  private repeating: string | undefined;
  /** By scan code of set 3. */
  private readonly types = new Uint8Array(256);

  constructor(host: DeviceHost, cable: Ps2Cable) {
    this.r = host.registers(SHAPE);
    this.now = host.clock.now;
    this.cable = cable;
    this.repeat = host.timer(() => this.repeatKey());
    host.state({
      save: () => ({
        answers: [...this.answers],
        codes: [...this.codes],
        backlog: this.backlog.map((change) => ({ ...change })),
        held: [...this.held],
        repeating: this.repeating ?? "",
        types: [...this.types],
      }),
      load: (saved) => {
        this.answers = savedCounts("a keyboard's answers", saved.answers);
        this.codes = savedCounts("a keyboard's scan codes", saved.codes);
        this.backlog = [...saved.backlog]
          .filter(({ name }) => KEYS.has(name))
          .map(({ name, down }) => ({ name, down }));
        this.held.clear();
        for (const name of saved.held) this.held.add(name);
        this.repeating = KEYS.has(saved.repeating) ? saved.repeating : undefined;
        this.types.set(saved.types);
      },
    });
    this.reset();
  }

  /** As after power-on and a passed self-test: scanning, set 2. */
  reset(): void {
    this.answers = [];
    this.backlog = [];
    this.held.clear();
    this.r.command = 0;
    this.r.leds = 0;
    this.setDefaults();
    this.r.enabled = 1;
  }

  /** Bit 0 scroll lock, 1 num lock, 2 caps lock. */
  get leds(): number {
    return this.r.leds;
  }

  /** A key (by `KeyboardEvent.code`) goes down or up. Repeats and keys that a PC keyboard has not are ignored. */
  key(name: string, down: boolean): void {
    if (!KEYS.has(name) || this.held.has(name) === down) return;
    if (down) this.held.add(name);
    else this.held.delete(name);
    if (this.r.enabled === 0) return;
    if (this.backlog.length < BACKLOG_SIZE) this.backlog.push({ name, down });
    else this.overrun();
    this.drain();
    this.cable.attention();
  }

  // --- the cable --------------------------------------------------------------------------------------------------

  get ready(): boolean {
    // While a parameter is due the keyboard sends nothing but answers.
    return this.answers.length > 0 || (this.codes.length > 0 && this.r.command === 0);
  }

  send(): number {
    if (this.answers.length > 0) {
      this.r.lastSent = this.answers.shift()!;
    } else {
      this.r.lastSent = this.codes.shift()!;
      this.r.overrun = 0;
      this.drain();
    }
    return this.r.lastSent;
  }

  write(byte: number): void {
    this.answers = [];
    const command = this.r.command;
    this.r.command = 0;
    if (command !== 0 && byte < FIRST_COMMAND) this.takeParameter(command, byte);
    else this.execute(byte);
    this.cable.attention();
  }

  private answer(...bytes: number[]): void {
    this.answers.push(...bytes);
  }

  private execute(command: number) {
    const { r } = this;
    switch (command) {
      case COMMAND.echo:
        return this.answer(COMMAND.echo);
      case COMMAND.resend:
        return this.answer(r.lastSent);
      case COMMAND.setLeds:
      case COMMAND.scanCodeSet:
      case COMMAND.setTypematic:
        r.command = command;
        break;
      case COMMAND.keyTypematic:
      case COMMAND.keyMakeBreak:
      case COMMAND.keyMake:
        this.clearOutput();
        r.command = command;
        break;
      case COMMAND.identify:
        return this.answer(REPLY.acknowledge, ...IDENTITY);
      case COMMAND.enable:
        this.clearOutput();
        r.enabled = 1;
        break;
      case COMMAND.disable:
        this.setDefaults();
        r.enabled = 0;
        break;
      case COMMAND.setDefaults:
        this.setDefaults();
        break;
      case COMMAND.allTypematic:
        this.setAllTypes(KEY_TYPE.typematic);
        break;
      case COMMAND.allMakeBreak:
        this.setAllTypes(KEY_TYPE.makeBreak);
        break;
      case COMMAND.allMake:
        this.setAllTypes(KEY_TYPE.make);
        break;
      case COMMAND.allTypematicMakeBreak:
        this.setAllTypes(KEY_TYPE.typematicMakeBreak);
        break;
      case COMMAND.reset:
        this.reset();
        return this.answer(REPLY.acknowledge, REPLY.selfTestPassed);
      default:
        return this.answer(REPLY.resend);
    }
    this.answer(REPLY.acknowledge);
  }

  private takeParameter(command: number, byte: number) {
    const { r } = this;
    switch (command) {
      case COMMAND.setLeds:
        r.leds = byte & 7;
        break;
      case COMMAND.setTypematic:
        r.typematic = byte & 0x7f;
        break;
      case COMMAND.scanCodeSet:
        if (byte > 3) return this.answer(REPLY.resend);
        this.answer(REPLY.acknowledge);
        if (byte === 0) return this.answer(r.set);
        this.clearOutput();
        r.set = byte;
        return;
      // Any number of keys may follow; the next command ends the list.
      case COMMAND.keyTypematic:
      case COMMAND.keyMakeBreak:
      case COMMAND.keyMake:
        this.types[byte] =
          command === COMMAND.keyTypematic
            ? KEY_TYPE.typematic
            : command === COMMAND.keyMakeBreak
              ? KEY_TYPE.makeBreak
              : KEY_TYPE.make;
        r.command = command;
        break;
    }
    this.answer(REPLY.acknowledge);
  }

  private setDefaults(): void {
    this.clearOutput();
    this.r.set = 2;
    this.r.typematic = DEFAULT_TYPEMATIC;
    for (const { set3, set3Type } of KEYS.values()) this.types[set3] = set3Type;
  }

  private setAllTypes(type: number): void {
    this.clearOutput();
    this.types.fill(type);
  }

  private clearOutput(): void {
    this.codes = [];
    this.backlog = [];
    this.r.overrun = 0;
    this.stopRepeating();
  }

  // --- keys -------------------------------------------------------------------------------------------------------

  /** Moves waiting key changes into the buffer, as many as fit whole. */
  private drain(): void {
    while (this.backlog.length > 0) {
      const { name, down } = this.backlog[0];
      const codes = this.codesOf(name, down);
      if (this.codes.length + codes.length > BUFFER_SIZE) return;
      this.backlog.shift();
      this.codes.push(...codes);
      if (down && this.isTypematic(name)) {
        this.repeating = name;
        this.repeat.set(this.now() + (1 + (this.r.typematic >> 5)) * DELAY_UNIT_NS);
      } else if (down || name === this.repeating) {
        this.stopRepeating();
      }
    }
  }

  private overrun(): void {
    if (this.r.overrun !== 0) return;
    this.r.overrun = 1;
    this.codes.push(OVERRUN[this.r.set]);
  }

  private repeatKey(): void {
    if (this.repeating === undefined) return;
    // A host that does not keep up gets fewer repeats, not later ones.
    if (this.codes.length === 0) this.codes.push(...this.codesOf(this.repeating, true));
    const { typematic } = this.r;
    const units = (8 + (typematic & 7)) * 2 ** ((typematic >> 3) & 3);
    this.repeat.set(this.now() + Math.ceil(units * PERIOD_UNIT_NS));
    this.cable.attention();
  }

  private stopRepeating(): void {
    this.repeating = undefined;
    this.repeat.cancel();
  }

  private isTypematic(name: string): boolean {
    if (this.r.set !== 3) return name !== "Pause";
    const type = this.types[KEYS.get(name)!.set3];
    return type === KEY_TYPE.typematic || type === KEY_TYPE.typematicMakeBreak;
  }

  private codesOf(name: string, down: boolean): number[] {
    const key = KEYS.get(name)!;
    if (this.r.set === 3) return this.set3Codes(key, down);
    const codes = this.set2Codes(name, key, down);
    return this.r.set === 2 ? codes : toSet1(codes);
  }

  private set3Codes({ set3 }: Key, down: boolean): number[] {
    if (set3 === 0) return [];
    if (down) return [set3];
    const type = this.types[set3];
    return type === KEY_TYPE.makeBreak || type === KEY_TYPE.typematicMakeBreak ? [RELEASE, set3] : [];
  }

  private set2Codes(name: string, key: Key, down: boolean): number[] {
    const isHeld = (modifier: string) => this.held.has(`${modifier}Left`) || this.held.has(`${modifier}Right`);
    if (name === "Pause") {
      if (!down) return [];
      return isHeld("Control")
        ? [...codesOfOne(PAUSE.control, true), ...codesOfOne(PAUSE.control, false)]
        : [...PAUSE.make];
    }
    if (name !== "PrintScreen") return codesOfOne(key.set2, down);
    if (down) {
      const shifted = isHeld("Shift") || isHeld("Control");
      this.r.printScreen = isHeld("Alt")
        ? PRINT_SCREEN.system
        : shifted
          ? PRINT_SCREEN.shifted
          : PRINT_SCREEN.fakeShift;
    }
    // Without a modifier it wraps itself in a shift of its own.
    if (this.r.printScreen !== PRINT_SCREEN.fakeShift) return codesOfOne(this.r.printScreen, down);
    const first = down ? PRINT_SCREEN.fakeShift : PRINT_SCREEN.shifted;
    const second = down ? PRINT_SCREEN.shifted : PRINT_SCREEN.fakeShift;
    return [...codesOfOne(first, down), ...codesOfOne(second, down)];
  }
}

function codesOfOne(code: number, down: boolean): number[] {
  const prefix = (code & 0xff00) === EXTENDED ? [EXTENDED >> 8] : [];
  return down ? [...prefix, code & 0xff] : [...prefix, RELEASE, code & 0xff];
}

function toSet1(codes: readonly number[]): number[] {
  const translated: number[] = [];
  let release = 0;
  for (const code of codes) {
    if (code === RELEASE) {
      release = 0x80;
    } else {
      translated.push(set2ToSet1(code) | release);
      release = 0;
    }
  }
  return translated;
}
