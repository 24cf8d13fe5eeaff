/* Strings and numbers. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

size_t text_length(const char *text);
bool text_equal(const char *a, const char *b);
bool text_starts(const char *text, const char *prefix);

/* Reads `123`, `0x7b` or `7bh`, whole and at most 32 bits wide; false if `text` is something else. */
bool parse_number(const char *text, uint32_t *value);

/* 64 by 32 bits, since there is no compiler library to divide for us. */
uint64_t divide64(uint64_t dividend, uint32_t divisor, uint32_t *remainder);

/* The compiler may call these on its own. */
void *memcpy(void *to, const void *from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int value, size_t length);
int memcmp(const void *a, const void *b, size_t length);
