import { ByteWriter } from "./byte-writer.ts";
import { FunctionBuilder } from "./function-builder.ts";
import { type FunctionRef, type FunctionType, VALUE_TYPE_CODE } from "./types.ts";

interface ImportedFunction extends FunctionRef {
  readonly module: string;
}

/** Writes one WebAssembly module (core specification, 5.5). Imports come before the first defined function. */
export class ModuleBuilder {
  private readonly types: FunctionType[] = [];
  private readonly typeIndexes = new Map<string, number>();
  private readonly imports: ImportedFunction[] = [];
  private readonly functions: FunctionBuilder[] = [];
  private readonly exports: [name: string, index: number][] = [];
  private memory: { module: string; name: string; shared: boolean } | undefined;
  private tableEntries: (number | undefined)[] | undefined;
  private tableImport: { module: string; name: string } | undefined;

  typeIndex(type: FunctionType): number {
    const key = `${type.params.join()}>${type.results.join()}`;
    let index = this.typeIndexes.get(key);
    if (index === undefined) {
      index = this.types.push(type) - 1;
      this.typeIndexes.set(key, index);
    }
    return index;
  }

  importMemory(module: string, name: string): void {
    this.memory = { module, name, shared: false };
  }

  /** A function table of the host's; a module has this one or its own. */
  importTable(module: string, name: string): void {
    this.tableImport = { module, name };
  }

  importFunction(module: string, name: string, type: FunctionType): FunctionRef {
    if (this.functions.length > 0) throw new Error("Portico bug: imports come before functions");
    const imported = { module, name, type, index: this.imports.length };
    this.imports.push(imported);
    return imported;
  }

  function(name: string, type: FunctionType): FunctionBuilder {
    return this.adopt((index) => new FunctionBuilder(this, name, type, index));
  }

  /** Adds a function whose builder is of a class of the caller's, made for the index given. */
  adopt<B extends FunctionBuilder>(create: (index: number) => B): B {
    const builder = create(this.imports.length + this.functions.length);
    this.functions.push(builder);
    return builder;
  }

  export(name: string, target: FunctionRef): void {
    this.exports.push([name, target.index]);
  }

  /** A private function table; `undefined` entries trap when called. */
  table(entries: readonly (FunctionRef | undefined)[]): void {
    this.tableEntries = entries.map((entry) => entry?.index);
  }

  build(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter(4096);
    out.append([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);

    const functionTypes = this.functions.map((f) => this.typeIndex(f.type));
    const importTypes = this.imports.map((f) => this.typeIndex(f.type));

    section(out, 1, (s) => {
      s.u32(this.types.length);
      for (const { params, results } of this.types) {
        s.byte(0x60);
        s.u32(params.length);
        for (const type of params) s.byte(VALUE_TYPE_CODE[type]);
        s.u32(results.length);
        for (const type of results) s.byte(VALUE_TYPE_CODE[type]);
      }
    });

    section(out, 2, (s) => {
      s.u32(this.imports.length + (this.memory ? 1 : 0) + (this.tableImport ? 1 : 0));
      this.imports.forEach((imported, position) => {
        s.name(imported.module);
        s.name(imported.name);
        s.byte(0x00);
        s.u32(importTypes[position]!);
      });
      if (this.memory) {
        s.name(this.memory.module);
        s.name(this.memory.name);
        s.append([0x02, 0x00]);
        s.u32(0);
      }
      if (this.tableImport) {
        s.name(this.tableImport.module);
        s.name(this.tableImport.name);
        s.append([0x01, 0x70, 0x00]);
        s.u32(0);
      }
    });

    section(out, 3, (s) => {
      s.u32(functionTypes.length);
      for (const type of functionTypes) s.u32(type);
    });

    const { tableEntries } = this;
    if (tableEntries) {
      section(out, 4, (s) => {
        s.append([1, 0x70, 0x00]);
        s.u32(tableEntries.length);
      });
    }

    section(out, 7, (s) => {
      s.u32(this.exports.length);
      for (const [name, index] of this.exports) {
        s.name(name);
        s.byte(0x00);
        s.u32(index);
      }
    });

    if (tableEntries) writeElements(out, tableEntries);

    const bodies = this.functions.map((f) => f.body());
    this.writeHints(out, bodies);

    section(out, 10, (s) => {
      s.u32(bodies.length);
      for (const { bytes } of bodies) {
        s.u32(bytes.length);
        s.append(bytes);
      }
    });
    return out.finish();
  }

  /** Branch hinting proposal: custom section `metadata.code.branch_hint`, before the code section. */
  private writeHints(out: ByteWriter, bodies: { codeOffset: number }[]): void {
    const hinted = this.functions.map((f, position) => ({ f, position })).filter(({ f }) => f.hints.length > 0);
    if (hinted.length === 0) return;
    section(out, 0, (s) => {
      s.name("metadata.code.branch_hint");
      s.u32(hinted.length);
      for (const { f, position } of hinted) {
        s.u32(f.index);
        s.u32(f.hints.length);
        for (const [offset, likely] of f.hints) {
          s.u32(offset + bodies[position]!.codeOffset);
          s.u32(1);
          s.byte(likely ? 1 : 0);
        }
      }
    });
  }
}

function section(out: ByteWriter, id: number, write: (section: ByteWriter) => void): void {
  const content = new ByteWriter(1024);
  write(content);
  out.byte(id);
  out.u32(content.length);
  out.append(content.bytes.subarray(0, content.length));
}

/** One active segment for each run of defined entries. */
function writeElements(out: ByteWriter, entries: (number | undefined)[]): void {
  const runs: { start: number; functions: number[] }[] = [];
  entries.forEach((entry, position) => {
    if (entry === undefined) return;
    const last = runs.at(-1);
    if (last !== undefined && last.start + last.functions.length === position) last.functions.push(entry);
    else runs.push({ start: position, functions: [entry] });
  });
  section(out, 9, (s) => {
    s.u32(runs.length);
    for (const { start, functions } of runs) {
      s.append([0x00, 0x41]);
      s.s32(start);
      s.byte(0x0b);
      s.u32(functions.length);
      for (const index of functions) s.u32(index);
    }
  });
}
