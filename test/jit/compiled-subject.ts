/** The software CPU as a subject of differential tests, its code compiled. */
import { CPU } from "../../src/cpu/state.ts";
import { CLOCK, HOT_BASE, HOT_ENTRIES } from "../../src/memory/layout.ts";
import { SoftwareSubject } from "../differential/software.ts";
import type { MachineCase, Mode, Outcome } from "../differential/state.ts";

export class CompiledSubject extends SoftwareSubject {
  /** Instructions in all, and those that were interpreted. */
  executed = 0;
  interpreted = 0;

  constructor(mode: Mode) {
    super(mode, "always");
  }

  override run(one: MachineCase): Outcome {
    const { state, code } = this.vcpu;
    // The code was written past everything that would notice.
    code!.reset();
    // So were the places where an earlier program had nothing that can be compiled.
    this.memory.bytes.fill(0, HOT_BASE, HOT_BASE + HOT_ENTRIES * 8);
    state.setNumber(CPU.interpreted, 0);
    const outcome = super.run(one);
    const { data } = state;
    this.executed += data.getInt32(CLOCK.sliceBudget, true) - data.getInt32(CLOCK.budget, true);
    this.interpreted += code!.interpreted;
    return outcome;
  }
}
