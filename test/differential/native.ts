import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { decodeOutcomes, encodeBatch, type MachineCase, type Mode, type Outcome } from "./state.ts";

const folder = fileURLToPath(new URL("../native/", import.meta.url));

const COMMON_FLAGS = ["-O2", "-Wall", "-Wextra", "-fno-stack-protector", "-fcf-protection=none"];
const MODE_FLAGS: Record<Mode, readonly string[]> = {
  64: ["-fPIE", "-pie"],
  // Linked above 1 GiB, where the segments of a 32-bit case end.
  32: ["-m32", "-mno-sse", "-mstackrealign", "-fno-pie", "-no-pie", "-static", "-Wl,-Ttext-segment=0x60000000"],
};

/** Builds the runner if its source is newer, and returns its path. Throws if the compiler fails. */
export function buildRunner(mode: Mode): string {
  const binary = `${folder}build/runner${mode}`;
  const newest = Math.max(...["runner.c", "layout.h"].map((name) => statSync(folder + name).mtimeMs));
  if (existsSync(binary) && statSync(binary).mtimeMs > newest) return binary;
  mkdirSync(`${folder}build`, { recursive: true });
  const fresh = `${binary}.${process.pid}`;
  execFileSync("gcc", [...COMMON_FLAGS, ...MODE_FLAGS[mode], `${folder}runner.c`, "-o", fresh], { stdio: "pipe" });
  renameSync(fresh, binary);
  return binary;
}

/** Runs a batch on the host CPU; one outcome for each case, in order. */
export function runNative(background: Uint8Array, cases: readonly MachineCase[], mode: Mode): Outcome[] {
  const run = spawnSync(buildRunner(mode), {
    input: encodeBatch(background, cases),
    maxBuffer: 1 << 30,
  });
  if (run.status !== 0) {
    throw new Error(`the native runner ended with ${run.signal ?? run.status}: ${run.stderr}${run.error ?? ""}`);
  }
  const outcomes = decodeOutcomes(run.stdout, mode);
  if (outcomes.length !== cases.length) throw new Error(`${outcomes.length} outcomes for ${cases.length} cases`);
  return outcomes;
}
