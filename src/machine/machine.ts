import { SoftwareVcpu } from "../cpu/engine.ts";
import { CPU } from "../cpu/state.ts";
import { DeviceSet } from "../device/device-set.ts";
import { InterruptLines } from "../device/interrupt-lines.ts";
import { PciBus } from "../device/pci/bus.ts";
import { RegisterFile } from "../device/registers.ts";
import { TimerQueue } from "../device/timer-queue.ts";
import type { Board, DeviceClass } from "../device/types.ts";
import { PorticoError } from "../errors.ts";
import { createIoClient, type IoStatistics, MmioSpace, PortSpace, statistics, type VcpuIo } from "../io/index.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { RAM_MAX } from "../memory/layout.ts";
import { describePlatform } from "./acpi/description.ts";
import { placeAcpiTables } from "./acpi/place.ts";
import { detectImage } from "./boot/detect.ts";
import { type LinuxProtocol, loadLinux } from "./boot/linux.ts";
import { loadMultiboot } from "./boot/multiboot.ts";
import { resetState, type StartState } from "./boot/start-state.ts";
import { type ClockMode, MachineClock } from "./clock.ts";
import { applyStartState } from "./firmware.ts";
import { HostLoop } from "./host-loop.ts";
import { buildPc, GSI_COUNT, type Pc } from "./pc.ts";
import { ELCR, PCI_INTERRUPTS, PORTS } from "./platform.ts";
import type { MachineSnapshot } from "./snapshot.ts";

