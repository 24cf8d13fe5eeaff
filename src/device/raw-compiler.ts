import { type Expr, ModuleBuilder, type Operand, OperandError } from "../emit/index.ts";
import { assert, PorticoError } from "../errors.ts";
import type { RawDispatch } from "../io/raw-dispatch.ts";
import { RAW_READ, RAW_WRITE } from "../io/raw-module.ts";
import {
  DEFER,
  type RangeHandlers,
  type RawRead,
  type RawSite,
  type RawWidth,
  type RawWrite,
  RAW_WIDTHS as WIDTHS,
} from "../io/types.ts";
import { byContext } from "./handlers.ts";
import { RawBuilder } from "./raw.ts";
import type { RegisterFile } from "./registers.ts";
import type { Handlers, RawHandler } from "./types.ts";

/** Compiles the raw handlers of one machine's devices. */
export class RawCompiler {
  private readonly memory: WebAssembly.Memory;
  private readonly file: RegisterFile;
  private readonly dispatch: RawDispatch | undefined;

  /** `dispatch`: where emitted code finds the handlers. */
  constructor(memory: WebAssembly.Memory, file: RegisterFile, dispatch?: RawDispatch) {
    this.memory = memory;
    this.file = file;
    this.dispatch = dispatch;
  }

  /** A module for the raw handlers of one device. */
  module(owner: string): RawModule {
    return new RawModule(owner, this.memory, this.file, this.dispatch);
  }
}

/** Throws `PorticoError` `ARGUMENT` when what it builds is nothing that can be built. */
function buildInto(
  handler: RawHandler,
  site: RawSite,
  file: RegisterFile,
): { value: Expr | undefined; declines: boolean } {
  const x = new RawBuilder(site, file);
  const result = (handler.build as (x: RawBuilder) => Operand | undefined)(x);
  const { b } = site;
  if (site.value !== undefined) return { value: undefined, declines: x.declines };
  if (result === undefined)
    throw new PorticoError("ARGUMENT", "a raw read handler gives no value: return what the guest reads");
  const low = typeof result === "object" && result.type === "i64" ? b.wrap(result) : b.of("i32", result);
  return { value: site.width === 4 ? low : b.and(low, 2 ** (8 * site.width) - 1), declines: x.declines };
}

type Exports = Record<string, CallableFunction>;
const F64_CONVERT_I64_S = 0xb9;

/** One WebAssembly module: built handler by handler, instantiated at the first access to any of them. */
export class RawModule {
  private readonly owner: string;
  private readonly memory: WebAssembly.Memory;
  private readonly file: RegisterFile;
  private readonly dispatch: RawDispatch | undefined;
  private module: ModuleBuilder | undefined;
  private waiting: ((exports: Exports) => void)[] = [];

  constructor(owner: string, memory: WebAssembly.Memory, file: RegisterFile, dispatch: RawDispatch | undefined) {
    this.owner = owner;
    this.memory = memory;
    this.file = file;
    this.dispatch = dispatch;
  }

  /**
   * The raw entries of a range, `undefined` when it has none. Throws `PorticoError` `RAW_HANDLER_NEEDS_OUTER` for a
   * handler that may decline while nothing stands behind it.
   */
  compile(handlers: Handlers): RangeHandlers["raw"] {
    const read = byContext(handlers.read);
    const write = byContext(handlers.write);
    if (!read.raw && !write.raw) return undefined;
    return {
      ...(read.raw && { read: this.read(read.raw, Boolean(read.ring0 ?? read.ring3)) }),
      ...(write.raw && { write: this.write(write.raw, Boolean(write.ring0 ?? write.ring3)) }),
    };
  }

  private read(handler: RawHandler, hasOuter: boolean): RawRead {
    const names = WIDTHS.map((width) => this.function(handler, width, false, hasOuter));
    type Read = (offset: number) => number;
    const first = (width: number) => (offset: number) => {
      this.instantiate();
      return face(offset, width);
    };
    let [byte, word, dword] = WIDTHS.map(first) as [Read, Read, Read];
    const face: RawRead = (offset, width) =>
      width === 4 ? dword(offset) : width === 1 ? byte(offset) : width === 2 ? word(offset) : DEFER;
    this.whenInstantiated(face, false, handler, names, (faces) => {
      [byte, word, dword] = faces as unknown as [Read, Read, Read];
    });
    return face;
  }

