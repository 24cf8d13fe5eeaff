import { bytes, callback, checkArgument, describe } from "../arguments.ts";
import { SoftwareVcpu, type VcpuExit } from "../cpu/engine.ts";
import { CPU } from "../cpu/state.ts";
import { DeviceSet } from "../device/device-set.ts";
import { InterruptLines } from "../device/interrupt-lines.ts";
import { PciBus } from "../device/pci/bus.ts";
import { RegisterFile } from "../device/registers.ts";
import type { BlockStorage } from "../device/storage.ts";
import { TimerQueue } from "../device/timer-queue.ts";
import type { Board, DeviceClass } from "../device/types.ts";
import type { ShadowSegment } from "../devices/pci-host.ts";
import { PorticoError } from "../errors.ts";
import { type ExitFailure, type ExitStatistics, HandleTable, type IoPath } from "../exits/index.ts";
import {
  createIoClient,
  type Doorbell,
  type DoorbellRange,
  Doorbells,
  type IoStatistics,
  MmioSpace,
  PortSpace,
  type Range,
  RawDispatch,
  statistics,
  type VcpuIo,
  WAIT,
} from "../io/index.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { RAM_MAX } from "../memory/layout.ts";
import type { SavedMap } from "../memory/snapshot.ts";
import type { AccessCallback } from "../memory/watched-access.ts";
import { describePlatform } from "./acpi/description.ts";
import { acpiTables, type PlacedTable, placeAcpiTables } from "./acpi/place.ts";
import {
  checkBootOptions,
  checkDevice,
  checkDoorbell,
  checkMachineOptions,
  checkMonitorPages,
  checkRange,
  checkWatch,
} from "./arguments.ts";
import type { BootMemory } from "./boot/boot-memory.ts";
import type { BootOptions } from "./boot/boot-options.ts";
import { detectImage } from "./boot/detect.ts";
import { loadLinux } from "./boot/linux.ts";
import { loadMultiboot } from "./boot/multiboot.ts";
import { resetState, type StartState } from "./boot/start-state.ts";
import { type ClockMode, MachineClock } from "./clock.ts";
import { applyStartState } from "./firmware.ts";
import { HostLoop } from "./host-loop.ts";
import { buildPc, GSI_COUNT, type Pc } from "./pc.ts";
import { ELCR, PCI_INTERRUPTS, PORTS } from "./platform.ts";
import { checkSnapshot, type MachineSnapshot, SNAPSHOT_VERSION, stringify } from "./snapshot.ts";
import {
  insertPages,
  type MonitorPages,
  type MonitorWatch,
  type PhysicalWatch,
  type VirtualWatch,
  type Watch,
  watchMemory,
} from "./watch.ts";

export type { BootOptions };

const MIB = 2 ** 20;
/** A halted vCPU that so many deadlines in a row have not woken sleeps for good: interrupts are off, a timer goes on. */
const IDLE_SLICES_MAX = 100_000;
/** RAM is hashed in blocks of this size: hosts limit what they hash at once. */
const HASH_BLOCK = 256 * MIB;

export interface MachineOptions {
  /** RAM in MiB, 1 to 3584. Default 256. */
  readonly memoryMiB?: number;
  /**
   * "host" (default): virtual time follows the host's clock. "instructions": 1 ns for each retired instruction, and
   * two runs of one image are identical.
   */
  readonly clock?: ClockMode;
  /** ns since 1970 at which the machine's real-time clock starts; default now, or 2025-01-01 on the instruction clock. */
  readonly epochNs?: bigint;
  /** fw_cfg files by name. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  /** How guest code is run, see `VcpuOptions`. Default "auto". The guest cannot tell. */
  readonly compile?: "auto" | "always" | "never";
  /**
   * How port instructions reach their devices. "direct" (default): without leaving the guest. "decoded", "emulated",
   * "trap": as exits to a monitor, which knows all about them, that they are I/O, or nothing. The guest cannot tell.
   */
  readonly ioPath?: IoPath;
  /** Whether CPUID announces hypercalls (see `HYPERCALL`), and VMCALL and VMMCALL make them. Default true. */
  readonly hypercalls?: boolean;
  /**
   * Up to four IDE disks: primary master and slave, secondary master and slave. Their contents stay the caller's, who
   * closes them when the machine is disposed. Without any there is no IDE controller.
   */
  readonly disks?: readonly BlockStorage[];
}

