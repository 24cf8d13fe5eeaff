import { setFlagsFromString } from "node:v8";

/** Before anything is compiled: V8 keeps no code for other flags. */
export function setV8Flags(): void {
  // Cold paths of compiled guest code are marked as such; V8 heeds that only when asked.
  setFlagsFromString("--experimental-wasm-branch-hinting");
  // Of the interpreter's module a start runs a few functions: the others need not be validated.
  setFlagsFromString("--wasm-lazy-validation");
}
