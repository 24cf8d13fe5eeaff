import { defineConfig } from "vitest/config";

/** Whole guests, booted from start to power-off: minutes, not milliseconds. `npm run guests` first. */
export default defineConfig({
  test: {
    include: ["test/guests/**/*.test.ts"],
    testTimeout: 900_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
});
