/** The words of a command line: which command, with which options. */

import { type ParseArgsConfig, parseArgs } from "node:util";
import { COMMANDS, COMMON_OPTIONS, type Command, type Option } from "./commands.ts";
import { type RawOptions, UsageError } from "./options.ts";

export type Request =
  /** Without a command: of all. */
  | { readonly kind: "help"; readonly command: string | undefined }
  | { readonly kind: "version" }
  | { readonly kind: "command"; readonly command: string; readonly options: RawOptions };

/** All commands' options: a word's meaning does not depend on the command, which need not come first. */
const OPTIONS: ReadonlyMap<string, Option> = new Map(
  [COMMON_OPTIONS, ...[...COMMANDS.values()].map(({ options }) => options)].flatMap((options) =>
    Object.entries(options),
  ),
);

const PARSER: ParseArgsConfig["options"] = Object.fromEntries(
  [...OPTIONS].map(([name, { value, optional }]) => [
    name,
    {
      type: value === undefined || optional ? "boolean" : "string",
      multiple: true,
      ...(name === "help" && { short: "h" }),
    },
  ]),
);

/** Throws `UsageError`. */
export function parse(words: readonly string[]): Request {
  const args = [...words];
  const { tokens } = parseArgs({ args, options: PARSER, strict: false, allowPositionals: true, tokens: true });
  const given = tokens.filter((token) => token.kind === "option");
  const [command, ...names] = tokens.filter((token) => token.kind === "positional").map(({ value }) => value);
  const known = command === undefined ? undefined : COMMANDS.get(command);

  if (command === "help" || given.some(({ name }) => name === "help"))
    return { kind: "help", command: known && command };
  if (given.some(({ name }) => name === "version")) return { kind: "version" };
  if (command === undefined)
    throw new UsageError("which command? `portico run` boots a guest; `portico --help` tells more");
  if (known === undefined)
    throw new UsageError(`'${command}' is not understood; \`portico --help\` lists the commands`);

  const values: Record<string, string | true | (string | true)[]> = {};
  for (const { name, rawName, value, inlineValue, index } of given) {
    const option = Object.hasOwn(known.options, name) ? known.options[name] : undefined;
    if (option === undefined) {
      const word = rawName.startsWith("--") ? rawName : args[index]!;
      throw new UsageError(`${word} is not understood; \`portico ${command} --help\` lists the options`);
    }
    const checked = optionValue(rawName, option, value, inlineValue ?? false);
    const before = values[name];
    values[name] = before === undefined ? checked : [before, checked].flat();
  }
  return { kind: "command", command, options: { ...values, ...positional(command, known, names) } };
}

function optionValue(name: string, option: Option, value: string | undefined, inline: boolean): string | true {
  if (option.value === undefined) {
    if (inline) throw new UsageError(`${name} takes no value, and is given '${value}'`);
    return true;
  }
  if (option.optional) return value ?? "";
  // The next option is no value, but for a number below 0.
  if (value === undefined || (!inline && /^-\D/.test(value))) throw new UsageError(`${name} needs a value`);
  return value;
}

function positional(command: string, { positional }: Command, names: readonly string[]): RawOptions {
  if (names.length === 0) return {};
  if (positional === undefined)
    throw new UsageError(`'${names[0]}' is not understood; \`portico ${command}\` takes options alone`);
  if (names.length > 1)
    throw new UsageError(`one ${positional} at a time, not ${names.map((name) => `'${name}'`).join(" and ")}`);
  return { [positional]: names[0] };
}
