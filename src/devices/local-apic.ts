/**
 * Local APICs of a machine, xAPIC mode: registers, priorities, local vector table, interprocessor interrupts. Intel SDM
 * volume 3, chapter 11 (December 2022 numbering). The x2APIC mode is not announced and refused.
 */
import type { LineChange } from "../device/interrupt-lines.ts";
import type { RawBuilder } from "../device/raw.ts";
import type { DeviceHost, Registers } from "../device/types.ts";
import type { ApicBus, CpuPins, InterruptAcknowledge } from "../io/types.ts";
import { type ApicMessageBus, type ApicTarget, BROADCAST, DELIVERY } from "./apic-message-bus.ts";
import {
  BASE,
  DEFAULT_BASE,
  ERROR,
  ERROR_STATUS,
  FIRST_LEGAL_VECTOR,
  FLAT_MODEL,
  ICR,
  LINT0,
  LVT,
  LVT_COUNT,
  REGISTER,
  SHORTHAND,
  SPURIOUS,
  TIMER,
  VERSION,
} from "./local-apic-registers.ts";
import { LocalApicTimer } from "./local-apic-timer.ts";
import { LocalVectorTable } from "./local-vector-table.ts";
import { VectorSet } from "./vector-set.ts";

const SHAPE = {
  base: "u64",
  id: "u8",
  taskPriority: "u8",
  logicalDestination: "u32",
  destinationFormat: "u32",
  spurious: "u32",
  errorStatus: "u32",
  /** Errors since the last write to the error status register. */
  errors: "u32",
  icrLow: "u32",
  icrHigh: "u32",
  /** Levels of the two pins. */
  lint: "u8",
  /** An ExtINT message (from an I/O APIC or a processor) waits for its INTA. */
  extIntMessage: "u8",
  /** A request of the IRR is above the processor priority. */
  deliverable: "u8",
  /** INTR as last driven. */
  intr: "u8",
  /** Levels of LINT0 at which it requests ExtINT: bit 0 low, bit 1 high. Follows from its entry and `base`. */
  extIntLevels: "u8",
  /** Nothing requests, so a task priority can change without effect: for emitted code. */
  idle: "u8",
  /** As `idle`, and the end of the interrupt in service concerns nobody but the ISR: for emitted code. */
  plainEoi: "u8",
  /** Emitted code has seen an EOI while `plainEoi`; the ISR still holds the interrupt. */
  eoiSeen: "u8",
} as const;

export interface LocalApicCpu {
  readonly pins: CpuPins;
}

export interface LocalApicWiring {
  readonly bus: ApicMessageBus;
  /** The 8259A pair behind ExtINT. */
  readonly pic: InterruptAcknowledge;
  /** Maps the register page at `base` (`undefined`: nowhere). False when something else is there. */
  readonly map: (apic: LocalApic, base: number | undefined) => boolean;
  /** MAXPHYADDR: bits of IA32_APIC_BASE beyond are reserved. */
  readonly physicalAddressBits: number;
}

/** The local APIC of one processor: its face to the CPU, to the bus and to the two LINT pins. */
export class LocalApic implements InterruptAcknowledge, ApicBus, ApicTarget {
  readonly registers: Registers<typeof SHAPE>;
  readonly timer: LocalApicTimer;
  private readonly pins: CpuPins;
  private readonly wiring: LocalApicWiring;
  private readonly index: number;
  private readonly request = new VectorSet();
  private readonly inService = new VectorSet();
  private readonly triggerMode = new VectorSet();
  private readonly lvt: LocalVectorTable;

  /** Processor 0 is the bootstrap processor; the APIC ID is the index. */
  constructor(host: DeviceHost, cpu: LocalApicCpu, index: number, wiring: LocalApicWiring) {
    this.registers = host.registers(SHAPE);
    this.pins = cpu.pins;
    this.wiring = wiring;
    this.index = index;
    const sink = {
      accept: (vector: number, level: boolean) => this.accept(vector, level),
      init: () => this.receiveInit(),
    };
    this.lvt = new LocalVectorTable(sink, cpu.pins);
    this.timer = new LocalApicTimer(host, () => this.lvt.signal(TIMER));
    host.state({
      save: () => [...this.vectorSets.map(({ words }) => [...words]), [...this.lvt.entries]],
      load: (saved) => {
        this.vectorSets.forEach((set, i) => {
          set.load(saved[i]);
        });
        this.lvt.entries.set(saved[this.vectorSets.length]);
        wiring.map(this, this.enabled ? this.base : undefined);
        this.pins.intr(this.registers.intr !== 0);
      },
    });
    wiring.bus.connect(this);
  }

