import { describe, expect, it } from "vitest";
import { IO_PATHS } from "../../src/exits/index.ts";
import { Random } from "../differential/prng.ts";
import { differences, MODES, randomState, run, subject } from "./io-conformance.ts";

const CASES = Number(process.env.PORTICO_IO_CASES ?? 500);
/** Compiling costs milliseconds: one case in so many. */
const COMPILED = 4;

describe("port instructions on every path", () => {
  it.each(MODES)("%s: registers, flags, memory, devices and fault frames are the same", async (mode) => {
    const interpreted = IO_PATHS.map((path) => subject(path, "never"));
    const compiled = IO_PATHS.map((path) => subject(path, "always"));
    const random = new Random(0x10_0000 + MODES.indexOf(mode));
    const [reference, ...others] = interpreted;
    const ends = new Map<string, number>();
    for (let number = 0; number < CASES; number++) {
      const state = randomState(reference!, random, mode);
      const expected = await run(reference!, state);
      ends.set(expected.end, (ends.get(expected.end) ?? 0) + 1);
      for (const other of number % COMPILED === 0 ? [...others, ...compiled] : others) {
        const found = differences(expected, await run(other, state));
        if (found.length > 0) expect.fail(`case ${number}, ${state.description}, ${other.name}:\n${found.join("\n")}`);
      }
    }
    // Most of them come to an end.
    expect(ends.get("halt")).toBeGreaterThan(CASES / 2);
  });
});
