/**
 * A sparse set of page numbers with counts, since several handlers may share a page. Page numbers may be negative: those of
 * the upper half of the canonical addresses are.
 */
const CHUNK = 1024;

export class CountedBitmap {
  private readonly chunks = new Map<number, { readonly counts: Uint16Array; used: number }>();
  /** No page below or above is in the set; they only shrink when the set becomes empty. */
  private least = Number.POSITIVE_INFINITY;
  private greatest = Number.NEGATIVE_INFINITY;

  add(page: number): void {
    const key = Math.floor(page / CHUNK);
    let chunk = this.chunks.get(key);
    if (chunk === undefined) {
      chunk = { counts: new Uint16Array(CHUNK), used: 0 };
      this.chunks.set(key, chunk);
    }
    if (chunk.counts[page - key * CHUNK]!++ === 0) chunk.used++;
    this.least = Math.min(this.least, page);
    this.greatest = Math.max(this.greatest, page);
  }

  /** The page is in the set. */
  remove(page: number): void {
    const key = Math.floor(page / CHUNK);
    const chunk = this.chunks.get(key)!;
    if (--chunk.counts[page - key * CHUNK]! > 0 || --chunk.used > 0) return;
    this.chunks.delete(key);
    if (this.chunks.size > 0) return;
    this.least = Number.POSITIVE_INFINITY;
    this.greatest = Number.NEGATIVE_INFINITY;
  }

  /** Two comparisons reject most. */
  has(page: number): boolean {
    if (page < this.least || page > this.greatest) return false;
    const key = Math.floor(page / CHUNK);
    const chunk = this.chunks.get(key);
    return chunk !== undefined && chunk.counts[page - key * CHUNK]! > 0;
  }
}