  private get vectorSets(): VectorSet[] {
    return [this.request, this.inService, this.triggerMode];
  }

  /** Power-up and RESET: section 11.4.7.1. */
  reset(): void {
    const { registers: r } = this;
    r.id = this.index;
    r.base = DEFAULT_BASE + BASE.enabled + (this.index === 0 ? BASE.bootstrap : 0);
    this.wiring.map(this, DEFAULT_BASE);
    r.lint = 0;
    r.intr = 0;
    this.pins.intr(false);
    this.initReset();
  }

  /** What INIT leaves: all but the APIC ID, the base and what comes in through the pins. Section 11.4.7.3. */
  private initReset(): void {
    const { registers: r } = this;
    r.taskPriority = 0;
    r.logicalDestination = 0;
    r.destinationFormat = 0xffff_ffff;
    r.spurious = SPURIOUS.reset;
    r.errorStatus = 0;
    r.errors = 0;
    r.icrLow = 0;
    r.icrHigh = 0;
    r.extIntMessage = 0;
    r.eoiSeen = 0;
    for (const set of this.vectorSets) set.clear();
    this.lvt.reset();
    this.timer.reset();
    this.rewire();
    this.update();
  }

  /** The state in which PC firmware hands over: enabled, LINT0 for the 8259A, LINT1 for NMI (MP 1.4, section 3.6.2.2). */
  enterVirtualWireMode(): void {
    this.write(REGISTER.spurious, SPURIOUS.softwareEnable | 0x0f);
    this.write(REGISTER.lvtLint0, DELIVERY.extInt << LVT.deliveryShift);
    this.write(REGISTER.lvtLint1, DELIVERY.nmi << LVT.deliveryShift);
  }

  // --- the CPU's side ---------------------------------------------------------------------------------------------

  /** INTA. ExtINT goes first: it bypasses all priorities (section 11.5.1). */
  acknowledge(): number {
    const { registers: r } = this;
    this.settle();
    if (this.extIntRequested()) {
      // Before the INTA: the 8259A may request anew during it.
      const byMessage = r.extIntMessage !== 0;
      r.extIntMessage = 0;
      const vector = this.wiring.pic.acknowledge();
      // What comes in through the pin has updated it already.
      if (byMessage) this.update();
      return vector;
    }
    const vector = this.enabled ? this.request.highest : -1;
    if (vector < 0) return -1;
    // The request was there but the task priority has risen over it: section 11.9.
    if (vector >> 4 <= this.processorPriority() >> 4) return r.spurious & SPURIOUS.vector;
    this.request.remove(vector);
    this.inService.add(vector);
    this.update();
    this.listenToTimer();
    return vector;
  }

  /** IA32_APIC_BASE. */
  readBaseMsr(): number {
    return this.registers.base;
  }

  writeBaseMsr(value: number): boolean {
    const { registers: r, wiring } = this;
    this.settle();
    const flags = value % 2 ** 12;
    if (value >= 2 ** wiring.physicalAddressBits || (flags & ~(BASE.bootstrap | BASE.enabled)) !== 0) return false;
    const wasEnabled = this.enabled;
    const enabled = (flags & BASE.enabled) !== 0;
    if (!wiring.map(this, enabled ? value - flags : undefined)) return false;
    r.base = value;
    // Enabled again, it is as after power-up: section 11.4.3.
    if (enabled !== wasEnabled) this.initReset();
    this.wiring.bus.acceptanceChanged();
    return true;
  }

  readTscDeadline(): bigint {
    return this.timer.readDeadline();
  }

  writeTscDeadline(value: bigint): void {
    this.timer.writeDeadline(value);
  }

  /** The task priority register; CR8 is its bits 7:4 (section 11.8.6). */
  readTpr(): number {
    return this.registers.taskPriority;
  }

  writeTpr(value: number): void {
    this.writeTaskPriority(value & 0xff);
  }

  get base(): number {
    return this.registers.base - (this.registers.base % 2 ** 12);
  }

  /** Enabled in IA32_APIC_BASE. */
  get enabled(): boolean {
    return (this.registers.base & BASE.enabled) !== 0;
  }

  // --- registers --------------------------------------------------------------------------------------------------

