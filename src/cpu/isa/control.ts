import type { Expr } from "../../emit/index.ts";
import { encodeVmxIo } from "../../exits/vmx-io.ts";
import { CPU, EVENT, FLAG, MODE, ONCE, RAX, RCX, RDX, SEG, VECTOR } from "../state.ts";
import type { Family, FormSpec } from "./define.ts";
import { setCf } from "./shifts.ts";
import type { OperandWidth, X86 } from "./x86.ts";

const CR4_TSD = 1 << 2;
/** Numbers that exist, a bit each: CR0, CR2 to CR4 and CR8; DR0 to DR7. */
const CONTROL_REGISTERS = 0x11d;
const DEBUG_REGISTERS = 0xff;

const range = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);

/** Branches, calls, interrupts, flag control and port I/O. */
export const control: Family = (define) => {
  const relative = (x: X86): Expr => x.let(x.zx(x.add(x.nextRip(), x.imm)));

  for (const code of range(0, 16)) {
    define("jcc", [
      { opcode: 0x70 + code, imm: "b", size: "f64" },
      { map: 1, opcode: 0x80 + code, imm: "rel", size: "f64" },
    ], (x) => x.if(x.condition(code), () => x.jump(relative(x))));
  }
  define("jmp rel", [
    { opcode: 0xeb, imm: "b", size: "f64" },
    { opcode: 0xe9, imm: "rel", size: "f64" },
  ], (x) => x.jump(relative(x)));
  const call = (x: X86, target: Expr) => {
    const next = x.nextRip();
    const top = x.stackOffset(x.readStackPointer(), -x.bytes);
    // As silicon does: the return address is in memory before the target is looked at.
    x.writeMemory(x.stackAddress(top), x.bytes, next);
    x.checkTarget(target);
    x.writeStackPointer(top);
    x.jump(target);
  };
  define("call rel", { opcode: 0xe8, imm: "rel", size: "f64" }, (x) => call(x, relative(x)));
  define("call r/m", { opcode: 0xff, digit: 2, size: "f64" }, (x) => call(x, x.readRm()));
  define("jmp r/m", { opcode: 0xff, digit: 4, size: "f64" }, (x) => x.jump(x.readRm()));
  const ret = (x: X86, release: Expr) => {
    const top = x.readStackPointer();
    const target = x.readMemory(x.stackAddress(top), x.bytes);
    x.checkTarget(target);
    x.writeStackPointer(x.add(x.add(top, x.bytes), release));
    x.jump(target);
  };
  define("ret", { opcode: 0xc3, size: "f64" }, (x) => ret(x, x.i64(0)));
  define("ret imm", { opcode: 0xc2, imm: "w", size: "f64" }, (x) => ret(x, x.imm));

  // Far transfers are slow paths.
  define("jmp far", { opcode: 0xea, imm: "far", modes: "legacy" }, (x) => x.system("far-jump", x.imm2, x.imm));
  define("call far", { opcode: 0x9a, imm: "far", modes: "legacy" }, (x) =>
    x.system("far-call", x.imm2, x.imm, x.i64(x.width)),
  );
  const farPointer = (x: X86) => {
    const address = x.rmAddress();
    return { offset: x.readMemory(address, x.bytes), selector: x.readMemory(address, 2, x.bytes) };
  };
  define("jmp far m", { opcode: 0xff, digit: 5, operand: "memory" }, (x) => {
    const { selector, offset } = farPointer(x);
    x.system("far-jump", selector, offset);
  });
  define("call far m", { opcode: 0xff, digit: 3, operand: "memory" }, (x) => {
    const { selector, offset } = farPointer(x);
    x.system("far-call", selector, offset, x.i64(x.width));
  });
  define("ret far", { opcode: 0xcb }, (x) => x.system("far-return", x.i64(x.width), x.i64(0)));
  define("ret far imm", { opcode: 0xca, imm: "w" }, (x) => x.system("far-return", x.i64(x.width), x.imm));
  define("iret", { opcode: 0xcf }, (x) => x.system("iret", x.i64(x.width)));
  define("int", { opcode: 0xcd, imm: "b", size: "b" }, (x) => x.system("interrupt", x.let(x.and(x.imm, 0xff))));
  define("int3", { opcode: 0xcc }, (x) => x.system("int3"));
  define("int1", { opcode: 0xf1 }, (x) => x.system("int1"));
  define("into", { opcode: 0xce, modes: "legacy" }, (x) => x.if(x.of_(), () => x.system("into")));

  const loop = (name: string, opcode: number, wanted: (x: X86) => Expr | undefined) =>
    define(name, { opcode, imm: "b", size: "f64" }, (x) => {
      const count = x.let(x.sub(x.readCount(), 1));
      const more = x.let(x.ne(x.and(count, x.addressMask()), 0));
      const also = wanted(x);
      const taken = also ? x.let(x.and(more, also)) : more;
      // The target is checked before the count changes.
      x.if(taken, () => x.checkTarget(relative(x)));
      x.writeIndex(RCX, count);
      x.if(taken, () => x.jump(relative(x)));
    });
  loop("loopne", 0xe0, (x) => x.eqz(x.zf()));
  loop("loope", 0xe1, (x) => x.zf());
  loop("loop", 0xe2, () => undefined);
  define("jcxz", { opcode: 0xe3, imm: "b", size: "f64" }, (x) => x.if(x.eqz(x.readCount()), () => x.jump(relative(x))));

  define("clc", { opcode: 0xf8 }, (x) => setCf(x, x.i32(0)));
  define("stc", { opcode: 0xf9 }, (x) => setCf(x, x.i32(1)));
  define("cmc", { opcode: 0xf5 }, (x) => setCf(x, x.let(x.xor(x.cf(), 1))));
  define("cld", { opcode: 0xfc }, (x) => x.setField("i32", CPU.eflags, x.and(x.systemFlags(), ~FLAG.df)));
  define("std", { opcode: 0xfd }, (x) => x.setField("i32", CPU.eflags, x.or(x.systemFlags(), FLAG.df)));
  /** IOPL lets this CPL change IF; in V86 mode, at CPL 3, that means IOPL 3. */
  const ownsIf = (x: X86) => x.leU(x.cpl(), x.and(x.shrU(x.systemFlags(), 12), 3));
  define("cli", { opcode: 0xfa }, (x) =>
    x.if(
      ownsIf(x),
      () => x.setField("i32", CPU.eflags, x.and(x.systemFlags(), ~FLAG.if)),
      () => x.system("cli"),
      true,
    ),
  );
  define("sti", { opcode: 0xfb }, (x) => {
    const nmi = x.and(x.field("i32", CPU.pendingEvents), EVENT.nmi);
    const waiting = x.let(x.or(nmi, x.field("i32", CPU.intr)));
    x.if(
      x.and(ownsIf(x), x.eqz(waiting)),
      () => {
        const flags = x.systemFlags();
        x.if(x.eqz(x.and(flags, FLAG.if)), () => {
          x.setField("i32", CPU.eflags, x.or(flags, FLAG.if));
          x.setField("i32", CPU.once, ONCE.shadow);
          x.setField("i32", CPU.onceBudget, x.budgetLeft());
        });
      },
      () => x.system("sti"),
      true,
    );
  });

  define("ud", [
    { map: 1, opcode: 0x0b },
    { map: 1, opcode: 0xff, modrm: true },
    { map: 1, opcode: 0xb9, modrm: true },
  ], (x) => x.fault(VECTOR.ud));

  define("bound", { opcode: 0x62, operand: "memory", modes: "legacy" }, (x) => {
    const address = x.rmAddress();
    const low = x.let(x.sx(x.readMemory(address, x.bytes)));
    const index = x.let(x.sx(x.readReg()));
    // Silicon looks at the lower bound before it reads the upper one.
    x.if(x.ltS(index, low), () => x.fault(VECTOR.br), undefined, false);
    const high = x.let(x.sx(x.readMemory(address, x.bytes, x.bytes)));
    x.if(x.gtS(index, high), () => x.fault(VECTOR.br), undefined, false);
  });

  ports(define);
  system(define);
};

