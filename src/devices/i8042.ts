/**
 * 8042 keyboard controller of a PS/2, with a keyboard and a mouse. IBM PS/2 Hardware Interface Technical Reference,
 * "Keyboard and Auxiliary Device Controller (Type 1)"; output port and pulse commands also IBM PC/AT Technical Reference.
 */
import { defineDevice } from "../device/define.ts";
import { raw } from "../device/raw.ts";
import { bytePorts } from "./byte-ports.ts";
import type { Ps2Device } from "./ps2-device.ts";
import { Ps2Keyboard } from "./ps2-keyboard.ts";
import { RELEASE, set2ToSet1 } from "./ps2-keys.ts";
import { Ps2Mouse } from "./ps2-mouse.ts";

/** Status register, port 64h. The input buffer is never seen full: the controller takes bytes as they come. */
const STATUS = { outputFull: 1 << 0, system: 1 << 2, command: 1 << 3, unlocked: 1 << 4, fromMouse: 1 << 5 } as const;

/** Configuration ("controller command") byte: byte 0 of the controller's RAM. */
const CONFIGURATION = {
  keyboardInterrupt: 1 << 0,
  mouseInterrupt: 1 << 1,
  system: 1 << 2,
  keyboardDisabled: 1 << 4,
  mouseDisabled: 1 << 5,
  translate: 1 << 6,
  writable: 0x7f,
} as const;

/** Commands, port 64h. */
const COMMAND = {
  /** 20h-3Fh read and 60h-7Fh write a byte of the controller's RAM. */
  readRam: 0x20,
  writeRam: 0x60,
  testPassword: 0xa4,
  disableMouse: 0xa7,
  enableMouse: 0xa8,
  testMouseInterface: 0xa9,
  selfTest: 0xaa,
  testKeyboardInterface: 0xab,
  disableKeyboard: 0xad,
  enableKeyboard: 0xae,
  readInputPort: 0xc0,
  readOutputPort: 0xd0,
  writeOutputPort: 0xd1,
  writeKeyboardOutput: 0xd2,
  writeMouseOutput: 0xd3,
  writeMouse: 0xd4,
  disableA20: 0xdd,
  enableA20: 0xdf,
  readTestInputs: 0xe0,
  /** F0h-FFh pull the output port's low bits that are 0 in the command low for 6 us. */
  pulse: 0xf0,
} as const;
const RAM_SIZE = 0x20;
const SELF_TEST_PASSED = 0x55;
const INTERFACE_TEST_PASSED = 0x00;
const NO_PASSWORD = 0xf1;

/** Output port. */
const OUTPUT = {
  notReset: 1 << 0,
  a20: 1 << 1,
  mouseData: 1 << 2,
  mouseClock: 1 << 3,
  keyboardInterrupt: 1 << 4,
  mouseInterrupt: 1 << 5,
  keyboardClock: 1 << 6,
  keyboardData: 1 << 7,
} as const;

/** Input port: not locked, colour display, manufacturing jumper open, RAM on the board. */
const INPUT_PORT = 0xb0;

/** One byte over a PS/2 cable: eleven bits at the fastest clock allowed, 16.7 kHz. */
const BYTE_NS = 11 * 60_000;

export interface I8042Options {
  /** Ports: 60h and 64h on a PC. */
  readonly dataPort: number;
  readonly commandPort: number;
  readonly keyboardGsi: number;
  readonly mouseGsi: number;
  /**
   * Configuration byte after power-on and reset. Default 45h, as firmware leaves it for an operating system that it
   * starts: self-test passed, keyboard interrupt, translation. Give 0 when the machine runs firmware of its own.
   */
  readonly configuration?: number;
}

export interface I8042 {
  /** A key, by its `KeyboardEvent.code` ("KeyA", "ArrowUp"), goes down or up. Unknown ones are ignored. */
  key(code: string, down: boolean): void;
  /** Counts to the right, down, and of the wheel towards the user; `buttons` as `MouseEvent.buttons`. */
  mouse(dx: number, dy: number, dz: number, buttons: number): void;
  /** Bit 0 scroll lock, 1 num lock, 2 caps lock. */
  readonly leds: number;
}