  /** The dword at a 16-byte-aligned offset; the other dwords of each 16 bytes read as zero. */
  read(offset: number): number {
    const { registers: r } = this;
    this.settle();
    if ((offset & 0xf) !== 0) return 0;
    switch (offset) {
      case REGISTER.id:
        return r.id * 2 ** 24;
      case REGISTER.version:
        return VERSION;
      case REGISTER.taskPriority:
        return r.taskPriority;
      case REGISTER.arbitrationPriority:
        return this.arbitrationPriority;
      case REGISTER.processorPriority:
        return this.processorPriority();
      case REGISTER.endOfInterrupt:
      case REGISTER.remoteRead:
        return 0;
      case REGISTER.logicalDestination:
        return r.logicalDestination;
      case REGISTER.destinationFormat:
        return r.destinationFormat;
      case REGISTER.spurious:
        return r.spurious;
      case REGISTER.errorStatus:
        return r.errorStatus;
      case REGISTER.icrLow:
        return r.icrLow;
      case REGISTER.icrHigh:
        return r.icrHigh;
      case REGISTER.initialCount:
        return this.timer.initialCount;
      case REGISTER.currentCount:
        return this.timer.readCurrentCount();
      case REGISTER.divide:
        return this.timer.divide;
    }
    if (offset >= REGISTER.inService && offset < REGISTER.errorStatus) {
      const word = (offset >> 4) & 7;
      if (offset < REGISTER.triggerMode) return this.inService.words[word];
      return offset < REGISTER.request ? this.triggerMode.words[word] : this.request.words[word];
    }
    const entry = (offset - REGISTER.lvtTimer) >> 4;
    if (entry >= 0 && entry < LVT_COUNT) return this.lvt.entries[entry];
    this.raiseError(ERROR_STATUS.illegalRegister);
    return 0;
  }

  write(offset: number, value: number): void {
    const { registers: r } = this;
    this.settle();
    if ((offset & 0xf) !== 0) return;
    switch (offset) {
      case REGISTER.id:
      case REGISTER.version:
      case REGISTER.arbitrationPriority:
      case REGISTER.processorPriority:
      case REGISTER.remoteRead:
      case REGISTER.currentCount:
        return; // read-only; the ID is model-specific and fixed here (section 11.4.6)
      case REGISTER.taskPriority:
        this.writeTaskPriority(value & 0xff);
        return;
      case REGISTER.endOfInterrupt:
        this.endOfInterrupt();
        return;
      case REGISTER.logicalDestination:
        r.logicalDestination = value & 0xff00_0000;
        return;
      case REGISTER.destinationFormat:
        r.destinationFormat = value | 0x0fff_ffff;
        return;
      case REGISTER.spurious:
        this.writeSpurious(value);
        return;
      case REGISTER.errorStatus:
        // A write latches what has happened since the last one, and arms the error interrupt anew: section 11.5.3.
        r.errorStatus = r.errors;
        r.errors = 0;
        this.listenToTimer();
        return;
      case REGISTER.icrLow:
        r.icrLow = value & ICR.writable;
        this.sendCommand();
        return;
      case REGISTER.icrHigh:
        r.icrHigh = value & 0xff00_0000;
        return;
      case REGISTER.initialCount:
        this.timer.writeInitialCount(value);
        return;
      case REGISTER.divide:
        this.timer.writeDivide(value);
        return;
    }
    if (offset >= REGISTER.inService && offset < REGISTER.errorStatus) return; // read-only
    const entry = (offset - REGISTER.lvtTimer) >> 4;
    if (entry >= 0 && entry < LVT_COUNT) {
      this.writeLvt(entry, value);
      return;
    }
    this.raiseError(ERROR_STATUS.illegalRegister);
  }

  private writeTaskPriority(value: number): void {
    const { registers: r } = this;
    r.taskPriority = value;
    // With nothing requested no priority matters: the common case, and kernels do this a lot.
    if (r.idle !== 0) return;
    this.settle();
    this.update();
  }

  private writeSpurious(value: number): void {
    const { registers: r } = this;
    const wasEnabled = this.arbitrates;
    r.spurious = value & SPURIOUS.writable;
    if (!this.arbitrates) {
      // All entries are masked, and stay so until it is enabled again: section 11.4.7.2.
      for (let entry = 0; entry < LVT_COUNT; entry++) this.writeLvt(entry, this.lvt.entries[entry]);
    } else if (!wasEnabled) {
      this.wiring.bus.acceptanceChanged();
    }
  }

