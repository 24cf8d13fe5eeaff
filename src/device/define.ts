import { callback, checkArgument, text } from "../arguments.ts";
import type { Ring3Read, Ring3Write } from "../io/types.ts";
import type { DeviceClass, DeviceHost, Ring3Handler } from "./types.ts";

/**
 * Names a device model. `create` runs once for each instance: it claims what the device needs from its host and returns
 * what the host program may use (or nothing). `version` counts the formats of the device's saved state: raise it when
 * registers, timers or `state` change, and older snapshots are refused instead of misread.
 */
export function defineDevice<Options = void, Api = void>(
  name: string,
  create: (host: DeviceHost, options: Options) => Api,
  version = 1,
): DeviceClass<Options, Api> {
  checkArgument("the name that defineDevice() is given", name, text);
  checkArgument(`the definition of '${name}'`, create, callback);
  return { name, create, version };
}

/** A handler that may wait: it runs in ring 3, outside the run loop, while the vCPU does nothing. */
export function ring3<F extends Ring3Read | Ring3Write>(run: F): Ring3Handler<F> {
  checkArgument("what ring3() is given", run, callback);
  return { kind: "ring3", run };
}
