import {
  boolean,
  callback,
  checkArgument,
  checkMembers,
  describe,
  number,
  oneOf,
  optional,
  whole,
} from "../arguments.ts";
import { PorticoError } from "../errors.ts";
import { CoalescedRing, RING_CAPACITY_MAX } from "../io/coalesced-ring.ts";
import { READ_MODE, WRITE_MODE } from "../io/mmio-space.ts";
import type { RawDispatch } from "../io/raw-dispatch.ts";
import type {
  MmioReadMode,
  MmioWriteMode,
  Range,
  RangeHandlers,
  Region,
  Ring0Read,
  Ring0Write,
  Ring3Read,
  Ring3Write,
} from "../io/types.ts";
import { createClock } from "./clock.ts";
import { byContext, rangeHandlers } from "./handlers.ts";
import type { InterruptLines, LineSource } from "./interrupt-lines.ts";
import type { PciBus } from "./pci/bus.ts";
import { PciFunctionModel, type SavedPciFunction } from "./pci/function.ts";
import { checkPciOptions } from "./pci/options.ts";
import { RawCompiler, type RawModule } from "./raw-compiler.ts";
import type { RegisterFile } from "./registers.ts";
import type { TimerQueue } from "./timer-queue.ts";
import type {
  Board,
  Clock,
  DeviceClass,
  DeviceHost,
  Dma,
  Handlers,
  InterruptLine,
  MmioOptions,
  PciBar,
  PciConfiguration,
  PciFunction,
  PciFunctionOptions,
  RegisterOptions,
  RegisterShape,
  Registers,
  Timer,
} from "./types.ts";

/** The part of the port space that devices need. */
export interface PortRegistrar {
  register(owner: string, range: Range, handlers: RangeHandlers): Region;
}
/** The part of the MMIO space that devices need. */
export interface MmioRegistrar {
  register(
    owner: string,
    range: Range,
    handlers: RangeHandlers,
    modes?: { readMode?: MmioReadMode; writeMode?: MmioWriteMode },
  ): Region;
}

/** What a machine (or a test) gives its devices. */
export interface DeviceEnvironment {
  readonly memory: WebAssembly.Memory;
  readonly registers: RegisterFile;
  /** How emitted code finds raw handlers. */
  readonly raw?: RawDispatch;
  readonly ports: PortRegistrar;
  readonly mmio: MmioRegistrar;
  readonly lines: InterruptLines;
  readonly timers: TimerQueue;
  readonly pci: PciBus;
  /** Virtual time in ns. */
  readonly now: () => number;
  readonly epochNs: bigint;
  readonly dma: Dma;
  readonly board: Board;
  msi(address: number, data: number): void;
  /** Wraps what host input calls, so that it can be queued and recorded at an instruction count. */
  input<A extends unknown[]>(device: string, receive: (...args: A) => void): (...args: A) => void;
}

/** A device's part of a snapshot: JSON-like data, `Uint8Array` allowed. */
export interface SavedDevice {
  readonly class: string;
  readonly version: number;
  /** One record for each `registers` call. */
  readonly registers: readonly Readonly<Record<string, number>>[];
  /** Deadlines in ns, `null` when idle. */
  readonly timers: readonly (number | null)[];
  /** Levels that the device holds its interrupt lines at. */
  readonly lines: readonly boolean[];
  /** One entry for each `state` call. */
  readonly state: readonly unknown[];
}

/** The devices of one machine: creates, resets, saves, restores and disposes them together. */
export class DeviceSet {
  private readonly raw: RawCompiler;
  private readonly environment: DeviceEnvironment;
  private readonly devices = new Map<string, DeviceInstance>();

  constructor(environment: DeviceEnvironment) {
    this.environment = environment;
    this.raw = new RawCompiler(environment.memory, environment.registers, environment.raw);
  }

  /** Throws `PorticoError` `DEVICE_NAME_TAKEN`, or what the device's own registrations throw. */
  add<Options, Api>(deviceClass: DeviceClass<Options, Api>, options: Options, name = deviceClass.name): Api {
    if (this.devices.has(name)) {
      throw new PorticoError(
        "DEVICE_NAME_TAKEN",
        `there is already a device named '${name}'; give this one another name`,
      );
    }
    const device = new DeviceInstance(this.environment, deviceClass, name, this.raw.module(name));
    try {
      const api = deviceClass.create(device, options);
      this.devices.set(name, device);
      return api;
    } catch (error) {
      device.dispose();
      throw error;
    }
  }

