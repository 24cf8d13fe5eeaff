/** What `--help` prints. */

import { COMMANDS, COMMON_OPTIONS, type Command, type Option } from "./commands.ts";

const COLUMNS = 100;
const GAP = "  ";

/** Of one command, or of all; with a newline at its end. */
export function help(command: string | undefined): string {
  const found = command === undefined ? undefined : COMMANDS.get(command);
  return `${(found === undefined ? ofAll() : ofCommand(found)).join("\n\n")}\n`;
}

function ofAll(): string[] {
  return [
    "portico COMMAND [options]",
    "Boots x86 and x86-64 guests, and shows how their I/O reaches its devices.",
    section(
      "Commands",
      [...COMMANDS.values()].map(({ usage, summary }) => [usage, summary]),
    ),
    section("Options", optionRows(COMMON_OPTIONS)),
    "`portico COMMAND --help` lists the options of a command.",
  ];
}

function ofCommand({ usage, description, options, examples, epilogue }: Command): string[] {
  return [
    usage,
    wrap(description, COLUMNS).join("\n"),
    section("Options", optionRows({ ...options, ...COMMON_OPTIONS })),
    ...(examples ? [exampleLines(examples)] : []),
    ...(epilogue
      ? [
          epilogue
            .split("\n")
            .flatMap((line) => wrap(line, COLUMNS))
            .join("\n"),
        ]
      : []),
  ];
}

function optionRows(options: Readonly<Record<string, Option>>): [string, string][] {
  return Object.entries(options).map(([name, { value, optional, describe }]) => {
    if (value === undefined) return [`--${name}`, describe];
    return [optional ? `--${name}[=${value}]` : `--${name} ${value}`, describe];
  });
}

function exampleLines(examples: Readonly<Record<string, string>>): string {
  const lines = Object.entries(examples).map(([words, what]) => `${GAP}${words}\n${GAP}${GAP}${what}`);
  return ["Examples:", ...lines].join("\n");
}

function section(title: string, rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([first]) => first.length));
  const indent = GAP + " ".repeat(width) + GAP;
  const lines = rows.flatMap(([first, second]) => {
    const [head, ...rest] = wrap(second, COLUMNS - indent.length);
    return [GAP + first.padEnd(width) + GAP + head, ...rest.map((line) => indent + line)];
  });
  return [`${title}:`, ...lines].join("\n");
}

function wrap(text: string, columns: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1)!;
    if (last !== "" && last.length + 1 + word.length > columns) lines.push(word);
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`;
  }
  return lines;
}
