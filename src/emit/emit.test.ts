import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { constantOf, type Expr, type FunctionBuilder, ModuleBuilder } from "./index.ts";

function instantiate(module: ModuleBuilder, imports: WebAssembly.Imports = {}) {
  return new WebAssembly.Instance(new WebAssembly.Module(module.build()), imports).exports as Record<
    string,
    CallableFunction
  >;
}

describe("module builder", () => {
  it("loops, branches and shares locals between scopes", () => {
    const module = new ModuleBuilder();
    const f = module.function("factorial", { params: ["i64"], results: ["i64"] });
    const n = f.variable("i64", f.param(0));
    const product = f.variable("i64", 1);
    f.block((end) => {
      f.loop((again) => {
        f.brIf(end, f.eqz(f.get(n)), false);
        f.scope(() => f.set(product, f.let(f.mul(f.get(product), f.get(n)))));
        f.scope(() => f.set(n, f.let(f.sub(f.get(n), 1))));
        f.br(again);
      });
    });
    f.return(f.get(product));
    module.export("factorial", f);
    expect(instantiate(module).factorial!(20n)).toBe(2432902008176640000n);
    expect(f.localTypes.length).toBe(3);
  });

  it("reads and writes memory at every width, signed and unsigned", () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const view = new DataView(memory.buffer);
    view.setBigUint64(8, 0x8182_8384_8586_8788n, true);
    const module = new ModuleBuilder();
    module.importMemory("env", "memory");
    for (const bytes of [1, 2, 4, 8] as const) {
      for (const signed of [false, true]) {
        const f = module.function("f", { params: ["i32"], results: ["i64"] });
        const value = f.load("i64", bytes, f.param(0), 4, signed);
        f.store(bytes, f.param(0), value, 100);
        f.return(value);
        module.export(`load${bytes}${signed ? "s" : "u"}`, f);
      }
    }
    const exports = instantiate(module, { env: { memory } });
    expect(exports.load1u!(4)).toBe(0x88n);
    expect(exports.load1s!(4)).toBe(-0x78n);
    expect(exports.load2u!(4)).toBe(0x8788n);
    expect(exports.load4s!(4)).toBe(BigInt.asIntN(64, 0xffff_ffff_8586_8788n));
    expect(BigInt.asUintN(64, exports.load8u!(4))).toBe(0x8182_8384_8586_8788n);
    expect(view.getBigUint64(104, true)).toBe(0x8182_8384_8586_8788n);
  });

  it("calls imports, multi-value functions and table entries", () => {
    const module = new ModuleBuilder();
    const log = module.importFunction("env", "log", { params: ["i32"], results: [] });
    const two = module.function("two", { params: ["i32"], results: ["i32", "i32"] });
    two.return(two.add(two.param(0), 1), two.add(two.param(0), 2));
    const type = { params: ["i32"], results: ["i32"] } as const;
    const sum = module.function("sum", type);
    const [a, b] = sum.callMulti(two, sum.param(0));
    sum.call(log, a!);
    sum.return(sum.sub(sum.mul(a!, 10), b!));
    const main = module.function("main", type);
    main.return(main.callIndirect(type, main.i32(3), main.param(0)));
    module.table([undefined, undefined, undefined, sum]);
    module.export("main", main);
    const seen: number[] = [];
    expect(instantiate(module, { env: { log: (v: number) => seen.push(v) } }).main!(4)).toBe(44);
    expect(seen).toEqual([5]);
  });

  it.each([
    ["add", 0x7fff_ffff, 1],
    ["shl", 1, 31],
    ["shrS", -8, 1],
    ["shrU", -8, 1],
    ["and", 0xff, 0x0f],
  ] as const)("folds %s of constants as the machine computes it", (name, a, b) => {
    const module = new ModuleBuilder();
    const folded = module.function("folded", { params: [], results: ["i32"] });
    folded.return(folded[name](folded.i32(a), b));
    const computed = module.function("computed", { params: ["i32", "i32"], results: ["i32"] });
    computed.return(computed[name](computed.param(0), computed.param(1)));
    module.export("folded", folded);
    module.export("computed", computed);
    const exports = instantiate(module);
    expect(exports.folded!()).toBe(exports.computed!(a, b));
    expect(folded.code.bytes[0]).toBe(0x41);
  });

  it("has no neutral operations left", () => {
    const module = new ModuleBuilder();
    const f = module.function("f", { params: ["i64"], results: ["i64"] });
    expect(f.add(f.param(0), 0)).toEqual(f.param(0));
  });

  it("works on 128-bit lanes", () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    new Uint32Array(memory.buffer).set([1, 2, 3, 4]);
    const module = new ModuleBuilder();
    module.importMemory("env", "memory");
    const f = module.function("f", { params: [], results: [] });
    const v = f.loadV128(f.i32(0));
    f.storeV128(f.i32(0), f.simd("v128", 0xae, [v, v]), 16); // i32x4.add
    f.return();
    module.export("f", f);
    instantiate(module, { env: { memory } }).f!();
    expect([...new Uint32Array(memory.buffer, 16, 4)]).toEqual([2, 4, 6, 8]);
  });

  it.each(["i32", "i64"] as const)("folds constants to what WebAssembly computes: %s", (type) => {
    const binary = ["add", "sub", "mul", "and", "or", "xor", "shl", "shrS", "shrU", "eq", "ne"] as const;
    const ordered = ["ltS", "ltU", "gtS", "gtU", "leS", "leU", "geS", "geU"] as const;
    const unary = ["extend8S", "extend16S", "eqz"] as const;
    const values = [
      0n,
      1n,
      -1n,
      0x7fn,
      0x80n,
      0x8000n,
      31n,
      64n,
      0x7fff_ffffn,
      -0x8000_0000n,
      -(2n ** 63n),
      2n ** 63n - 1n,
    ];
    const cut = (value: bigint) => BigInt.asIntN(type === "i32" ? 32 : 64, value);
    const argument = (value: bigint) => (type === "i32" ? Number(cut(value)) : value);
    const module = new ModuleBuilder();
    const checks: [name: string, a: bigint, b: bigint][] = [];
    const add = (name: string, a: bigint, b: bigint, compute: (f: FunctionBuilder, a: Expr, b: Expr) => Expr) => {
      for (const constant of [false, true]) {
        const f = module.function("f", { params: [type, type], results: ["i64"] });
        const operand = (value: bigint, position: number) => (constant ? f.of(type, cut(value)) : f.param(position));
        const result = compute(f, operand(a, 0), operand(b, 1));
        expect(constantOf(result) !== undefined, name).toBe(constant);
        f.return(result.type === "i32" ? f.s64(result) : result);
        module.export(`${checks.length}${constant}`, f);
      }
      checks.push([name, a, b]);
    };
    for (const a of values) {
      for (const name of unary) add(name, a, 0n, (f, x) => f[name](x));
      for (const b of values) {
        // A neutral operand gives back the other one.
        for (const name of [...binary, ...ordered]) add(name, a, b, (f, x, y) => f[name](x, y));
      }
    }
    const exports = instantiate(module);
    checks.forEach(([name, a, b], index) => {
      const [computed, folded] = [false, true].map((constant) =>
        exports[`${index}${constant}`]!(argument(a), argument(b)),
      );
      expect(folded, `${name} ${a} ${b}`).toBe(computed);
    });
  });

  it("computes the same with what it knows of upper bits as without", () => {
    type Tree = { readonly leaf: number } | { readonly op: Op; readonly left: Tree; readonly right: Tree | bigint };
    const ops = ["add", "sub", "mul", "and", "or", "xor", "shl", "shrS", "shrU", "low", "equal", "select"] as const;
    type Op = (typeof ops)[number];
    const constant = fc.oneof(
      fc.constantFrom(0n, 1n, 3n, 8n, 0xffn, 0xff00n, 0xffffn, 0xffff_ffffn, -1n, -0x100n, 1n << 40n),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    );
    const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        fc.record({ leaf: fc.nat(3) }),
        fc.record({ op: fc.constantFrom(...ops), left: tie("tree"), right: fc.oneof(tie("tree"), constant) }),
      ),
    }));
    const write = (f: FunctionBuilder, node: Tree | bigint, leaves: readonly Expr[]): Expr => {
      if (typeof node === "bigint") return f.i64(node);
      if ("leaf" in node) return leaves[node.leaf]!;
      const [a, b] = [write(f, node.left, leaves), write(f, node.right, leaves)];
      if (node.op === "low") return f.u64(f.add(f.wrap(a), f.and(f.wrap(b), 0xff)));
      if (node.op === "equal") return f.u64(f.eq(a, b));
      if (node.op === "select") return f.select(f.ltU(a, b), a, b);
      return f[node.op](a, b);
    };
    const memory = new WebAssembly.Memory({ initial: 1 });
    const values = new BigUint64Array(memory.buffer, 0, 4);
    const property = (node: Tree, inputs: readonly bigint[]) => {
      const module = new ModuleBuilder();
      module.importMemory("env", "memory");
      let bits = 64;
      for (const knowing of [true, false]) {
        const f = module.function("f", { params: ["i64", "i64", "i64", "i64"], results: ["i64"] });
        const loads = ([1, 2, 4, 8] as const).map((bytes, i) => f.load("i64", bytes, f.i32(8 * i)));
        const result = write(f, node, knowing ? loads : [0, 1, 2, 3].map((i) => f.param(i)));
        if (knowing) bits = result.bits;
        f.return(result);
        module.export(String(knowing), f);
      }
      values.set(inputs);
      const exports = instantiate(module, { env: { memory } });
      const cut = inputs.map((value, i) => BigInt.asUintN(8 << i, value));
      const [known, plain] = [true, false].map((knowing) => BigInt.asUintN(64, exports[String(knowing)]!(...cut)));
      expect(known).toBe(plain);
      expect(BigInt.asUintN(bits, known!)).toBe(known);
    };
    const inputs = fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 4, maxLength: 4 });
    fc.assert(fc.property(tree, inputs, property), { numRuns: 2000, seed: 7 });
  });
});