  get names(): string[] {
    return [...this.devices.keys()];
  }

  reset(): void {
    for (const device of this.devices.values()) device.quiesce();
    for (const device of this.devices.values()) device.zeroRegisters();
    for (const device of this.devices.values()) device.reset();
  }

  save(): Record<string, SavedDevice> {
    return Object.fromEntries([...this.devices].map(([name, device]) => [name, device.save()]));
  }

  /**
   * Restores all devices into a machine built with the same devices. Throws `PorticoError` `SNAPSHOT_MISMATCH` before
   * it changes anything when the two do not fit.
   */
  load(saved: Readonly<Record<string, SavedDevice>>): void {
    const missing = this.names.filter((name) => !(name in saved));
    const extra = Object.keys(saved).filter((name) => !this.devices.has(name));
    if (missing.length > 0 || extra.length > 0) {
      throw new PorticoError(
        "SNAPSHOT_MISMATCH",
        `the snapshot's devices differ from the machine's: ${[
          ...missing.map((name) => `'${name}' is only in the machine`),
          ...extra.map((name) => `'${name}' is only in the snapshot`),
        ].join(", ")}`,
      );
    }
    for (const [name, device] of this.devices) device.check(saved[name]);
    for (const [name, device] of this.devices) device.load(saved[name]);
  }

  dispose(): void {
    // Last created, first disposed.
    for (const device of [...this.devices.values()].reverse()) device.dispose();
    this.devices.clear();
  }
}

const handler = optional({
  wanted: "a function, raw(), ring3() or an object of them",
  holds: (value) => typeof value === "function" || (typeof value === "object" && value !== null),
});
const CONTEXTS = {
  raw: optional({
    wanted: "what raw() gives",
    holds: (value) => typeof value === "object" && value !== null && "kind" in value && value.kind === "raw",
  }),
  ring0: optional(callback),
  ring3: optional(callback),
};
const HANDLERS = {
  read: handler,
  write: handler,
  readString: optional(callback),
  writeString: optional(callback),
  coalesce: optional(boolean),
};
const MODES = {
  readMode: optional(oneOf(Object.keys(READ_MODE))),
  writeMode: optional(oneOf(Object.keys(WRITE_MODE))),
};
const RANGE = { base: number, length: number };
const MESSAGE = { address: whole(0), data: whole(0) };

/** Whether registers, timers and lines are what `save` gives; the state is for the device to judge. */
function hasValues({ registers, timers, lines }: SavedDevice): boolean {
  const isNumber = (value: unknown) => typeof value === "number" && !Number.isNaN(value);
  return (
    registers.every((record) => Object.values(record).every(isNumber)) &&
    timers.every((deadline) => deadline === null || (isNumber(deadline) && (deadline as number) >= 0)) &&
    lines.every((line) => typeof line === "boolean")
  );
}

interface SavedPart {
  save(): unknown;
  load(saved: unknown): void;
}

/** One device and what it has claimed. */
class DeviceInstance implements DeviceHost {
  readonly name: string;
  readonly clock: Clock;
  readonly dma: Dma;
  readonly board: Board;
  readonly pciConfiguration: PciConfiguration;
  private readonly environment: DeviceEnvironment;
  private readonly deviceClass: { readonly name: string; readonly version: number };
  private readonly raw: RawModule;
  private ring: CoalescedRing | undefined;
  /** Handlers were given: those of a BAR before it has a region. */
  private hasHandlers = false;
  private readonly registerSets: { registers: Record<string, number>; keepOnReset: boolean }[] = [];
  private readonly timers: Timer[] = [];
  private readonly lines: LineSource[] = [];
  private readonly parts: SavedPart[] = [];
  private readonly regions: Region[] = [];
  private readonly resets: (() => void)[] = [];
  private readonly disposals: (() => void)[] = [];

