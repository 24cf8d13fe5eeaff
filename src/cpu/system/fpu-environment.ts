import { VECTOR } from "../state.ts";
import type { SystemContext } from "./context.ts";
export const saveState = (c: SystemContext): number => c.cpu.fault(VECTOR.ud);
export const restoreState = saveState;
export const saveEnvironment = saveState;
export const restoreEnvironment = saveState;