export const i8042 = defineDevice("i8042", (host, options: I8042Options): I8042 => {
  const { configuration = 0x45 } = options;
  const keyboardLine = host.interrupt(options.keyboardGsi);
  const mouseLine = host.interrupt(options.mouseGsi);
  const r = host.registers({
    configuration: "u8",
    status: "u8",
    /** Output buffer: keeps its byte after it was read. */
    output: "u8",
    /** The command whose parameter is due at port 60h, or 0. */
    command: "u8",
    /** A byte of the controller's own waits for the output buffer: 1 keyboard side, 2 mouse side. */
    replyWaiting: "u8",
    reply: "u8",
    /** The keyboard sent F0h; the next byte is translated into a release. */
    releaseSeen: "u8",
    /** The mouse was served last. */
    mouseServed: "u8",
  });
  const ram = new Uint8Array(RAM_SIZE);

  const transfer = host.timer(() => {
    loadFromDevice();
    schedule();
  });
  const cable = { attention: () => schedule() };
  const keyboard = new Ps2Keyboard(host, cable);
  const mouse = new Ps2Mouse(host, cable);

  const canSend = (device: Ps2Device, disabled: number) => (r.configuration & disabled) === 0 && device.ready;
  const keyboardCanSend = () => canSend(keyboard, CONFIGURATION.keyboardDisabled);
  const mouseCanSend = () => canSend(mouse, CONFIGURATION.mouseDisabled);

  function updateLines(): void {
    const full = (r.status & STATUS.outputFull) !== 0;
    const fromMouse = (r.status & STATUS.fromMouse) !== 0;
    keyboardLine.set(full && !fromMouse && (r.configuration & CONFIGURATION.keyboardInterrupt) !== 0);
    mouseLine.set(full && fromMouse && (r.configuration & CONFIGURATION.mouseInterrupt) !== 0);
  }

  function fillOutput(byte: number, fromMouse: boolean): void {
    r.output = byte;
    r.status = (r.status & ~STATUS.fromMouse) | STATUS.outputFull | (fromMouse ? STATUS.fromMouse : 0);
    updateLines();
  }

  /** A byte of the controller's own: at once, or as soon as the output buffer is free. */
  function respond(byte: number, fromMouse = false): void {
    r.reply = byte;
    r.replyWaiting = fromMouse ? 2 : 1;
    loadReply();
  }

  function loadReply(): void {
    if (r.replyWaiting === 0 || (r.status & STATUS.outputFull) !== 0) return;
    const fromMouse = r.replyWaiting === 2;
    r.replyWaiting = 0;
    fillOutput(r.reply, fromMouse);
  }

  /** While the output buffer is full both cables are held; then a byte takes its time to arrive. */
  function schedule(): void {
    const wanted = (r.status & STATUS.outputFull) === 0 && (keyboardCanSend() || mouseCanSend());
    if (!wanted) transfer.cancel();
    else if (transfer.deadline === undefined) transfer.set(host.clock.now() + BYTE_NS);
  }

  function loadFromDevice(): void {
    if ((r.status & STATUS.outputFull) !== 0) return;
    const fromMouse = mouseCanSend() && (r.mouseServed === 0 || !keyboardCanSend());
    if (fromMouse) {
      r.mouseServed = 1;
      fillOutput(mouse.send(), true);
    } else if (keyboardCanSend()) {
      r.mouseServed = 0;
      receiveFromKeyboard(keyboard.send());
    }
  }

  function receiveFromKeyboard(byte: number) {
    if ((r.configuration & CONFIGURATION.translate) === 0) {
      r.releaseSeen = 0;
      return fillOutput(byte, false);
    }
    if (byte === RELEASE) {
      r.releaseSeen = 1;
      return;
    }
    const release = r.releaseSeen !== 0 ? 0x80 : 0;
    r.releaseSeen = 0;
    fillOutput(set2ToSet1(byte) | release, false);
  }

  function readData(): number {
    const byte = r.output;
    if ((r.status & STATUS.outputFull) !== 0) {
      r.status &= ~STATUS.outputFull;
      updateLines();
      loadReply();
      schedule();
    }
    return byte;
  }

  function configure(set: number, clear = 0): void {
    r.configuration = ((r.configuration & ~clear) | set) & CONFIGURATION.writable;
    const system = (r.configuration & CONFIGURATION.system) !== 0 ? STATUS.system : 0;
    r.status = (r.status & ~STATUS.system) | system;
    updateLines();
    schedule();
  }

  function outputPort(): number {
    const full = (r.status & STATUS.outputFull) !== 0;
    const fromMouse = (r.status & STATUS.fromMouse) !== 0;
    let port = OUTPUT.notReset | OUTPUT.mouseData | OUTPUT.keyboardData;
    if (host.board.a20) port |= OUTPUT.a20;
    if ((r.configuration & CONFIGURATION.mouseDisabled) !== 0) port |= OUTPUT.mouseClock;
    if ((r.configuration & CONFIGURATION.keyboardDisabled) === 0) port |= OUTPUT.keyboardClock;
    if (full) port |= fromMouse ? OUTPUT.mouseInterrupt : OUTPUT.keyboardInterrupt;
    return port;
  }

  function writeOutputPort(value: number): void {
    host.board.setA20((value & OUTPUT.a20) !== 0);
    if ((value & OUTPUT.notReset) === 0) host.board.reset();
  }

  function writeCommand(command: number) {
    r.status |= STATUS.command;
    r.command = 0;
    if (command >= COMMAND.pulse) {
      if ((command & OUTPUT.notReset) === 0) host.board.reset();
      return;
    }
    if (command >= COMMAND.readRam && command < COMMAND.readRam + RAM_SIZE) {
      const index = command - COMMAND.readRam;
      return respond(index === 0 ? r.configuration : ram[index]);
    }
    if (command >= COMMAND.writeRam && command < COMMAND.writeRam + RAM_SIZE) {
      r.command = command;
      return;
    }
    switch (command) {
      case COMMAND.testPassword:
        return respond(NO_PASSWORD);
      case COMMAND.disableMouse:
        return configure(CONFIGURATION.mouseDisabled);
      case COMMAND.enableMouse:
        return configure(0, CONFIGURATION.mouseDisabled);
      case COMMAND.testMouseInterface:
      case COMMAND.testKeyboardInterface:
        return respond(INTERFACE_TEST_PASSED);
      case COMMAND.selfTest:
        configure(CONFIGURATION.system);
        return respond(SELF_TEST_PASSED);
      case COMMAND.disableKeyboard:
        return configure(CONFIGURATION.keyboardDisabled);
      case COMMAND.enableKeyboard:
        return configure(0, CONFIGURATION.keyboardDisabled);
      case COMMAND.readInputPort:
        return respond(INPUT_PORT);
      case COMMAND.readOutputPort:
        return respond(outputPort());
      case COMMAND.writeOutputPort:
      case COMMAND.writeKeyboardOutput:
      case COMMAND.writeMouseOutput:
      case COMMAND.writeMouse:
        r.command = command;
        return;
      case COMMAND.disableA20:
        return host.board.setA20(false);
      case COMMAND.enableA20:
        return host.board.setA20(true);
      case COMMAND.readTestInputs:
        // T0 and T1: the keyboard's clock and data lines; a disabled keyboard's clock is held low.
        return respond((r.configuration & CONFIGURATION.keyboardDisabled) === 0 ? 0b11 : 0b10);
    }
  }

  function writeData(value: number) {
    r.status &= ~STATUS.command;
    const { command } = r;
    r.command = 0;
    switch (command) {
      case 0:
        // Talking to the keyboard enables it.
        configure(0, CONFIGURATION.keyboardDisabled);
        return keyboard.write(value);
      case COMMAND.writeOutputPort:
        return writeOutputPort(value);
      case COMMAND.writeKeyboardOutput:
        return respond(value);
      case COMMAND.writeMouseOutput:
        return respond(value, true);
      case COMMAND.writeMouse:
        configure(0, CONFIGURATION.mouseDisabled);
        return mouse.write(value);
      case COMMAND.writeRam:
        return configure(value, CONFIGURATION.writable);
      default:
        ram[command - COMMAND.writeRam] = value;
    }
  }

  host.ports(
    { base: options.dataPort, length: 1 },
    bytePorts(1, readData, (_, value) => writeData(value)),
  );
  host.ports(
    { base: options.commandPort, length: 1 },
    {
      // Polled before every byte. Nobody drives the bits beyond the first eight.
      read: raw((x) => x.or(x.get(r, "status"), 0xffff_ff00)),
      write: (_offset, value) => writeCommand(value & 0xff),
    },
  );

  function reset(): void {
    keyboard.reset();
    mouse.reset();
    ram.fill(0);
    r.status = STATUS.unlocked;
    configure(configuration, CONFIGURATION.writable);
  }
  reset();
  host.onReset(reset);
  host.state({
    save: () => [...ram],
    load: (saved) => ram.set(saved),
  });

  return {
    key: host.input((code: string, down: boolean) => keyboard.key(code, down)),
    mouse: host.input((dx: number, dy: number, dz: number, buttons: number) => mouse.move(dx, dy, dz, buttons)),
    get leds() {
      return keyboard.leds;
    },
  };
});
