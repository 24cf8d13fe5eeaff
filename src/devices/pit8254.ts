/**
 * The 8254 programmable interval timer of a PC (ports 40h-43h) and the system control port 61h around its counter 2.
 * Counter 0 drives IRQ 0 (GSI 0), counter 1 is the old refresh timer, counter 2 the speaker. Everything is derived from
 * virtual time: only the edges of OUT 0 that make interrupts are events.
 *
 * Sources: Intel 8254 data sheet (231164); Intel ICH9 data sheet (316972), 8254 timers and NMI_SC register.
 */
import { defineDevice } from "../device/define.ts";
import { type RawBuilder, raw } from "../device/raw.ts";
import { bytePorts } from "./byte-ports.ts";
import { PIT_COUNTER, PitCounter } from "./pit8254-counter.ts";

/** 14.31818 MHz / 12. */
export const PIT_HZ = 1_193_182;
const IRQ0 = 0;

export interface Pit8254 {
  /** Whether OUT 0 reaches IRQ 0. An HPET in legacy replacement mode takes that line over (HPET 1.0a, 2.3.3). */
  connectInterrupt(connected: boolean): void;
}

/** Control word (8254, figure 7) with the counter field 3: read-back (figure 11), its bits active low. */
const READ_BACK = { keepCount: 0x20, keepStatus: 0x10 } as const;
const CONTROL_BITS = 0x3f;
/** Control word, without the counter: both bytes, mode 0, binary. */
const MODE0_BOTH_BYTES = 0x30;

/** Port 61h, NMI_SC. Bits 0..3 are kept as written; 6 and 7 (IOCHK#, SERR#) would show errors that never happen. */
const NMI_SC = { gate2: 0x01, writable: 0x0f, refreshShift: 4, output2Shift: 5 } as const;
/** The refresh toggle changes every 15.0857 us, as by a counter 1 that divides by 18. */
const REFRESH_HZ = 66_288;

/**
 * The shortest distance of two IRQ 0 edges in the periodic modes: 20 us. Shorter periods come from hostile or confused
 * guests; their interrupts coalesce, so that they cannot flood the host. What the ports show stays exact.
 */
const MIN_PERIOD_TICKS = 24;

/** `output2From` of an OUT 2 that will not rise. */
const NEVER_TICK = 2 ** 53 - 1;

