import { STRING, type StringAccess, stringIo } from "../../exits/string-io.ts";
import { RESULT } from "../interp/imports.ts";
import { DS, ES, PX, RDX } from "../state.ts";
import type { SystemContext } from "./context.ts";
import { addressBits } from "./exit-cpu.ts";
import { stringExit } from "./io-exits.ts";
import { checkPort } from "./permission.ts";
import { waitFor } from "./port-access.ts";

function run(context: SystemContext, px: number, direction: "in" | "out", segment: number): number {
  const access: StringAccess = {
    direction,
    bytes: context.cpu.argNumber(0) as 1 | 2 | 4,
    rep: (px & (PX.rep | PX.repne)) !== 0,
    addressBits: addressBits(context, px),
    segment,
  };
  if (context.ioPath !== "direct") return stringExit(context, access);
  checkPort(context, context.cpu.gpr32(RDX) & 0xffff, access.bytes);
  const end = stringIo(context.exitCpu, access);
  if (end === STRING.wait) waitFor(context);
  if (end === STRING.again) {
    context.rip = context.startRip;
    context.givesWay();
  }
  return RESULT.refetch;
}

export function inString(context: SystemContext, px: number): number {
  return run(context, px, "in", ES);
}

export function outString(context: SystemContext, px: number): number {
  const override = (px & PX.segment) >> PX.segmentShift;
  return run(context, px, "out", override === 0 ? DS : override - 1);
}
