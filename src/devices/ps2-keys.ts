/**
 * Keys of a 101/102-key PC keyboard by their names in the UI Events standard (`KeyboardEvent.code`), and their scan
 * codes. IBM PS/2 Hardware Interface Technical Reference, "101- and 102-Key Keyboards", scan code sets 1 to 3; the
 * Windows keys are from Microsoft's "Keyboard Scan Code Specification" (2000).
 */

/** Set 3's default behaviour of a key: it repeats, it also tells its release, or neither. */
export const KEY_TYPE = { typematic: 0, makeBreak: 1, make: 2, typematicMakeBreak: 3 } as const;

export interface Key {
  /** Scan code of set 2, with E0h in the high byte when it has that prefix. 0 for `PrintScreen` and `Pause`. */
  readonly set2: number;
  readonly set3: number;
  readonly set3Type: number;
}

/** Prefix of scan codes in set 2 for keys that the 84-key keyboard had not. */
export const EXTENDED = 0xe000;

/** Name, set 2, set 3. */
const TYPEMATIC = `
Backquote 0e 0e, Digit1 16 16, Digit2 1e 1e, Digit3 26 26, Digit4 25 25, Digit5 2e 2e, Digit6 36 36, Digit7 3d 3d,
Digit8 3e 3e, Digit9 46 46, Digit0 45 45, Minus 4e 4e, Equal 55 55, Backspace 66 66, Tab 0d 0d, KeyQ 15 15, KeyW 1d 1d,
KeyE 24 24, KeyR 2d 2d, KeyT 2c 2c, KeyY 35 35, KeyU 3c 3c, KeyI 43 43, KeyO 44 44, KeyP 4d 4d, BracketLeft 54 54,
BracketRight 5b 5b, Backslash 5d 5c, KeyA 1c 1c, KeyS 1b 1b, KeyD 23 23, KeyF 2b 2b, KeyG 34 34, KeyH 33 33, KeyJ 3b 3b,
KeyK 42 42, KeyL 4b 4b, Semicolon 4c 4c, Quote 52 52, Enter 5a 5a, IntlBackslash 61 13, KeyZ 1a 1a, KeyX 22 22,
KeyC 21 21, KeyV 2a 2a, KeyB 32 32, KeyN 31 31, KeyM 3a 3a, Comma 41 41, Period 49 49, Slash 4a 4a, Space 29 29,
Delete e071 64, ArrowLeft e06b 61, ArrowUp e075 63, ArrowDown e072 60, ArrowRight e074 6a, NumpadAdd 79 7c,
IntlYen 6a 5d, IntlRo 51 51`;
const MAKE_BREAK = `
CapsLock 58 14, ShiftLeft 12 12, ShiftRight 59 59, ControlLeft 14 11, AltLeft 11 19, MetaLeft e01f 8b,
MetaRight e027 8c, ContextMenu e02f 8d`;
const MAKE = `
AltRight e011 39, ControlRight e014 58, Insert e070 67, Home e06c 6e, End e069 65, PageUp e07d 6f, PageDown e07a 6d,
NumLock 77 76, Numpad7 6c 6c, Numpad4 6b 6b, Numpad1 69 69, NumpadDivide e04a 77, Numpad8 75 75, Numpad5 73 73,
Numpad2 72 72, Numpad0 70 70, NumpadMultiply 7c 7e, Numpad9 7d 7d, Numpad6 74 74, Numpad3 7a 7a, NumpadDecimal 71 71,
NumpadSubtract 7b 84, NumpadEnter e05a 79, Escape 76 08, F1 05 07, F2 06 0f, F3 04 17, F4 0c 1f, F5 03 27, F6 0b 2f,
F7 83 37, F8 0a 3f, F9 01 47, F10 09 4f, F11 78 56, F12 07 5e, PrintScreen 00 57, ScrollLock 7e 5f, Pause 00 62,
KanaMode 13 87, Convert 64 86, NonConvert 67 85, Power e037 00, Sleep e03f 00, WakeUp e05e 00`;

function keysOf(table: string, set3Type: number): [string, Key][] {
  return table
    .trim()
    .split(/,\s*/)
    .map((line) => {
      const [name, set2, set3] = line.split(" ");
      return [name, { set2: Number.parseInt(set2, 16), set3: Number.parseInt(set3, 16), set3Type }];
    });
}

export const KEYS: ReadonlyMap<string, Key> = new Map([
  ...keysOf(TYPEMATIC, KEY_TYPE.typematic),
  ...keysOf(MAKE_BREAK, KEY_TYPE.makeBreak),
  ...keysOf(MAKE, KEY_TYPE.make),
]);

/** What precedes the code of a released key in sets 2 and 3. */
export const RELEASE = 0xf0;

/**
 * Scan codes of set 2 as those of set 1, as the 8042's program translates what comes from the keyboard; codes from 80h
 * on stay but for two. IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
 */
const SET2_TO_SET1 = Uint8Array.from(
  `
  ff 43 41 3f 3d 3b 3c 58 64 44 42 40 3e 0f 29 59
  65 38 2a 70 1d 10 02 5a 66 71 2c 1f 1e 11 03 5b
  67 2e 2d 20 12 05 04 5c 68 39 2f 21 14 13 06 5d
  69 31 30 23 22 15 07 5e 6a 72 32 24 16 08 09 5f
  6b 33 25 17 18 0b 0a 60 6c 34 35 26 27 19 0c 61
  6d 73 28 74 1a 0d 62 6e 3a 36 1c 1b 75 2b 63 76
  55 56 77 78 79 7a 0e 7b 7c 4f 7d 4b 47 7e 7f 6f
  52 53 50 4c 4d 48 01 45 57 4e 51 4a 37 49 46 54`
    .trim()
    .split(/\s+/)
    .map((byte) => Number.parseInt(byte, 16)),
);

export function set2ToSet1(code: number): number {
  if (code < 0x80) return SET2_TO_SET1[code];
  // F7 and Alt+PrintScreen, whose codes in set 2 lie above.
  return code === 0x83 ? 0x41 : code === 0x84 ? 0x54 : code;
}
