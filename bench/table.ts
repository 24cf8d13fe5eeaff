/** The tables of a run, for a terminal and for Markdown. */
import Table from "cli-table3";
import { type Clock, nsOf, type Ratios, type Results, ratiosOf, rowName } from "./results.ts";

const number = (value: number | undefined, digits = 3): string => {
  if (value === undefined) return "";
  if (value >= 1000) return Math.round(value).toLocaleString("en-US");
  return `${Number(value.toPrecision(digits))}`;
};

/** Rows of cells, the first one the head. */
export function testRows(results: Results, clock: Clock): string[][] {
  const engines = Object.keys(results.engines);
  const peers = engines.filter((engine) => engine !== "portico");
  const ratios: Ratios = ratiosOf(results, clock);
  const ratioCells = (row: string) => peers.map((peer) => number(ratios[row]?.[peer]));
  const head = ["test", "ns per", ...engines, "MIPS", ...peers.map((peer) => `× ${peer}`)];
  const rows = results.tests.map((test) => {
    const cells = engines.map((engine) => {
      const outcome = test.engines[engine];
      if (outcome === undefined) return "";
      if ("error" in outcome) return "failed";
      return "skipped" in outcome ? "–" : number(nsOf(outcome, clock));
    });
    const own = test.engines.portico;
    const mips = own !== undefined && "mips" in own ? number(clock === "wall" ? own.mips : own.cpuMips) : "";
    return [rowName(test), test.unit, ...cells, mips, ...ratioCells(rowName(test))];
  });
  for (const variant of [32, 64]) {
    const row = `integer-geometric-mean/${variant}`;
    if (ratios[row]) rows.push([row, "", ...engines.map(() => ""), "", ...ratioCells(row)]);
  }
  return [head, ...rows];
}

export function machineRows(results: Results): string[][] {
  const engines = Object.keys(results.engines);
  const head = ["", ...engines];
  const boot = (title: string, field: "shellS" | "powerOffS" | "shellCpuS" | "powerOffCpuS") => [
    title,
    ...engines.map((engine) => {
      const time = results.boot[engine];
      if (time === undefined) return "";
      return "error" in time ? "failed" : number(time[field]);
    }),
  ];
  const rows: string[][] = [];
  if (Object.keys(results.boot).length > 0) {
    rows.push(
      boot("cloud-amd64 kernel to its shell, s", "shellS"),
      boot("the same, CPU s", "shellCpuS"),
      boot("to power-off, s", "powerOffS"),
      boot("the same, CPU s", "powerOffCpuS"),
    );
  }
  if (Object.keys(results.start).length > 0) {
    rows.push(["start to first guest byte, ms", ...engines.map((engine) => number(results.start[engine]))]);
  }
  return rows.length === 0 ? [] : [head, ...rows];
}

export function forTerminal(rows: string[][]): string {
  if (rows.length === 0) return "";
  const [head, ...body] = rows;
  const table = new Table({ head: head!, style: { head: [], compact: true } });
  table.push(...body);
  return `${table.toString()}\n`;
}

function forMarkdown(rows: string[][]): string {
  if (rows.length === 0) return "";
  const [head, ...body] = rows;
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head!), line(head!.map((_, column) => (column === 0 ? "---" : "---:"))), ...body.map(line), ""].join(
    "\n",
  );
}

export function markdown(results: Results, clock: Clock): string {
  const versions = Object.values(results.engines).map((version) => `- ${version}`);
  const clockNote =
    clock === "wall"
      ? "Times are on the wall."
      : "Times are CPU time of the engine's process, all threads, because the machine was not quiet.";
  return [
    "# Measurements",
    "",
    `\`npm run bench\` on ${results.date.slice(0, 10)}: ${results.machine}. Medians of ${results.repetitions} runs; ${clockNote}`,
    `Load average ${results.load.before} before, ${results.load.after} after. What the tests do: \`bench/guest/\`.`,
    "",
    ...versions,
    "",
    "`× peer` is Portico's time divided by the peer's: below 1, Portico is faster. MIPS: instructions that Portico",
    "retired in a second. – : the machine lacks what the test needs. The suffix is the guest's variant, 32 or 64 bits.",
    "",
    forMarkdown(testRows(results, clock)),
    forMarkdown(machineRows(results)),
  ].join("\n");
}
