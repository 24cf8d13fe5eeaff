/* Descriptors (SDM vol 3, 3.4.5, 6.11, 6.14, 7.2) and the 8259A pair. */
#include "interrupts.h"

#include "io.h"
#include "serial.h"

extern void on_nothing(void), on_page_fault(void), on_uart(void), on_unexpected(void), on_ring3_end(void);
extern u64 gdt[];

u8 task_state[104];
word page_fault_entry, page_fault_value;
volatile u32 uart_interrupts;

#ifdef __x86_64__
typedef struct { u16 low, selector; u16 attributes, middle; u32 high, zero; } Gate;
#define CODE 0x18
#else
typedef struct { u16 low, selector, attributes, high; } Gate;
#define CODE 0x08
#endif

static Gate idt[256];

static void set_gate(u32 vector, void (*handler)(void), u32 dpl) {
    word address = (word)handler;
    Gate *gate = &idt[vector];
    gate->low = (u16)address;
    gate->selector = CODE;
    gate->attributes = (u16)(0x8e00 | dpl << 13);
#ifdef __x86_64__
    gate->middle = (u16)(address >> 16);
    gate->high = 0;
    gate->zero = 0;
#else
    gate->high = (u16)(address >> 16);
#endif
}

void unexpected(void) {
    put("unexpected interrupt\n");
}

static void load_task_state(void) {
    word base = (word)task_state;
    /* An available 32- or 64-bit task state segment without I/O permission map. */
    gdt[6] = 0x0000890000000000ull | (sizeof task_state - 1) | (u64)(base & 0xffffff) << 16 | (u64)(base >> 24) << 56;
    gdt[7] = 0;
#ifdef __x86_64__
    task_state[102] = sizeof task_state;
#else
    task_state[8] = 0x10; /* SS0 */
    task_state[102] = sizeof task_state;
#endif
    __asm__ volatile("ltr %w0" : : "r"(0x30));
}

static void move_pics(void) {
    out8(0x20, 0x11), out8(0xa0, 0x11);
    out8(0x21, 0x20), out8(0xa1, 0x28);
    out8(0x21, 4), out8(0xa1, 2);
    out8(0x21, 1), out8(0xa1, 1);
    out8(0x21, 0xff), out8(0xa1, 0xff);
}

void interrupts_init(void) {
    struct { u16 limit; word base; } __attribute__((packed)) pointer = {sizeof idt - 1, (word)idt};
    for (u32 vector = 0; vector < 256; vector++) set_gate(vector, on_unexpected, 0);
    set_gate(14, on_page_fault, 0);
    set_gate(VECTOR_UART, on_uart, 0);
    set_gate(VECTOR_NOTHING, on_nothing, 0);
    set_gate(VECTOR_RING3, on_nothing, 3);
    set_gate(VECTOR_RING3_END, on_ring3_end, 3);
    load_task_state();
    move_pics();
    __asm__ volatile("lidt %0" : : "m"(pointer));
}
