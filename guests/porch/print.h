/* Formatted output to the serial console. */
#pragma once
#include <stdint.h>

/*
 * %s %c %u %d %x %%, and %U for a uint64_t in decimal, %X for one in hexadecimal. Width, `-` (left) and `0` (fill with
 * zeros) as in C; a `*` takes the width from the arguments. A newline is sent as CR LF.
 */
void print(const char *format, ...) __attribute__((nonnull(1)));

void print_char(char c);

/* Repeats `c`. */
void print_run(char c, int count);

/* 16 bytes a line with their text, as `peek` shows memory and `pci` shows configuration space. */
void print_bytes(uint32_t address, const uint8_t *bytes, uint32_t count);
