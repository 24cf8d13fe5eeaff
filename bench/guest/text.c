#include "text.h"

const char *after_word(const char *text, const char *name) {
    while (*name) {
        if (*text++ != *name++) return 0;
    }
    if (*text == 0) return text;
    return *text == ' ' ? text + 1 : 0;
}

u32 parse_decimal(const char *text) {
    u32 value = 0;
    while (*text >= '0' && *text <= '9') value = value * 10 + (u32)(*text++ - '0');
    return value;
}

/* The compiler may ask for these two. */
void *memcpy(void *to, const void *from, __SIZE_TYPE__ bytes) {
    u8 *t = to;
    const u8 *f = from;
    while (bytes--) *t++ = *f++;
    return to;
}

void *memset(void *to, int value, __SIZE_TYPE__ bytes) {
    u8 *t = to;
    while (bytes--) *t++ = (u8)value;
    return to;
}
