/**
 * A mistake of the program or person that uses Portico: a bad option, an overlap, a truncated image.
 * A guest's mistakes never throw; they produce what hardware would produce.
 */
export class PorticoError extends Error {
  /** Stable, for callers to test: `"PORT_RANGE_CONFLICT"`, `"IMAGE_TRUNCATED"`, ... */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** Trips on a bug of Portico's own, never on a guest's or a user's mistake. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`Portico bug: ${message}`);
}
