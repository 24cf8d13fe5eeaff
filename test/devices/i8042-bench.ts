/** For tests: a keyboard controller and the steps by which drivers talk to it. */
import { deviceUnderTest } from "../../src/device/testing.ts";
import { i8042 } from "../../src/devices/i8042.ts";

export const DATA = 0x60;
export const COMMAND = 0x64;
export const KEYBOARD_GSI = 1;
export const MOUSE_GSI = 12;

const OUTPUT_FULL = 1;
const FROM_MOUSE = 0x20;

export type I8042Bench = ReturnType<typeof i8042Bench>;

export function i8042Bench(
  configuration = 0x45,
  bench = deviceUnderTest(i8042, {
    dataPort: DATA,
    commandPort: COMMAND,
    keyboardGsi: KEYBOARD_GSI,
    mouseGsi: MOUSE_GSI,
    configuration,
  }),
) {
  const command = (...bytes: number[]) => {
    bench.write(COMMAND, bytes[0]);
    for (const byte of bytes.slice(1)) bench.write(DATA, byte);
  };
  /** Bytes that come within 20 ms, with their source. */
  const collect = (ms = 20) => {
    const bytes: { byte: number; mouse: boolean }[] = [];
    for (let i = 0; i < ms * 20; i++) {
      bench.clock.advance(50_000);
      const status = bench.read(COMMAND);
      if ((status & OUTPUT_FULL) === 0) continue;
      bytes.push({ byte: bench.read(DATA), mouse: (status & FROM_MOUSE) !== 0 });
    }
    return bytes;
  };
  const bytesFrom = (mouse: boolean, ms?: number) =>
    collect(ms)
      .filter((item) => item.mouse === mouse)
      .map((item) => item.byte);
  return {
    ...bench,
    bench,
    command,
    /** A command to the controller and its answer. */
    ask: (...bytes: number[]) => {
      command(...bytes);
      return bench.read(COMMAND) & OUTPUT_FULL ? bench.read(DATA) : undefined;
    },
    collect,
    fromKeyboard: (ms?: number) => bytesFrom(false, ms),
    fromMouse: (ms?: number) => bytesFrom(true, ms),
    /** Bytes to a device, and all that comes back. */
    keyboard: (...bytes: number[]) =>
      bytes.flatMap((byte) => {
        bench.write(DATA, byte);
        return bytesFrom(false);
      }),
    mouse: (...bytes: number[]) =>
      bytes.flatMap((byte) => {
        command(0xd4, byte);
        return bytesFrom(true);
      }),
    press: (...codes: string[]) => {
      for (const code of codes) bench.api.key(code, true);
    },
    release: (...codes: string[]) => {
      for (const code of codes) bench.api.key(code, false);
    },
  };
}
