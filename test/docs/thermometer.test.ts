import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { thermometer } from "../../docs/examples/thermometer.ts";
import { createMachine } from "../../src/index.ts";

it("answers porch from two contexts, and the profile says so", async () => {
  const machine = createMachine({ memoryMiB: 16 });
  machine.add(thermometer, { base: 0x300, measure: () => new Promise((resolve) => setTimeout(() => resolve(21), 5)) });
  machine.boot({ image: readFileSync(new URL("../../guests/porch/porch.elf", import.meta.url)) });
  let output = "";
  let prompts = 0;
  const commands = ["in 0x301", "out 0x300 1", "in 0x301", "poweroff"];
  machine.serial.onOutput((bytes) => {
    output += new TextDecoder().decode(bytes);
    for (; prompts < output.split("porch> ").length - 1; prompts++) {
      const command = commands[prompts];
      if (command !== undefined) machine.serial.input(new TextEncoder().encode(`${command}\r`));
    }
  });
  const end = await machine.run();
  expect(end).toEqual({ reason: "poweroff", status: 0 });
  expect(output).toContain("0x15"); // 21
  expect(output).toContain("0x46"); // 70

  const rows = machine.profile().ranges.filter((row) => row.owner === "thermometer" && row.reads + row.writes > 0);
  expect(rows.map(({ context, reads, writes }) => ({ context, reads, writes }))).toEqual([
    { context: "raw", reads: 0, writes: 1 },
    { context: "ring3", reads: 2, writes: 0 },
  ]);
  machine.dispose();
});
