#pragma once

#include "types.h"

#define COM1 0x3f8

void serial_init(void);
void put_char(char c);
void put(const char *text);
void put_hex(u32 value);
void put_decimal(u32 value);
/* Waits until every byte has left. */
void serial_drain(void);
/* A line without its end; too long a line is cut. */
void read_line(char *line, u32 size);
