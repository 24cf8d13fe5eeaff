/* What an operating system costs: faults, interrupts, address spaces, code that changes. */
#include "interrupts.h"
#include "io.h"
#include "layout.h"
#include "paging.h"
#include "serial.h"
#include "test.h"

extern word page_fault_entry, page_fault_value;
extern volatile u32 uart_interrupts;
extern void run_ring3(u32 iterations);
extern u32 modify_and_run(u32 iterations);

static void test_page_fault(u32 iterations) {
    volatile u32 *page = (volatile u32 *)SPARE_PAGES;
    u32 sum = 0;
    paging_small_pages();
    *page = 3;
    page_fault_entry = (word)paging_entry(SPARE_PAGES);
    page_fault_value = paging_value(SPARE_PAGES);
    begin_test();
    for (u32 i = iterations; i--;) {
        *(volatile word *)page_fault_entry = 0;
        invlpg(SPARE_PAGES);
        sum += *page;
    }
    end_test(sum - 3 * iterations);
    paging_default();
}

static void test_int_ring0(u32 iterations) {
    begin_test();
    while (iterations--) __asm__ volatile("int %0" : : "i"(VECTOR_NOTHING) : "memory");
    end_test(0);
}

static void test_int_ring3(u32 iterations) {
    begin_test();
    run_ring3(iterations);
    end_test(0);
}

/* Transmitter-empty interrupt of COM1: raised by allowing it, taken back by reading IIR (PC16550D, 8.5 and 8.6). */
static void test_uart_interrupt(u32 iterations) {
    begin_test();
    uart_interrupts = 0;
    out8(0x21, 0xef);
    __asm__ volatile("sti");
    for (u32 i = 1; i <= iterations; i++) {
        out8(COM1 + 1, 2);
        while (uart_interrupts != i) {
        }
        out8(COM1 + 1, 0);
    }
    __asm__ volatile("cli");
    out8(0x21, 0xff);
    end_test(uart_interrupts - iterations);
}

static void test_cr3_switch(u32 iterations) {
    u32 sum = 0;
    paging_small_pages();
    for (word page = 0; page < 16; page++) *(volatile u32 *)(SPARE_PAGES + page * PAGE) = (u32)page;
    begin_test();
    while (iterations--) {
        write_cr3(paging_root(iterations & 1));
        for (word page = 0; page < 16; page++) sum += *(volatile u32 *)(SPARE_PAGES + page * PAGE);
    }
    end_test(sum);
    paging_default();
}

static void test_self_modifying(u32 iterations) {
    begin_test();
    u32 sum = modify_and_run(iterations);
    end_test(sum);
}

const Test system_tests[] = {
    {"page-fault", "round-trip", 1, test_page_fault},
    {"int-ring0", "round-trip", 1, test_int_ring0},
    {"int-ring3", "round-trip", 1, test_int_ring3},
    {"uart-interrupt", "round-trip", 1, test_uart_interrupt},
    {"cr3-switch", "switch", 1, test_cr3_switch},
    {"self-modifying", "change", 1, test_self_modifying},
    {0, 0, 0, 0},
};