export interface MachineProfile extends IoStatistics {
  /** Kinds of exits that there were. */
  readonly exits: readonly ExitStatistics[];
}

/** See `Machine.passThrough`. */
export interface PassThrough {
  readonly bytes: Uint8Array;
  map(): void;
  unmap(): void;
}

export interface MachineEnd {
  /** "poweroff", "debug-exit" or "stopped". */
  readonly reason: "poweroff" | "debug-exit" | "stopped";
  /** What a process would exit with. */
  readonly status: number;
}

/** 2025-01-01, the fixed start of the real-time clock on the instruction clock. */
const FIXED_EPOCH_NS = 1_735_689_600_000_000_000n;

/** A PC: memory, I/O, one vCPU, devices, and the loop that runs them. Two machines never meet. */
export class Machine {
  readonly memory: GuestMemory;
  readonly ports: PortSpace;
  readonly mmio: MmioSpace;
  readonly devices: DeviceSet;
  readonly pci: PciBus;
  readonly clock: MachineClock;
  readonly vcpu: SoftwareVcpu;
  readonly pc: Pc;
  /** Counters of triple faults and resets, for a look from outside. */
  readonly events = { resets: 0, tripleFaults: 0 };
  readonly serial: {
    /** COM1's output, in chunks; one listener. */
    onOutput(listener: (bytes: Uint8Array) => void): void;
    /** Bytes that the other end of COM1 sends. */
    input(bytes: Uint8Array): void;
  };
  /** What the guest writes to port E9h, and firmware to 402h. */
  onDebugOutput: (byte: number) => void = () => {};
  /** Told of each exit that could not be completed, see `IoMonitor`; the guest gets #GP(0) for it. */
  onExitFailure: (failure: ExitFailure) => void = () => {};
  readonly io: VcpuIo;
  private readonly handles: HandleTable;
  private readonly doorbells = new Doorbells((range, handlers) =>
    range.space === "port"
      ? this.ports.register("doorbell", range, handlers)
      : this.mmio.register("doorbell", range, handlers, { readMode: "passthrough", writeMode: "passthrough" }),
  );
  private readonly timers = new TimerQueue();
  private readonly lines: InterruptLines;
  private readonly loop = new HostLoop();
  private booted: BootOptions | undefined;
  private tables: readonly PlacedTable[] | undefined;
  private end: MachineEnd | undefined;
  private resetRequested = false;
  /** Why the machine cannot go on; a ring-3 handler failed. */
  private failure: unknown;
  private running = false;
  private disposed = false;
  /** The vCPU is executing: nobody may look at its state or change it. */
  private inSlice = false;
  /** Settles with the ring-3 access that is pending. */
  private waiting: Promise<void> | undefined;
  /** The vCPU has abandoned an operation, which its next slice starts again from the journal. */
  private interrupted = false;
  /** Who waits for a moment at which the state is whole. */
  private readonly snapshots: { resolve(saved: MachineSnapshot): void; reject(error: unknown): void }[] = [];
  private readonly output: number[] = [];
  private outputListener: (bytes: Uint8Array) => void = () => {};
  /** Host input that waits for a slice to end: on the instruction clock it enters only at known instruction counts. */
  private readonly inputs: (() => void)[] = [];

