import { describe, expect, it } from "vitest";
import { parse } from "./arguments.ts";
import { UsageError } from "./options.ts";

describe("the words of a command line", () => {
  it.each<[string[], Record<string, unknown>]>([
    [["run"], {}],
    [["run", "porch.elf"], { image: "porch.elf" }],
    [["run", "--memory", "64", "a"], { memory: "64", image: "a" }],
    [["run", "--memory=64", "--append", ""], { memory: "64", append: "" }],
    [["--memory", "64", "run", "a"], { memory: "64", image: "a" }],
    [["run", "--append=-v --x"], { append: "-v --x" }],
    [["run", "--memory", "-5"], { memory: "-5" }],
    [["run", "--disk", "a", "--disk", "b", "--disk", "c"], { disk: ["a", "b", "c"] }],
    [["run", "--profile", "a"], { profile: "", image: "a" }],
    [["run", "--profile=p.json", "a"], { profile: "p.json", image: "a" }],
    [["run", "--watch-count", "a"], { "watch-count": true, image: "a" }],
    [["run", "--", "--strange-image"], { image: "--strange-image" }],
    [["run", "0x10"], { image: "0x10" }],
    [["explain", "-"], { trace: "-" }],
    [["explain", "--json", "-"], { json: true, trace: "-" }],
  ])("%j is a command", (words, options) => {
    expect(parse(words)).toEqual({ kind: "command", command: words.find((word) => /^[a-z]/.test(word)), options });
  });

  it.each<[string[], string | undefined]>([
    [["--help"], undefined],
    [["-h"], undefined],
    [["help"], undefined],
    [["run", "--help"], "run"],
    [["explain", "--bogus", "-h"], "explain"],
    [["boot", "--help"], undefined],
  ])("%j asks for help", (words, command) => {
    expect(parse(words)).toEqual({ kind: "help", command });
  });

  it("asks for the version", () => {
    expect(parse(["--version"])).toEqual({ kind: "version" });
    expect(parse(["run", "--version"])).toEqual({ kind: "version" });
  });

  it.each([
    [[], "which command?"],
    [["boot"], "'boot' is not understood; `portico --help` lists the commands"],
    [["run", "--bogus"], "--bogus is not understood; `portico run --help` lists the options"],
    [["run", "--bogus=3"], "--bogus is not understood"],
    [["run", "-xyz"], "-xyz is not understood"],
    [["run", "--json"], "--json is not understood; `portico run --help`"],
    [["run", "--no-profile"], "--no-profile is not understood"],
    [["run", "--constructor"], "--constructor is not understood"],
    [["run", "--__proto__=1"], "--__proto__ is not understood"],
    [["run", "--memory"], "--memory needs a value"],
    [["run", "--append", "--profile"], "--append needs a value"],
    [["run", "--append", "--"], "--append needs a value"],
    [["bench", "--json=1"], "--json takes no value, and is given '1'"],
    [["run", "a", "b"], "one image at a time, not 'a' and 'b'"],
    [["bench", "a"], "'a' is not understood; `portico bench` takes options alone"],
  ])("%j is a mistake", (words, message) => {
    expect(() => parse(words)).toThrow(UsageError);
    expect(() => parse(words)).toThrow(message);
  });
});
