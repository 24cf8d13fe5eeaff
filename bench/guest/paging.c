/* SDM vol 3, 4.3 (32-bit paging) and 4.5 (4-level paging). Every page is open to ring 3 and writable. */
#include "paging.h"

#include "io.h"
#include "layout.h"

#define OPEN  0x7
#define LARGE 0x80

#define ENTRIES (PAGE / sizeof(word))
#define SMALL_COUNT (SMALL_PAGES_END / PAGE)
/* Entries of small pages, then the tables above them. */
#define SMALL_TABLE ((word *)TABLES)
#define UPPER (TABLES + SMALL_COUNT * sizeof(word))

word paging_root(u32 which) { return UPPER + which * PAGE; }
word *paging_entry(word address) { return &SMALL_TABLE[address / PAGE]; }
word paging_value(word address) { return address | OPEN; }

void paging_small_pages(void) {
    for (word i = 0; i < SMALL_COUNT; i++) SMALL_TABLE[i] = paging_value(i * PAGE);
#ifdef __x86_64__
    word *pdpt = (word *)(UPPER + 2 * PAGE), *directories = pdpt + ENTRIES;
    for (u32 root = 0; root < 2; root++) {
        word *pml4 = (word *)paging_root(root);
        for (u32 i = 0; i < ENTRIES; i++) pml4[i] = 0;
        pml4[0] = (word)pdpt | OPEN;
    }
    for (u32 i = 0; i < ENTRIES; i++) pdpt[i] = i < 4 ? (word)(directories + i * ENTRIES) | OPEN : 0;
    for (word i = 0; i < 4 * ENTRIES; i++) {
        directories[i] = i < SMALL_COUNT / ENTRIES ? (word)(SMALL_TABLE + i * ENTRIES) | OPEN : i << 21 | LARGE | OPEN;
    }
    write_cr3(paging_root(0));
#else
    for (u32 root = 0; root < 2; root++) {
        word *directory = (word *)paging_root(root);
        for (word i = 0; i < ENTRIES; i++) {
            directory[i] = i < SMALL_COUNT / ENTRIES ? (word)(SMALL_TABLE + i * ENTRIES) | OPEN : i << 22 | LARGE | OPEN;
        }
    }
    write_cr4(read_cr4() | 0x10); /* PSE */
    write_cr3(paging_root(0));
    write_cr0(read_cr0() | 0x80000000);
#endif
}

void paging_default(void) {
#ifdef __x86_64__
    extern word large_pml4[];
    write_cr3((word)large_pml4);
#else
    write_cr0(read_cr0() & 0x7fffffff);
#endif
}