/** IN and OUT never move more than 32 bits. */
const portWidth = (x: X86): OperandWidth => (x.width === 64 ? 32 : x.width);

function ports(define: Parameters<Family>[0]): void {
  const pair = (opcode: number, imm?: "b"): FormSpec[] => [
    { opcode, size: "b", ...(imm && { imm }) },
    { opcode: opcode + 1, ...(imm && { imm }) },
  ];
  const bytesOf = (x: X86) => (portWidth(x) >> 3) as 1 | 2 | 4;
  const unlessExits = (x: X86, direction: "in" | "out", immediate: boolean, port: Expr, access: () => void): void => {
    const fixed = encodeVmxIo({ port: 0, bytes: bytesOf(x), direction, string: false, rep: false, immediate });
    x.if(x.ioExits(), () => x.system("io-exit", x.or(x.shl(port, 16), x.i64(fixed))), access, false);
  };
  const input = (x: X86, immediate: boolean, port: Expr): void =>
    unlessExits(x, "in", immediate, port, () => x.writeAcc(x.portIn(port, bytesOf(x)), portWidth(x)));
  const output = (x: X86, immediate: boolean, port: Expr): void =>
    unlessExits(x, "out", immediate, port, () => x.portOut(port, bytesOf(x), x.readAcc(32)));
  const byte = (x: X86) => x.let(x.and(x.imm, 0xff));
  const dx = (x: X86) => x.let(x.readGpr(RDX, 16));
  define("in acc, imm", pair(0xe4, "b"), (x) => input(x, true, byte(x)));
  define("in acc, dx", pair(0xec), (x) => input(x, false, dx(x)));
  define("out imm, acc", pair(0xe6, "b"), (x) => output(x, true, byte(x)));
  define("out dx, acc", pair(0xee), (x) => output(x, false, dx(x)));
  define("ins", pair(0x6c), (x) => x.system("ins", x.i64(bytesOf(x))));
  define("outs", pair(0x6e), (x) => x.system("outs", x.i64(bytesOf(x))));
}

