import { describe, expect, it } from "vitest";
import type { IoStatistics } from "../io/index.ts";
import { formatProfile } from "./profile-table.ts";

const NOTHING: IoStatistics = { ranges: [], unclaimed: [] };
const COM1 = { space: "port", base: 0x3f8, length: 8, owner: "com1" } as const;

describe("profile table", () => {
  it("aligns its columns, busiest range first, a range's contexts together", () => {
    const text = formatProfile({
      ranges: [
        { ...COM1, context: "raw", reads: 60, writes: 0, deferrals: 40, ns: 0 },
        { ...COM1, context: "ring0", reads: 0, writes: 40, deferrals: 0, ns: 0 },
        {
          space: "mmio",
          base: 0xfee00000,
          length: 0x1000,
          owner: "local-apic",
          context: "ring0",
          reads: 900,
          writes: 900,
          deferrals: 0,
          ns: 0,
        },
        {
          space: "port",
          base: 0x80,
          length: 1,
          owner: "post-code",
          context: "ring0",
          reads: 0,
          writes: 0,
          deferrals: 0,
          ns: 0,
        },
      ],
      unclaimed: [
        { space: "port", base: 0x64, length: 1, owner: "keyboard", reads: 9, writes: 1 },
        { space: "port", base: 0x170, length: 1, owner: undefined, reads: 79, writes: 1 },
        { space: "mmio", base: -1, length: 0, owner: undefined, reads: 10, writes: 0 },
      ],
    });
    expect(text).toBe(
      [
        "2,000 accesses to ports and MMIO: 3.0% in raw, 92.0% in ring0, 5.0% unclaimed",
        "",
        "range                       owner       context  reads  writes  deferrals  share",
        "mmio 0xfee00000-0xfee00fff  local-apic  ring0      900     900          0  90.0%",
        "port 0x03f8-0x03ff          com1        raw         60       0         40   3.0%",
        "                                        ring0        0      40          0   2.0%",
        "",
        "1 range was never accessed.",
        "",
        "Unclaimed: reads gave all ones, writes were dropped.",
        "range           owner     reads  writes  share",
        "port 0x0170     -            79       1   4.0%",
        "mmio elsewhere  -            10       0   0.5%",
        "port 0x0064     keyboard      9       1   0.5%",
        "",
      ].join("\n"),
    );
  });

  it("is one line for a guest that touched nothing", () => {
    expect(formatProfile(NOTHING)).toBe("0 accesses to ports and MMIO\n");
  });

  it("shows a deferral even where nothing was answered", () => {
    const text = formatProfile({
      ...NOTHING,
      ranges: [{ ...COM1, context: "raw", reads: 0, writes: 0, deferrals: 7, ns: 0 }],
    });
    expect(text).toMatch(/com1 +raw +0 +0 +7 +0\.0%/);
  });

  it("does not round a small share to nothing", () => {
    const text = formatProfile({
      ranges: [
        { ...COM1, context: "ring0", reads: 1_000_000, writes: 0, deferrals: 0, ns: 0 },
        { ...COM1, context: "ring3", reads: 1, writes: 0, deferrals: 0, ns: 0 },
      ],
      unclaimed: [],
    });
    expect(text).toMatch(/ring3 +1 +0 +0 +<0\.1%/);
  });
});
