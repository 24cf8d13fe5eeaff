import { type Expr, type FunctionRef, ModuleBuilder, type Operand } from "../emit/index.ts";
import { assert, PorticoError } from "../errors.ts";
import { DEFER, type RangeHandlers, type RawRead, type RawWrite } from "../io/types.ts";
import { byContext } from "./handlers.ts";
import { RawBuilder, type RawSite, type RawWidth, RAW_WIDTHS as WIDTHS } from "./raw.ts";
import type { RegisterFile } from "./registers.ts";
import type { Handlers, RawHandler } from "./types.ts";

/** Compiles the raw handlers of one machine's devices. */
export class RawCompiler {
  private readonly memory: WebAssembly.Memory;
  private readonly file: RegisterFile;
  private readonly builders = new WeakMap<RawRead | RawWrite, RawHandler>();

  constructor(memory: WebAssembly.Memory, file: RegisterFile) {
    this.memory = memory;
    this.file = file;
  }

  /** A module for the raw handlers of one device. */
  module(owner: string): RawModule {
    return new RawModule(owner, this.memory, this.file, this.builders);
  }

  /**
   * Builds a handler into other code: a read returns its value (i32, bits beyond the width zero), a write `undefined`.
   * `face` is the `raw.read` or `raw.write` of some `RangeHandlers`; `undefined` for one that was not built here.
   */
  inline(face: RawRead | RawWrite, site: RawSite): { value: Expr | undefined } | undefined {
    const handler = this.builders.get(face);
    return handler && { value: buildInto(handler, site, this.file).value };
  }
}

function buildInto(
  handler: RawHandler,
  site: RawSite,
  file: RegisterFile,
): { value: Expr | undefined; declines: boolean } {
  const x = new RawBuilder(site, file);
  const result = (handler.build as (x: RawBuilder) => Operand | undefined)(x);
  const { b } = site;
  if (site.value !== undefined) return { value: undefined, declines: x.declines };
  assert(result !== undefined, "a raw read gives a value");
  const low = typeof result === "object" && result.type === "i64" ? b.wrap(result) : b.of("i32", result);
  return { value: site.width === 4 ? low : b.and(low, 2 ** (8 * site.width) - 1), declines: x.declines };
}

type Exports = Record<string, (offset: number, value: number) => number>;

/** One WebAssembly module: built handler by handler, instantiated at the first access to any of them. */
export class RawModule {
  private readonly owner: string;
  private readonly memory: WebAssembly.Memory;
  private readonly file: RegisterFile;
  private readonly builders: WeakMap<RawRead | RawWrite, RawHandler>;
  private module: ModuleBuilder | undefined;
  private waiting: ((exports: Exports) => void)[] = [];

  constructor(
    owner: string,
    memory: WebAssembly.Memory,
    file: RegisterFile,
    builders: WeakMap<RawRead | RawWrite, RawHandler>,
  ) {
    this.owner = owner;
    this.memory = memory;
    this.file = file;
    this.builders = builders;
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
    this.waiting.push((exports) => {
      [byte, word, dword] = names.map((name) => exports[name] as Read) as [Read, Read, Read];
    });
    const face: RawRead = (offset, width) =>
      width === 4 ? dword(offset) : width === 1 ? byte(offset) : width === 2 ? word(offset) : DEFER;
    this.builders.set(face, handler);
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
    this.waiting.push((exports) => {
      [byte, word, dword] = names.map((name) => exports[name]) as [Write, Write, Write];
    });
    const face: RawWrite = (offset, value, width) =>
      width === 4
        ? dword(offset, value)
        : width === 1
          ? byte(offset, value)
          : width === 2
            ? word(offset, value)
            : DEFER;
    this.builders.set(face, handler);
    return face;
  }

  /** Builds one direction and width; returns the name it is exported by. */
  private function(handler: RawHandler, width: RawWidth, isWrite: boolean, hasOuter: boolean): string {
    this.module ??= this.begin();
    const { module } = this;
    const name = `${this.waiting.length}-${isWrite ? "write" : "read"}${width}`;
    // A read gives an f64: every 32-bit value and the status -1 are distinct in it, and JavaScript gets a plain number.
    const b = module.function(
      name,
      isWrite ? { params: ["i32", "i32"], results: ["i32"] } : { params: ["i32"], results: ["f64"] },
    );
    const status = (value: number) => (isWrite ? b.i32(value) : b.f64(value));
    const { value, declines } = buildInto(
      handler,
      {
        b,
        width,
        offset: b.param(0),
        ...(isWrite && { value: b.param(1) }),
        decline: () => b.return(status(DEFER)),
      },
      this.file,
    );
    if (declines && !hasOuter) {
      throw new PorticoError(
        "RAW_HANDLER_NEEDS_OUTER",
        `a raw ${isWrite ? "write" : "read"} handler of '${this.owner}' may decline: give it a ring0 or ring3 handler too`,
      );
    }
    const f64ConvertI32U = 0xb8;
    b.return(value === undefined ? status(0) : b.convert("f64", f64ConvertI32U, value));
    module.export(name, b as FunctionRef);
    return name;
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