  private writeLvt(entry: number, value: number): void {
    // An expiry that is due happens under the old entry.
    this.timer.catchUp();
    const { lint, spurious } = this.registers;
    this.lvt.write(entry, value, (spurious & SPURIOUS.softwareEnable) !== 0);
    if (entry === TIMER) {
      this.timer.setMode((value >> LVT.timerModeShift) & 3);
      this.listenToTimer();
    }
    if (entry === LINT0) {
      this.lvt.updateLint0((lint & 1) !== 0);
      this.rewire();
    }
    this.update();
  }

  /** An expiry of the timer matters unless it is masked or would only repeat what is already pending. */
  private listenToTimer(): void {
    const vector = this.lvt.vector(TIMER);
    const pending =
      vector < FIRST_LEGAL_VECTOR
        ? (this.registers.errors & ERROR_STATUS.receiveIllegalVector) !== 0
        : this.request.has(vector);
    this.timer.listen(!this.lvt.isMasked(TIMER) && !pending);
  }

  // --- local interrupts -------------------------------------------------------------------------------------------

  /** Level of pin LINT0 or LINT1. */
  setLint(pin: 0 | 1, high: boolean): void {
    const { registers: r } = this;
    this.settle();
    const bit = 1 << pin;
    if (high === ((r.lint & bit) !== 0)) return;
    r.lint ^= bit;
    // Nothing but INTR follows the 8259A's pin.
    if (pin === 1 || r.extIntLevels === 0) {
      if (this.enabled) this.lvt.pinChanged(pin, high);
      // Without a local APIC the pins are INTR and NMI: section 11.4.3.
      else if (pin === 1 && high) this.pins.nmi();
    }
    this.drive();
  }

  private rewire(): void {
    const { registers: r, lvt } = this;
    if (this.enabled) r.extIntLevels = (lvt.passesExtInt(false) ? 1 : 0) | (lvt.passesExtInt(true) ? 2 : 0);
    else r.extIntLevels = 2;
  }

  /** `setLint(0, true)` in emitted code: the pin passes on what the 8259A requests. */
  emitVirtualWire(x: RawBuilder): LineChange {
    const { registers: r, pins } = this;
    const { emitInterrupt } = pins;
    if (emitInterrupt === undefined) return { refused: x.constant(1), apply: () => {} };
    const asserted = x.let(x.get(r, "intr"));
    const wired = x.ne(x.and(x.get(r, "extIntLevels"), 2), 0);
    return {
      refused: x.let(x.not(x.canInterrupt ? wired : x.and(wired, asserted))),
      apply: () => {
        x.set(r, "lint", x.or(x.get(r, "lint"), 1));
        if (!x.canInterrupt) return;
        x.if(x.not(asserted), () => {
          x.set(r, "intr", 1);
          x.interrupt(emitInterrupt);
        });
      },
    };
  }

  private extIntRequested(): boolean {
    const { registers: r } = this;
    return (r.extIntMessage | ((r.extIntLevels >> (r.lint & 1)) & 1)) !== 0;
  }

  /** Logs an error; the first since the last write to the register interrupts. Section 11.5.3. */
  private raiseError(bit: number): void {
    const { registers: r } = this;
    const armed = r.errors === 0;
    r.errors |= bit;
    if (armed) this.lvt.signal(ERROR);
  }

  // --- messages ---------------------------------------------------------------------------------------------------

  isAddressedBy(destination: number, logical: boolean): boolean {
    if (!this.enabled) return false;
    if (destination === BROADCAST) return true;
    const { registers: r } = this;
    if (!logical) return destination === r.id;
    const id = r.logicalDestination >>> 24;
    if (r.destinationFormat >>> 28 === FLAT_MODEL) return (id & destination) !== 0;
    // Cluster model: section 11.6.2.2.
    return id >> 4 === destination >> 4 && (id & destination & 0xf) !== 0;
  }

  get arbitrates(): boolean {
    return this.enabled && (this.registers.spurious & SPURIOUS.softwareEnable) !== 0;
  }

  /** Section 11.6.2.4: the task priority, or the class of the highest of it and what is requested or in service. */
  get arbitrationPriority(): number {
    this.settle();
    const { taskPriority } = this.registers;
    const requested = Math.max(0, this.request.highest) >> 4;
    const inService = Math.max(0, this.inService.highest) >> 4;
    const task = taskPriority >> 4;
    if (task >= requested && task > inService) return taskPriority;
    return Math.max(task, requested, inService) << 4;
  }