  constructor(
    environment: DeviceEnvironment,
    deviceClass: { name: string; version: number },
    name: string,
    raw: RawModule,
  ) {
    this.environment = environment;
    this.raw = raw;
    this.deviceClass = deviceClass;
    this.name = name;
    const { now } = environment;
    this.clock = createClock(() => {
      const time = this.ring?.time ?? -1;
      return time >= 0 ? time : now();
    }, environment.epochNs);
    this.dma = environment.dma;
    this.board = environment.board;
    this.pciConfiguration = environment.pci;
  }

  // --- what the device sees ---------------------------------------------------------------------------------------

  registers<const S extends RegisterShape>(shape: S, options: RegisterOptions = {}): Registers<S> {
    const registers = this.environment.registers.allocate(this.name, shape);
    this.registerSets.push({ registers, keepOnReset: options.keepOnReset ?? false });
    return registers;
  }

  words(count: number, options: RegisterOptions = {}): Uint32Array {
    const words = this.environment.registers.allocateWords(this.name, count);
    // By name its elements are a record like any other.
    const registers = words as unknown as Record<string, number>;
    this.registerSets.push({ registers, keepOnReset: options.keepOnReset ?? false });
    return words;
  }

  ports(range: Range, handlers: Handlers): Region {
    checkMembers(`the port range of '${this.name}'`, range, RANGE);
    return this.keep(this.environment.ports.register(this.name, range, this.compile(handlers)));
  }

  mmio(range: Range, handlers: Handlers, options: MmioOptions = {}): Region {
    checkMembers(`the MMIO range of '${this.name}'`, range, RANGE);
    checkMembers(`the modes of '${this.name}'`, options, MODES);
    return this.keep(this.environment.mmio.register(this.name, range, this.compile(handlers), options));
  }

  coalesce(capacity?: number): void {
    if (this.hasHandlers)
      throw new PorticoError("ARGUMENT", `'${this.name}' has claimed ranges already: call coalesce() before the first`);
    checkArgument(`the capacity of coalesce() of '${this.name}'`, capacity, optional(whole(1, RING_CAPACITY_MAX)));
    this.ring = new CoalescedRing(this.environment.now, capacity);
  }

  interrupt(gsi: number): InterruptLine {
    const line = this.environment.lines.source(gsi);
    this.lines.push(line);
    return line;
  }

  timer(fire: () => void): Timer {
    checkArgument(`what a timer of '${this.name}' calls`, fire, callback);
    const timer = this.environment.timers.create(fire);
    this.timers.push(timer);
    return timer;
  }

  msi(address: number, data: number): void {
    checkMembers(`the message of '${this.name}'`, { address, data }, MESSAGE);
    this.environment.msi(address, data);
  }

  pciFunction(options: PciFunctionOptions): PciFunction {
    checkPciOptions(this.name, options);
    const { pci, msi } = this.environment;
    const slot = pci.chooseSlot(options.slot, options.function ?? 0);
    const pins = options.interruptPin === undefined ? [] : pci.wiring(slot, options.interruptPin);
    const configuration = pci.configuration(slot, options.function ?? 0);
    this.onDispose(() => configuration.fill(0xff));
    const added = new PciFunctionModel(slot, options, {
      configuration,
      lines: pins.map((gsi) => this.interrupt(gsi)),
      claim: (bar) => this.claimBar(bar),
      msi,
      remap: () => pci.remap(),
    });
    pci.add(added);
    this.onReset(() => added.reset());
    this.onDispose(() => {
      pci.remove(added);
      added.dispose();
    });
    this.state({ save: () => added.save(), load: (saved: SavedPciFunction) => added.load(saved) });
    return added;
  }

  onReset(reset: () => void): void {
    checkArgument(`what onReset() of '${this.name}' is given`, reset, callback);
    this.resets.push(reset);
  }

  onDispose(dispose: () => void): void {
    checkArgument(`what onDispose() of '${this.name}' is given`, dispose, callback);
    this.disposals.push(dispose);
  }

  state<T>(state: { save(): T; load(saved: T): void }): void {
    checkMembers(`what state() of '${this.name}' is given`, state, { save: callback, load: callback });
    this.parts.push(state as SavedPart);
  }

  input<A extends unknown[]>(receive: (...args: A) => void): (...args: A) => void {
    checkArgument(`what input() of '${this.name}' is given`, receive, callback);
    return this.environment.input(this.name, receive);
  }

