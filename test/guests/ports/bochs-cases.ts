/** For record.sh: of the report on standard input the cases that Bochs answers for. */
import { text } from "node:stream/consumers";
import { asBochs, qemuErrs, readReport } from "./report.ts";

for (const [name, result] of readReport(await text(process.stdin)).instructions) {
  // Of a word Bochs' clock takes nothing.
  if (qemuErrs(name) && !name.includes(" 070,")) process.stdout.write(`${name}: ${asBochs(name, result)}\n`);
}