  /** Throws `PorticoError` `MEMORY_SIZE`, `DISK_COUNT` or `ARGUMENT`. */
  constructor(options: MachineOptions = {}) {
    checkMachineOptions(options);
    const { memoryMiB = 256, clock = "host" } = options;
    if (!Number.isInteger(memoryMiB) || memoryMiB < 1 || memoryMiB * MIB > RAM_MAX) {
      throw new PorticoError(
        "MEMORY_SIZE",
        `${memoryMiB} MiB of memory: give a whole number from 1 to ${RAM_MAX / MIB}`,
      );
    }
    const memory = new GuestMemory({ ramBytes: memoryMiB * MIB });
    this.memory = memory;
    const raw = new RawDispatch(memory.memory);
    this.ports = new PortSpace(raw);
    this.mmio = new MmioSpace({ memory, raw });
    this.handles = new HandleTable(this.ports, this.mmio, memory);
    this.clock = new MachineClock(memory.memory, clock);
    const registers = new RegisterFile(memory.memory);
    this.lines = new InterruptLines(GSI_COUNT, registers);
    this.pci = new PciBus(
      (slot, pin) => {
        const line = PCI_INTERRUPTS.line(slot, pin - 1);
        return [PCI_INTERRUPTS.gsiBase + line, PCI_INTERRUPTS.picIrqs[line]!];
      },
      registers.allocateWords("pci", PciBus.WORDS),
    );
    this.io = createIoClient(this.ports, this.mmio, {
      instructionTag: () => this.clock.retired,
      requestCheck: () => this.vcpu.requestCheck(),
    });
    const fixed = clock === "instructions" ? FIXED_EPOCH_NS : BigInt(Date.now()) * 1_000_000n;
    this.devices = new DeviceSet({
      memory: memory.memory,
      registers,
      raw,
      ports: this.ports,
      mmio: this.mmio,
      lines: this.lines,
      timers: this.timers,
      pci: this.pci,
      now: this.clock.now,
      epochNs: options.epochNs ?? fixed,
      dma: memory,
      board: this.board(),
      msi: (address, data) => this.pc.apics.bus.msi(address, data),
      input:
        (_device, receive) =>
        (...args) =>
          this.enqueue(() => receive(...args)),
    });
    // The vCPU and its local APIC know each other: the APIC is looked up when it is first needed.
    const machine = this;
    const board = {
      tsc: () => BigInt(this.clock.now()),
      get apic() {
        return machine.pc?.apics.cpus[0];
      },
      interrupts: { acknowledge: () => this.pc.apics.cpus[0]!.acknowledge() },
      floatError: () => this.pc.coprocessorError.assert(),
    };
    this.vcpu = new SoftwareVcpu(memory, this.io, board, 0, {
      compile: options.compile ?? "auto",
      ioPath: options.ioPath ?? "direct",
      ...(options.hypercalls !== false && { hypercalls: { handles: this.handles, doorbells: this.doorbells } }),
    });
    this.vcpu.monitor.onFailure = (failure) => this.onExitFailure(failure);
    this.pc = buildPc(this.devices, this.lines, this.pci, {
      ramBytes: memory.ramBytes,
      cpus: [{ pins: this.vcpu }],
      transmit: (byte) => this.transmit(byte),
      debugOutput: (byte) => this.onDebugOutput(byte),
      disks: options.disks ?? [],
      shadow: (segments) => this.mapBiosArea(segments),
      ignoreFloatError: () => this.vcpu.ignoreFloatError(),
      ...(options.files && { files: options.files }),
    });
    memory.handlers.onStop = () => this.stop();
    memory.handlers.onFailure = (error) => {
      this.failure ??= error;
      this.vcpu.requestExit();
    };
    this.timers.onEarlier = (deadline) => this.vcpu.limitBudget(this.clock.instructionsUntil(deadline));
    this.devices.reset();
    this.serial = {
      onOutput: (listener) => {
        checkArgument("the listener of serial.onOutput()", listener, callback);
        this.outputListener = listener;
      },
      input: (received) => {
        checkArgument("what serial.input() is given", received, bytes);
        this.pc.uart.receive(received);
      },
    };
  }

