/** The local APICs of a machine and the page of registers that each processor sees. Intel SDM volume 3, chapter 11. */

import { defineDevice } from "../device/define.ts";
import type { LineChange } from "../device/interrupt-lines.ts";
import { type RawBuilder, raw } from "../device/raw.ts";
import { savedCount } from "../device/saved.ts";
import type { DeviceHost, Handlers } from "../device/types.ts";
import { PorticoError } from "../errors.ts";
import { type InterruptAcknowledge, type Region, type Ring0Read, type Ring0Write, UNUSED } from "../io/types.ts";
import { ApicMessageBus } from "./apic-message-bus.ts";
import { LocalApic, type LocalApicCpu } from "./local-apic.ts";
import { REGISTER } from "./local-apic-registers.ts";

const PAGE = 0x1000;

export interface LocalApicsOptions {
  /** One local APIC for each; the index is the APIC ID, and 0 the bootstrap processor. */
  readonly cpus: readonly LocalApicCpu[];
  /** The 8259A pair, asked for the vector when a processor accepts ExtINT. */
  readonly pic: InterruptAcknowledge;
  /** MAXPHYADDR as CPUID leaf 80000008h announces it. */
  readonly physicalAddressBits: number;
}

export interface LocalApics {
  /** Where I/O APICs and MSIs send their messages. */
  readonly bus: ApicMessageBus;
  /** By processor: `InterruptAcknowledge` and `ApicBus` of its CPU. */
  readonly cpus: readonly LocalApic[];
  /** The processor whose accesses to the register page come next. */
  select(index: number): void;
  /** Level of the LINT0 (8259A) or LINT1 (NMI) pins, which all processors share. */
  setLint(pin: 0 | 1, high: boolean): void;
  /** How emitted code does `setLint(0, true)`. */
  emitVirtualWire(x: RawBuilder): LineChange;
  /** What PC firmware programs into the bootstrap processor's APIC before it starts an operating system. */
  enterVirtualWireMode(): void;
}

interface Ring0 {
  readonly read: Ring0Read;
  readonly write: Ring0Write;
}

/** A page of registers: all APICs whose base address is the same share it. */
interface Window {
  base: number | undefined;
  region: Region;
}

function create(host: DeviceHost, options: LocalApicsOptions): LocalApics {
  const bus = new ApicMessageBus();
  let selected = 0;
  const windows: Window[] = [];
  const homes: (number | undefined)[] = options.cpus.map(() => undefined);

  function map(apic: LocalApic, base: number | undefined): boolean {
    const index = apics.indexOf(apic);
    const home = homes[index];
    if (home === base) return true;
    const isShared = homes.filter((other) => other === home).length > 1;
    const left = isShared ? undefined : windows.find((window) => home !== undefined && window.base === home);
    try {
      if (base === undefined || windows.some((window) => window.base === base)) {
        if (left) place(left, undefined);
      } else {
        const free = left ?? windows.find((window) => window.base === undefined);
        if (free) place(free, base);
        else open(base);
      }
    } catch (error) {
      // A guest wants its registers where something else is: the MSR refuses.
      if (error instanceof PorticoError) return false;
      throw error;
    }
    homes[index] = base;
    return true;
  }

  function place(window: Window, base: number | undefined): void {
    window.region.move(base);
    window.base = base;
  }

  function open(base: number): void {
    const isHere = () => homes[selected] === window.base;
    const ring0: Ring0 = {
      read: (offset) => (isHere() ? apics[selected].read(offset) : UNUSED),
      write: (offset, value) => (isHere() ? apics[selected].write(offset, value) : UNUSED),
    };
    const region = host.mmio({ base, length: PAGE }, apics.length === 1 ? withHotRegisters(apics[0], ring0) : ring0, {
      readMode: "dword",
      writeMode: "dword-zeroed",
    });
    const window: Window = { base, region };
    windows.push(window);
  }

  const wiring = { bus, pic: options.pic, map, physicalAddressBits: options.physicalAddressBits };
  const apics = options.cpus.map((cpu, index) => new LocalApic(host, cpu, index, wiring));
  for (const apic of apics) apic.reset();
  host.onReset(() => {
    bus.arbitrationStart = 0;
    for (const apic of apics) apic.reset();
  });
  host.state({
    save: () => ({ arbitrationStart: bus.arbitrationStart, selected }),
    load: (saved) => {
      bus.arbitrationStart = savedCount("an APIC's arbitration", saved.arbitrationStart, apics.length - 1);
      selected = savedCount("the current APIC", saved.selected, apics.length - 1);
    },
  });

  return {
    bus,
    cpus: apics,
    select: (index) => {
      selected = index;
    },
    setLint: (pin, high) => {
      for (const apic of apics) apic.setLint(pin, high);
    },
    emitVirtualWire: (x) =>
      apics.length === 1 ? apics[0].emitVirtualWire(x) : { refused: x.constant(1), apply: () => {} },
    enterVirtualWireMode: () => apics[0].enterVirtualWireMode(),
  };
}

export const localApics = defineDevice("local-apic", create, 2);

/** The registers that kernels touch most, while the access concerns nothing but the register. For a lone processor. */
function withHotRegisters(apic: LocalApic, ring0: Ring0): Handlers {
  const { registers: r } = apic;
  return {
    read: {
      ring0: ring0.read,
      raw: raw((x) => {
        if (x.width !== 4) {
          x.decline();
          return 0;
        }
        const at = (offset: number) => x.eq(x.offset, offset);
        const { count, valid } = apic.timer.emitCurrentCount(x);
        const atCount = at(REGISTER.currentCount);
        const answered = x.or(x.or(at(REGISTER.id), at(REGISTER.taskPriority)), x.and(atCount, valid));
        x.if(x.not(answered), () => x.decline());
        const idOrPriority = x.select(at(REGISTER.id), x.shl(x.get(r, "id"), 24), x.get(r, "taskPriority"));
        return x.select(atCount, count, idOrPriority);
      }),
    },
    write: {
      ring0: ring0.write,
      raw: raw((x) => {
        if (x.width !== 4) return x.decline();
        const eoi = x.let(x.and(x.eq(x.offset, REGISTER.endOfInterrupt), x.get(r, "plainEoi")));
        const priority = x.let(x.and(x.eq(x.offset, REGISTER.taskPriority), x.get(r, "idle")));
        x.if(x.not(x.or(eoi, priority)), () => x.decline());
        x.if(eoi, () => {
          x.set(r, "plainEoi", 0);
          x.set(r, "eoiSeen", 1);
        });
        x.if(priority, () => x.set(r, "taskPriority", x.value));
      }),
    },
  };
}
