/** A script that V8 need not parse and compile again: what it made of it is kept in a file of its own. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { Script } from "node:vm";

export interface CompiledScript<Exports> {
  readonly exports: Exports;
  /** Whether V8 took its code from the file. */
  readonly cached: boolean;
  /** V8's code for what has run so far, for the file. */
  code(): Uint8Array;
}

/**
 * Runs a CommonJS script. V8 refuses code of another V8, for other flags or for a script of another length, and what is no
 * code or was cut off; it then compiles the script, as when there is no such file.
 *
 * @param path absolute; the script is ASCII, but for its comments
 * @param codePath the file for the code
 */
export function runScript<Exports>(path: string, codePath: string): CompiledScript<Exports> {
  const source = readFileSync(path, "latin1"); // of a megabyte, the fastest to read
  const cachedData = readIfThere(codePath);
  const script = new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
    filename: path,
    ...(cachedData && { cachedData }),
  });
  const module = { exports: {} as Exports };
  script.runInThisContext()(module.exports, createRequire(path), module, path, dirname(path));
  return {
    exports: module.exports,
    cached: script.cachedDataRejected === false,
    code: () => script.createCachedData(),
  };
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
