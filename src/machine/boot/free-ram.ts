/** Usable RAM that no part of the loaded image occupies yet. */
import { MEMORY_TYPE, type MemoryMapEntry } from "./memory-map.ts";

interface Span {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

export class FreeRam {
  #spans: Span[];

  constructor(map: readonly MemoryMapEntry[]) {
    this.#spans = map
      .filter((entry) => entry.type === MEMORY_TYPE.usable)
      .map(({ base, length }) => ({ start: base, end: base + length }));
  }

  /** Takes [start, start + length); false, and nothing is taken, unless all of it is free. */
  take(start: number, length: number): boolean {
    const end = start + length;
    const index = this.#spans.findIndex((span) => span.start <= start && end <= span.end);
    if (index < 0) return false;
    const { start: from, end: to } = this.#spans[index]!;
    const rest = [
      { start: from, end: start },
      { start: end, end: to },
    ];
    this.#spans.splice(index, 1, ...rest.filter((span) => span.start < span.end));
    return true;
  }

  /** Takes the highest aligned place that ends at or below `limit`; undefined when there is none. */
  takeHighest(length: number, alignment: number, limit: number): number | undefined {
    for (const span of this.#spans.toReversed()) {
      const start = Math.floor((Math.min(span.end, limit) - length) / alignment) * alignment;
      if (start >= span.start && this.take(start, length)) return start;
    }
    return undefined;
  }

  /** Takes the lowest aligned place at or above `from`; undefined when there is none. */
  takeLowest(length: number, alignment: number, from: number): number | undefined {
    for (const span of this.#spans) {
      const start = Math.ceil(Math.max(span.start, from) / alignment) * alignment;
      if (start + length <= span.end && this.take(start, length)) return start;
    }
    return undefined;
  }

  /** Bytes of the largest free span below `limit`. */
  largest(limit: number): number {
    return Math.max(0, ...this.#spans.map((span) => Math.min(span.end, limit) - span.start));
  }
}
