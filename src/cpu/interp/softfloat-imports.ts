import type { FunctionType } from "../../emit/index.ts";
import { softFloatExports } from "../softfloat/exports.ts";

/** The soft-float functions as WebAssembly types, by name. */
export const softfloatTypes: Readonly<Record<string, FunctionType>> = Object.fromEntries(
  Object.entries(softFloatExports).map(([name, { params, result }]) => [
    name,
    { params: params.map(([, type]) => type), results: result === null ? [] : [result] },
  ]),
);
