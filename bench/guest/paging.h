/* Address spaces, all of them identity. By default: none (32 bits), pages of 2 MiB (64 bits). */
#pragma once

#include "types.h"

/* The first 64 MiB in pages of 4 KiB, the rest large. */
void paging_small_pages(void);
void paging_default(void);
/* Roots of two address spaces alike, with small pages; build them by paging_small_pages(). */
word paging_root(u32 which);
/* Entry of a small page. */
word *paging_entry(word address);
/* What belongs there while the page is mapped. */
word paging_value(word address);
