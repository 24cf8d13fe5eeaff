/** For tests of device models. */
import { byContext } from "../device/handlers.ts";
import type { DeviceClass, DeviceHost, Handlers } from "../device/types.ts";

/** The same device without its raw handlers: what ring 0 answers must be what raw code answers. */
export function withoutRaw<Options, Api>(deviceClass: DeviceClass<Options, Api>): DeviceClass<Options, Api> {
  const strip = ({ read, write, ...rest }: Handlers): Handlers => ({
    ...rest,
    ...(read && { read: withoutRawDirection(byContext(read)) }),
    ...(write && { write: withoutRawDirection(byContext(write)) }),
  });
  return {
    ...deviceClass,
    create(host, options) {
      const stripped: DeviceHost = Object.assign(Object.create(host) as DeviceHost, {
        ports: ((range, handlers) => host.ports(range, strip(handlers))) as DeviceHost["ports"],
        mmio: ((range, handlers, modes) => host.mmio(range, strip(handlers), modes)) as DeviceHost["mmio"],
      });
      return deviceClass.create(stripped, options);
    },
  };
}

function withoutRawDirection<T extends object>({ raw, ...outer }: T & { raw?: unknown }): Omit<T, "raw"> {
  return outer;
}
