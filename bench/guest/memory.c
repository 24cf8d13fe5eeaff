/* Copying, filling, and chasing pointers. */
#include "io.h"
#include "layout.h"
#include "paging.h"
#include "test.h"

#define SMALL 4096
#define LARGE 0x100000

static inline void rep_movsl(void *to, const void *from, word count) {
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static inline void rep_stosl(void *to, u32 value, word count) {
    __asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(value) : "memory");
}

static u32 sum_of(const u32 *words, u32 count) {
    u32 sum = 0;
    for (u32 i = 0; i < count; i++) sum = sum * 31 + words[i];
    return sum;
}

static void number(u32 bytes) {
    for (u32 i = 0; i < bytes / 4; i++) ((u32 *)BUFFER)[i] = i * 2654435761u;
}

static void test_copy_rep(u32 iterations) {
    number(SMALL);
    begin_test();
    while (iterations--) rep_movsl((void *)OTHER_BUFFER, (void *)BUFFER, SMALL / 4);
    end_test(sum_of((u32 *)OTHER_BUFFER, SMALL / 4));
}

static void test_copy_rep_large(u32 iterations) {
    number(LARGE);
    begin_test();
    while (iterations--) rep_movsl((void *)OTHER_BUFFER, (void *)BUFFER, LARGE / 4);
    end_test(sum_of((u32 *)OTHER_BUFFER, LARGE / 4));
}

static void test_copy_loop(u32 iterations) {
    number(SMALL);
    begin_test();
    while (iterations--) {
        const volatile u32 *from = (u32 *)BUFFER;
        volatile u32 *to = (u32 *)OTHER_BUFFER;
        for (u32 i = 0; i < SMALL / 4; i++) to[i] = from[i];
    }
    end_test(sum_of((u32 *)OTHER_BUFFER, SMALL / 4));
}

static void test_fill_rep(u32 iterations) {
    begin_test();
    while (iterations--) rep_stosl((void *)BUFFER, iterations, SMALL / 4);
    end_test(sum_of((u32 *)BUFFER, SMALL / 4));
}

static void test_fill_loop(u32 iterations) {
    begin_test();
    while (iterations--) {
        volatile u32 *to = (u32 *)BUFFER;
        for (u32 i = 0; i < SMALL / 4; i++) to[i] = iterations;
    }
    end_test(sum_of((u32 *)BUFFER, SMALL / 4));
}

/* --- Pointer chase over 16 MiB: each step another cache line, seldom in the same page --------------------------- */

#define CHASE_BYTES 0x1000000
#define LINE 64
#define LINES (CHASE_BYTES / LINE)

/* One cycle through all lines: a full-period linear congruence modulo a power of two. */
static word *chase_links(void) {
    u32 at = 0;
    for (u32 i = 0; i < LINES; i++) {
        u32 next = (at * 1664525u + 1013904223u) & (LINES - 1);
        *(word *)(CHASE + (word)at * LINE) = CHASE + (word)next * LINE;
        at = next;
    }
    return (word *)CHASE;
}

static void chase(u32 iterations) {
    word *at = chase_links();
    begin_test();
    while (iterations--) at = (word *)*at;
    end_test((u32)(word)at);
}

static void test_chase(u32 iterations) { chase(iterations); }

static void test_chase_paged(u32 iterations) {
    paging_small_pages();
    chase(iterations);
    paging_default();
}

const Test memory_tests[] = {
    {"copy-rep", "4KiB", 1, test_copy_rep},
    {"copy-loop", "4KiB", 1, test_copy_loop},
    {"copy-rep-1m", "MiB", 1, test_copy_rep_large},
    {"fill-rep", "4KiB", 1, test_fill_rep},
    {"fill-loop", "4KiB", 1, test_fill_loop},
    {"chase", "load", 1, test_chase},
    {"chase-4k-pages", "load", 1, test_chase_paged},
    {0, 0, 0, 0},
};
