/**
 * An IDE channel: the cable with its one or two drives, seen through the command block and the control block. ATA/ATAPI-6
 * (T13/1410D), clauses 7 and 9.
 */
import { describe } from "../../arguments.ts";
import { savedCount } from "../../device/saved.ts";
import { PorticoError } from "../../errors.ts";
import { EXECUTE_DEVICE_DIAGNOSTIC, execute } from "./ata-commands.ts";
import type { AtaDrive, Twice } from "./ata-drive.ts";
import { CONTROL, DEVICE, REGISTER } from "./ata-registers.ts";

/**
 * A cable without drives: the lines float high, but DD7 has a pull-down so that BSY reads as zero. ATA/ATAPI-6, clause 4,
 * electrical characteristics.
 */
const FLOATING = { byte: 0x7f, word: 0xff7f } as const;

export interface ChannelHost {
  /** INTRQ has changed to this level. */
  interrupt(high: boolean): void;
  /** A drive may have something to move by DMA. */
  dmaRequest(): void;
}

/** What the cable shows at any time without side effects. */
export interface ChannelView {
  /** Alternate status. */
  status: number;
  interrupt: number;
}

export class IdeChannel {
  private readonly drives: readonly AtaDrive[];
  private readonly host: ChannelHost;
  private readonly view: ChannelView;
  /** The drive that DEV names, whether it is there or not. */
  private selection: 0 | 1 = 0;
  private control = 0;

  /** `drives`: device 0, device 1. A cable with device 1 alone is not supported. */
  constructor(drives: readonly AtaDrive[], view: ChannelView, host: ChannelHost) {
    this.drives = drives;
    this.view = view;
    this.host = host;
  }

  private get selected(): AtaDrive | undefined {
    return this.drives[this.selection];
  }

  /** Device 0 alone answers for device 1, but with a status of zero. Clause 9, Device 0 only configurations. */
  private get answering(): AtaDrive | undefined {
    return this.drives[this.selection] ?? this.drives[0];
  }

  /** Brings what the outside sees up to date: called after everything that may have changed it. */
  private update(): void {
    const { selected, view } = this;
    view.status = this.drives.length === 0 ? FLOATING.byte : (selected?.state.status ?? 0);
    const enabled = (this.control & CONTROL.interruptDisable) === 0;
    const high = enabled && (selected?.state.interrupt ?? false);
    if (high === (view.interrupt !== 0)) return;
    view.interrupt = high ? 1 : 0;
    this.host.interrupt(high);
  }

  /** Reading the status and a new command take INTRQ back. 7.15, 7.4. */
  private acknowledge(): void {
    const { selected } = this;
    if (!selected?.state.interrupt) return;
    selected.state.interrupt = false;
    this.update();
  }

  // --- command block ------------------------------------------------------------------------------------------------

  read(offset: number): number {
    const drive = this.answering;
    if (!drive) return FLOATING.byte;
    const { state } = drive;
    switch (offset) {
      case REGISTER.data:
        return this.readWord() & 0xff;
      case REGISTER.error:
        return state.error;
      case REGISTER.count:
        return this.half(state.count);
      case REGISTER.lbaLow:
        return this.half(state.lbaLow);
      case REGISTER.lbaMid:
        return this.half(state.lbaMid);
      case REGISTER.lbaHigh:
        return this.half(state.lbaHigh);
      case REGISTER.device:
        return state.device;
      default:
        return this.readStatus();
    }
  }

  private half(register: Twice): number {
    return (this.control & CONTROL.highOrderByte) !== 0 ? register.before : register.now;
  }

  private readStatus(): number {
    const value = this.view.status;
    this.acknowledge();
    return value;
  }

  write(offset: number, value: number): void {
    // During a software reset the drives are busy, and ignore what is written.
    if ((this.control & CONTROL.softwareReset) !== 0) return;
    this.control &= ~CONTROL.highOrderByte;
    switch (offset) {
      case REGISTER.data:
        this.writeWord(value);
        break;
      case REGISTER.command:
        this.command(value);
        break;
      case REGISTER.device:
        this.selection = (value & DEVICE.device1) !== 0 ? 1 : 0;
        for (const { state } of this.drives) state.device = value;
        this.update();
        break;
      default:
        for (const { state } of this.drives) {
          const register = parameter(state, offset);
          register.before = register.now;
          register.now = value;
        }
    }
  }

