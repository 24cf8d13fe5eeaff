/** Writes that their instructions have left behind, until somebody looks: KVM's coalesced zones. */

/** As many writes as a ring holds, unless told. */
export const RING_CAPACITY = 256;
/** As many writes as a ring can be told to hold. */
export const RING_CAPACITY_MAX = 2 ** 16;

/**
 * `Store`: what tells one space from the other, for whoever performs the writes.
 *
 * The writes of one device, in order and each with the virtual time at which it was made. Whoever performs them takes one
 * after the other; nothing is allocated for a write.
 */
export class CoalescedRing<Store = unknown> {
  readonly capacity: number;
  /** Writes that wait. */
  count = 0;
  /** Virtual time of the write that is being performed; negative: none is. */
  time = -1;
  private readonly now: () => number;
  private first = 0;
  private readonly times: Float64Array;
  private readonly offsets: Float64Array;
  private readonly values: Uint32Array;
  private readonly widths: Uint8Array;
  private readonly regions: Int32Array;
  private readonly stores: Store[] = [];

  constructor(now: () => number, capacity = RING_CAPACITY) {
    this.now = now;
    this.capacity = capacity;
    this.times = new Float64Array(capacity);
    this.offsets = new Float64Array(capacity);
    this.values = new Uint32Array(capacity);
    this.widths = new Uint8Array(capacity);
    this.regions = new Int32Array(capacity);
  }

  /** False: the ring is full. */
  append(store: Store, region: number, offset: number, value: number, width: number): boolean {
    if (this.count === this.capacity) return false;
    const at = (this.first + this.count) % this.capacity;
    this.times[at] = this.now();
    this.offsets[at] = offset;
    this.values[at] = value;
    this.widths[at] = width;
    this.regions[at] = region;
    this.stores[at] = store;
    this.count++;
    return true;
  }

  /** Takes the oldest write out and hands it to `perform`, at its own time. */
  take<T>(perform: (store: Store, region: number, offset: number, value: number, width: number) => T): T {
    const at = this.first;
    this.first = (at + 1) % this.capacity;
    this.count--;
    this.time = this.times[at]!;
    try {
      return perform(this.stores[at]!, this.regions[at]!, this.offsets[at]!, this.values[at]!, this.widths[at]!);
    } finally {
      this.time = -1;
    }
  }
}