export const pit8254 = defineDevice("pit8254", (host): Pit8254 => {
  const ticks = host.clock.counter(PIT_HZ);
  const refresh = host.clock.counter(REFRESH_HZ);
  const counters = [0, 1, 2].map(() => new PitCounter(host.registers(PIT_COUNTER)));
  const [counter0, , counter2] = counters;
  const board = host.registers({
    /** Port 61h as written. */
    control: "u8",
    /** 1: OUT 0 does not reach IRQ 0. */
    disconnected: "u8",
    /** Counter 2 is in mode 0, where OUT 2 is high from tick `output2From` on: raw handlers know it without the mode. */
    output2Known: "u8",
    output2From: "u64",
    /** The armed event is a rise of OUT 0 (or the end of a strobe), else a fall. */
    eventIsRise: "u8",
    /** When an event last raised IRQ 0. */
    lastRise: "u64",
  });
  const irq0 = host.interrupt(IRQ0);
  const event = host.timer(() => {
    const tick = ticks.read();
    // Late by more than half a cycle, a fall has become a rise: at least one edge must come out.
    if (board.eventIsRise || counter0.output(tick)) {
      irq0.pulse();
      board.lastRise = tick;
    } else {
      irq0.set(false);
    }
    schedule(tick);
  });

  /** Arms the next edge of OUT 0. The one-tick low strobes of modes 2 and 4 become a pulse at their end. */
  function schedule(tick: number): void {
    if (board.disconnected) {
      event.cancel();
      return;
    }
    const rise = counter0.nextRise(tick, board.lastRise + MIN_PERIOD_TICKS);
    const fall = counter0.mode === 3 ? counter0.nextFall(tick) : Number.POSITIVE_INFINITY;
    board.eventIsRise = rise <= fall || fall < board.lastRise + MIN_PERIOD_TICKS / 2 ? 1 : 0;
    const next = board.eventIsRise ? rise : fall;
    event.set(next === Number.POSITIVE_INFINITY ? next : ticks.timeOf(next));
  }

  function changed(counter: PitCounter, tick: number): void {
    if (counter === counter0) {
      const strobes = counter0.mode === 2 || counter0.mode === 4 || counter0.mode === 5;
      irq0.set(!board.disconnected && (strobes || counter0.output(tick)));
      schedule(tick);
    } else if (counter === counter2) {
      const rises = counter.output(tick) ? 0 : counter.nextRise(tick, tick);
      board.output2Known = counter.mode === 0 ? 1 : 0;
      board.output2From = rises === Number.POSITIVE_INFINITY ? NEVER_TICK : rises;
    }
  }

  function writeControlWord(value: number): void {
    const tick = ticks.read();
    const select = value >> 6;
    if (select === 3) {
      counters.forEach((counter, index) => {
        if (!(value & (2 << index))) return;
        if (!(value & READ_BACK.keepCount)) counter.latchCount(tick);
        if (!(value & READ_BACK.keepStatus)) counter.latchStatus(tick);
      });
      return;
    }
    const counter = counters[select];
    if ((value & 0x30) === 0) {
      counter.latchCount(tick);
      return;
    }
    counter.writeControl(tick, value & CONTROL_BITS);
    changed(counter, tick);
  }

  const timerPorts = bytePorts(
    4,
    // The control word register cannot be read (8254, figure 5).
    (offset) => (offset === 3 ? 0xff : counters[offset].read(ticks.read())),
    (offset, value) => {
      if (offset === 3) {
        writeControlWord(value);
        return;
      }
      const tick = ticks.read();
      counters[offset].writeCount(tick, value);
      changed(counters[offset], tick);
    },
  );
  host.ports(
    { base: 0x40, length: 4 },
    { read: { raw: raw((x) => readCounter2(x)), ring0: timerPorts.read }, write: timerPorts.write },
  );

  /** Port 42h as calibration loops poll it: counter 2 counting in mode 0, both bytes, nothing latched. */
  function readCounter2(x: RawBuilder) {
    const r = counter2.registers;
    const usual = x.and(
      x.and(x.eq(x.offset, 2), x.eq(x.get(r, "control"), MODE0_BOTH_BYTES)),
      x.and(
        x.eq(x.or(x.or(x.get(r, "latched"), x.get(r, "statusLatched")), x.get(r, "loadPending")), 0),
        x.get(r, "running"),
      ),
    );
    if (x.width !== 1) x.decline();
    x.if(x.not(usual), () => x.decline());
    const elapsed = x.add(x.sub(x.counter(ticks), x.get(r, "origin")), x.get(r, "counted"));
    const value = x.sub(x.get(r, "reload"), x.low(elapsed));
    const high = x.let(x.get(r, "readHigh"));
    const byte = x.let(x.and(x.shrU(value, x.shl(high, 3)), 0xff));
    x.set(r, "readHigh", x.xor(high, 1));
    return byte;
  }

  host.ports(
    { base: 0x61, length: 1 },
    {
      read: {
        raw: raw((x) => {
          x.if(x.not(x.get(board, "output2Known")), () => x.decline());
          const toggle = x.and(x.low(x.counter(refresh)), 1);
          const output2 = x.geU(x.counter(ticks), x.get(board, "output2From"));
          return x.or(
            x.get(board, "control"),
            x.or(x.shl(toggle, NMI_SC.refreshShift), x.shl(output2, NMI_SC.output2Shift)),
          );
        }),
        ring0: () => {
          const output2 = counter2.output(ticks.read()) ? 1 : 0;
          return board.control | ((refresh.read() % 2) << NMI_SC.refreshShift) | (output2 << NMI_SC.output2Shift);
        },
      },
      write: (_offset, value) => {
        const tick = ticks.read();
        board.control = value & NMI_SC.writable;
        counter2.setGate(tick, (value & NMI_SC.gate2) !== 0);
        changed(counter2, tick);
      },
    },
  );

  /** The gates of counters 0 and 1 are tied high. Until their first control word the outputs are low, as in mode 0. */
  function reset(): void {
    counter0.registers.gate = 1;
    counters[1].registers.gate = 1;
    changed(counter2, ticks.read());
  }
  reset();
  host.onReset(reset);

  return {
    connectInterrupt(connected) {
      board.disconnected = connected ? 0 : 1;
      changed(counter0, ticks.read());
    },
  };
});
