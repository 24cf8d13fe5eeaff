#include "machine.h"

#include "layout.h"

#define PAGE 0x1000u
#define LARGE_PAGE 0x200000u
#define ENTRIES 512
#define PRESENT 1
#define WRITABLE 2
#define USER 4
#define LARGE 0x80

/* The last large page of the first GiB leads to the first MiB once more. */
#define ALIAS ((ENTRIES - 1) * LARGE_PAGE)

#define GATE_PRESENT 0x8e00
#define VECTORS 32
#define TASK_AVAILABLE 0x89ull

static uint8_t exception_stack[0x1000] __attribute__((aligned(16)));

static void fill(void *to, uint8_t value, uint32_t count) {
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
}

static void copy(void *to, const void *from, uint32_t count) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static void paging_initialize(void) {
  for (uint32_t i = 1; i < ENTRIES - 1; i++) page_directory[i] = i * LARGE_PAGE | PRESENT | WRITABLE | LARGE;
  page_directory[0] = (uint32_t)page_table | PRESENT | WRITABLE | USER;
  page_directory[ENTRIES - 1] = PRESENT | WRITABLE | LARGE;
  for (uint32_t i = 0; i < ENTRIES; i++) page_table[i] = i * PAGE | PRESENT | WRITABLE;
  uint64_t *pages = page_table + ARENA / PAGE;
  for (uint32_t i = 0; i < 16; i++) pages[i] |= USER;
  pages[READ_ONLY_PAGE] &= ~(uint64_t)WRITABLE;
  pages[ABSENT_PAGE] &= ~(uint64_t)PRESENT;
  pages[SUPERVISOR_PAGE] &= ~(uint64_t)USER;
  pointers_pae[0] = (uint32_t)page_directory | PRESENT; /* its other bits are reserved */
  pointers_long[0] = (uint32_t)page_directory | PRESENT | WRITABLE | USER;
  level4[0] = (uint32_t)pointers_long | PRESENT | WRITABLE | USER;
  paging_enable();
}

static uint64_t gate(uint32_t selector, uint32_t offset) {
  return (uint64_t)((offset & 0xffff0000) | GATE_PRESENT) << 32 | selector << 16 | (offset & 0xffff);
}

static void vectors_initialize(void) {
  for (unsigned i = 0; i < VECTORS; i++) {
    idt32[i] = gate(CODE32, stubs32[i]);
    idt64[i * 2] = gate(CODE64, stubs64[i]);
    idt64[i * 2 + 1] = 0;
    ((uint32_t *)ALIAS)[i] = real_vectors[i];
  }
  copy((uint8_t *)(ALIAS + LOW), low_start, (uint32_t)(low_end - low_start));
}

#define EDGE 64
#define PAGES 16

/* What the first and the last bytes of the arena's pages are filled with. */
static uint8_t edges[PAGES][2 * EDGE];

/* Good for every port that they may go to, whatever the alignment: 50h to 57h are plain cells of the CMOS RAM. */
static void edges_initialize(void) {
  for (uint32_t page = 0; page < PAGES; page++) {
    for (uint32_t i = 0; i < 2 * EDGE; i++) {
      uint32_t offset = page * PAGE + (i < EDGE ? i : i + PAGE - 2 * EDGE);
      edges[page][i] = 0x50 | ((offset * 5 + (offset >> 3) + page) & 7);
    }
  }
}

void machine_initialize(void) {
  paging_initialize();
  vectors_initialize();
  uint32_t *words = (uint32_t *)task;
  words[1] = (uint32_t)(exception_stack + sizeof exception_stack); /* ESP0 and SS0 */
  words[2] = DATA32;
  words[0x64 / 4] = BITMAP_AT << 16;
  edges_initialize();
}

void task_initialize(enum bitmap bitmap, unsigned port, unsigned width) {
  uint8_t *bits = task + BITMAP_AT;
  fill(bits, bitmap == CLOSED ? 0xff : 0, BITMAP_BYTES);
  bits[BITMAP_BYTES - 1] = 0xff;
  unsigned last = port + width - 1;
  if (bitmap == HOLE) bits[last >> 3] |= 1 << (last & 7);
  uint32_t limit = bitmap == CUT ? BITMAP_AT + (port >> 3) : sizeof task - 1;
  uint32_t base = (uint32_t)task;
  uint64_t low = (uint64_t)(base & 0xffffff) << 16 | limit, high = base & 0xff000000;
  gdt[TASK / 8] = high << 32 | TASK_AVAILABLE << 40 | low;
}

uint8_t *arena(uint32_t offset) {
  return (uint8_t *)(ALIAS + ARENA + offset);
}

void arena_fill(void) {
  for (uint32_t page = 0; page < PAGES; page++) {
    copy(arena(page * PAGE), edges[page], EDGE);
    copy(arena((page + 1) * PAGE - EDGE), edges[page] + EDGE, EDGE);
  }
}

/* FNV-1a, in words. */
uint32_t arena_digest(void) {
  uint32_t digest = 0x811c9dc5;
  for (uint32_t page = 0; page < PAGES; page++) {
    for (uint32_t i = 0; i < 2 * EDGE; i += 4) {
      uint32_t offset = page * PAGE + (i < EDGE ? i : i + PAGE - 2 * EDGE);
      digest = (digest ^ *(uint32_t *)arena(offset)) * 0x01000193;
    }
  }
  return digest;
}
