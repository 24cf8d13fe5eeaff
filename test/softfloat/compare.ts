/** Runs one case against the oracle and collects the differences. */

import type { SoftFloat } from "../../src/cpu/softfloat/exports.ts";
import type { Vendor } from "../differential/vendor.ts";
import { A, type Case, FLAGS, RESULT, SECOND } from "./cases.ts";
import { controlWord, mxcsr, Random } from "./operands.ts";
import { type Oracle, RECORD_BYTES } from "./oracle.ts";

export interface Harness {
  readonly soft: SoftFloat;
  readonly memory: DataView;
  readonly oracle: Oracle;
}

/** Requests for `count` runs of the case, the operands from the seed. */
export function requests(oracle: Oracle, test: Case, count: number, seed: number): DataView {
  const random = new Random(seed);
  const view = new DataView(new ArrayBuffer(count * RECORD_BYTES));
  const number = oracle.operations.get(test.operation);
  if (number === undefined) throw new Error(`the oracle does not know ${test.operation}`);
  for (let at = 0; at < view.byteLength; at += RECORD_BYTES) {
    view.setUint32(at, number, true);
    view.setUint32(at + 4, test.kind === "sse" ? mxcsr(random) : controlWord(random), true);
    test.a(random, view, at + 8);
    test.b(random, view, at + 24);
  }
  return view;
}

function bytesOf(view: DataView, at: number, length: number): string {
  let text = "";
  for (let i = length - 1; i >= 0; i--)
    text += view
      .getUint8(at + i)
      .toString(16)
      .padStart(2, "0");
  return text;
}

/** Places the operands of one request and runs our function. x87 destinations hold operand a before, as ST(0) does. */
export function runOurs(harness: Harness, test: Case, request: DataView, at: number): void {
  const { memory, soft } = harness;
  for (let i = 0; i < 32; i++) memory.setUint8(A + i, request.getUint8(at + 8 + i));
  for (let i = 0; i < 16; i++) memory.setUint8(RESULT + i, request.getUint8(at + 8 + i));
  for (let i = 0; i < 16; i++) memory.setUint8(SECOND + i, 0);
  memory.setUint32(FLAGS, 0, true);
  test.call(soft, memory, request.getUint32(at + 4, true));
}

/** Whether an exception that our function raised is unmasked in MXCSR. */
function trapsOurs(memory: DataView, control: number): boolean {
  return (memory.getUint32(FLAGS, true) & 0x3f & ~(control >> 7)) !== 0;
}

/** Position of an 80-bit value among all values of its sign; NaNs and infinities come last. */
function rank(view: DataView, at: number): bigint {
  const field = BigInt(view.getUint16(at + 8, true) & 0x7fff);
  return (field << 63n) + (view.getBigUint64(at, true) & 0x7fff_ffff_ffff_ffffn);
}

/** Units in the last place between two 80-bit values of one sign, 1000 for anything that is no rounding difference. */
function distance(x: DataView, xAt: number, y: DataView, yAt: number): number {
  if ((x.getUint16(xAt + 8, true) ^ y.getUint16(yAt + 8, true)) & 0x8000) return 1000;
  const difference = rank(x, xAt) - rank(y, yAt);
  return Math.min(1000, Number(difference < 0n ? -difference : difference));
}

export interface Comparison {
  /** Descriptions of the first differences, none if all runs agree. */
  readonly differences: string[];
  /** How many results were 0, 1, ... units in the last place away. */
  readonly distances: Map<number, number>;
}

const OVERFLOW = 8;
const UNDERFLOW = 0x10;

/**
 * A denormal number that FPREM and FPREM1 divide by infinity, or FSCALE scales by zero. On AMD processors it underflows
 * if that is not masked; on Intel's it stays what it is.
 */
function staysOnIntel(test: Case, request: DataView, at: number): boolean {
  const isDenormal = (request.getUint16(at + 16, true) & 0x7fff) === 0;
  const isMasked = (request.getUint32(at + 4, true) & UNDERFLOW) !== 0;
  if (!isDenormal || isMasked) return false;
  const exponent = request.getUint16(at + 32, true) & 0x7fff;
  if (test.operation === "f80_scale") return exponent === 0 && request.getBigUint64(at + 24, true) === 0n;
  return test.operation.startsWith("f80_rem") && exponent === 0x7fff;
}

/** The smallest normal 80-bit value, or the largest that is finite. */
function isAtEdge(view: DataView, at: number): boolean {
  const exponent = view.getUint16(at + 8, true) & 0x7fff;
  const significand = view.getBigUint64(at, true);
  return exponent === 1 ? significand === 1n << 63n : exponent === 0x7ffe && significand === (1n << 64n) - 1n;
}

/**
 * Runs the case `count` times; results may differ by `tolerance` units in the last place. On a `host` of AMD, what it
 * does otherwise than Intel's processors is not compared.
 */
export function compare(
  harness: Harness,
  test: Case,
  count: number,
  seed: number,
  tolerance = 0,
  host: Vendor = "Intel",
): Comparison {
  const { memory, oracle } = harness;
  const request = requests(oracle, test, count, seed);
  const answer = oracle.run(new Uint8Array(request.buffer));
  const response = new DataView(answer.buffer, answer.byteOffset, answer.byteLength);
  const differences: string[] = [];
  const distances = new Map<number, number>();
  if (response.byteLength !== request.byteLength) {
    return { differences: ["the oracle did not answer every request"], distances };
  }
  for (let at = 0; at < request.byteLength; at += RECORD_BYTES) {
    const control = request.getUint32(at + 4, true);
    if (host === "AMD" && staysOnIntel(test, request, at)) continue;
    runOurs(harness, test, request, at);
    const trapped = response.getUint32(at + 36, true) !== 0;
    const sticky = test.kind === "sse" ? control & 0x3f : 0;
    const status = (memory.getUint32(FLAGS, true) | sticky) & test.status;
    const expected = response.getUint32(at + 32, true) & test.status;
    const range = (status ^ expected) & (OVERFLOW | UNDERFLOW);
    if (host === "AMD" && tolerance > 0 && range !== 0 && (status ^ expected) === range) {
      // Whether it is that or a little less or more, and so underflows or overflows, is up to the approximation.
      if (isAtEdge(memory, RESULT) || isAtEdge(memory, SECOND)) continue;
      if (isAtEdge(response, at) || isAtEdge(response, at + 16)) continue;
    }
    let same = status === expected && (test.kind === "x87" || trapped === trapsOurs(memory, control));
    const ours = [bytesOf(memory, RESULT, test.bytes[0]), bytesOf(memory, SECOND, test.bytes[1])];
    const theirs = [bytesOf(response, at, test.bytes[0]), bytesOf(response, at + 16, test.bytes[1])];
    if (!trapped) {
      let far = 0;
      if (ours[0] !== theirs[0]) far = tolerance ? distance(memory, RESULT, response, at) : 1000;
      if (ours[1] !== theirs[1]) far = Math.max(far, tolerance ? distance(memory, SECOND, response, at + 16) : 1000);
      distances.set(far, (distances.get(far) ?? 0) + 1);
      same &&= far <= tolerance;
    }
    if (same) continue;
    const operands = `${bytesOf(request, at + 8, 10)} ${bytesOf(request, at + 24, 10)}`;
    const hex = (value: number) => value.toString(16);
    differences.push(
      `${test.operation} ${operands} control ${hex(control)}: host ${theirs.join(" ")} ${hex(expected)} trapped ${trapped}, ` +
        `ours ${ours.join(" ")} ${hex(status)}`,
    );
    if (differences.length === 20) break;
  }
  return { differences, distances };
}
