/* COM1, polled: a 16550A (PC16550D data sheet, section 8). */
#include "serial.h"

#include "io.h"

#define LINE_STATUS (COM1 + 5)
#define DATA_READY 0x01
#define THR_EMPTY  0x20
#define IDLE       0x40

void serial_init(void) {
    out8(COM1 + 1, 0);
    out8(COM1 + 3, 0x80);
    out8(COM1, 1);
    out8(COM1 + 1, 0);
    out8(COM1 + 3, 0x03);
    out8(COM1 + 2, 0x07);
    out8(COM1 + 4, 0x0b);
}

void put_char(char c) {
    while (!(in8(LINE_STATUS) & THR_EMPTY)) {
    }
    out8(COM1, (u8)c);
}

void serial_drain(void) {
    while (!(in8(LINE_STATUS) & IDLE)) {
    }
}

void put(const char *text) {
    while (*text) put_char(*text++);
}

void put_hex(u32 value) {
    for (int shift = 28; shift >= 0; shift -= 4) put_char("0123456789abcdef"[(value >> shift) & 15]);
}

void put_decimal(u32 value) {
    char digits[10];
    int count = 0;
    do digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count) put_char(digits[--count]);
}

void read_line(char *line, u32 size) {
    u32 length = 0;
    for (;;) {
        while (!(in8(LINE_STATUS) & DATA_READY)) {
        }
        char c = (char)in8(COM1);
        if (c == '\r' || c == '\n') break;
        if (length + 1 < size) line[length++] = c;
    }
    line[length] = 0;
}