  /**
   * RAM or ROM in each part of the BIOS area. Where reads go to ROM, writes do not reach the RAM behind it: firmware that
   * copies itself opens both.
   */
  private mapBiosArea(segments: readonly ShadowSegment[]): void {
    for (const { base, length, read, write } of segments) {
      if (read === "ram") this.memory.mapRam(base, length, write === "ram");
      else this.memory.mapBiosWindow(base, length);
    }
  }

  private board(): Board {
    const machine = this;
    return {
      powerOff: () => this.finish({ reason: "poweroff", status: 0 }),
      exit: (status) => this.finish({ reason: "debug-exit", status }),
      reset: () => this.reset(),
      setA20: (enabled) => this.memory.setA20(enabled),
      get a20() {
        return machine.memory.a20;
      },
      nmi: () => this.vcpu.nmi(),
    };
  }

  /** Adds a device of the user's own. Before `boot`. */
  add<Options, Api>(deviceClass: DeviceClass<Options, Api>, options: Options, name?: string): Api {
    checkDevice(deviceClass, name);
    return this.devices.add(deviceClass, options, name);
  }

  /**
   * A doorbell: what the guest writes into the range (of a value that is to match, if there is one) retires at once, and
   * after the slice the listener hears how often. Without a range it is rung by call alone, by its `id`. Throws as
   * claiming the range does, and `PorticoError` `DOORBELL_CONFLICT` or `DOORBELL_MATCH` for the value.
   *
   * ```ts
   * for (const queue of [0, 1]) machine.doorbell((count) => kick(queue, count), { ...NOTIFY_PORT, match: queue });
   * ```
   */
  doorbell(listener: (count: number) => void, range?: DoorbellRange): Doorbell {
    checkDoorbell(listener, range);
    return this.doorbells.add(listener, range);
  }

  /**
   * Memory that host and guest share, in whole pages outside RAM: while it is mapped, the guest reaches it without any
   * exit, and devices' MMIO behind it is out of reach; handles for that become stale. Throws `MemoryError`.
   */
  passThrough(range: Range): PassThrough {
    checkRange("the range of passThrough()", range);
    const { memory } = this;
    const { base, length } = range;
    if (base < memory.ramBytes)
      throw new PorticoError("MEMORY_RANGE", `0x${base.toString(16)} is RAM: pass memory through above it`);
    const host = memory.allocateExtra(length);
    const map = () => memory.mapExtra(base, length, host, true);
    map();
    return { bytes: memory.bytes.subarray(host, host + length), map, unmap: () => memory.unmapExtra(base, length) };
  }

  /**
   * Calls `callback` at every access to a range of guest memory, by instructions, page walks and devices; it may also
   * replace or swallow the access, or stop the machine. Memory that nobody watches is as fast as before.
   *
   * ```ts
   * const watch = machine.watch({ physical: 0x1000, length: 16 }, ({ address, width, value, rip }) => {
   *   console.log(`${width} bytes at ${address}: ${value}, by the instruction at ${rip}`);
   * });
   * watch.dispose();
   * ```
   *
   * Throws `MemoryError` `HANDLER_RANGE`, or `HANDLER_CONFLICT` where another watch has the memory. What the callback
   * throws ends `run`; what it returns that is no verdict does so with `BAD_VERDICT`.
   */
  watch(what: PhysicalWatch | VirtualWatch, callback: AccessCallback): Watch {
    this.checkAlive();
    checkWatch(what, callback);
    return watchMemory(this.memory, what, callback);
  }

  /**
   * Puts pages of the monitor's own into guest-linear space: the guest reads and runs what is in them, whatever its page
   * tables say, and its writes go to `onWrite`, which drops them unless it gives a `value`. Throws as `watch`.
   */
  insert(what: MonitorPages, onWrite?: AccessCallback): MonitorWatch {
    this.checkAlive();
    checkMonitorPages(what, onWrite);
    return insertPages(this.memory, what, onWrite);
  }

