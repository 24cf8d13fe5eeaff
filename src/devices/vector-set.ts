/** One of the 256-bit registers ISR, TMR and IRR. Intel SDM volume 3, figure 11-20. */
export class VectorSet {
  /** Eight words, lowest vectors first. */
  readonly words = new Uint32Array(8);
  /** The highest vector present, or -1. */
  highest = -1;

  has(vector: number): boolean {
    return (this.words[vector >> 5] & (1 << (vector & 31))) !== 0;
  }

  add(vector: number): void {
    this.words[vector >> 5] |= 1 << (vector & 31);
    if (vector > this.highest) this.highest = vector;
  }

  remove(vector: number): void {
    this.words[vector >> 5] &= ~(1 << (vector & 31));
    if (vector === this.highest) this.findHighest();
  }

  clear(): void {
    this.words.fill(0);
    this.highest = -1;
  }

  load(words: readonly number[]): void {
    this.words.set(words);
    this.findHighest();
  }

  private findHighest(): void {
    let word = 7;
    while (word > 0 && this.words[word] === 0) word--;
    // The logarithm of an empty set's lowest word is -1, too.
    this.highest = 32 * word + 31 - Math.clz32(this.words[word]);
  }
}