const MIB = 2 ** 20;

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
}

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
  readonly ports = new PortSpace();
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
  /** What the guest writes to port E9h. */
  onDebugOutput: (byte: number) => void = () => {};
  readonly io: VcpuIo;
  private readonly timers = new TimerQueue();
  private readonly lines = new InterruptLines(GSI_COUNT);
  private readonly loop = new HostLoop();
  private booted: BootOptions | undefined;
  private end: MachineEnd | undefined;
  private resetRequested = false;
  private failure: unknown;
  private running = false;
  private disposed = false;
  private waiting = false;
  private readonly output: number[] = [];
  private outputListener: (bytes: Uint8Array) => void = () => {};
  /** Host input that waits for a slice to end: on the instruction clock it enters only at known instruction counts. */
  private readonly inputs: (() => void)[] = [];

  /** Throws `PorticoError` `MEMORY_SIZE`. */
  constructor(options: MachineOptions = {}) {
    const { memoryMiB = 256, clock = "host" } = options;
    if (!Number.isInteger(memoryMiB) || memoryMiB < 1 || memoryMiB * MIB > RAM_MAX) {
      throw new PorticoError(
        "MEMORY_SIZE",
        `${memoryMiB} MiB of memory: give a whole number from 1 to ${RAM_MAX / MIB}`,
      );
    }
    const memory = new GuestMemory({ ramBytes: memoryMiB * MIB });
    this.memory = memory;
    this.mmio = new MmioSpace({ memory });
    this.clock = new MachineClock(memory.memory, clock);
    this.pci = new PciBus((slot, pin) => {
      const line = PCI_INTERRUPTS.line(slot, pin - 1);
      return [PCI_INTERRUPTS.gsiBase + line, PCI_INTERRUPTS.picIrqs[line]!];
    });
    this.io = createIoClient(this.ports, this.mmio, {
      instructionTag: () => this.clock.retired,
      requestExit: () => this.vcpu.requestExit(),
    });
    const fixed = clock === "instructions" ? FIXED_EPOCH_NS : BigInt(Date.now()) * 1_000_000n;
    this.devices = new DeviceSet({
      memory: memory.memory,
      registers: new RegisterFile(memory.memory),
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
    this.vcpu = new SoftwareVcpu(memory, this.io, {
      tsc: () => BigInt(this.clock.now()),
      get apic() {
        return machine.pc?.apics.cpus[0];
      },
      interrupts: { acknowledge: () => this.pc.apics.cpus[0]!.acknowledge() },
    });
    this.pc = buildPc(this.devices, this.lines, this.pci, {
      ramBytes: memory.ramBytes,
      cpus: [{ pins: this.vcpu }],
      transmit: (byte) => this.transmit(byte),
      debugOutput: (byte) => this.onDebugOutput(byte),
      ...(options.files && { files: options.files }),
    });
    this.timers.onEarlier = (deadline) => this.vcpu.limitBudget(this.clock.instructionsUntil(deadline));
    this.devices.reset();
    this.serial = {
      onOutput: (listener) => {
        this.outputListener = listener;
      },
      input: (bytes) => this.pc.uart.receive(bytes),
    };
  }

  private board(): Board {
    const machine = this;
    return {
      powerOff: () => this.finish({ reason: "poweroff", status: 0 }),
      exit: (status) => this.finish({ reason: "debug-exit", status }),
      reset: () => {
        this.resetRequested = true;
        this.vcpu.requestExit();
      },
      setA20: (enabled) => this.memory.setA20(enabled),
      get a20() {
        return machine.memory.a20;
      },
      nmi: () => this.vcpu.nmi(),
    };
  }

  /** Adds a device of the user's own. Before `boot`. */
  add<Options, Api>(deviceClass: DeviceClass<Options, Api>, options: Options, name?: string): Api {
    const api = this.devices.add(deviceClass, options, name);
    return api;
  }

  // --- booting --------------------------------------------------------------------------------------------------

  /** Loads an image and sets the vCPU to its entry. Throws `ImageError` or `MemoryError`. */
  boot(options: BootOptions): void {
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
    switch (detectImage(image)) {
      case "rom":
        if (this.booted === undefined) memory.mapBios(image);
        return resetState();
      case "multiboot": {
        const modules = initrd === undefined ? [] : [{ data: initrd, name: "initrd" }];
        const { name } = options;
        const loaded = loadMultiboot(guest, { kernel: image, name, arguments: commandLine, modules });
        placeAcpiTables(guest, describePlatform(memory.ramBytes, 1));
        return loaded.start;
      }
      case "bzimage": {
        const rsdpAddress = placeAcpiTables(guest, describePlatform(memory.ramBytes, 1));
        return loadLinux(guest, { kernel: image, initrd, commandLine, rsdpAddress, protocol: options.protocol }).start;
      }
    }
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
   * Runs until the guest powers off or exits, or `stop`. Rejects with `DeviceError` when a ring-3 handler failed.
   */
  async run(): Promise<MachineEnd> {
    if (this.running)
      throw new PorticoError("MACHINE_RUNNING", "the machine is running already: await the first run()");
    this.running = true;
    this.end = undefined;
    try {
      while (this.end === undefined && !this.disposed) {
        const pause = this.slice();
        this.flushOutput();
        if (this.end !== undefined) break;
        if (pause === undefined) await this.loop.breathe();
        else await pause;
        if (this.failure !== undefined) throw this.failure;
      }
      return this.end ?? { reason: "stopped", status: 0 };
    } finally {
      this.flushOutput();
      this.running = false;
    }
  }

  /**
   * Runs until `retired` instructions have retired in all, without looking at the host: for tests and tools. Only on the
   * instruction clock. Returns false when the machine ended or waits for the host before.
   */
  runUntil(retired: number): boolean {
    while (this.end === undefined && this.clock.retired < retired) {
      if (this.slice(retired - this.clock.retired) !== undefined) {
        this.flushOutput();
        return false;
      }
    }
    this.flushOutput();
    return this.end === undefined;
  }

  get ended(): MachineEnd | undefined {
    return this.end;
  }

  /** One slice. A promise: there is nothing to run before it settles. */
  private slice(limit = Number.POSITIVE_INFINITY): Promise<void> | undefined {
    if (this.waiting) return this.loop.sleep(Number.POSITIVE_INFINITY);
    for (const input of this.inputs.splice(0)) input();
    const { clock, timers } = this;
    timers.fireDue(clock.now());
    clock.beginSlice(Math.min(timers.nextDeadline, clock.now() + limit));
    const exit = this.vcpu.run();
    clock.endSlice();
    if (this.resetRequested) {
      this.reset();
      return undefined;
    }
    switch (exit.reason) {
      case "shutdown":
        this.events.tripleFaults++;
        this.reset();
        return undefined;
      case "wait":
        return this.waitFor(exit.until);
      case "halt":
        return this.idle(limit);
      default:
        return undefined;
    }
  }

  private idle(limit: number): Promise<void> | undefined {
    const { clock, timers } = this;
    const deadline = timers.nextDeadline;
    if (clock.mode === "instructions" && deadline !== Number.POSITIVE_INFINITY) {
      clock.advanceTo(Math.min(deadline, clock.now() + limit));
      return undefined;
    }
    if (this.inputs.length > 0 || this.end !== undefined) return undefined;
    const delay = deadline === Number.POSITIVE_INFINITY ? deadline : clock.hostDelay(deadline);
    if (delay <= 0) {
      clock.readHost();
      return undefined;
    }
    return this.loop.sleep(delay).then(() => clock.readHost());
  }

  private async waitFor(until: Promise<void>): Promise<void> {
    this.waiting = true;
    try {
      await Promise.race([until, this.loop.closed]);
    } catch (error) {
      this.failure = error;
    } finally {
      this.waiting = false;
    }
    this.clock.readHost();
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

  /** As the reset button: devices and vCPU; a machine that was booted without firmware loads its image again. */
  reset(): void {
    this.resetRequested = false;
    this.events.resets++;
    this.memory.setA20(true);
    this.io.clearJournal();
    this.devices.reset();
    this.vcpu.reset();
    if (this.booted !== undefined) this.boot(this.booted);
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

  /** Accesses by range and context, and unclaimed ones. */
  profile(): IoStatistics {
    return statistics(this.ports, this.mmio);
  }

  /**
   * The whole state as data. Not while a ring-3 access waits (`PorticoError` `MACHINE_WAITING`). Translations cached in
   * TLBs are dropped, so that this machine and one that loads the snapshot continue alike.
   */
  save(): MachineSnapshot {
    if (this.waiting) throw new PorticoError("MACHINE_WAITING", "a ring-3 access is pending: save when it has settled");
    this.flushOutput();
    this.vcpu.stateChanged();
    return {
      version: 1,
      clockMode: this.clock.mode,
      clock: this.clock.save(),
      cpu: this.vcpu.state.bytes.slice(this.vcpu.state.base, this.vcpu.state.base + CPU.size),
      memory: this.memory.save(),
      devices: this.devices.save(),
    };
  }

  /** Throws `PorticoError` when the snapshot does not fit this machine; nothing has changed then. */
  restore(snapshot: MachineSnapshot): void {
    if (snapshot.version !== 1) {
      throw new PorticoError("SNAPSHOT_MISMATCH", `snapshot version ${snapshot.version}: this Portico reads version 1`);
    }
    this.memory.load(snapshot.memory);
    this.clock.load(snapshot.clock);
    this.vcpu.state.bytes.set(snapshot.cpu, this.vcpu.state.base);
    this.devices.load(snapshot.devices);
    this.vcpu.stateChanged();
  }

  /** SHA-256 of memory, vCPU, devices and time, as hexadecimal digits. Equal states have equal hashes. */
  async stateHash(): Promise<string> {
    const { cpu, devices, clock } = this.save();
    const { layout, bytes } = this.memory;
    const digest = async (data: Uint8Array) =>
      new Uint8Array(await crypto.subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>));
    const text = new TextEncoder().encode(
      JSON.stringify([devices, clock], (_, value) =>
        value instanceof Uint8Array ? [...value] : typeof value === "bigint" ? `${value}` : value,
      ),
    );
    const parts = [
      await digest(bytes.subarray(layout.ram, layout.ram + layout.ramBytes)),
      await digest(cpu),
      await digest(text),
    ];
    const all = await digest(Uint8Array.from(parts.flatMap((part) => [...part])));
    return [...all].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** Closes everything that the machine opened; a run in progress ends. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.finish({ reason: "stopped", status: 0 });
    this.devices.dispose();
    this.loop.close();
  }
}

/** A machine with its devices, not yet booted. */
export function createMachine(options: MachineOptions = {}): Machine {
  return new Machine(options);
}