  /** The processor's LSTAR, signed: where 64-bit programs enter a kernel; 0 until it has said so. */
  get lstar(): number {
    return this.vcpu.state.number(CPU.lstar);
  }

  // --- booting --------------------------------------------------------------------------------------------------

  /**
   * Loads an image and sets the vCPU to its entry; a machine that has run before is reset first. Throws `ImageError` or
   * `MemoryError`, and `PorticoError` `ARGUMENT`, or `MACHINE_WAITING` within an instruction.
   */
  boot(options: BootOptions): void {
    this.checkAlive();
    checkBootOptions(options);
    if (this.inSlice || this.io.commitPending)
      throw new PorticoError("MACHINE_WAITING", "an instruction is in progress: boot when it has ended");
    if (this.booted !== undefined) this.resetParts();
    this.start(options);
    this.end = undefined;
  }

  private start(options: BootOptions): void {
    const start = this.load(options);
    this.booted = options;
    this.vcpu.reset();
    applyStartState(this.vcpu, start);
    this.pc.assignResources();
    if (start.mode !== "real16") this.asFirmwareLeaves();
  }

  private load(options: BootOptions): StartState {
    const { memory } = this;
    const { image, initrd, commandLine } = options;
    const guest = { size: memory.ramBytes, write: (gpa: number, bytes: Uint8Array) => memory.loadImage(gpa, bytes) };
    const kind = detectImage(image);
    if (kind !== "rom") this.pc.hostBridge.unlockShadow();
    switch (kind) {
      case "rom":
        if (this.booted === undefined) memory.mapBios(image);
        return resetState();
      case "multiboot": {
        const modules = initrd === undefined ? [] : [{ data: initrd, name: "initrd" }];
        const { name } = options;
        const loaded = loadMultiboot(guest, { kernel: image, name, arguments: commandLine, modules });
        this.placeTables(guest);
        return loaded.start;
      }
      case "bzimage": {
        const rsdpAddress = this.placeTables(guest);
        return loadLinux(guest, { kernel: image, initrd, commandLine, rsdpAddress, protocol: options.protocol }).start;
      }
    }
  }

  /** The ACPI tables, made once. Returns the address of the RSDP. */
  private placeTables(guest: BootMemory): number {
    this.tables ??= acpiTables(describePlatform(this.memory.ramBytes, 1));
    return placeAcpiTables(guest, this.tables);
  }

  /** An operating system started without firmware finds the interrupt controllers as firmware would leave them. */
  private asFirmwareLeaves(): void {
    this.pc.apics.enterVirtualWireMode();
    this.io.portWrite(PORTS.edgeLevelControl.base, ELCR & 0xff, 1);
    this.io.portWrite(PORTS.edgeLevelControl.base + 1, ELCR >> 8, 1);
    this.io.clearJournal();
  }

  // --- running --------------------------------------------------------------------------------------------------

  /**
   * Runs until the guest powers off or exits, or `stop`. Rejects with `DeviceError` when a ring-3 handler failed, and
   * with `PorticoError` `MACHINE_RUNNING` or `MACHINE_DISPOSED`.
   */
  async run(): Promise<MachineEnd> {
    if (this.running)
      throw new PorticoError("MACHINE_RUNNING", "the machine is running already: await the first run()");
    this.checkAlive();
    this.running = true;
    this.end = undefined;
    this.failure = undefined;
    this.clock.resume();
    try {
      while (this.end === undefined) {
        const pause = this.slice();
        this.flushOutput();
        this.serveSnapshots();
        if (this.failure !== undefined) throw this.failure;
        if (this.end !== undefined) break;
        if (pause === undefined) {
          await this.loop.breathe();
        } else {
          // A processor that waits for ring 3 does not sleep: no timer would wake it.
          const deadline = this.waiting === undefined ? this.timers.nextDeadline : this.clock.now();
          await this.loop.sleep(pause);
          this.clock.readHost(deadline);
        }
        if (this.failure !== undefined) throw this.failure;
      }
      return this.end ?? { reason: "stopped", status: 0 };
    } finally {
      this.running = false;
      this.flushOutput();
      const stopped = new PorticoError("MACHINE_WAITING", "the machine stopped in the middle of an instruction");
      for (const { reject } of this.snapshots.splice(0)) reject(stopped);
    }
  }