  receive(delivery: number, vector: number, level: boolean): boolean {
    if (!this.enabled) return false;
    this.settle();
    switch (delivery) {
      case DELIVERY.fixed:
      case DELIVERY.lowestPriority:
        // Disabled by software it still takes INIT, NMI and start-up: section 11.4.7.2.
        if (!this.arbitrates) return false;
        return this.accept(vector, level);
      case DELIVERY.nmi:
        this.pins.nmi();
        return true;
      case DELIVERY.init:
        this.receiveInit();
        return true;
      case DELIVERY.startup:
        this.pins.startup(vector);
        return true;
      case DELIVERY.extInt:
        this.registers.extIntMessage = 1;
        this.update();
        return true;
      default:
        return false;
    }
  }

  private receiveInit(): void {
    this.initReset();
    this.pins.init();
  }

  /** Section 11.8.4. False when the vector is illegal. */
  private accept(vector: number, level: boolean): boolean {
    this.settle();
    if (vector < FIRST_LEGAL_VECTOR) {
      this.raiseError(ERROR_STATUS.receiveIllegalVector);
      this.listenToTimer();
      return false;
    }
    this.request.add(vector);
    if (level) this.triggerMode.add(vector);
    else this.triggerMode.remove(vector);
    this.update();
    if (vector === this.lvt.vector(TIMER)) this.listenToTimer();
    return true;
  }

  /** Section 11.6.1. Delivery status never shows: a message arrives as it is sent. */
  private sendCommand(): void {
    const { registers: r, wiring } = this;
    const command = r.icrLow;
    const vector = command & 0xff;
    const delivery = (command >> ICR.deliveryShift) & 7;
    const isVectored = delivery === DELIVERY.fixed || delivery === DELIVERY.lowestPriority;
    if (isVectored && vector < FIRST_LEGAL_VECTOR) {
      this.raiseError(ERROR_STATUS.sendIllegalVector);
      return;
    }
    // INIT level de-assert only synchronized arbitration IDs, on buses of old; ExtINT and 3 cannot be sent.
    if (delivery === DELIVERY.init && (command & (ICR.level | ICR.assert)) === ICR.level) return;
    if (delivery === DELIVERY.extInt) return;
    switch (command >> ICR.shorthandShift) {
      case SHORTHAND.none:
        wiring.bus.deliver(r.icrHigh >>> 24, (command & ICR.logical) !== 0, delivery, vector, false);
        return;
      case SHORTHAND.self:
        this.receive(delivery, vector, false);
        return;
      case SHORTHAND.all:
        wiring.bus.deliverToOthers(this, delivery, vector);
        this.receive(delivery, vector, false);
        return;
      case SHORTHAND.others:
        wiring.bus.deliverToOthers(this, delivery, vector);
        return;
    }
  }

  // --- priorities -------------------------------------------------------------------------------------------------

  /** Section 11.8.3.1. */
  private processorPriority(): number {
    const { taskPriority } = this.registers;
    const inService = Math.max(0, this.inService.highest) & 0xf0;
    return (taskPriority & 0xf0) >= inService ? taskPriority : inService;
  }

  /** Section 11.8.5. */
  private endOfInterrupt(): void {
    const vector = this.inService.highest;
    if (vector < 0) return;
    this.inService.remove(vector);
    if (this.triggerMode.has(vector)) {
      this.wiring.bus.broadcastEndOfInterrupt(vector);
      this.lvt.endOfInterrupt(vector, (this.registers.lint & 1) !== 0);
    }
    this.update();
  }

  /** Catches up with what emitted code has done: see `plainEoi`. */
  private settle(): void {
    const { registers: r } = this;
    if (r.eoiSeen === 0) return;
    r.eoiSeen = 0;
    this.inService.remove(this.inService.highest);
    this.update();
  }

  /** To be called when what is requested, in service or of priority has changed; drives INTR. */
  private update(): void {
    const { registers: r } = this;
    const requested = this.request.highest;
    const inService = this.inService.highest;
    const deliverable = requested >= 0 && requested >> 4 > this.processorPriority() >> 4;
    r.deliverable = deliverable && this.enabled ? 1 : 0;
    r.idle = requested < 0 ? 1 : 0;
    r.plainEoi = requested < 0 && inService >= 0 && !this.triggerMode.has(inService) ? 1 : 0;
    this.drive();
  }

  private drive(): void {
    const { registers: r } = this;
    const intr = r.deliverable | (this.extIntRequested() ? 1 : 0);
    if (r.intr === intr) return;
    r.intr = intr;
    this.pins.intr(intr !== 0);
  }
}
