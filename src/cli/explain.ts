/** `portico explain`: a Linux trace of KVM in, a report of its I/O out. */

import { readTrace } from "../exits/trace/index.ts";
import { readPieces } from "../node/files.ts";
import { formatReport } from "./explain-table.ts";
import type { ExplainOptions } from "./options.ts";

/** 128 + SIGPIPE, as shells count. */
const STATUS_NO_READER = 141;

/** Returns the status for the shell. Throws a `PorticoError` for what the user can mend. */
export async function explain(options: ExplainOptions): Promise<number> {
  const name = options.trace === "-" ? "standard input" : options.trace;
  const report = await readTrace(readPieces(options.trace, "trace"), name);
  const text = options.json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report, options);
  return await new Promise((resolve, reject) => {
    process.stdout.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") resolve(STATUS_NO_READER);
      else reject(error);
    });
    process.stdout.write(text, (error) => {
      if (!error) resolve(0);
    });
  });
}
