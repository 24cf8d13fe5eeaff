/** The keys that belong to Portico rather than to the guest: Ctrl-A and one more. */

const CTRL_A = 0x01;

export const ESCAPE_HELP = [
  "Ctrl-A X       quit",
  "Ctrl-A H       this help",
  "Ctrl-A Ctrl-A  send Ctrl-A to the guest",
  "All other keys, Ctrl-C among them, go to the guest.",
] as const;

export interface EscapeActions {
  /** Bytes for the guest, in order; never empty. */
  input(bytes: Uint8Array): void;
  quit(): void;
  help(): void;
}

/** Takes the escape sequences out of what is typed. A sequence may be spread over several chunks. */
export class EscapeFilter {
  readonly #actions: EscapeActions;
  #escaped = false;

  constructor(actions: EscapeActions) {
    this.#actions = actions;
  }

  /** An unknown key after Ctrl-A is dropped together with it. */
  push(bytes: Uint8Array): void {
    let plain: number[] = [];
    const flush = (): void => {
      if (plain.length > 0) this.#actions.input(Uint8Array.from(plain));
      plain = [];
    };
    for (const byte of bytes) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true;
        else plain.push(byte);
        continue;
      }
      this.#escaped = false;
      switch (String.fromCharCode(byte).toLowerCase()) {
        case "\x01":
          plain.push(CTRL_A);
          break;
        case "x":
          flush();
          this.#actions.quit();
          break;
        case "h":
        case "?":
          flush();
          this.#actions.help();
          break;
      }
    }
    flush();
  }
}
