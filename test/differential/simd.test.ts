/** SIMD results that random programs compare only loosely or not at all, exactly as the host CPU has them. */
import { describe, expect, it } from "vitest";
import { fxImage } from "./initial.ts";
import { runNative } from "./native.ts";
import { Random } from "./prng.ts";
import { SoftwareSubject } from "./software.ts";
import { type Bytes, Ldt, type MachineCase, type Outcome, WINDOW_BASE, WINDOW_SIZE } from "./state.ts";
import { hostVendor } from "./vendor.ts";

const vendor = hostVendor();

const SOURCE = 0;
const DESTINATION = 0x7000;
const RSI = 6;
const RDI = 7;
const RCX = 1;
const NULL_SEGMENTS = { ds: Ldt.null, es: Ldt.null, fs: Ldt.null, gs: Ldt.null, ss: Ldt.null };

/** A 64-bit program with RSI at the source, RDI at the destination, RCX a count; `source` is patched in. */
function machineCase(code: readonly number[], source: Uint8Array, count = 0): MachineCase {
  const gpr = new BigUint64Array(16);
  gpr[RSI] = BigInt(WINDOW_BASE + SOURCE);
  gpr[RDI] = BigInt(WINDOW_BASE + DESTINATION);
  gpr[RCX] = BigInt(count);
  const fx = new Uint8Array(512);
  const view = new DataView(fx.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, 0x1f80, true);
  const patches: Bytes[] = [{ offset: SOURCE, bytes: source }];
  const codeBytes = Uint8Array.from(code);
  return { mode: 64, gpr, rflags: 0x202, fx, segments: NULL_SEGMENTS, codeOffset: 0, code: codeBytes, patches };
}

/** What the destination holds afterwards, on both; `length` bytes. */
function runBoth(one: MachineCase, length: number): { host: Uint8Array; ours: Uint8Array } {
  const background = new Uint8Array(WINDOW_SIZE);
  const subject = new SoftwareSubject(64);
  subject.prepare(background);
  const destination = ({ vector, changes }: Outcome): Uint8Array => {
    expect(vector).toBe(3);
    const bytes = new Uint8Array(WINDOW_SIZE);
    for (const change of changes) bytes.set(change.bytes, change.offset);
    return bytes.slice(DESTINATION, DESTINATION + length);
  };
  return { host: destination(runNative(background, [one], 64)[0]!), ours: destination(subject.run(one)) };
}

describe.runIf(vendor === "Intel")("RCPPS and RSQRTPS give the values of Intel processors", () => {
  const FLOATS = 0x7000 / 4;
  const chunks = (bits: number[]): number[][] =>
    Array.from({ length: Math.ceil(bits.length / FLOATS) }, (_, i) => bits.slice(i * FLOATS, (i + 1) * FLOATS));
  const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

  const operands: readonly (readonly [string, number[]])[] = [
    // Both ends of each of the 2048 segments that RCPPS tells apart, in two binades for RSQRTPS.
    [
      "every segment",
      [0x3f80_0000, 0x4000_0000].flatMap((base) =>
        range(2048).flatMap((i) => [base + (i << 12), base + (i << 12) + 0xfff]),
      ),
    ],
    // Every exponent, both signs: zeros, denormals, infinities and NaNs, results that underflow.
    [
      "every exponent",
      range(512).flatMap((head) =>
        [0, 1, 0x1000, 0x3f_ffff, 0x40_0000, 0x5a_5a5a, 0x7f_ffff].map((low) => (head << 23) + low),
      ),
    ],
  ];

  it.each([
    ["rcpps", 0x53],
    ["rsqrtps", 0x52],
  ])("%s", (_, opcode) => {
    // again: op xmm0, [rsi]; movaps [rdi], xmm0; add rsi, 16; add rdi, 16; dec ecx; jnz again
    const loop = [
      0x0f,
      opcode,
      0x06,
      0x0f,
      0x29,
      0x07,
      0x48,
      0x83,
      0xc6,
      16,
      0x48,
      0x83,
      0xc7,
      16,
      0xff,
      0xc9,
      0x75,
      0xee,
    ];
    for (const [name, bits] of operands) {
      for (const part of chunks(bits)) {
        const source = new Uint8Array(Uint32Array.from(part).buffer);
        const { host, ours } = runBoth(machineCase(loop, source, part.length / 4), source.length);
        expect(ours, name).toEqual(host);
      }
    }
  });
});

describe.runIf(vendor)("FXRSTOR and FXSAVE of memory that was used before", () => {
  it("leave the same image", () => {
    const random = new Random(1);
    // mov al, [rsi]; mov [rdi], al; then fxrstor [rsi]; fxsave [rdi]
    const code = [0x8a, 0x06, 0x88, 0x07, 0x0f, 0xae, 0x0e, 0x0f, 0xae, 0x07];
    for (let i = 0; i < 40; i++) {
      const image = fxImage(random);
      const { host, ours } = runBoth(machineCase(code, image), 416);
      for (const one of [host, ours]) {
        // Opcode and pointers depend on the model; reserved bytes of the x87 registers.
        one.fill(0, 5, 24);
        // MXCSR_MASK has one bit more.
        if (vendor === "AMD") one[30]! &= ~2;
        for (let register = 0; register < 8; register++) one.fill(0, 42 + register * 16, 48 + register * 16);
      }
      expect(ours).toEqual(host);
    }
  });
});

describe.runIf(vendor)("FXSAVE with REX.W", () => {
  it("keeps all 64 bits of the last instruction's and operand's addresses", () => {
    const image = new Uint8Array(512);
    const view = new DataView(image.buffer);
    view.setUint16(0, 0x37f, true);
    view.setUint32(24, 0x1f80, true);
    view.setBigUint64(8, 0x1234_5678_9abcn, true);
    view.setBigUint64(16, 0xffff_8765_4321_0fedn, true);
    // An exception is pending, or some processors do not save the pointers.
    view.setUint16(0, 0x37e, true);
    view.setUint16(2, 0x8081, true);
    // fxrstor64 [rsi]; fxsave64 [rdi]
    const one = machineCase([0x48, 0x0f, 0xae, 0x0e, 0x48, 0x0f, 0xae, 0x07], image);
    const { host, ours } = runBoth(one, 416);
    expect(ours.subarray(8, 24)).toEqual(host.subarray(8, 24));
    expect(ours.subarray(8, 24)).toEqual(image.subarray(8, 24));
  });
});