  /**
   * Runs until `retired` instructions have retired in all, without looking at the host: for tests and tools. Only on the
   * instruction clock. Returns false when the machine ended before, or has nothing to do until the host acts (`ready`
   * says when a ring-3 access has settled), or is halted and no timer wakes it. Throws what ends `run`.
   */
  runUntil(retired: number): boolean {
    this.checkAlive();
    let idle = 0;
    while (this.end === undefined && this.clock.retired < retired) {
      const before = this.clock.retired;
      const pause = this.slice(retired - before);
      this.throwFailure();
      idle = this.clock.retired === before ? idle + 1 : 0;
      if (pause !== undefined || idle > IDLE_SLICES_MAX) {
        this.flushOutput();
        return false;
      }
    }
    this.flushOutput();
    return this.end === undefined;
  }

  /** Settles when no ring-3 access is pending. Rejects with `DeviceError` when its handler failed. */
  async ready(): Promise<void> {
    while (this.waiting !== undefined && !this.disposed) await this.loop.sleep(Number.POSITIVE_INFINITY);
    this.throwFailure();
  }

  private throwFailure(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }

  get ended(): MachineEnd | undefined {
    return this.end;
  }

  private checkAlive(): void {
    if (this.disposed) throw new PorticoError("MACHINE_DISPOSED", "this machine was disposed: create another one");
  }

  /** One slice. A number: there is nothing to run for so many ms, or until the loop is woken. */
  private slice(limit = Number.POSITIVE_INFINITY): number | undefined {
    if (this.waiting === undefined && !this.flushCoalesced()) return Number.POSITIVE_INFINITY;
    if (this.resetRequested && !this.io.commitPending) this.resetNow();
    if (this.waiting !== undefined) return Number.POSITIVE_INFINITY;
    for (const input of this.inputs.splice(0)) input();
    const { clock, timers } = this;
    timers.fireDue(clock.now());
    if (this.resetRequested || this.end !== undefined) return undefined;
    clock.beginSlice(Math.min(timers.nextDeadline, clock.now() + limit));
    this.inSlice = true;
    let exit: VcpuExit;
    try {
      exit = this.vcpu.run();
    } finally {
      this.inSlice = false;
      clock.endSlice();
      if (this.disposed) this.close();
    }
    this.interrupted = exit.reason === "wait";
    this.doorbells.deliver();
    if (exit.reason !== "wait" && !this.disposed) this.flushCoalesced();
    switch (exit.reason) {
      case "shutdown":
        this.events.tripleFaults++;
        this.resetNow();
        return undefined;
      case "wait":
        this.waitFor(exit.until);
        return this.resetRequested ? undefined : Number.POSITIVE_INFINITY;
      case "halt":
        return this.resetRequested ? undefined : this.idle();
      default:
        return undefined;
    }
  }

  /** Performs the writes that devices have collected. False: ring 3 is busy with one. */
  private flushCoalesced(): boolean {
    if (this.io.flushCoalesced() !== WAIT) return true;
    this.waitFor(this.io.waiting ?? Promise.resolve());
    return false;
  }

