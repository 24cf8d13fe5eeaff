/** Whether a 64-bit address is canonical: bits 63 to 47 are equal (SDM vol 1, 3.3.7.1). As a signed number. */
export const isCanonical = (address: number) => address >= -0x8000_0000_0000 && address < 0x8000_0000_0000;
