/** Fields of single bits as tables: a name for each bit, both ways. Bits may lie above 31, so numbers are split. */

export type BitTable = Readonly<Record<string, number>>;
export type BitFlags<T extends BitTable> = { readonly [K in keyof T]: boolean };

const TWO_32 = 0x1_0000_0000;

function bit(value: number, position: number): boolean {
  return ((position < 32 ? value : value / TWO_32) >>> (position & 31)) % 2 === 1;
}

/** The flags of `value`, or undefined if it has a bit that the table does not name. `value` up to 2^53. */
export function readFlags<T extends BitTable>(table: T, value: number): BitFlags<T> | undefined {
  if (!Number.isSafeInteger(value) || value < 0) return undefined;
  const flags: Record<string, boolean> = {};
  let rest = value;
  for (const [name, position] of Object.entries(table)) {
    flags[name] = bit(value, position);
    if (flags[name]) rest -= 2 ** position;
  }
  return rest === 0 ? (flags as BitFlags<T>) : undefined;
}

export function writeFlags<T extends BitTable>(table: T, flags: BitFlags<T>): number {
  return Object.entries(table).reduce((sum, [name, position]) => sum + (flags[name] ? 2 ** position : 0), 0);
}
