import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    exclude: ["test/guests/**"], // whole boots: vitest.guests.config.ts
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
