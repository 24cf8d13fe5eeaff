/** Runs one case against the oracle and collects the differences. */

import type { SoftFloat } from "../../src/cpu/softfloat/exports.ts";
import { A, B, type Case, FLAGS, RESULT, SECOND } from "./cases.ts";
import { type Oracle, RECORD_BYTES } from "./oracle.ts";
import { controlWord, mxcsr, Random } from "./operands.ts";

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
  for (let i = length - 1; i >= 0; i--) text += view.getUint8(at + i).toString(16).padStart(2, "0");
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

/** Whether all exceptions that our function raised are masked. */
function trapsOurs(memory: DataView, control: number): boolean {
  return (memory.getUint32(FLAGS, true) & 0x3f & ~(control >> 7)) !== 0;
}

/** Descriptions of the first differences, none if all runs agree. */
export function differences(harness: Harness, test: Case, count: number, seed: number): string[] {
  const { memory, oracle } = harness;
  const request = requests(oracle, test, count, seed);
  const answer = oracle.run(new Uint8Array(request.buffer));
  const response = new DataView(answer.buffer, answer.byteOffset, answer.byteLength);
  const found: string[] = [];
  if (response.byteLength !== request.byteLength) return ["the oracle did not answer every request"];
  for (let at = 0; at < request.byteLength; at += RECORD_BYTES) {
    const control = request.getUint32(at + 4, true);
    runOurs(harness, test, request, at);
    const trapped = response.getUint32(at + 36, true) !== 0;
    const sticky = test.kind === "sse" ? control & 0x3f : 0;
    const status = (memory.getUint32(FLAGS, true) | sticky) & test.status;
    const expected = response.getUint32(at + 32, true) & test.status;
    let same = status === expected && (test.kind === "x87" || trapped === trapsOurs(memory, control));
    const ours = [bytesOf(memory, RESULT, test.bytes[0]), bytesOf(memory, SECOND, test.bytes[1])];
    const theirs = [bytesOf(response, at, test.bytes[0]), bytesOf(response, at + 16, test.bytes[1])];
    if (!trapped) same &&= ours[0] === theirs[0] && ours[1] === theirs[1];
    if (same) continue;
    const operands = `${bytesOf(request, at + 8, 10)} ${bytesOf(request, at + 24, 10)}`;
    const hex = (value: number) => value.toString(16);
    found.push(
      `${test.operation} ${operands} control ${hex(control)}: host ${theirs.join(" ")} ${hex(expected)} trapped ${trapped}, ` +
        `ours ${ours.join(" ")} ${hex(status)}`,
    );
    if (found.length === 20) break;
  }
  return found;
}
