/** The WebAssembly module behind `RawDispatch`. */
import { type Expr, type FunctionBuilder, type FunctionType, ModuleBuilder } from "../emit/index.ts";
import { IO, IO_SLOT, IO_SLOT_UNCLAIMED, PAGE_SHIFT } from "../memory/layout.ts";

/** (offset) → value, or -1 for "declined". */
export const RAW_READ: FunctionType = { params: ["i32"], results: ["i64"] };
/** (offset, value) → 0, or -1 for "declined". */
export const RAW_WRITE: FunctionType = { params: ["i32", "i32"], results: ["i32"] };

/** Entries of the function table that always decline: each kind of function has its own. */
export const DECLINE = { read: 0, write: 1 } as const;

const NOT_ANSWERED = -1;

/**
 * Exports `portRead(port, width)` and `mmioRead(address, width)`, which give an i64, and `portWrite(port, width, value)`
 * and `mmioWrite(address, width, value)`, which give an i32: -1 when the access is one for TypeScript. `width` is 1, 2 or
 * 4, an address lies below 4 GiB.
 */
export function buildRawModule(): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder();
  module.importMemory("io", "memory");
  module.importTable("io", "table");
  for (const space of ["port", "mmio"] as const) {
    module.export(`${space}Read`, read(module, space));
    module.export(`${space}Write`, write(module, space));
  }
  const declineRead = module.function("declineRead", RAW_READ);
  declineRead.return(declineRead.i64(NOT_ANSWERED));
  module.export("declineRead", declineRead);
  const declineWrite = module.function("declineWrite", RAW_WRITE);
  declineWrite.return(declineWrite.i32(NOT_ANSWERED));
  module.export("declineWrite", declineWrite);
  return module.build();
}

type Space = "port" | "mmio";

function read(module: ModuleBuilder, space: Space): FunctionBuilder {
  const f = module.function(`${space}Read`, { params: ["i32", "i32"], results: ["i64"] });
  const width = f.param(1);
  const notAnswered = () => f.return(f.i64(NOT_ANSWERED));
  const { address, slot } = find(f, space, IO_SLOT.readMisaligned, notAnswered, (port) => {
    count(f, f.shl(port, 4), IO.unclaimed);
    f.return(f.shrU(f.i64(-1), f.u64(f.sub(64, f.shl(width, 3)))));
  });
  const target = f.load("i32", 4, f.add(slot, byWidth(f, width)), IO_SLOT.read);
  const offset = f.sub(address, f.load("i32", 4, slot, IO_SLOT.origin));
  const value = f.callIndirect(RAW_READ, target, offset);
  f.if(f.geS(value, 0), () => count(f, slot, IO_SLOT.reads), undefined, true);
  f.return(value);
  return f;
}

function write(module: ModuleBuilder, space: Space): FunctionBuilder {
  const f = module.function(`${space}Write`, { params: ["i32", "i32", "i32"], results: ["i32"] });
  const width = f.param(1);
  const notAnswered = () => f.return(f.i32(NOT_ANSWERED));
  const { address, slot } = find(f, space, IO_SLOT.writeMisaligned, notAnswered, (port) => {
    count(f, f.shl(port, 4), IO.unclaimed + 8);
    f.return(f.i32(0));
  });
  const target = f.load("i32", 4, f.add(slot, byWidth(f, width)), IO_SLOT.write);
  const offset = f.sub(address, f.load("i32", 4, slot, IO_SLOT.origin));
  const value = f.and(f.param(2), f.shrU(f.i32(-1), f.sub(32, f.shl(width, 3))));
  const status = f.callIndirect(RAW_WRITE, target, offset, value);
  f.if(f.eqz(status), () => count(f, slot, IO_SLOT.writes), undefined, true);
  f.return(status);
  return f;
}

/** Byte offset of the function number for a width: 0, 4 and 8 for 1, 2 and 4. */
function byWidth(f: FunctionBuilder, width: Expr): Expr {
  return f.shl(f.and(width, 6), 1);
}

function count(f: FunctionBuilder, at: Expr, offset: number): void {
  f.store(8, at, f.add(f.load("i64", 8, at, offset), 1), offset);
}

/** The address as its space has it, and the host address of the slot that answers all of the access. */
function find(
  f: FunctionBuilder,
  space: Space,
  misaligned: number,
  notAnswered: () => void,
  unclaimed: (port: Expr) => void,
): { address: Expr; slot: Expr } {
  const zero = f.i32(0);
  const width = f.param(1);
  const isPort = space === "port";
  f.if(f.load("i32", 4, zero, isPort ? IO.portsClosed : IO.mmioClosed), notAnswered, undefined, false);
  const address = isPort ? f.let(f.and(f.param(0), 0xffff)) : f.param(0);
  const found = { address, slot: zero };
  const entryAt = isPort ? f.let(f.shl(address, 1)) : f.shl(f.shrU(address, PAGE_SHIFT), 1);
  const number = f.load("i32", 2, entryAt, isPort ? IO.ports : IO.pages);
  f.if(
    f.leU(number, IO_SLOT_UNCLAIMED),
    () => {
      if (isPort) {
        // Nobody's as a whole: the entries of all its ports say so. Behind the last port none does.
        const entries = f.load("i64", 8, entryAt, IO.ports);
        const shift = f.u64(f.sub(64, f.shl(width, 4)));
        const all = f.i64(0x0001_0001_0001_0001n * BigInt(IO_SLOT_UNCLAIMED));
        f.if(f.eqz(f.shl(f.xor(entries, all), shift)), () => unclaimed(address));
      }
      notAnswered();
    },
    undefined,
    false,
  );
  found.slot = f.let(f.add(f.shl(number, Math.log2(IO_SLOT.size)), IO.slots));
  const at = f.let(f.sub(address, f.load("i32", 4, found.slot, IO_SLOT.start)));
  const length = f.load("i32", 4, found.slot, IO_SLOT.length);
  let outside = f.gtU(f.add(at, width), length);
  if (!isPort) {
    // A page may begin before its range, or go on behind it.
    outside = f.or(outside, f.geU(at, length));
    outside = f.or(outside, f.and(address, f.load("i32", 4, found.slot, misaligned)));
  }
  f.if(outside, notAnswered, undefined, false);
  return found;
}
