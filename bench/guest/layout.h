/* Physical memory above the image, all identity-mapped. The machine has at least 64 MiB. */
#pragma once

#define PAGE 4096

/* Page tables of the tests: see paging.c. */
#define TABLES        0x00200000
#define BUFFER        0x00400000 /* 2 MiB */
#define OTHER_BUFFER  0x00600000 /* 2 MiB */
/* Pages that tests unmap and map again. */
#define SPARE_PAGES   0x00800000
#define CHASE         0x01000000 /* 16 MiB */
#define SMALL_PAGES_END 0x04000000
