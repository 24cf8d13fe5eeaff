import { spawnSync } from "node:child_process";

/** The first line that a program prints, trimmed; undefined when there is no such program. */
export function firstLine(program: string, args: readonly string[], wanted = /\S/): string | undefined {
  const { stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", timeout: 10_000 });
  if (error !== undefined) return undefined;
  return `${stdout}\n${stderr}`
    .split("\n")
    .find((line) => wanted.test(line))
    ?.trim();
}
