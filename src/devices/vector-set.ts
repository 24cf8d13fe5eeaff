/**
 * The 256-bit registers ISR, TMR and IRR: eight words, lowest vectors first. Intel SDM volume 3, figure 11-20.
 */

export function hasVector(words: Uint32Array, vector: number): boolean {
  return (words[vector >> 5] & (1 << (vector & 31))) !== 0;
}

export function addVector(words: Uint32Array, vector: number): void {
  words[vector >> 5] |= 1 << (vector & 31);
}

export function removeVector(words: Uint32Array, vector: number): void {
  words[vector >> 5] &= ~(1 << (vector & 31));
}

/** The highest vector present, or -1. */
export function highestVector(words: Uint32Array): number {
  for (let i = 7; i >= 0; i--) if (words[i] !== 0) return 32 * i + 31 - Math.clz32(words[i]);
  return -1;
}
