/** What `pciFunction` is given, checked. All of it throws `PorticoError` `ARGUMENT`. */
import { array, callback, checkArgument, checkMembers, object, oneOf, optional, whole } from "../../arguments.ts";
import type { PciFunctionOptions } from "../types.ts";
import { CONFIG } from "./config-space.ts";

const BYTE = whole(0, 0xff);
const WORD = whole(0, 0xffff);

const OPTIONS = {
  vendorId: WORD,
  deviceId: WORD,
  classCode: whole(0, 0xff_ffff),
  revision: optional(BYTE),
  subsystemVendorId: optional(WORD),
  subsystemId: optional(WORD),
  interruptPin: optional(whole(1, 4)),
  bars: optional(array("base address registers")),
  msiX: optional(object("an object, of { vectors, bar }")),
  capabilities: optional(array("capabilities")),
  registers: optional(array("registers")),
  onConfigWrite: optional(callback),
};

const BAR = { kind: oneOf(["io", "memory"]), size: whole(1) };

export function checkPciOptions(owner: string, options: PciFunctionOptions): void {
  const name = `the PCI function of '${owner}'`;
  checkMembers(name, options, OPTIONS);
  options.bars?.forEach((bar, index) => {
    if (bar !== undefined) checkMembers(`BAR ${index} of ${name}`, bar, BAR);
  });
  options.capabilities?.forEach((capability, index) => {
    checkMembers(`capability ${index} of ${name}`, capability, { id: BYTE, bytes: array("bytes") });
  });
  options.registers?.forEach((register, index) => {
    const at = `register ${index} of ${name}`;
    checkMembers(at, register, { offset: BYTE, bytes: array("bytes") });
    const { offset, bytes } = register;
    checkArgument(`the number of bytes of ${at}`, bytes.length, whole(0, CONFIG.size - offset));
  });
}
