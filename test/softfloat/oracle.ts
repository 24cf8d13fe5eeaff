/** The host CPU as oracle: compiles `test/native/softfloat-oracle.c` and runs batches of operations through it. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Operation number, control, two 16-byte operands in; two 16-byte results, status, trapped out. */
export const RECORD_BYTES = 40;

export class Oracle {
  private readonly folder = mkdtempSync(join(tmpdir(), "softfloat-oracle-"));
  private readonly program = join(this.folder, "oracle");
  readonly operations: Map<string, number>;

  constructor() {
    const source = fileURLToPath(new URL("../native/softfloat-oracle.c", import.meta.url));
    execFileSync("gcc", ["-O1", "-mno-red-zone", "-o", this.program, source]);
    const names = execFileSync(this.program, ["list"], { encoding: "utf8" }).trim().split("\n");
    this.operations = new Map(names.map((name, number) => [name, number]));
  }

  run(requests: Uint8Array): Uint8Array {
    return execFileSync(this.program, { input: requests, maxBuffer: requests.length + 1 });
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true });
  }
}
