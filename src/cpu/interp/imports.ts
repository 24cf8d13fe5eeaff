import type { FunctionRef, FunctionType, ModuleBuilder } from "../../emit/index.ts";

const i = (params: number): FunctionType => ({ params: Array.from({ length: params }, () => "i32"), results: ["i32"] });

/**
 * Slow paths that generated code calls, each with the vCPU block as first operand. Those that can fail return 0 after
 * setting `CPU.stop` (and, for a fault, `vector` and `errorCode`).
 */
export const CPU_IMPORTS = {
  /** (cpu, linear low, linear high, bytes) → host address to read from. */
  slowRead: i(4),
  /** The value waits in `CPU.scratch`. (…) → 1 */
  slowWrite: i(4),
  /** (…) → host address holding the old value, writable; `commitModify` follows when it is the scratch slot. */
  slowModify: i(4),
  commitModify: i(1),
  /** (…) → 1 when the bytes may be written. */
  slowProve: i(4),
  /** → host address of the instruction at `CPU.rip`; sets up the fetch window. */
  slowFetch: i(1),
  /** → 1, or 0 when the instruction at `CPU.startPc` is longer than 15 bytes (#GP). */
  checkLength: i(1),
  /** (cpu, operation, prefixes) → what a retired instruction returns, see RESULT. */
  system: i(3),
  /** (cpu, port, bytes) → value; check `CPU.stop`. */
  portIn: i(3),
  /** (cpu, port, bytes, value) → 1 */
  portOut: i(4),
} as const satisfies Record<string, FunctionType>;

export type CpuImports = Record<keyof typeof CPU_IMPORTS, FunctionRef>;

/** What stands behind the ways to devices in `device-access.ts`. */
export const DEVICE_IMPORTS = {
  /** The innermost context, see `RawFunctions`. (port, bytes) → value, or -1: not answered. */
  rawPortRead: { params: ["i32", "i32"], results: ["i64"] },
  rawMmioRead: { params: ["i32", "i32"], results: ["i64"] },
  /** (port, bytes, value) → 0, or -1: not answered. */
  rawPortWrite: i(3),
  rawMmioWrite: i(3),
  /** As `portIn` and `portOut`, where no privilege and no breakpoint is to be checked. */
  openPortIn: i(2),
  openPortOut: i(3),
  /** (guest-physical address, bytes) → what `slowRead` and `slowWrite` return. */
  deviceRead: i(2),
  deviceWrite: i(2),
  /** `slowRead` and `slowWrite` of compiled code, and what notes other accesses of its: see `AccessLog`. */
  loggedRead: i(4),
  loggedWrite: i(4),
  /** (kind, linear low, linear high, budget before the access) */
  logAccess: { params: ["i32", "i32", "i32", "i32"], results: [] },
} as const satisfies Record<string, FunctionType>;

export type DeviceImports = Record<keyof typeof DEVICE_IMPORTS, FunctionRef>;

/** What an instruction function returns: an address to continue at, or one of these. */
export const RESULT = {
  /** Abandoned; `CPU.stop` says why. */
  abandoned: 0,
  /** Retired; continue at `CPU.rip`. */
  refetch: 1,
  /** Retired; leave the run loop. */
  leave: 2,
} as const;

/** (cpu, operation, prefixes) → RESULT: a system operation, which the interpreter's module exports for compiled code. */
export const OPERATE: FunctionType = { params: ["i32", "i32", "i32"], results: ["i32"] };

/**
 * (cpu, guest-physical address, bytes) → 1, or 0 with `CPU.stop` set: an access of a device, to or from the scratch slot.
 * The interpreter's module exports `readDevice` and `writeDevice` for compiled code.
 */
export const KNOWN_DEVICE: FunctionType = i(3);

export function declareDeviceImports(module: ModuleBuilder): DeviceImports {
  return Object.fromEntries(
    Object.entries(DEVICE_IMPORTS).map(([name, type]) => [name, module.importFunction("env", name, type)]),
  ) as DeviceImports;
}

/** `softfloat`: the functions of the soft-float module by name. */
export function declareImports(
  module: ModuleBuilder,
  softfloat: Readonly<Record<string, FunctionType>>,
): { cpu: CpuImports; helpers: Map<string, FunctionRef> } {
  module.importMemory("env", "memory");
  const cpu = Object.fromEntries(
    Object.entries(CPU_IMPORTS).map(([name, type]) => [name, module.importFunction("env", name, type)]),
  ) as CpuImports;
  const helpers = new Map(
    Object.entries(softfloat).map(([name, type]) => [name, module.importFunction("softfloat", name, type)]),
  );
  return { cpu, helpers };
}
