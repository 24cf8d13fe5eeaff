/** One vCPU's thread through a trace: from an exit over the accesses and a visit to user mode to the next entry. */

import type { Decoded, ExitFault } from "../decoded.ts";
import { decodeEptViolation } from "../ept.ts";
import { lengthFromNextRip } from "../instruction-length.ts";
import type { IoExit } from "../io-exit.ts";
import { decodeNestedPageFault } from "../nested-page-fault.ts";
import { decodeSvmIo } from "../svm-io.ts";
import { decodeVmxIo } from "../vmx-io.ts";
import type { ExitEvent, MmioEvent, PioEvent } from "./event.ts";
import type { PlaceKey } from "./place.ts";
import { ioReason } from "./reasons.ts";

const PAGE = 4096;

/** An exit from its event to the next entry. */
export interface FinishedExit {
  readonly reason: string;
  /** Undefined: not an access to a port or to MMIO, as far as the trace tells. */
  readonly place: PlaceKey | undefined;
  readonly fault: ExitFault | undefined;
  /** An EPT misconfiguration, which is MMIO, at an address that nothing tells. */
  readonly unplaced: boolean;
  readonly user: boolean;
  readonly string: boolean;
  readonly emulated: boolean;
  readonly units: number;
  /** Nanoseconds to the entry; NaN: unknown. */
  readonly ns: number;
}

class OpenExit {
  place: PlaceKey | undefined;
  user = false;
  string = false;
  /** A notify found by its address. */
  notify = false;
  units = 0;
  fault: ExitFault | undefined;
  readonly reason: string;
  readonly at: number;
  readonly what: ReturnType<typeof ioReason>;

  constructor(event: ExitEvent, at: number) {
    this.reason = event.reason;
    this.at = at;
    this.what = ioReason(event.reason);
    if (this.what?.what === "io")
      this.decodeIo(event, this.what.isa === "vmx" ? decodeVmxIo(event.info1) : decodeSvmIo(event.info1));
    else if (this.what?.what === "nested-page-fault") this.decodeNestedFault(event);
    else if (this.what?.what === "ept-violation") {
      const violation = decodeEptViolation(event.info1);
      if (!violation.ok) this.fault = violation.fault;
    }
  }

  private decodeIo(event: ExitEvent, io: Decoded<IoExit>): void {
    // The next RIP of AMD-V; whether the code is 64-bit is not in a trace, but a 32-bit RIP may have wrapped.
    const wide = event.rip > 0xffff_ffffn || event.info2 > 0xffff_ffffn;
    const length = this.what?.isa === "svm" ? lengthFromNextRip(event.rip, event.info2, wide) : undefined;
    if (!io.ok) this.fault = io.fault;
    else if (length !== undefined && !length.ok) this.fault = length.fault;
    else {
      const { port, bytes, direction, string } = io.value;
      this.string = string;
      this.place = { space: "port", address: port, direction: direction === "in" ? "read" : "write", bytes };
    }
  }

  private decodeNestedFault(event: ExitEvent): void {
    const fault = decodeNestedPageFault(event.info1);
    if (!fault.ok) {
      this.fault = fault.fault;
      return;
    }
    // KVM marks MMIO by a reserved bit in the nested tables. A page met for the first time is only absent; if it is MMIO,
    // kvm_mmio follows.
    if (fault.value.reserved && fault.value.finalAddress && event.info2 < 1n << 52n) {
      this.place = mmioPlace(Number(event.info2), fault.value.write ? "write" : "read", 0);
    }
  }

  finish(ns: number): FinishedExit {
    const { reason, place, fault, user, string, units, what, notify } = this;
    const mmio = place?.space === "mmio";
    return {
      reason,
      place,
      fault,
      unplaced: what?.what === "ept-misconfiguration" && place === undefined,
      user,
      string,
      // An access under another reason was made by KVM's interpreter.
      emulated: place !== undefined && (string || what === undefined || (mmio && !notify)),
      units,
      ns,
    };
  }
}

function mmioPlace(address: number, direction: PlaceKey["direction"], bytes: number): PlaceKey {
  return { space: "mmio", address: address - (address % PAGE), direction, bytes };
}

export class VcpuThread {
  vcpu: number | undefined;
  readonly thread: number | undefined;
  exits = 0;
  io = 0;
  user = 0;
  outsideNs = 0;
  private open: OpenExit | undefined;

  constructor(thread: number | undefined) {
    this.thread = thread;
  }

  /** The exit before this one, if no entry was seen after it. */
  exit(event: ExitEvent, at: number): FinishedExit | undefined {
    const before = this.forget();
    if (event.vcpu !== undefined) this.vcpu = event.vcpu;
    this.open = new OpenExit(event, at);
    return before;
  }

  /** The exit that ends here. */
  entry(vcpu: number, at: number): FinishedExit | undefined {
    this.vcpu = vcpu;
    const { open } = this;
    this.open = undefined;
    if (open === undefined) return undefined;
    const ns = at - open.at;
    return open.finish(ns >= 0 ? ns : Number.NaN);
  }

  /** Ends an exit without an entry: events are missing, or the trace is at its end. */
  forget(): FinishedExit | undefined {
    const { open } = this;
    this.open = undefined;
    return open?.finish(Number.NaN);
  }

  /** The place of an access that belongs to no exit; undefined when it belongs to the one that is open. */
  pio({ port, bytes, direction, count }: PioEvent): PlaceKey | undefined {
    const place: PlaceKey = { space: "port", address: port, direction: direction === "in" ? "read" : "write", bytes };
    return this.access(place, count);
  }

  mmio({ access, address, bytes }: MmioEvent): PlaceKey | undefined {
    const place = mmioPlace(address, access === "write" ? "write" : "read", bytes);
    if (access !== "unsatisfied") return this.access(place, 1);
    // A read that its user will answer: the same access comes again with the value.
    if (this.open !== undefined && (this.open.place === undefined || this.open.place.bytes === 0))
      this.open.place = place;
    return undefined;
  }

  notify(address: number): PlaceKey | undefined {
    if (this.open !== undefined) this.open.notify = true;
    return this.access(mmioPlace(address, "write", 0), 1);
  }

  userExit(access: boolean): void {
    if (this.open !== undefined && access) this.open.user = true;
  }

  private access(place: PlaceKey, units: number): PlaceKey | undefined {
    const { open } = this;
    if (open === undefined) return place;
    // The exit says port and size, or the first access does. An instruction may make more of them (MOVS, a wide MOV).
    if (open.place === undefined || (open.place.bytes === 0 && open.place.space === place.space)) open.place = place;
    else if (open.place.space === "port" && (place.space !== "port" || place.address !== open.place.address))
      return place;
    open.units += units;
    return undefined;
  }
}
