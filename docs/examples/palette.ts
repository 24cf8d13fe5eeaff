import { defineDevice, raw } from "../../src/index.ts";

const COLOURS = 16;
/** Offset of the register that holds the selected colour's number; the colours themselves follow from 100h. */
const SELECT = 0;
const TABLE = 0x100;

/** Sixteen colours behind MMIO: all of it answered inside WebAssembly, but for the change that somebody must see. */
export const palette = defineDevice(
  "palette",
  (host, options: { base: number; changed: (colour: number, rgb: number) => void }) => {
    const registers = host.registers({ selected: "u8" });
    const colours = host.words(COLOURS);

    host.mmio(
      { base: options.base, length: 0x1000 },
      {
        read: raw((x) => {
          const colour = x.getWord(colours, x.shrU(x.sub(x.offset, TABLE), 2));
          const selected = x.get(registers, "selected");
          return x.select(x.eq(x.offset, SELECT), selected, x.select(x.geU(x.offset, TABLE), colour, 0));
        }),
        write: {
          raw: raw((x) => {
            x.if(x.ne(x.offset, SELECT), () => x.decline());
            x.set(registers, "selected", x.value);
          }),
          ring0(offset, value) {
            if (offset === SELECT) registers.selected = value;
            const colour = (offset - TABLE) >> 2;
            if (colour < 0 || colour >= COLOURS) return;
            colours[colour] = value;
            options.changed(colour, value);
          },
        },
      },
    );
  },
);
