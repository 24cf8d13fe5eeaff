import type { Expr, FunctionBuilder, FunctionRef, ModuleBuilder } from "../../emit/index.ts";
import { HOT_BASE, HOT_ENTRIES } from "../../memory/layout.ts";
import { CPU } from "../state.ts";

/**
 * i32: non-zero when the code at a host address, which control has just come to, was reached as often as the threshold
 * says, or is compiled. One entry for each place: its address, and how often it may still be reached.
 */
export function arrivedFunction(module: ModuleBuilder): FunctionRef {
  const f = module.function("arrived", { params: ["i32", "i32"], results: ["i32"] });
  f.return(arrivedOften(f, f.param(1), f.param(0)));
  return f;
}

function arrivedOften(f: FunctionBuilder, host: Expr, cpu: Expr): Expr {
  const entry = f.let(f.shl(f.and(host, HOT_ENTRIES - 1), 3));
  const hot = f.variable("i32", 0);
  f.if(
    f.eq(f.load("i32", 4, entry, HOT_BASE), host),
    () => {
      const left = f.let(f.sub(f.load("i32", 4, entry, HOT_BASE + 4), 1));
      f.store(4, entry, left, HOT_BASE + 4);
      f.set(hot, f.ltS(left, 0));
    },
    () => {
      f.store(4, entry, host, HOT_BASE);
      const threshold = f.load("i32", 4, cpu, CPU.hotThreshold);
      f.store(4, entry, threshold, HOT_BASE + 4);
      f.set(hot, f.eqz(threshold));
    },
    true,
  );
  return f.get(hot);
}
