import { checkArgument, notNaN } from "../arguments.ts";
import type { Timer } from "./types.ts";

/** 146 years, half of what an i64 holds: no guest gets there by sleeping from one timer to the next. */
const END_OF_TIME = 2 ** 62;

/** Timers of one machine on virtual time. Equal deadlines fire in the order in which the timers were created. */
export class TimerQueue {
  /** The earliest deadline has become earlier: the CPU's slice must be cut. */
  onEarlier: ((deadlineNs: number) => void) | undefined;

  /** Binary heap by (deadline, order). */
  private readonly heap: QueuedTimer[] = [];
  private created = 0;

  /** ns of virtual time, `Infinity` when nothing is armed. */
  get nextDeadline(): number {
    return this.heap.length > 0 ? this.heap[0].deadlineNs : Number.POSITIVE_INFINITY;
  }

  create(fire: () => void): Timer {
    return new QueuedTimer(this, this.created++, fire);
  }

  /**
   * Fires everything due at `now`, earliest first. A timer that arms itself again with a later deadline that is due too
   * fires again before this returns: a periodic device catches up.
   */
  fireDue(now: number): void {
    while (this.heap.length > 0 && this.heap[0].deadlineNs <= now) {
      const timer = this.heap[0];
      const { deadlineNs } = timer;
      this.remove(timer);
      timer.fire();
      // Times beyond 2^53 ns (104 days) are rounded: a timer may find itself a little early, and ask for the same again.
      if (timer.position >= 0 && timer.deadlineNs <= deadlineNs)
        timer.set(Math.max(now + 1, now * (1 + Number.EPSILON)));
    }
  }

  arm(timer: QueuedTimer): void {
    if (timer.position < 0) {
      timer.position = this.heap.length;
      this.heap.push(timer);
    }
    this.sink(timer);
    this.rise(timer);
    if (timer.position === 0) this.onEarlier?.(timer.deadlineNs);
  }

  remove(timer: QueuedTimer): void {
    const { heap } = this;
    if (timer.position < 0) return;
    const last = heap.pop()!;
    if (last !== timer) {
      this.place(last, timer.position);
      this.sink(last);
      this.rise(last);
    }
    timer.position = -1;
  }

  private place(timer: QueuedTimer, position: number): void {
    this.heap[position] = timer;
    timer.position = position;
  }

  private rise(timer: QueuedTimer): void {
    while (timer.position > 0) {
      const parent = this.heap[(timer.position - 1) >> 1];
      if (!timer.before(parent)) return;
      const { position } = timer;
      this.place(timer, parent.position);
      this.place(parent, position);
    }
  }

  private sink(timer: QueuedTimer): void {
    const { heap } = this;
    for (;;) {
      const left = 2 * timer.position + 1;
      if (left >= heap.length) return;
      const right = left + 1;
      const child = right < heap.length && heap[right].before(heap[left]) ? heap[right] : heap[left];
      if (!child.before(timer)) return;
      const { position } = timer;
      this.place(timer, child.position);
      this.place(child, position);
    }
  }
}

class QueuedTimer implements Timer {
  deadlineNs = 0;
  /** Place in the heap, -1 when idle. */
  position = -1;
  private readonly queue: TimerQueue;
  private readonly order: number;
  readonly fire: () => void;

  constructor(queue: TimerQueue, order: number, fire: () => void) {
    this.queue = queue;
    this.order = order;
    this.fire = fire;
  }

  get deadline(): number | undefined {
    return this.position < 0 ? undefined : this.deadlineNs;
  }

  set(deadlineNs: number): void {
    checkArgument("the deadline of a timer", deadlineNs, notNaN);
    if (deadlineNs < END_OF_TIME) {
      this.deadlineNs = deadlineNs;
      this.queue.arm(this);
    } else {
      this.cancel();
    }
  }

  cancel(): void {
    this.queue.remove(this);
  }

  before(other: QueuedTimer): boolean {
    return this.deadlineNs < other.deadlineNs || (this.deadlineNs === other.deadlineNs && this.order < other.order);
  }
}
