/** Tables for a terminal: columns of text and of numbers, and shares. */

import Table from "cli-table3";

/** No lines but the one below the head: columns that stay columns when copied into a mail or a file. */
const PLAIN = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
} as const;

export const count = new Intl.NumberFormat("en-US");

/** @param texts how many columns at the left hold text; the others hold numbers and are right-aligned */
export function table(head: string[], texts: number, rows: string[][]): string {
  const grid = new Table({
    head,
    colAligns: head.map((_, column) => (column < texts ? "left" : "right")),
    chars: PLAIN,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  grid.push(...rows);
  return grid
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** With one decimal; what is there but would be shown as nothing is `<0.1%`. */
export function share(part: number, total: number): string {
  if (part === 0) return "0.0%";
  const percent = (part / total) * 100;
  return percent < 0.05 ? "<0.1%" : `${percent.toFixed(1)}%`;
}
