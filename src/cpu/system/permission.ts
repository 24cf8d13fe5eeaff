import { mayAccessPort } from "../../exits/io-permission.ts";
import type { SystemContext } from "./context.ts";

/** Throws #GP(0) unless the program may access the ports. */
export function checkPort(context: SystemContext, port: number, bytes: number): void {
  const { cpu } = context;
  if (!(cpu.mode & 1) || (!cpu.isV86 && cpu.cpl <= cpu.iopl)) return;
  if (!mayAccessPort(context.exitCpu, port, bytes)) cpu.gp(0);
}
