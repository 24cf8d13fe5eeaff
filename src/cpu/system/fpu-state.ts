import { VECTOR } from "../state.ts";
import type { SystemContext } from "./context.ts";
export const fxsave = (c: SystemContext): number => c.cpu.fault(VECTOR.ud);
export const fxrstor = fxsave;
