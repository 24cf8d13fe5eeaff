/** Doorbells: the guest's instruction retires at once, and a listener hears later how often it was rung. */
import { PorticoError } from "../errors.ts";
import { describeRange, type Space } from "./errors.ts";
import { type Range, type RangeHandlers, type Region, UNUSED } from "./types.ts";

export interface Doorbell {
  /** The number by which a call rings it. */
  readonly id: number;
  dispose(): void;
}

/** What rings a doorbell beside calls. */
export interface DoorbellRange extends Range {
  readonly space: Space;
  /**
   * Only writes of this value do (1, 2 or 4 bytes, zero-extended; 8 bytes are two writes); any other is nobody's. Doorbells
   * of different values may have the same range. Undefined: whatever is written.
   */
  readonly match?: number;
}

/** Makes a range the doorbells'; throws when it is somebody's. */
export type ClaimRange = (range: DoorbellRange, handlers: RangeHandlers) => Region;

interface Bell {
  count: number;
  readonly match: number | undefined;
  readonly listener: (count: number) => void;
}

/** Bells of one range, told apart by what is written. */
interface SharedRange {
  readonly range: DoorbellRange;
  readonly bells: Bell[];
  readonly region: Region;
}

export class Doorbells {
  /** By number; 0 is none. */
  private readonly bells: (Bell | undefined)[] = [undefined];
  private shared: readonly SharedRange[] = [];
  private pending = false;
  private readonly claim: ClaimRange;

  constructor(claim: ClaimRange) {
    this.claim = claim;
  }

  add(listener: (count: number) => void, range?: DoorbellRange): Doorbell {
    const bell: Bell = { count: 0, match: range?.match, listener };
    const leave = range === undefined ? () => {} : this.enter(bell, range);
    const id = this.bells.push(bell) - 1;
    return {
      id,
      dispose: () => {
        leave();
        this.bells[id] = undefined;
      },
    };
  }

  /** False: there is none of that number. */
  ring(id: number): boolean {
    const bell = id < this.bells.length ? this.bells[id] : undefined;
    if (bell === undefined) return false;
    this.rung(bell);
    return true;
  }

  /** Tells the listeners; between two slices of the guest. */
  deliver(): void {
    if (!this.pending) return;
    this.pending = false;
    for (const bell of this.bells) {
      if (bell === undefined || bell.count === 0) continue;
      const { count } = bell;
      bell.count = 0;
      bell.listener(count);
    }
  }

  private rung(bell: Bell): void {
    bell.count++;
    this.pending = true;
  }

  /** Puts a bell behind its range; what that gives takes it away again. */
  private enter(bell: Bell, range: DoorbellRange): () => void {
    if (range.match === undefined) {
      const region = this.claim(range, { ring0: { write: () => this.rung(bell) } });
      return () => region.dispose();
    }
    checkMatch(range.match);
    const shared = this.sharedRange(range);
    const { bells, region } = shared;
    if (bells.some(({ match }) => match === bell.match)) {
      const where = describeRange(range.space, range);
      throw new PorticoError(
        "DOORBELL_CONFLICT",
        `a write of ${bell.match} to ${where} rings another doorbell already; give this one another value`,
      );
    }
    bells.push(bell);
    return () => {
      const at = bells.indexOf(bell);
      if (at >= 0) bells.splice(at, 1);
      if (bells.length > 0) return;
      region.dispose();
      this.shared = this.shared.filter((one) => one !== shared);
    };
  }

  private sharedRange(range: DoorbellRange): SharedRange {
    const { space, base, length } = range;
    const known = this.shared.find(
      ({ range: one }) => one.space === space && one.base === base && one.length === length,
    );
    if (known !== undefined) return known;
    const bells: Bell[] = [];
    const write = (_offset: number, value: number): number => {
      for (const bell of bells) {
        if (bell.match !== value) continue;
        this.rung(bell);
        return 0;
      }
      return UNUSED;
    };
    const shared = { range, bells, region: this.claim(range, { ring0: { write } }) };
    this.shared = [...this.shared, shared];
    return shared;
  }
}

function checkMatch(match: number): void {
  if (match >>> 0 === match) return;
  throw new PorticoError("DOORBELL_MATCH", `no write has the value ${match}: 0 to 0xffffffff can be matched`);
}
