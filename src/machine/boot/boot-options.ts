import type { LinuxProtocol } from "./linux.ts";

/** What to boot; `commandLine` goes to Linux as it is, to a Multiboot kernel after its name. */
export interface BootOptions {
  /** A bzImage, a Multiboot kernel or a ROM image; recognised by content. */
  readonly image: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  readonly commandLine?: string | undefined;
  /** First word of a Multiboot command line. */
  readonly name?: string | undefined;
  /** Linux only: default 64-bit when the kernel has that entry. */
  readonly protocol?: LinuxProtocol | undefined;
}
