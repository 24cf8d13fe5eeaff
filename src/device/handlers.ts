import type { RangeHandlers, Ring0Read, Ring0Write, Ring3Read, Ring3Write } from "../io/types.ts";
import type { Handler, Handlers, RawHandler } from "./types.ts";

/** One direction of a range, sorted by context. */
export interface ByContext<Ring0, Ring3> {
  readonly raw?: RawHandler;
  readonly ring0?: Ring0;
  readonly ring3?: Ring3;
}

/** What a device wrote for one direction, as contexts by name. */
export function byContext<Ring0 extends Ring0Read | Ring0Write, Ring3 extends Ring3Read | Ring3Write>(
  handler: Handler<Ring0, Ring3> | undefined,
): ByContext<Ring0, Ring3> {
  if (handler === undefined) return {};
  if (typeof handler === "function") return { ring0: handler };
  if (!("kind" in handler)) return handler;
  return handler.kind === "raw" ? { raw: handler } : { ring3: handler.run };
}

/** Handlers as `io/` takes them, given what became of the raw ones. */
export function rangeHandlers(handlers: Handlers, raw: RangeHandlers["raw"]): RangeHandlers {
  const read = byContext(handlers.read);
  const write = byContext(handlers.write);
  const ring0 = defined({
    read: read.ring0,
    write: write.ring0,
    readString: handlers.readString,
    writeString: handlers.writeString,
  });
  const ring3 = defined({ read: read.ring3, write: write.ring3 });
  return { ...(raw && { raw }), ...(ring0 && { ring0 }), ...(ring3 && { ring3 }) };
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The members that are there; `undefined` when none is. */
function defined<T extends object>(members: T): Defined<T> | undefined {
  const entries = Object.entries(members).filter(([, value]) => value !== undefined);
  return entries.length > 0 ? (Object.fromEntries(entries) as Defined<T>) : undefined;
}
