/**
 * Interrupt messages between I/O APICs, message-signalled devices and local APICs: what the system bus carries on
 * hardware. Intel SDM volume 3, sections 11.6, 11.8 and 11.11 (December 2022 numbering).
 */

/** Delivery modes, as redirection entries, LVT entries, ICR and MSI data encode them. SDM figures 11-8 and 11-12. */
export const DELIVERY = {
  fixed: 0,
  lowestPriority: 1,
  smi: 2,
  nmi: 4,
  init: 5,
  startup: 6,
  extInt: 7,
} as const;

/** Everybody, in both destination modes: section 11.6.2.1 and 11.6.2.2. */
export const BROADCAST = 0xff;

/** A local APIC as the bus sees it. */
export interface ApicTarget {
  /** Whether a message to this MDA (message destination address) is for it. */
  isAddressedBy(destination: number, logical: boolean): boolean;
  /** Takes part in lowest-priority arbitration: enabled by software. */
  readonly arbitrates: boolean;
  /** Arbitration priority, low wins. */
  readonly arbitrationPriority: number;
  /** False when it does not accept the message (disabled). */
  receive(delivery: number, vector: number, level: boolean): boolean;
}

/** An I/O APIC as the bus sees it. */
export interface EoiTarget {
  /** The end of a level-triggered interrupt was broadcast: section 11.8.5. */
  endOfInterrupt(vector: number): void;
  /** A local APIC that refused messages before may accept them now. */
  retry(): void;
}

/** Address and data of a message-signalled interrupt: section 11.11, figures 11-24 and 11-25. */
const MSI_ADDRESS = { base: 0xfee0_0000, mask: 0xfff0_0000, destinationShift: 12, redirect: 1 << 3, logical: 1 << 2 };
const MSI_DATA = { vector: 0xff, deliveryShift: 8, assert: 1 << 14, level: 1 << 15 } as const;

export class ApicMessageBus {
  private readonly targets: ApicTarget[] = [];
  private readonly eoiTargets: EoiTarget[] = [];
  /** Where the search for a lowest-priority target begins, so that equals take turns. */
  arbitrationStart = 0;

  connect(target: ApicTarget): void {
    this.targets.push(target);
  }

  connectIoApic(target: EoiTarget): void {
    this.eoiTargets.push(target);
  }

  /** True when at least one local APIC accepted the message. */
  deliver(destination: number, logical: boolean, delivery: number, vector: number, level: boolean): boolean {
    const { targets } = this;
    if (delivery === DELIVERY.lowestPriority) {
      const winner = this.arbitrate(destination, logical);
      return winner >= 0 && targets[winner].receive(DELIVERY.fixed, vector, level);
    }
    let accepted = false;
    for (let i = 0; i < targets.length; i++) {
      if (targets[i].isAddressedBy(destination, logical) && targets[i].receive(delivery, vector, level))
        accepted = true;
    }
    return accepted;
  }

  /** To all local APICs but one (an ICR shorthand). */
  deliverToOthers(sender: ApicTarget, delivery: number, vector: number): void {
    const mode = delivery === DELIVERY.lowestPriority ? DELIVERY.fixed : delivery;
    for (const target of this.targets) if (target !== sender) target.receive(mode, vector, false);
  }

  /**
   * A dword written to FEExxxxxh. The destination mode bit is honoured whatever the redirection hint says, as chipsets
   * do and Linux's flat logical mode relies on. False when nobody accepted it.
   */
  msi(address: number, data: number): boolean {
    if ((address & MSI_ADDRESS.mask) >>> 0 !== MSI_ADDRESS.base) return false;
    const level = (data & MSI_DATA.level) !== 0;
    if (level && (data & MSI_DATA.assert) === 0) return false;
    let delivery = (data >> MSI_DATA.deliveryShift) & 7;
    if (delivery === DELIVERY.fixed && (address & MSI_ADDRESS.redirect) !== 0) delivery = DELIVERY.lowestPriority;
    const destination = (address >> MSI_ADDRESS.destinationShift) & 0xff;
    return this.deliver(destination, (address & MSI_ADDRESS.logical) !== 0, delivery, data & MSI_DATA.vector, level);
  }

  broadcastEndOfInterrupt(vector: number): void {
    for (let i = 0; i < this.eoiTargets.length; i++) this.eoiTargets[i].endOfInterrupt(vector);
  }

  acceptanceChanged(): void {
    for (let i = 0; i < this.eoiTargets.length; i++) this.eoiTargets[i].retry();
  }

  /** The addressed local APIC with the lowest priority, section 11.6.2.4, or -1. */
  private arbitrate(destination: number, logical: boolean): number {
    const { targets } = this;
    let winner = -1;
    for (let i = 0; i < targets.length; i++) {
      const index = (this.arbitrationStart + i) % targets.length;
      const target = targets[index];
      if (!target.arbitrates || !target.isAddressedBy(destination, logical)) continue;
      if (winner < 0 || target.arbitrationPriority < targets[winner].arbitrationPriority) winner = index;
    }
    if (winner >= 0) this.arbitrationStart = (winner + 1) % targets.length;
    return winner;
  }
}
