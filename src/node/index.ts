/**
 * What a machine needs of Node: its console on a terminal, and files with errors that a user understands.
 *
 * ```ts
 * import { Terminal } from "portico/node";
 *
 * const streams = { input: process.stdin, output: process.stdout, notices: process.stderr };
 * const stop = () => machine.stop();
 * const terminal = new Terminal(streams, { input: machine.serial.input, quit: stop, outputClosed: stop });
 * machine.serial.onOutput((bytes) => terminal.write(bytes));
 * await machine.run();
 * terminal.close();
 * ```
 */
export { type DiskMode, type OpenDisk, openDisk } from "./disk-file.ts";
export { type EscapeActions, EscapeFilter } from "./escape.ts";
export { FileError, type OutputFile, openOutput, readWhole } from "./files.ts";
export { Terminal, type TerminalEvents, type TerminalStreams } from "./terminal.ts";
