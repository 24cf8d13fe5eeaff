import { describe, expect, it } from "vitest";
import { describeCase } from "../differential/compare.ts";
import { Generator } from "../differential/generate.ts";
import { Random } from "../differential/prng.ts";
import { SoftwareSubject } from "../differential/software.ts";
import { type Mode, WINDOW_SIZE } from "../differential/state.ts";
import { background } from "../differential/values.ts";
import { CompiledSubject } from "./compiled-subject.ts";

const COUNT = Number(process.env.PORTICO_JIT_CASES ?? 400);

/** Random user-mode programs, with faults wherever they come, end in the same state under both back ends. */
describe.each([64, 32] as const)("interpreter and compiler agree, %d-bit programs", (mode: Mode) => {
  it.each(["integer", "x87", "mmx", "simd", "float"])("%s", (selection) => {
    const random = new Random(mode * 1000 + selection.length);
    const window = background(random, WINDOW_SIZE);
    const generator = new Generator(random, mode, selection);
    const interpreted = new SoftwareSubject(mode);
    const compiled = new CompiledSubject(mode);
    interpreted.prepare(window);
    compiled.prepare(window);
    for (let i = 0; i < COUNT; i++) {
      const program = generator.next();
      const expected = interpreted.run(program);
      const actual = compiled.run(program);
      if (!same(expected, actual))
        expect({ ...actual, fx: [...actual.fx] }, describeCase(program)).toEqual({ ...expected, fx: [...expected.fx] });
    }
    // The interpreter takes what is no instruction, what crosses a page, and what follows that up to the next jump.
    expect(compiled.interpreted / compiled.executed).toBeLessThan(0.3);
  });
});

function same(left: object, right: object): boolean {
  const text = (value: object) =>
    JSON.stringify(value, (_, field) =>
      typeof field === "bigint" ? `${field}` : field instanceof BigUint64Array ? [...field].map(String) : field,
    );
  return text(left) === text(right);
}