  private write(handler: RawHandler, hasOuter: boolean): RawWrite {
    const names = WIDTHS.map((width) => this.function(handler, width, true, hasOuter));
    type Write = (offset: number, value: number) => number;
    const first = (width: number) => (offset: number, value: number) => {
      this.instantiate();
      return face(offset, value, width);
    };
    let [byte, word, dword] = WIDTHS.map(first) as [Write, Write, Write];
    const face: RawWrite = (offset, value, width) =>
      width === 4
        ? dword(offset, value)
        : width === 1
          ? byte(offset, value)
          : width === 2
            ? word(offset, value)
            : DEFER;
    this.whenInstantiated(face, true, handler, names, (faces) => {
      [byte, word, dword] = faces as unknown as [Write, Write, Write];
    });
    return face;
  }

  private whenInstantiated(
    face: RawRead | RawWrite,
    isWrite: boolean,
    handler: RawHandler,
    names: readonly Names[],
    connect: (faces: readonly CallableFunction[]) => void,
  ): void {
    const known = this.dispatch?.add(face, isWrite, (site) => buildInto(handler, site, this.file).value);
    this.waiting.push((exports) => {
      connect(names.map(({ face }) => exports[face]!));
      known?.(names.map(({ emitted }) => exports[emitted]!));
    });
  }

  /** Builds one direction and width. */
  private function(handler: RawHandler, width: RawWidth, isWrite: boolean, hasOuter: boolean): Names {
    this.module ??= this.begin();
    const { module } = this;
    const name = `${this.waiting.length}-${isWrite ? "write" : "read"}${width}`;
    const b = module.function(name, isWrite ? RAW_WRITE : RAW_READ);
    const status = (value: number) => (isWrite ? b.i32(value) : b.i64(value));
    const { value, declines } = this.build(handler, isWrite, {
      b,
      width,
      offset: b.param(0),
      ...(isWrite && { value: b.param(1) }),
      decline: () => b.return(status(DEFER)),
      interrupt: (emit) => emit(),
    });
    if (declines && !hasOuter) {
      throw new PorticoError(
        "RAW_HANDLER_NEEDS_OUTER",
        `a raw ${isWrite ? "write" : "read"} handler of '${this.owner}' may decline: give it a ring0 or ring3 handler too`,
      );
    }
    b.return(value === undefined ? status(0) : b.u64(value));
    module.export(name, b);
    if (isWrite) return { face: name, emitted: name };
    // JavaScript takes a read's value as an f64: every 32-bit value and the status are distinct in it, without a BigInt.
    const face = module.function(`${name}-face`, { params: ["i32"], results: ["f64"] });
    face.return(face.convert("f64", F64_CONVERT_I64_S, face.call(b, face.param(0))));
    module.export(face.name, face);
    return { face: face.name, emitted: name };
  }

  private build(handler: RawHandler, isWrite: boolean, site: RawSite): ReturnType<typeof buildInto> {
    try {
      return buildInto(handler, site, this.file);
    } catch (error) {
      if (!(error instanceof OperandError) && !(error instanceof PorticoError)) throw error;
      const message = `a raw ${isWrite ? "write" : "read"} handler of '${this.owner}' cannot be built: ${error.message}`;
      throw new PorticoError("ARGUMENT", message, { cause: error });
    }
  }

  private begin(): ModuleBuilder {
    const module = new ModuleBuilder();
    module.importMemory("portico", "memory");
    return module;
  }

  private instantiate(): void {
    assert(this.module, "a raw module is instantiated once");
    const compiled = new WebAssembly.Module(this.module.build());
    const { exports } = new WebAssembly.Instance(compiled, { portico: { memory: this.memory } });
    const waiting = this.waiting;
    this.waiting = [];
    this.module = undefined;
    for (const connect of waiting) connect(exports as Exports);
  }
}

/** What a handler's function is exported by: for JavaScript, and for emitted code. */
interface Names {
  readonly face: string;
  readonly emitted: string;
}
