/**
 * The short ways from generated code to a device: to its raw handlers without leaving WebAssembly, else to TypeScript
 * past what need not be checked. Where either could be wrong, the general slow path decides.
 */
import type { Expr, FunctionBuilder, FunctionRef, ModuleBuilder } from "../../emit/index.ts";
import { CLOCK, PAGE_SHIFT, PAGE_SIZE } from "../../memory/layout.ts";
import { LOGGED } from "../mmu/access-log.ts";
import { MMIO_SITE, MMIO_SITE_SHIFT, MMIO_SITES, MMIO_TLB, MMIO_TLB_ENTRY } from "../mmu/tlb-layout.ts";
import { CPU, FLAG, MODE } from "../state.ts";
import { CPU_IMPORTS, type CpuImports, type DeviceImports, KNOWN_DEVICE } from "./imports.ts";

/** Any breakpoint is enabled: the L and G bits of DR7. */
const DR7_ENABLED = 0xff;

/** The slow paths of `imports` with these short ways in front, as functions of the module. */
export function shortWays(module: ModuleBuilder, imports: CpuImports, devices: DeviceImports): CpuImports {
  return {
    ...imports,
    portIn: portIn(module, imports, devices),
    portOut: portOut(module, imports, devices),
    slowRead: slowRead(module, imports.slowRead, devices),
    slowWrite: slowWrite(module, imports.slowWrite, devices),
  };
}

/**
 * i32: a port access needs no look at the TSS (real mode, or CPL <= IOPL outside virtual-8086 mode: SDM vol 1, 19.5.2),
 * and no breakpoint can match it.
 */
export function portsOpen(f: FunctionBuilder, cpu: Expr): Expr {
  const mode = f.load("i32", 4, cpu, CPU.mode);
  const iopl = f.shrU(f.and(f.load("i32", 4, cpu, CPU.eflags), FLAG.iopl), 12);
  const real = f.eqz(f.and(mode, MODE.protected));
  const privileged = f.and(f.leU(f.load("i32", 4, cpu, CPU.cpl), iopl), f.eqz(f.and(mode, MODE.v86)));
  const watched = f.and(f.load("i32", 4, cpu, CPU.dr + 7 * 8), DR7_ENABLED);
  return f.and(f.or(real, privileged), f.eqz(watched));
}

function portIn(module: ModuleBuilder, imports: CpuImports, devices: DeviceImports): FunctionRef {
  const f = module.function("portIn", CPU_IMPORTS.portIn);
  const [cpu, port, bytes] = [f.param(0), f.param(1), f.param(2)];
  f.if(
    portsOpen(f, cpu),
    () => {
      const value = f.call(devices.rawPortRead, port, bytes);
      f.if(f.geS(value, 0), () => f.return(f.wrap(value)), undefined, true);
      f.return(f.call(devices.openPortIn, port, bytes));
    },
    undefined,
    true,
  );
  f.return(f.call(imports.portIn, cpu, port, bytes));
  return f;
}

function portOut(module: ModuleBuilder, imports: CpuImports, devices: DeviceImports): FunctionRef {
  const f = module.function("portOut", CPU_IMPORTS.portOut);
  const [cpu, port, bytes, value] = [f.param(0), f.param(1), f.param(2), f.param(3)];
  f.if(
    portsOpen(f, cpu),
    () => {
      f.if(f.eqz(f.call(devices.rawPortWrite, port, bytes, value)), () => f.return(f.i32(1)), undefined, true);
      const data = f.and(value, f.shrU(f.i32(-1), f.sub(32, f.shl(bytes, 3))));
      f.return(f.call(devices.openPortOut, port, bytes, data));
    },
    undefined,
    true,
  );
  f.return(f.call(imports.portOut, cpu, port, bytes, value));
  return f;
}

/** `log`: the access is noted, as it has to be in compiled code. */
function slowRead(module: ModuleBuilder, slow: FunctionRef, devices: DeviceImports, log?: FunctionRef): FunctionRef {
  const f = module.function("slowRead", CPU_IMPORTS.slowRead);
  const [cpu, bytes] = [f.param(0), f.param(3)];
  const budget = f.load("i32", 4, f.i32(0), CLOCK.budget);
  const done = () => {
    if (log) f.call(log, f.or(bytes, LOGGED.read), f.param(1), f.param(2), budget);
    f.return(f.add(cpu, CPU.scratch));
  };
  ifDevice(f, MMIO_TLB_ENTRY.readTag, (physical) => readDevice(f, devices, physical, bytes, done));
  f.return(f.call(slow, cpu, f.param(1), f.param(2), bytes));
  return f;
}

function slowWrite(module: ModuleBuilder, slow: FunctionRef, devices: DeviceImports, log?: FunctionRef): FunctionRef {
  const f = module.function("slowWrite", CPU_IMPORTS.slowWrite);
  const [cpu, bytes] = [f.param(0), f.param(3)];
  const budget = f.load("i32", 4, f.i32(0), CLOCK.budget);
  const done = () => {
    if (log) f.call(log, f.or(bytes, LOGGED.write), f.param(1), f.param(2), budget);
    f.return(f.i32(1));
  };
  ifDevice(f, MMIO_TLB_ENTRY.writeTag, (physical) => writeDevice(f, devices, physical, bytes, done));
  f.return(f.call(slow, cpu, f.param(1), f.param(2), bytes));
  return f;
}

