import { describe, expect, it } from "vitest";
import { storm } from "./hostile-storm.ts";

/** In the second one, data beside code that is compiled and given up changes by the store that gives it up. */
const SEEDS = [5001, 5014];
const INSTRUCTIONS = 1_200_000;

describe("a guest of random values", () => {
  it.each(SEEDS)("ends in the same state, whatever is compiled (seed %i)", { timeout: 120_000 }, async (seed) => {
    const run = async (compile: "auto" | "always" | "never") => {
      const { retired, hash, resets } = await storm({ seed, instructions: INSTRUCTIONS, compile });
      return { retired, hash, resets };
    };
    const interpreted = await run("never");
    expect(await run("auto")).toEqual(interpreted);
    expect(await run("always")).toEqual(interpreted);
  });
});
