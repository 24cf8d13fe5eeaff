#pragma once

#include "types.h"

/* When `text` starts with the word `name`: what follows it, else null. */
const char *after_word(const char *text, const char *name);
u32 parse_decimal(const char *text);
