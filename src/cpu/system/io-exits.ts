/** I/O instructions that leave the guest: the processor's part of an exit, before the monitor has it. */
import type { StringAccess } from "../../exits/string-io.ts";
import { encodeVmxIo } from "../../exits/vmx-io.ts";
import { RESULT } from "../interp/imports.ts";
import { CS, RDX, VECTOR } from "../state.ts";
import type { SystemContext } from "./context.ts";
import { checkPort } from "./permission.ts";

/** IN and OUT; the operand is the exit qualification. */
export function ioExit(context: SystemContext): number {
  const qualification = context.cpu.argNumber(0);
  const bytes = ((qualification & 7) + 1) as 1 | 2 | 4;
  return leave(context, qualification, qualification >>> 16, bytes);
}

export function stringExit(context: SystemContext, { direction, bytes, rep }: StringAccess): number {
  const port = context.cpu.gpr32(RDX) & 0xffff;
  const qualification = encodeVmxIo({ port, bytes, direction, string: true, rep, immediate: false });
  return leave(context, qualification, port, bytes);
}

/** The exit shows the instruction as it stands: RIP at its beginning. */
function leave(context: SystemContext, qualification: number, port: number, bytes: number): number {
  const { monitor } = context;
  const start = context.startRip;
  const length = context.rip - start;
  context.rip = start;
  switch (context.ioPath) {
    case "decoded":
      // VT-x and AMD-V check the guest's rights before they look for an intercept.
      checkPort(context, port, bytes);
      monitor.decodedExit(qualification, length);
      break;
    case "emulated":
      checkPort(context, port, bytes);
      monitor.emulatedExit();
      break;
    default:
      // A guest that has no rights at all: whatever port it is, there is a #GP(0), and its frame is all that is known.
      monitor.trap({ vector: 13, errorCode: 0, cs: context.cpu.selector(CS), rip: start });
  }
  if (context.rip === start) context.givesWay();
  return RESULT.refetch;
}

/** VMCALL and VMMCALL. Without anybody to call, they do not exist. */
export function hypercall(context: SystemContext): number {
  const { cpu, hypercalls } = context;
  if (hypercalls === undefined) return cpu.fault(VECTOR.ud);
  const start = context.startRip;
  const length = context.rip - start;
  context.rip = start;
  hypercalls.call(length);
  return RESULT.refetch;
}
