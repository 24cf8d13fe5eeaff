/** Whose processor runs the tests. The emulated CPU is one of Intel's; amd.ts has what an AMD one cannot say about it. */
import { readFileSync } from "node:fs";

export type Vendor = "Intel" | "AMD";

/** Undefined where the host is no x86-64 Linux, or its processor is of neither. */
export function hostVendor(): Vendor | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  const information = readFileSync("/proc/cpuinfo", "utf8");
  if (information.includes("GenuineIntel")) return "Intel";
  return information.includes("AuthenticAMD") ? "AMD" : undefined;
}
