/** The host's event loop as the run loop needs it: breathe between slices, sleep until a timer or until woken. */
export class HostLoop {
  /** Settles when the machine is disposed. */
  readonly closed: Promise<void>;
  private close_: () => void = () => {};
  private wakeUp: (() => void) | undefined;
  private awake = false;
  private lastBreath = 0;

  constructor() {
    this.closed = new Promise((resolve) => {
      this.close_ = resolve;
    });
  }

  /** Lets the host's other work in, at most every few milliseconds: each turn of the event loop costs microseconds. */
  async breathe(): Promise<void> {
    const now = performance.now();
    if (now - this.lastBreath < BREATH_MS) return;
    await nextTurn();
    this.lastBreath = performance.now();
  }

  /** Up to `ms` (may be infinite), or until `wake`. */
  sleep(ms: number): Promise<void> {
    if (this.awake) {
      this.awake = false;
      return nextTurn();
    }
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.wakeUp?.(), Math.min(ms, LONGEST_MS));
      this.wakeUp = () => {
        clearTimeout(timer);
        this.wakeUp = undefined;
        resolve();
      };
    });
  }

  /** Ends the sleep, or keeps the next one from starting. */
  wake(): void {
    if (this.wakeUp) this.wakeUp();
    else this.awake = true;
  }

  close(): void {
    this.close_();
    this.wake();
  }
}

const BREATH_MS = 4;
/** Longest delay of `setTimeout`. */
const LONGEST_MS = 2 ** 31 - 1;

type Immediate = (callback: () => void) => unknown;

/** One turn of the event loop: `setImmediate` where there is one, a message elsewhere (a browser delays `setTimeout`). */
function nextTurn(): Promise<void> {
  const immediate = (globalThis as { setImmediate?: Immediate }).setImmediate;
  if (immediate) return new Promise((resolve) => immediate(() => resolve()));
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}