  // --- what the set does ------------------------------------------------------------------------------------------

  quiesce(): void {
    for (const line of this.lines) line.set(false);
    for (const timer of this.timers) timer.cancel();
  }

  zeroRegisters(): void {
    for (const { registers, keepOnReset } of this.registerSets) {
      if (!keepOnReset) for (const name of Object.keys(registers)) registers[name] = 0;
    }
  }

  reset(): void {
    for (const reset of this.resets) reset();
  }

  save(): SavedDevice {
    return {
      class: this.deviceClass.name,
      version: this.deviceClass.version,
      registers: this.registerSets.map(({ registers }) => ({ ...registers })),
      timers: this.timers.map((timer) => timer.deadline ?? null),
      lines: this.lines.map((line) => line.high),
      state: this.parts.map((part) => part.save()),
    };
  }

  check(saved: SavedDevice): void {
    const { name, version } = this.deviceClass;
    const shape = (record: object) => Object.keys(record).sort().join();
    const fits =
      saved.class === name &&
      saved.version === version &&
      saved.registers.length === this.registerSets.length &&
      saved.registers.every((record, index) => shape(record) === shape(this.registerSets[index].registers)) &&
      saved.timers.length === this.timers.length &&
      saved.lines.length === this.lines.length &&
      saved.state.length === this.parts.length;
    if (fits && hasValues(saved)) return;
    if (fits) throw new PorticoError("SNAPSHOT_INVALID", `the snapshot's '${this.name}' holds what no device saves`);
    throw new PorticoError(
      "SNAPSHOT_MISMATCH",
      `the snapshot's '${this.name}' is a ${describe(saved.class)} of format ${describe(saved.version)}; the machine's is a '${name}' of format ${version}`,
    );
  }

  load(saved: SavedDevice): void {
    this.registerSets.forEach(({ registers }, index) => {
      Object.assign(registers, saved.registers[index]);
    });
    this.timers.forEach((timer, index) => {
      timer.set(saved.timers[index] ?? Number.POSITIVE_INFINITY);
    });
    this.lines.forEach((line, index) => {
      line.restore(saved.lines[index]);
    });
    this.parts.forEach((part, index) => {
      part.load(saved.state[index]);
    });
  }

  dispose(): void {
    for (const dispose of this.disposals.splice(0).reverse()) dispose();
    for (const timer of this.timers) timer.cancel();
    for (const region of this.regions.splice(0).reverse()) region.dispose();
  }

  private keep(region: Region): Region {
    this.regions.push(region);
    return region;
  }

  /** A BAR's range is registered when software first gives it an address. */
  private claimBar(bar: PciBar): (base: number) => Region {
    const handlers = this.compile(bar.handlers);
    const { ports, mmio } = this.environment;
    return (base) => {
      const range = { base, length: bar.size };
      return bar.kind === "io"
        ? ports.register(this.name, range, handlers)
        : mmio.register(this.name, range, handlers, bar.options);
    };
  }

  private compile(handlers: Handlers): RangeHandlers {
    const { ring } = this;
    checkMembers(`the object of handlers of '${this.name}'`, handlers, HANDLERS);
    for (const direction of ["read", "write"] as const) {
      const contexts = byContext<Ring0Read | Ring0Write, Ring3Read | Ring3Write>(handlers[direction]);
      checkMembers(`'${direction}' of the object of handlers of '${this.name}'`, contexts, CONTEXTS);
    }
    this.hasHandlers = true;
    const compiled = rangeHandlers(handlers, this.raw.compile(handlers));
    if (handlers.coalesce) this.checkCoalesced(compiled);
    if (ring === undefined) return compiled;
    return { ...compiled, ring, coalesce: handlers.coalesce ?? false };
  }

  private checkCoalesced({ raw }: RangeHandlers): void {
    const remedy =
      this.ring === undefined
        ? "call host.coalesce() before the first range"
        : raw?.write && "give a plain or a ring3 write handler: a raw one answers at once";
    if (remedy) throw new PorticoError("ARGUMENT", `a range of '${this.name}' cannot have 'coalesce': ${remedy}`);
  }
}