/** Reads from a device to the scratch slot: `done`, or the function returns 0. */
function readDevice(f: FunctionBuilder, devices: DeviceImports, physical: Expr, bytes: Expr, done: () => void): void {
  f.if(isRawWidth(f, bytes), () => {
    const value = f.call(devices.rawMmioRead, physical, bytes);
    const store = () => {
      f.store(8, f.param(0), value, CPU.scratch);
      done();
    };
    f.if(f.geS(value, 0), store, undefined, true);
  });
  f.if(f.eqz(f.call(devices.deviceRead, physical, bytes)), () => f.return(f.i32(0)), undefined, false);
  done();
}

/** Writes to a device from the scratch slot. */
function writeDevice(f: FunctionBuilder, devices: DeviceImports, physical: Expr, bytes: Expr, done: () => void): void {
  f.if(isRawWidth(f, bytes), () => {
    const value = f.load("i32", 4, f.param(0), CPU.scratch);
    f.if(f.eqz(f.call(devices.rawMmioWrite, physical, bytes, value)), done, undefined, true);
  });
  f.if(f.eqz(f.call(devices.deviceWrite, physical, bytes)), () => f.return(f.i32(0)), undefined, false);
  done();
}

/** The same for compiled code, which the interpreter's module exports. */
export function shortWaysOfCompiledCode(module: ModuleBuilder, devices: DeviceImports) {
  return {
    compiledRead: slowRead(module, devices.loggedRead, devices, devices.logAccess),
    compiledWrite: slowWrite(module, devices.loggedWrite, devices, devices.logAccess),
    readDevice: knownDevice(module, "readDevice", devices, readDevice),
    writeDevice: knownDevice(module, "writeDevice", devices, writeDevice),
  };
}

/** An access whose guest-physical address is known, and what lies there: to or from the scratch slot. 1, or 0. */
function knownDevice(
  module: ModuleBuilder,
  name: string,
  devices: DeviceImports,
  access: typeof readDevice,
): FunctionRef {
  const f = module.function(name, KNOWN_DEVICE);
  access(f, devices, f.param(1), f.param(2), () => f.return(f.i32(1)));
  f.unreachable();
  return f;
}

const isRawWidth = (f: FunctionBuilder, bytes: Expr) => f.and(f.leU(bytes, 4), f.ne(bytes, 3));

/** Calls `then` for an access (cpu, linear low, linear high, bytes) of one page that is known to be no memory. */
function ifDevice(f: FunctionBuilder, tag: number, then: (physical: Expr) => void): void {
  const [cpu, low, high, bytes] = [f.param(0), f.param(1), f.param(2), f.param(3)];
  const user = f.eq(f.load("i32", 4, cpu, CPU.cpl), 3);
  const number = f.or(f.and(f.shrU(low, PAGE_SHIFT), MMIO_TLB.entries - 1), f.shl(user, Math.log2(MMIO_TLB.entries)));
  const entry = f.let(f.add(cpu, f.shl(number, Math.log2(MMIO_TLB.entrySize))));
  const last = f.add(low, f.sub(bytes, 1));
  const lowHit = f.eq(f.and(last, -PAGE_SIZE), f.load("i32", 4, entry, MMIO_TLB.base + tag));
  const highHit = f.eq(high, f.load("i32", 4, entry, MMIO_TLB.base + tag + 4));
  // A page's last byte tells that the first lies in it too, or in the page before.
  const whole = f.eq(f.and(f.xor(low, last), -PAGE_SIZE), 0);
  // Somebody looks at each access, or knows what this one has given already.
  const open = f.and(f.ne(f.load("i32", 4, cpu, CPU.walkMode), 0), f.eqz(f.load("i32", 4, cpu, CPU.replaying)));
  f.if(f.and(f.and(f.and(lowHit, highHit), whole), open), () => {
    const page = f.load("i32", 4, entry, MMIO_TLB.base + MMIO_TLB_ENTRY.physical);
    const physical = f.let(f.or(page, f.and(low, PAGE_SIZE - 1)));
    noteSite(f, cpu, physical, low, high);
    then(physical);
  });
}

function noteSite(f: FunctionBuilder, cpu: Expr, physical: Expr, low: Expr, high: Expr): void {
  const pc = f.let(f.load("i32", 4, cpu, CPU.startPc));
  const number = f.and(f.xor(pc, f.shrU(pc, MMIO_SITE_SHIFT)), MMIO_SITES.entries - 1);
  const site = f.let(f.add(cpu, f.shl(number, Math.log2(MMIO_SITES.entrySize))));
  f.store(4, site, pc, MMIO_SITES.base + MMIO_SITE.pc);
  f.store(4, site, physical, MMIO_SITES.base + MMIO_SITE.physical);
  f.store(4, site, low, MMIO_SITES.base + MMIO_SITE.linear);
  f.store(4, site, high, MMIO_SITES.base + MMIO_SITE.linear + 4);
}
