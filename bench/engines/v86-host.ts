/** v86 for a `ScriptSession`: no BIOS, its own Multiboot loader. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { bootRequest, onText, sendChunk } from "./script-host.ts";

const { V86 } = await import("v86");
const { image, memoryMiB } = bootRequest();
const bytes = readFileSync(image);
const wasm = createRequire(import.meta.url).resolve("v86/build/v86.wasm");
const machine = new V86({
  wasm_path: wasm,
  memory_size: memoryMiB * 2 ** 20,
  multiboot: { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer },
  acpi: true,
  autostart: true,
  log_level: 0,
  disable_speaker: true,
});
// Bytes of one turn of its loop go together, but the mark for the clock is the byte itself.
machine.add_listener("serial0-output-byte", (byte: number) => sendChunk(String.fromCharCode(byte)));
onText((input) => machine.serial_send_bytes(0, input));