  private command(code: number): void {
    const { selected } = this;
    this.acknowledge();
    if (code === EXECUTE_DEVICE_DIAGNOSTIC) this.diagnose();
    else if (selected) execute(selected, code);
    this.update();
    this.host.dmaRequest();
  }

  private diagnose(): void {
    for (const drive of this.drives) drive.showSignature();
    this.selection = 0;
    const [device0] = this.drives;
    if (device0) device0.state.interrupt = true;
  }

  // --- control block ------------------------------------------------------------------------------------------------

  writeControl(value: number): void {
    const changed = this.control ^ value;
    this.control = value;
    if ((changed & CONTROL.softwareReset) !== 0) {
      for (const drive of this.drives) {
        if ((value & CONTROL.softwareReset) !== 0) drive.beginSoftwareReset();
        else drive.endSoftwareReset();
      }
      this.selection = 0;
    }
    this.update();
  }

  // --- data ---------------------------------------------------------------------------------------------------------

  readWord(): number {
    const drive = this.answering;
    if (!drive) return FLOATING.word;
    if (drive.pending("in", false) === 0) return 0xffff;
    const value = drive.takeWord();
    if (drive.state.position === 0) this.update();
    return value;
  }

  writeWord(value: number): void {
    const drive = this.answering;
    if (!drive || drive.pending("out", false) === 0) return;
    drive.giveWord(value);
    if (drive.state.position === 0) this.update();
  }

  /** As many units of `width` bytes as the drive has asked the host to read; goes on through all blocks. */
  readUnits(buffer: Uint8Array, width: number): number {
    return this.moveUnits("in", buffer, width);
  }

  writeUnits(buffer: Uint8Array, width: number): number {
    return this.moveUnits("out", buffer, width);
  }

  private moveUnits(direction: "in" | "out", buffer: Uint8Array, width: number): number {
    const drive = this.answering;
    if (!drive) return 0;
    const wanted = Math.floor(buffer.length / width) * width;
    let done = 0;
    while (done < wanted) {
      const pending = Math.min(wanted - done, drive.pending(direction, false));
      const bytes = pending - (pending % width);
      if (bytes === 0) break;
      const part = buffer.subarray(done, done + bytes);
      if (direction === "in") drive.takeData(part);
      else drive.giveData(part);
      done += bytes;
      // Each block has its own interrupt.
      this.update();
    }
    return done / width;
  }

  /** Bytes that the selected drive can move by DMA at once. */
  pendingDma(direction: "in" | "out"): number {
    return this.selected?.pending(direction, true) ?? 0;
  }

  /** At most what is pending. */
  moveDma(direction: "in" | "out", bytes: Uint8Array): void {
    if (direction === "in") this.selected!.takeData(bytes);
    else this.selected!.giveData(bytes);
    this.update();
  }

  // --- state --------------------------------------------------------------------------------------------------------

  reset(): void {
    this.selection = 0;
    this.control = 0;
    for (const drive of this.drives) drive.hardwareReset();
    this.update();
  }

  save() {
    return { selection: this.selection, control: this.control, drives: this.drives.map((drive) => drive.save()) };
  }

  /** Throws `PorticoError` `SNAPSHOT_MISMATCH` or `SNAPSHOT_INVALID`. */
  load(saved: ReturnType<IdeChannel["save"]>): void {
    if (saved.drives.length !== this.drives.length) {
      throw new PorticoError(
        "SNAPSHOT_MISMATCH",
        `the snapshot's IDE channel has ${describe(saved.drives.length)} drives, the machine's has ${this.drives.length}`,
      );
    }
    this.selection = saved.selection === 1 ? 1 : 0;
    this.control = savedCount("the control register of an IDE channel", saved.control, 0xff);
    this.drives.forEach((drive, index) => {
      drive.load(saved.drives[index]!);
    });
  }
}

function parameter(state: AtaDrive["state"], offset: number): Twice {
  switch (offset) {
    case REGISTER.features:
      return state.features;
    case REGISTER.count:
      return state.count;
    case REGISTER.lbaLow:
      return state.lbaLow;
    case REGISTER.lbaMid:
      return state.lbaMid;
    default:
      return state.lbaHigh;
  }
}
