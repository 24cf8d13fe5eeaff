import { mayAccessPort } from "../../exits/io-permission.ts";
import type { SystemContext } from "./context.ts";

/** Throws #GP(0) unless the program may access the ports. */
export function checkPort(context: SystemContext, port: number, bytes: number): void {
  if (!mayAccessPort(context.exitCpu, port, bytes)) context.cpu.gp(0);
}
