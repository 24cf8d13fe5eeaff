import { describe, expect, it } from "vitest";
import { EscapeFilter } from "./escape.ts";

/** What the chunks typed come to, as text: guest bytes as they are, actions in angle brackets. */
function typed(...chunks: string[]): string {
  let seen = "";
  const filter = new EscapeFilter({
    input: (bytes) => {
      seen += String.fromCharCode(...bytes);
    },
    quit: () => {
      seen += "<quit>";
    },
    help: () => {
      seen += "<help>";
    },
  });
  for (const chunk of chunks) filter.push(Uint8Array.from(chunk, (character) => character.charCodeAt(0)));
  return seen;
}

describe("escape sequences", () => {
  it.each([
    ["plain text and control characters pass", ["ls\r\x03\x1a\xff"], "ls\r\x03\x1a\xff"],
    ["Ctrl-A X quits", ["\x01x"], "<quit>"],
    ["in either case", ["\x01X"], "<quit>"],
    ["Ctrl-A H helps", ["\x01h\x01H\x01?"], "<help><help><help>"],
    ["Ctrl-A Ctrl-A sends one Ctrl-A", ["\x01\x01"], "\x01"],
    ["and then X is a letter", ["\x01\x01x"], "\x01x"],
    ["another key after Ctrl-A is dropped", ["a\x01zb"], "ab"],
    ["order is kept around an action", ["ab\x01hcd"], "ab<help>cd"],
    ["a sequence may be split", ["a\x01", "x"], "a<quit>"],
    ["X alone is a letter", ["x", "x"], "xx"],
  ])("%s", (_, chunks, expected) => {
    expect(typed(...chunks)).toBe(expected);
  });
});
