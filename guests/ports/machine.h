/* Tables of the processor, and the arena in which cases run. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Tables, paging; after it every `run_` of layout.h works. */
void machine_initialize(void);

/* Which ports a program without IOPL may access. */
enum bitmap {
  OPEN,
  CLOSED,
  HOLE, /* all but the last byte of the access */
  CUT,  /* the TSS ends within the word that is read for the access */
};
void task_initialize(enum bitmap bitmap, unsigned port, unsigned width);

/*
 * 64 KiB from linear address ARENA on. Its pages are user's and writable but for these, by number. The kernel sees it
 * elsewhere, without restrictions.
 */
enum { READ_ONLY_PAGE = 3, ABSENT_PAGE = 5, SUPERVISOR_PAGE = 7 };

/* Cases use the first and the last bytes of pages as operands: those are filled, and make the digest. */
void arena_fill(void);
uint32_t arena_digest(void);
uint8_t *arena(uint32_t offset);