  /** ms to the next deadline; `undefined` when it is there. */
  private idle(): number | undefined {
    const { clock, timers } = this;
    const deadline = timers.nextDeadline;
    if (clock.mode === "instructions" && deadline !== Number.POSITIVE_INFINITY) {
      clock.advanceTo(deadline);
      return undefined;
    }
    if (this.inputs.length > 0) return undefined;
    if (deadline === Number.POSITIVE_INFINITY) return deadline;
    const delay = clock.hostDelay(deadline);
    if (delay > 0) return delay;
    clock.readHost(deadline);
    return undefined;
  }

  private waitFor(until: Promise<void>): void {
    this.waiting = until;
    const settled = (failure?: unknown) => {
      // A reset has given up the access.
      if (this.waiting !== until) return;
      this.waiting = undefined;
      this.failure = failure;
      this.loop.wake();
    };
    until.then(() => settled(), settled);
  }

  /** Ends `run` after the current slice. */
  stop(): void {
    this.finish({ reason: "stopped", status: 0 });
  }

  private finish(end: MachineEnd): void {
    this.end ??= end;
    this.vcpu.requestExit();
    this.loop.wake();
  }

  private enqueue(input: () => void): void {
    this.inputs.push(input);
    if (this.clock.mode === "host") this.vcpu.requestExit();
    this.loop.wake();
  }

  /**
   * As the reset button: devices and vCPU; a machine that was booted without firmware loads its image again. Happens
   * before the next instruction; a write that ring 3 has been promised comes first.
   */
  reset(): void {
    this.resetRequested = true;
    this.vcpu.requestExit();
    this.loop.wake();
  }

  private resetNow(): void {
    this.events.resets++;
    this.resetParts();
    if (this.booted !== undefined) this.start(this.booted);
  }

  private resetParts(): void {
    this.resetRequested = false;
    this.interrupted = false;
    this.waiting = undefined;
    this.memory.setA20(true);
    this.io.clearJournal();
    this.devices.reset();
    this.handles.clear();
    this.vcpu.reset();
  }

  private transmit(byte: number): void {
    this.output.push(byte);
    if (this.output.length >= 4096) this.flushOutput();
  }

  private flushOutput(): void {
    if (this.output.length === 0) return;
    const bytes = Uint8Array.from(this.output);
    this.output.length = 0;
    this.outputListener(bytes);
  }

  // --- state ----------------------------------------------------------------------------------------------------

  /** Accesses by range and context, unclaimed ones, and what the exits took by which they came. */
  profile(): MachineProfile {
    const exits = this.vcpu.monitor.statistics().filter(({ exits }) => exits > 0);
    return { ...statistics(this.ports, this.mmio), exits };
  }

  /**
   * The whole state as data. `PorticoError` `MACHINE_WAITING` while an instruction is in progress (a ring-3 access waits,
   * or a device calls this): `snapshot` waits for its end. Translations cached in TLBs are dropped, so that this machine
   * and one that loads the snapshot continue alike.
   */
  save(): MachineSnapshot {
    this.checkAlive();
    if (!this.isWhole)
      throw new PorticoError(
        "MACHINE_WAITING",
        "an instruction is in progress: use snapshot(), which waits for its end",
      );
    this.flushOutput();
    this.vcpu.stateChanged();
    return {
      version: SNAPSHOT_VERSION,
      clockMode: this.clock.mode,
      clock: this.clock.save(),
      cpu: this.vcpu.state.save(),
      memory: this.memory.save(),
      devices: this.devices.save(),
      handles: this.handles.save(),
      ...(this.booted && { boot: this.booted }),
    };
  }

  /** As `save`, at the next moment at which no instruction is in progress; for a machine that runs meanwhile. */
  async snapshot(): Promise<MachineSnapshot> {
    if (this.isWhole || !this.running) return this.save();
    return new Promise((resolve, reject) => this.snapshots.push({ resolve, reject }));
  }

  private get isWhole(): boolean {
    return !this.inSlice && !this.interrupted && this.waiting === undefined && !this.io.coalescedPending;
  }

