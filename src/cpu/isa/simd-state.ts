import { CPU, VECTOR } from "../state.ts";
import type { Family } from "./define.ts";
import { MXCSR_WRITABLE } from "./mxcsr.ts";
import { requireMmx, requireSse } from "./simd.ts";

/** MXCSR, EMMS; and fences, which an in-order CPU has nothing to do for. */
export const simdState: Family = (define) => {
  const memory = { map: 1, opcode: 0xae, prefix: "none", operand: "memory", size: "b" } as const;
  define("ldmxcsr", { ...memory, digit: 2 }, (x) => {
    requireSse(x);
    const value = x.let(x.wrap(x.readMemory(x.rmAddress(), 4)));
    x.if(x.and(value, ~MXCSR_WRITABLE), () => x.fault(VECTOR.gp, 0), undefined, false);
    x.writeMxcsr(value);
  });
  define("stmxcsr", { ...memory, digit: 3 }, (x) => {
    requireSse(x);
    x.writeMemory(x.rmAddress(), 4, x.field("i32", CPU.mxcsr));
  });

  const register = { map: 1, opcode: 0xae, prefix: "none", operand: "register", size: "b" } as const;
  define("lfence", { ...register, digit: 5 }, () => {});
  define("mfence", { ...register, digit: 6 }, () => {});
  define("sfence", { ...register, digit: 7 }, () => {});
  define("clflush", { ...memory, digit: 7 }, (x) => {
    const { offset, segment } = x.rmAddress();
    x.system("clflush", offset, x.u64(segment));
  });

  define("emms", { map: 1, opcode: 0x77, prefix: "none", size: "b" }, (x) => {
    requireMmx(x);
    x.setField("i32", CPU.fpuTop, 0);
    x.setField("i32", CPU.fpuEmpty, 0xff);
  });
};
