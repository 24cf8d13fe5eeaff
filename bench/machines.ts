/** Whole machines: a Linux boot, and the way from a command to the first byte of a guest. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Engine } from "./engines/engine.ts";
import { CLI } from "./engines/portico.ts";
import { median } from "./statistics.ts";

const root = new URL("..", import.meta.url);
const path = (name: string) => fileURLToPath(new URL(name, root));

const KERNEL = path("build/guests/vmlinuz-cloud-amd64");
const INITRD = path("build/guests/initramfs-amd64.cpio.gz");
const PORCH = path("guests/porch/porch.elf");
/** Of the shell, as guests/linux/init sets it. */
const PROMPT = /portico:\S+# /;
const BOOT_TIMEOUT_MS = 300_000;

export interface BootTime {
  /** s to the prompt of the shell, and to the end of the process. */
  readonly shellS: number;
  readonly powerOffS: number;
  /** CPU seconds of all threads at those moments. */
  readonly shellCpuS: number;
  readonly powerOffCpuS: number;
}

export function canBootLinux(): boolean {
  return existsSync(KERNEL) && existsSync(INITRD);
}

export type BootOutcome = BootTime | { readonly error: string };

/** Boots by commands as users type them, the engines in turn; medians. */
export async function bootTimes(
  engines: readonly Engine[],
  repetitions: number,
  progress: (engine: string) => void,
): Promise<Record<string, BootOutcome>> {
  const outcomes = new Map<string, BootOutcome[]>(engines.map(({ name }) => [name, []]));
  for (let round = 0; round < repetitions; round++) {
    for (const engine of engines) {
      progress(engine.name);
      outcomes.get(engine.name)!.push(await bootLinux(engine));
    }
  }
  return Object.fromEntries([...outcomes].map(([name, all]) => [name, medianBoot(all)]));
}

function medianBoot(outcomes: readonly BootOutcome[]): BootOutcome {
  const failed = outcomes.find((one) => "error" in one);
  if (failed !== undefined) return failed;
  const times = outcomes as readonly BootTime[];
  const of = (field: keyof BootTime) => median(times.map((one) => one[field]));
  return {
    shellS: of("shellS"),
    powerOffS: of("powerOffS"),
    shellCpuS: of("shellCpuS"),
    powerOffCpuS: of("powerOffCpuS"),
  };
}

/** Boots the cloud kernel to its shell, types `poweroff -f`. */
async function bootLinux(engine: Engine): Promise<BootOutcome> {
  const began = performance.now();
  const start = engine.startCommand ?? engine.start;
  const session = start({ image: KERNEL, initrd: INITRD, commandLine: "console=ttyS0", memoryMiB: 256 });
  let text = "";
  let shell: { wallMs: number; cpuMs: number } | undefined;
  let last = { wallMs: began, cpuMs: 0 };
  try {
    return await new Promise((resolve) => {
      const timer = setTimeout(
        () => resolve({ error: `no shell: ${JSON.stringify(text.slice(-300))}` }),
        BOOT_TIMEOUT_MS,
      );
      session.onChunk((chunk) => {
        text = (text + chunk.text).slice(-4000);
        last = { wallMs: performance.now(), cpuMs: chunk.cpuMs };
        if (shell === undefined && PROMPT.test(text)) {
          shell = last;
          session.send("poweroff -f\n");
        }
      });
      session.onEnd((complaint) => {
        clearTimeout(timer);
        if (shell === undefined)
          resolve({ error: `ended before the shell: ${complaint || JSON.stringify(text.slice(-300))}` });
        else {
          resolve({
            shellS: (shell.wallMs - began) / 1000,
            powerOffS: (performance.now() - began) / 1000,
            shellCpuS: shell.cpuMs / 1000,
            powerOffCpuS: last.cpuMs / 1000,
          });
        }
      });
    });
  } finally {
    await session.close();
  }
}

/** ms from starting a program to the first byte on its standard output, median. */
async function firstByte(program: string, args: readonly string[], repetitions: number): Promise<number> {
  const times: number[] = [];
  while (times.length < repetitions) {
    const began = performance.now();
    const child: ChildProcess = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"] });
    const ms = await new Promise<number>((resolve, reject) => {
      child.stdout!.once("data", () => resolve(performance.now() - began));
      child.once("exit", () => reject(new Error(`${program} ended before its guest wrote a byte`)));
      child.once("error", reject);
    });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
    times.push(ms);
  }
  return median(times);
}

/** Start to the first byte of our own guest: the built command, and QEMU with the same image. */
export async function startTimes(engines: readonly string[], repetitions: number): Promise<Record<string, number>> {
  const times: Record<string, number> = {};
  if (engines.includes("portico") && existsSync(CLI)) {
    times.portico = await firstByte(process.execPath, [CLI, "run"], repetitions);
  }
  if (engines.includes("tcg")) {
    const args = ["-accel", "tcg", "-kernel", PORCH, "-display", "none", "-monitor", "none", "-nic", "none"];
    times.tcg = await firstByte("qemu-system-x86_64", [...args, "-serial", "stdio"], repetitions);
  }
  return times;
}