/** EDX:EAX := the time stamp counter. Where CR4.TSD reserves it for CPL 0, the slow path decides. */
function readTimeStamp(x: X86, slow: "rdtsc" | "rdtscp"): void {
  x.if(x.and(x.field("i32", CPU.cr4), CR4_TSD), () => x.system(slow), undefined, false);
  const ticks = x.let(x.add(x.virtualTime(), x.field("i64", CPU.tscAdjust)));
  x.writeGpr(RAX, ticks, 32);
  x.writeGpr(RDX, x.shrU(ticks, 32), 32);
}

function system(define: Parameters<Family>[0]): void {
  const selectorOf = (x: X86, segment: number) => x.u64(x.field("i32", CPU.segments + segment * SEG.size));
  /** SLDT, STR, VERx, LAR, LSL and ARPL do not exist in real and V86 mode. */
  const requireProtected = (x: X86) => {
    const mode = x.and(x.field("i32", CPU.mode), MODE.protected | MODE.v86);
    x.if(x.ne(mode, MODE.protected), () => x.fault(VECTOR.ud), undefined, false);
  };
  const group6: readonly (readonly [string, (x: X86) => void])[] = [
    ["sldt", (x) => x.writeRm(selectorOf(x, 6), x.rmIsMemory ? 16 : x.width)],
    ["str", (x) => x.writeRm(selectorOf(x, 7), x.rmIsMemory ? 16 : x.width)],
    [
      "lldt",
      (x) => {
        x.requireCpl0();
        x.system("lldt", x.readRm(16));
      },
    ],
    [
      "ltr",
      (x) => {
        x.requireCpl0();
        x.system("ltr", x.readRm(16));
      },
    ],
    ["verr", (x) => x.system("verr", x.readRm(16))],
    ["verw", (x) => x.system("verw", x.readRm(16))],
  ];
  group6.forEach(([name, body], digit) => {
    define(name, { map: 1, opcode: 0x00, digit }, (x) => {
      requireProtected(x);
      body(x);
    });
  });

  const storeTable = (x: X86, limit: number, base: number) => {
    const address = x.rmAddress();
    const bytes = x.mode64 ? 8 : 4;
    x.proveWritable(address, 2 + bytes);
    x.writeMemory(address, 2, x.field("i64", limit));
    // A 16-bit operand size still stores 32 bits of base on current CPUs (SDM vol 2, SGDT).
    x.writeMemory(address, bytes, x.field("i64", base), 2);
  };
  const loadTable = (x: X86, operation: "lgdt" | "lidt") => {
    x.requireCpl0();
    const address = x.rmAddress();
    const limit = x.readMemory(address, 2);
    const base = x.readMemory(address, x.mode64 ? 8 : 4, 2);
    x.system(operation, !x.mode64 && x.width === 16 ? x.let(x.and(base, 0xff_ffff)) : base, limit);
  };
  const table = { map: 1, opcode: 0x01, operand: "memory" } as const;
  define("sgdt", { ...table, digit: 0 }, (x) => storeTable(x, CPU.gdtrLimit, CPU.gdtrBase));
  define("sidt", { ...table, digit: 1 }, (x) => storeTable(x, CPU.idtrLimit, CPU.idtrBase));
  define("lgdt", { ...table, digit: 2 }, (x) => loadTable(x, "lgdt"));
  define("lidt", { ...table, digit: 3 }, (x) => loadTable(x, "lidt"));
  define("smsw", { map: 1, opcode: 0x01, digit: 4 }, (x) =>
    x.writeRm(x.field("i64", CPU.cr0), x.rmIsMemory ? 16 : x.width),
  );
  define("lmsw", { map: 1, opcode: 0x01, digit: 6 }, (x) => {
    x.requireCpl0();
    x.system("lmsw", x.readRm(16));
  });
  define("invlpg", { ...table, digit: 7 }, (x) => {
    x.requireCpl0();
    const { offset, segment } = x.rmAddress();
    x.system("invlpg", offset, x.u64(segment));
  });
  define("swapgs", { map: 1, opcode: 0x01, digit: 7, rm: 0, modes: "64" }, (x) => {
    x.requireCpl0();
    x.system("swapgs");
  });
  // VMCALL and VMMCALL (SDM vol 3, 31.3; APM vol 3, VMMCALL): either calls the monitor, if there is one to call.
  define("vmcall", { map: 1, opcode: 0x01, digit: 0, rm: 1 }, (x) => x.system("hypercall"));
  define("vmmcall", { map: 1, opcode: 0x01, digit: 3, rm: 1 }, (x) => x.system("hypercall"));
  define("rdtscp", { map: 1, opcode: 0x01, digit: 7, rm: 1 }, (x) => {
    readTimeStamp(x, "rdtscp");
    x.writeGpr(RCX, x.field("i64", CPU.tscAux), 32);
  });

  define("lar", { map: 1, opcode: 0x02, modrm: true }, (x) => {
    requireProtected(x);
    x.system("lar", x.readRm(16), x.u64(x.regNumber()), x.i64(x.width));
  });
  define("lsl", { map: 1, opcode: 0x03, modrm: true }, (x) => {
    requireProtected(x);
    x.system("lsl", x.readRm(16), x.u64(x.regNumber()), x.i64(x.width));
  });
  define("arpl", { opcode: 0x63, modrm: true, modes: "legacy" }, (x) => {
    requireProtected(x);
    const source = x.let(x.and(x.readReg(16), 3));
    // The selector is read first and written only if it changes: a read-only page does not matter otherwise.
    const old = x.let(x.readRm(16));
    const lower = x.let(x.ltU(x.and(old, 3), source));
    x.if(lower, () => x.writeRm(x.or(x.and(old, -4), source), 16));
    x.flagsMerge(x.shl(lower, 6), FLAG.zf);
  });

  const privileged = (name: string, opcode: number, operation: Parameters<X86["system"]>[0], modes?: "64") =>
    define(name, { map: 1, opcode, ...(modes && { modes }) }, (x) => {
      x.requireCpl0();
      x.system(operation);
    });
  define("syscall", { map: 1, opcode: 0x05, modes: "64" }, (x) => x.system("syscall"));
  define("sysret", { map: 1, opcode: 0x07, modes: "64", size: "y" }, (x) => x.system("sysret", x.i64(x.width)));
  privileged("clts", 0x06, "clts");
  privileged("invd", 0x08, "wbinvd");
  privileged("wbinvd", 0x09, "wbinvd");
  privileged("wrmsr", 0x30, "wrmsr");
  privileged("rdmsr", 0x32, "rdmsr");
  define("rdtsc", { map: 1, opcode: 0x31 }, (x) => readTimeStamp(x, "rdtsc"));
  define("rdpmc", { map: 1, opcode: 0x33 }, (x) => x.system("rdpmc"));
  define("sysenter", { map: 1, opcode: 0x34 }, (x) => x.system("sysenter"));
  define("sysexit", { map: 1, opcode: 0x35, size: "y" }, (x) => {
    x.requireCpl0();
    x.system("sysexit", x.i64(x.width));
  });
  define("cpuid", { map: 1, opcode: 0xa2 }, (x) => x.system("cpuid"));
  define("hlt", { opcode: 0xf4 }, (x) => {
    x.requireCpl0();
    x.system("hlt");
  });

  // MOV to and from control and debug registers: always registers, whatever ModRM.mod says (SDM vol 2, MOV-CR).
  for (const [name, opcode, operation, numbers, load] of [
    ["mov r, cr", 0x20, "mov-from-cr", CONTROL_REGISTERS, false],
    ["mov r, dr", 0x21, "mov-from-dr", DEBUG_REGISTERS, false],
    ["mov cr, r", 0x22, "mov-to-cr", CONTROL_REGISTERS, true],
    ["mov dr, r", 0x23, "mov-to-dr", DEBUG_REGISTERS, true],
  ] as const) {
    define(name, { map: 1, opcode, modrm: true, rmAlwaysRegister: true }, (x) => {
      // Registers that do not exist are #UD at any CPL, as undefined opcodes are (SDM vol 3, table 6-2: decoding).
      const exists = x.and(x.shrU(x.i32(numbers), x.regNumber()), 1);
      x.if(x.eqz(exists), () => x.fault(VECTOR.ud), undefined, false);
      x.requireCpl0();
      const number = x.u64(x.regNumber());
      if (load) x.system(operation, number, x.readRm(x.mode64 ? 64 : 32));
      else x.system(operation, number, x.u64(x.rmNumber()));
    });
  }
}
