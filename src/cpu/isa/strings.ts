import { DS, ES, RDI, RSI } from "../state.ts";
import type { Family, FormSpec } from "./define.ts";
import type { X86 } from "./x86.ts";

const both = (opcode: number): FormSpec[] => [{ opcode, size: "b" }, { opcode: opcode + 1 }];

/** DS:rSI, or an override. */
const source = (x: X86) => x.dataAddress(x.readIndex(RSI), DS, true);
/** ES:rDI, always. */
const destination = (x: X86) => x.dataAddress(x.readIndex(RDI), ES, false);

function advance(x: X86, ...registers: number[]): void {
  const step = x.stringStep(x.bytes);
  for (const register of registers) x.writeIndex(register, x.add(x.readIndex(register), step));
}

/** MOVS, STOS, LODS, CMPS, SCAS with REP, REPE and REPNE. */
export const strings: Family = (define) => {
  define("movs", both(0xa4), (x) =>
    x.repeat(
      () => {
        x.writeMemory(destination(x), x.bytes, x.readMemory(source(x), x.bytes));
        advance(x, RSI, RDI);
      },
      { compares: false, truncated: [RSI, RDI], bulk: "move" },
    ),
  );
  define("stos", both(0xaa), (x) =>
    x.repeat(
      () => {
        x.writeMemory(destination(x), x.bytes, x.readAcc());
        advance(x, RDI);
      },
      { compares: false, truncated: [RDI], bulk: "store" },
    ),
  );
  define("lods", both(0xac), (x) =>
    x.repeat(
      () => {
        x.writeAcc(x.readMemory(source(x), x.bytes));
        advance(x, RSI);
      },
      { compares: false, truncated: [] },
    ),
  );
  define("cmps", both(0xa6), (x) =>
    x.repeat(
      () => {
        // The destination is read first: seen on silicon when both fault.
        const b = x.readMemory(destination(x), x.bytes);
        const a = x.readMemory(source(x), x.bytes);
        advance(x, RSI, RDI);
        x.flagsSub(a, b, x.let(x.sub(a, b)));
      },
      { compares: true, truncated: [] },
    ),
  );
  define("scas", both(0xae), (x) =>
    x.repeat(
      () => {
        const a = x.readAcc();
        const b = x.readMemory(destination(x), x.bytes);
        advance(x, RDI);
        x.flagsSub(a, b, x.let(x.sub(a, b)));
      },
      { compares: true, truncated: [] },
    ),
  );
};
