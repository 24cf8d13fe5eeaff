import type { GuestMemory } from "../../memory/guest-memory.ts";
import { PAGE_SIZE } from "../../memory/layout.ts";
import type { Translator } from "../../memory/virtual-handlers.ts";
import { PageWalker, type PagingMode } from "./page-walk.ts";

const TWO_32 = 0x1_0000_0000;

/** Looks linear addresses up for access handlers, in the current address space or another one, without leaving a trace. */
export class LinearTranslator implements Translator {
  readonly drop: (linear: number) => void;
  readonly hypervisorRange: (first: number, pages: number) => void;
  private readonly paging: PagingMode;
  private readonly memory: GuestMemory;
  private readonly walker: PageWalker;
  private entries: number[] = [];

  constructor(paging: PagingMode, memory: GuestMemory, cpu: Pick<Translator, "drop" | "hypervisorRange">) {
    this.paging = paging;
    this.memory = memory;
    this.drop = cpu.drop;
    this.hypervisorRange = cpu.hypervisorRange;
    this.walker = new PageWalker({
      physical: (address) => memory.physical(address),
      read32: (physical) => {
        // The low half comes first; the high one is no entry of its own.
        this.entries.push(physical);
        return memory.peek32(physical);
      },
      write32: () => {},
    });
  }

  get space(): number {
    return this.paging.paging ? this.paging.root : -1;
  }

  spaceOf(cr3: number): number {
    const { pae, long } = this.paging;
    return cr3 - (cr3 % (pae && !long ? 32 : PAGE_SIZE));
  }

  translate(linear: number, space: number, entries: number[]): number {
    const { paging, memory } = this;
    // Only 4-level paging has addresses above 4 GiB.
    if (!paging.long && (linear < 0 || linear >= TWO_32)) return -1;
    let mode = paging;
    if (paging.paging && space !== paging.root) {
      mode = { ...paging, root: space };
      // Entries that another CR3 would load.
      if (paging.pae && !paging.long) mode = { ...mode, pdpte: this.pointers(space, linear, entries) };
    }
    this.entries = [];
    const { physical } = this.walker.walk(mode, linear, 0, true);
    const wide = paging.long || paging.pae;
    for (let i = 0; i < this.entries.length; i += wide ? 2 : 1) entries.push(this.entries[i]!);
    if (physical < 0) return -1;
    const page = memory.physical(physical);
    return page - (page % PAGE_SIZE);
  }

  private pointers(root: number, linear: number, entries: number[]): Uint32Array {
    const pointers = new Uint32Array(8);
    const index = Math.floor(linear / 2 ** 30);
    const at = this.memory.physical(root + index * 8);
    entries.push(at);
    pointers[index * 2] = this.memory.peek32(at);
    pointers[index * 2 + 1] = this.memory.peek32(at + 4);
    return pointers;
  }
}
