/** Bochs: a disk with our boot sector and the image, the serial port on a socket. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BootRequest, Chunk, Engine, Session } from "./engine.ts";
import { ProgramSession, processCpuMs } from "./program-session.ts";
import { firstLine } from "./version.ts";

const PROGRAM = "bochs";
/** Debian: bochsbios and vgabios. */
const BIOS = "/usr/share/bochs";
const SECTOR = 512;
/** Geometry of the disk: one cylinder is 16 heads of 63 sectors. */
const CYLINDER = 16 * 63 * SECTOR;

/** See guest/boot.asm. */
function disk(image: Uint8Array): { bytes: Uint8Array; cylinders: number } {
  const cylinders = Math.ceil((SECTOR + image.length + 64 * SECTOR) / CYLINDER) + 1;
  const bytes = new Uint8Array(cylinders * CYLINDER);
  bytes.set(readFileSync(fileURLToPath(new URL("../guest/boot.bin", import.meta.url))));
  new DataView(bytes.buffer).setUint32(4, Math.ceil(image.length / SECTOR), true);
  bytes.set(image, SECTOR);
  return { bytes, cylinders };
}

class BochsSession implements Session {
  private readonly folder = mkdtempSync(join(tmpdir(), "portico-bochs-"));
  private readonly server = createServer();
  private socket: Socket | undefined;
  private program: ProgramSession | undefined;
  private pid = 0;
  private closed = false;
  private chunkListener: (chunk: Chunk) => void = () => {};
  private endListener: (complaint: string) => void = () => {};

  constructor(boot: BootRequest) {
    this.server.on("connection", (socket) => {
      this.socket = socket.setNoDelay(true);
      socket.on("data", (bytes) => {
        const wallMs = performance.now();
        this.chunkListener({ text: bytes.toString("latin1"), wallMs, cpuMs: processCpuMs(this.pid) });
      });
      socket.on("error", () => {});
    });
    this.server.listen(0, "127.0.0.1", () => {
      if (!this.closed) this.launch(boot);
    });
  }

  private launch({ image, memoryMiB }: BootRequest): void {
    const { port } = this.server.address() as { port: number };
    const { bytes, cylinders } = disk(readFileSync(image));
    const diskFile = join(this.folder, "disk.img");
    const configuration = join(this.folder, "bochsrc");
    writeFileSync(diskFile, bytes);
    writeFileSync(
      configuration,
      [
        `megs: ${memoryMiB}`,
        `romimage: file=${BIOS}/BIOS-bochs-latest`,
        `vgaromimage: file=${BIOS}/VGABIOS-lgpl-latest`,
        `ata0-master: type=disk, path=${diskFile}, mode=flat, cylinders=${cylinders}, heads=16, spt=63`,
        "boot: disk",
        // Its BIOS waits by simulated time: a slow clock makes the boot short. It changes nothing else here.
        "cpu: model=corei7_sandy_bridge_2600k, ips=5000000",
        `com1: enabled=1, mode=socket-client, dev=127.0.0.1:${port}`,
        // Of Debian's displays the one that needs neither a terminal nor a window; it need not wait for a client.
        'display_library: rfb, options="timeout=0"',
        "sound: driver=dummy",
        "clock: sync=none",
        `log: ${join(this.folder, "log")}`,
        "panic: action=fatal",
        "error: action=ignore",
        "info: action=ignore",
        "debug: action=ignore",
        "",
      ].join("\n"),
    );
    // Debian's Bochs has its debugger compiled in: it waits for "c", continue.
    const commands = join(this.folder, "commands");
    writeFileSync(commands, "c\n");
    this.program = new ProgramSession(PROGRAM, ["-q", "-f", configuration, "-rc", commands], "ignore");
    this.pid = this.program.pid;
    this.program.onEnd((complaint) => this.endListener(complaint));
  }

  onChunk(listener: (chunk: Chunk) => void): void {
    this.chunkListener = listener;
  }

  onEnd(listener: (complaint: string) => void): void {
    this.endListener = listener;
  }

  send(text: string): void {
    this.socket?.write(text, "latin1");
  }

  async close(): Promise<void> {
    this.closed = true;
    this.socket?.destroy();
    this.server.close();
    await this.program?.close();
    rmSync(this.folder, { recursive: true });
  }
}

export const bochs: Engine = {
  name: "bochs",
  version: () => {
    if (firstLine(PROGRAM, ["--help"]) === undefined || !existsSync(`${BIOS}/VGABIOS-lgpl-latest`)) return undefined;
    return firstLine(PROGRAM, ["-q", "-f", "/nonexistent"], /Bochs x86 Emulator/) ?? "Bochs";
  },
  can: (capability) => capability !== "linux",
  start: (boot) => new BochsSession(boot),
};
