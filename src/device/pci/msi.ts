import type { ConfigSpace } from "./config-space.ts";

export const MSI_CAPABILITY_ID = 0x05;
/** Id, link, control, 64-bit address, data. PCI 3.0, figure 6-9. */
export const MSI_CAPABILITY_LENGTH = 14;

/** Message control. PCI 3.0, section 6.8.1.3. */
const CONTROL = { enable: 1 << 0, capableShift: 1, enabledShift: 4, enabledMask: 0x70, wide: 1 << 7 } as const;

/** The MSI capability: 64-bit address, no per-message masking (which is optional). PCI 3.0, section 6.8.1. */
export class MsiCapability {
  private readonly config: ConfigSpace;
  private readonly offset: number;
  private readonly capable: number;

  /** `messages` is a power of two up to 32. Id and link belong to the capability list. */
  constructor(config: ConfigSpace, offset: number, messages: number) {
    this.config = config;
    this.offset = offset;
    this.capable = Math.log2(messages);
    config.define(
      offset + 2,
      CONTROL.wide | (this.capable << CONTROL.capableShift),
      2,
      CONTROL.enable | CONTROL.enabledMask,
    );
    config.define(offset + 4, 0, 4, 0xffff_fffc);
    config.define(offset + 8, 0, 4, 0xffff_ffff);
    config.define(offset + 12, 0, 2, 0xffff);
  }

  get enabled(): boolean {
    return (this.config.get(this.offset + 2, 2) & CONTROL.enable) !== 0;
  }

  /**
   * Address and data of message `index`. Software may have enabled fewer messages than there are: the function then
   * folds its own into those (PCI 3.0, section 6.8.3.4).
   */
  message(index: number): { address: number; data: number } {
    const { config, offset } = this;
    const enabled = (config.get(offset + 2, 2) & CONTROL.enabledMask) >> CONTROL.enabledShift;
    // Values above what the function is capable of are reserved.
    const low = 2 ** Math.min(enabled, this.capable) - 1;
    const data = config.get(offset + 12, 2);
    return {
      address: config.get(offset + 8, 4) * 2 ** 32 + config.get(offset + 4, 4),
      data: (data & ~low) | (index & low),
    };
  }
}
