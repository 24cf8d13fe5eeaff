import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runScript } from "./compiled-script.ts";

/** Where V8 puts a hash of its version. */
const V8_VERSION = 4;

describe("a script with V8's code beside it", () => {
  let folder: string;
  let code: Uint8Array;
  /** In each script's text: of a text that V8 has seen in this process, it takes the code from its memory. */
  let serial = 1000;
  const text = (answer: number) => `// ${serial++}
    const { basename } = require("node:path");
    const answer = (n) => { const m = n; return \`\${basename(__filename)} \${m + ${answer}}\`; };
    exports.answer = answer;
    exports.fail = () => { throw new Error("as it must"); };`;
  const path = () => join(folder, "script.cjs");

  function run(saved: Uint8Array | undefined, answer = 40) {
    writeFileSync(path(), text(answer));
    rmSync(`${path()}.code`, { force: true });
    if (saved !== undefined) writeFileSync(`${path()}.code`, saved);
    return runScript<{ answer(n: number): string; fail(): void }>(path(), `${path()}.code`);
  }

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "portico-"));
    const script = run(undefined);
    script.exports.answer(2);
    code = script.code();
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("runs with it", () => {
    const { exports, cached } = run(code);
    expect(cached).toBe(true);
    expect(exports.answer(2)).toBe("script.cjs 42");
  });

  it.each<[string, () => Uint8Array | undefined]>([
    ["no code", () => undefined],
    ["an empty file", () => new Uint8Array()],
    ["code that was cut off", () => code.subarray(0, code.length >> 1)],
    ["other bytes", () => new Uint8Array(code.length).fill(0x5a)],
    ["code of another V8", () => code.map((byte, index) => (index === V8_VERSION ? byte ^ 0xff : byte))],
  ])("runs without it when there is %s", (_, saved) => {
    const { exports, cached } = run(saved());
    expect(cached).toBe(false);
    expect(exports.answer(2)).toBe("script.cjs 42");
  });

  it("refuses the code of a script of another length", () => {
    const { exports, cached } = run(code, 400);
    expect(cached).toBe(false);
    expect(exports.answer(2)).toBe("script.cjs 402");
  });

  it("refuses code for other flags", () => {
    setFlagsFromString("--no-flush-bytecode");
    try {
      expect(run(code).cached).toBe(false);
    } finally {
      setFlagsFromString("--flush-bytecode");
    }
  });

  it("shows where an error came from", () => {
    let stack = "";
    try {
      run(code).exports.fail();
    } catch (error) {
      stack = (error as Error).stack!;
    }
    expect(stack).toContain(`${path()}:5:`);
  });
});
