import { describe, expect, it } from "vitest";
import { checkBenchOptions, checkOptions, UsageError } from "./options.ts";

describe("options of portico run", () => {
  it("has defaults for everything", () => {
    expect(checkOptions({})).toEqual({
      image: undefined,
      initrd: undefined,
      append: "",
      memoryMiB: 256,
      serial: { kind: "stdio" },
      disks: [],
      profile: undefined,
      clock: "host",
      ioPath: "direct",
      compile: "auto",
      timeoutSeconds: undefined,
      watches: [],
      watchCount: false,
      symbols: undefined,
    });
  });

  it.each([
    ["--kernel is the image", { kernel: "vmlinuz" }, { image: "vmlinuz" }],
    ["so is a plain name", { image: "porch.elf" }, { image: "porch.elf" }],
    ["a command line", { append: "console=ttyS0 quiet" }, { append: "console=ttyS0 quiet" }],
    ["an empty command line", { append: "" }, { append: "" }],
    ["memory", { memory: "3584" }, { memoryMiB: 3584 }],
    ["no serial port", { serial: "none" }, { serial: { kind: "none" } }],
    ["serial to a file", { serial: "file:a:b.log" }, { serial: { kind: "file", path: "a:b.log" } }],
    ["a disk", { disk: "a.img" }, { disks: [{ path: "a.img", mode: "cow" }] }],
    [
      "disks",
      { disk: ["a,b.img,rw", "c,ro", "d,cow,cow"] },
      {
        disks: [
          { path: "a,b.img", mode: "rw" },
          { path: "c", mode: "ro" },
          { path: "d,cow", mode: "cow" },
        ],
      },
    ],
    ["a profile table", { profile: "" }, { profile: { path: undefined } }],
    ["a profile file", { profile: "p.json" }, { profile: { path: "p.json" } }],
    ["a path of I/O", { "io-path": "trap" }, { ioPath: "trap" }],
    ["a clock", { clock: "instructions" }, { clock: "instructions" }],
    ["no compiler", { compile: "never" }, { compile: "never" }],
    ["fractions of a second", { timeout: "0.5" }, { timeoutSeconds: 0.5 }],
    [
      "watches",
      { watch: ["phys:0x1000+16:w", "virt:0xffffffff81000000:rw", "virt:jiffies_64"] },
      {
        watches: [
          {
            text: "phys:0x1000+16:w",
            place: { kind: "physical", address: 0x1000 },
            length: 16,
            access: "write",
          },
          {
            text: "virt:0xffffffff81000000:rw",
            place: { kind: "virtual", address: 0xffff_ffff_8100_0000n },
            length: 1,
            access: "all",
          },
          {
            text: "virt:jiffies_64",
            place: { kind: "symbol", name: "jiffies_64" },
            length: undefined,
            access: "write",
          },
        ],
      },
    ],
  ])("takes %s", (_, raw, expected) => {
    expect(checkOptions(raw)).toMatchObject(expected);
  });

  it.each([
    [{ memory: "0" }, /--memory '0' is not a number of MiB/],
    [{ memory: "-5" }, /--memory '-5'/],
    [{ memory: "12x" }, /--memory '12x'/],
    [{ memory: "1e3" }, /--memory '1e3'/],
    [{ memory: "3585" }, /--memory 3585 is too much; a machine has at most 3584 MiB/],
    [{ memory: "" }, /--memory needs a value/],
    [{ memory: ["1", "2"] }, /--memory is given 2 times/],
    [{ serial: "tcp:1" }, /--serial 'tcp:1' is unknown; it is stdio, none or file:NAME/],
    [{ serial: "file:" }, /--serial 'file:' is unknown/],
    [{ disk: ["a", "b", "c", "d", "e"] }, /--disk is given 5 times; a machine has at most 4 disks/],
    [{ disk: "" }, /--disk '' names no file/],
    [{ disk: ",rw" }, /--disk ',rw' names no file/],
    [{ "io-path": "fast" }, /--io-path 'fast' is unknown; it is direct, decoded, emulated or trap/],
    [{ compile: "sometimes" }, /--compile 'sometimes' is unknown; it is auto, always or never/],
    [{ compile: "" }, /--compile needs a value/],
    [{ clock: "wall" }, /--clock 'wall' is unknown; it is host or instructions/],
    [{ watch: "0x1000" }, /--watch '0x1000' is not understood/],
    [{ watch: "phys:jiffies" }, /'jiffies' is not a guest-physical address/],
    [{ watch: "phys:0x100000000" }, /guest memory ends below/],
    [{ watch: "virt:x+0" }, /is of 0 bytes/],
    [{ watch: "phys:1:x" }, /is not understood/],
    [{ "watch-count": true }, /--watch-count is for --watch/],
    [{ symbols: "a" }, /--symbols is for --watch/],
    [{ timeout: "0" }, /--timeout '0'/],
    [{ timeout: "soon" }, /--timeout 'soon'/],
    [{ timeout: "9999999" }, /--timeout 9999999 is too long/],
    [{ kernel: "a", image: "b" }, /either --kernel 'a' or the image 'b'/],
    [{ kernel: "" }, /--kernel needs a value/],
    [{ image: "" }, /the image's name is empty/],
  ])("refuses %j in one line", (raw, message) => {
    expect(() => checkOptions(raw)).toThrow(UsageError);
    expect(() => checkOptions(raw)).toThrow(message);
    expect(() => checkOptions(raw)).not.toThrow(/\n/);
  });
});

describe("options of portico bench", () => {
  it("has defaults, takes a time and one path, and refuses what is no time", () => {
    expect(checkBenchOptions({})).toEqual({ json: false, milliseconds: 250, only: undefined });
    expect(checkBenchOptions({ json: true, time: "50", only: "trap" })).toEqual({
      json: true,
      milliseconds: 50,
      only: "trap",
    });
    expect(() => checkBenchOptions({ time: "soon" })).toThrow(/--time 'soon'/);
    expect(() => checkBenchOptions({ only: "fast" })).toThrow(/--only 'fast' is unknown; it is /);
  });
});