  private serveSnapshots(): void {
    if (this.snapshots.length === 0 || !this.isWhole) return;
    const saved = this.save();
    for (const { resolve } of this.snapshots.splice(0)) resolve(saved);
  }

  /**
   * Goes on from a snapshot, also one of another process. The machine must have the same RAM and devices: else
   * `PorticoError` `SNAPSHOT_MISMATCH`, or `SNAPSHOT_INVALID` for data that no machine saved; nothing has changed then.
   */
  restore(snapshot: MachineSnapshot): void {
    this.checkAlive();
    if (this.inSlice || this.io.commitPending)
      throw new PorticoError("MACHINE_WAITING", "an instruction is in progress: restore when it has ended");
    checkSnapshot(snapshot);
    this.memory.check(snapshot.memory);
    const before = { map: this.memory.saveMap(), clock: this.clock.save(), cpu: this.vcpu.state.save() };
    const devices = this.devices.save();
    try {
      this.restoreParts(snapshot.memory, snapshot.clock, snapshot.cpu, snapshot.devices);
    } catch (error) {
      this.restoreParts(before.map, before.clock, before.cpu, devices);
      this.vcpu.stateChanged();
      if (error instanceof PorticoError && error.code.startsWith("SNAPSHOT_")) throw error;
      throw new PorticoError(
        "SNAPSHOT_INVALID",
        `the snapshot holds what no device saved: ${error instanceof Error ? error.message : describe(error)}`,
        { cause: error },
      );
    }
    this.memory.loadContents(snapshot.memory);
    this.handles.load(snapshot.handles ?? []);
    this.booted = snapshot.boot;
    this.interrupted = false;
    this.waiting = undefined;
    this.resetRequested = false;
    this.end = undefined;
    this.inputs.length = 0;
    this.io.clearJournal();
    this.vcpu.stateChanged();
  }

  private restoreParts(
    map: SavedMap,
    clock: MachineSnapshot["clock"],
    cpu: Uint8Array,
    devices: MachineSnapshot["devices"],
  ): void {
    this.memory.loadMap(map);
    this.clock.load(clock);
    this.vcpu.state.load(cpu);
    this.devices.load(devices);
  }

  /** SHA-256 of memory, vCPU, devices and time, as hexadecimal digits. Equal states have equal hashes. */
  async stateHash(): Promise<string> {
    const { bytes, layout } = this.memory;
    const { memory, cpu, clock, devices, handles } = this.save();
    // A disk's contents may be large: byte arrays are hashed on their own, the text holds their lengths.
    const arrays: Uint8Array[] = [];
    const text = new TextEncoder().encode(
      stringify([memory.map, memory.a20, devices, clock, handles], (value) => {
        if (value instanceof Uint8Array) return { $bytes: arrays.push(value) && value.length };
        return typeof value === "bigint" ? `${value}` : value;
      }),
    );
    const parts = [text, cpu, memory.extra.contents, ...arrays];
    for (let at = layout.ram, end = at + layout.ramBytes; at < end; at += HASH_BLOCK) {
      parts.push(bytes.subarray(at, Math.min(at + HASH_BLOCK, end)));
    }
    // All digests begin before the first is awaited: the machine may run on meanwhile.
    const digests = await Promise.all(parts.map((part) => sha256(part)));
    const all = await sha256(Uint8Array.from(digests.flatMap((digest) => [...digest])));
    return [...all].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** Closes everything that the machine opened; a run in progress ends. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.finish({ reason: "stopped", status: 0 });
    if (!this.inSlice) this.close();
  }

  private close(): void {
    // What a ring-3 handler still answers concerns nobody.
    this.io.clearJournal();
    this.devices.dispose();
    this.inputs.length = 0;
    this.loop.wake();
  }
}

const sha256 = async (data: Uint8Array) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>));

/** A machine with its devices, not yet booted. */
export function createMachine(options: MachineOptions = {}): Machine {
  return new Machine(options);
}
