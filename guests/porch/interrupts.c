#include "interrupts.h"

#include <stdint.h>

#include "port.h"
#include "print.h"
#include "serial.h"

#define CODE_SEGMENT 0x08
#define INTERRUPT_GATE 0x8e00 /* present, ring 0, 32-bit interrupt gate (SDM volume 3, figure 6-2) */
#define VECTORS 48
#define IRQ_BASE 32

/* 8259A: ICW1 to ICW4, OCW1 (the mask) and OCW2 (end of interrupt). */
enum { PIC1_COMMAND = 0x20, PIC1_DATA = 0x21, PIC2_COMMAND = 0xa0, PIC2_DATA = 0xa1 };
#define ICW1_CASCADE_ICW4 0x11
#define ICW4_8086 0x01
#define CASCADE_LINE 2
#define OCW2_SPECIFIC_EOI 0x60

/* Local APIC: SDM volume 3, table 11-1 and figure 11-8. */
#define CPUID_EDX_APIC (1u << 9)
#define MSR_APIC_BASE 0x1b
#define APIC_BASE_ENABLED (1u << 11)
#define APIC_BASE_X2APIC (1u << 10)
#define APIC_SPURIOUS 0xf0
#define APIC_LINT0 0x350
#define SPURIOUS_ENABLE_VECTOR_2F 0x12f /* vector 47 has a gate here and its handler does nothing */
#define LVT_EXTINT 0x700

struct frame {
  uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax;
  uint32_t vector, error, eip, cs, eflags;
};

extern const uint32_t interrupt_stubs[VECTORS];
static uint64_t idt[VECTORS];

static const char *const exception_names[] = {
    "#DE divide error",        "#DB debug",          "NMI",                   "#BP breakpoint",
    "#OF overflow",            "#BR bound range",    "#UD invalid opcode",    "#NM no coprocessor",
    "#DF double fault",        "coprocessor overrun", "#TS invalid TSS",       "#NP segment not present",
    "#SS stack segment fault", "#GP general protection", "#PF page fault",    "reserved",
    "#MF x87 error",           "#AC alignment check", "#MC machine check",    "#XM SIMD error",
};

void interrupt_dispatch(struct frame *frame);
void interrupt_dispatch(struct frame *frame) {
  if (frame->vector == IRQ_BASE + SERIAL_IRQ) {
    serial_interrupt();
    out8(PIC1_COMMAND, OCW2_SPECIFIC_EOI | SERIAL_IRQ);
    return;
  }
  if (frame->vector >= IRQ_BASE) return; /* masked lines: only a spurious one can come, and that has nothing to end */

  const char *name = frame->vector < sizeof exception_names / sizeof *exception_names
                         ? exception_names[frame->vector]
                         : "exception";
  print("\n%s (vector %u, error code 0x%x) at 0x%08x\n", name, frame->vector, frame->error, frame->eip);
  print("  eax 0x%08x  ebx 0x%08x  ecx 0x%08x  edx 0x%08x\n", frame->eax, frame->ebx, frame->ecx, frame->edx);
  print("  esi 0x%08x  edi 0x%08x  ebp 0x%08x  eflags 0x%08x\n", frame->esi, frame->edi, frame->ebp, frame->eflags);
  restart_monitor();
}

/* All lines masked but the console's. */
static void initialize_8259(void) {
  out8(PIC1_COMMAND, ICW1_CASCADE_ICW4);
  out8(PIC2_COMMAND, ICW1_CASCADE_ICW4);
  out8(PIC1_DATA, IRQ_BASE);
  out8(PIC2_DATA, IRQ_BASE + 8);
  out8(PIC1_DATA, 1 << CASCADE_LINE);
  out8(PIC2_DATA, CASCADE_LINE);
  out8(PIC1_DATA, ICW4_8086);
  out8(PIC2_DATA, ICW4_8086);
  out8(PIC1_DATA, (uint8_t)~(1 << SERIAL_IRQ));
  out8(PIC2_DATA, 0xff);
}

/* Virtual wire mode: the 8259A's output reaches the processor through LINT0. Firmware does this; a loader may not. */
static void initialize_local_apic(void) {
  uint32_t eax = 1, ebx, ecx, edx;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
  if (!(edx & CPUID_EDX_APIC)) return;
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_APIC_BASE));
  if (!(low & APIC_BASE_ENABLED) || (low & APIC_BASE_X2APIC)) return;
  uint32_t base = low & 0xfffff000u;
  *(volatile uint32_t *)(base + APIC_SPURIOUS) = SPURIOUS_ENABLE_VECTOR_2F;
  *(volatile uint32_t *)(base + APIC_LINT0) = LVT_EXTINT;
}

void interrupts_initialize(void) {
  for (int i = 0; i < VECTORS; i++) {
    uint32_t handler = interrupt_stubs[i];
    uint32_t low = CODE_SEGMENT << 16 | (handler & 0xffff), high = (handler & 0xffff0000u) | INTERRUPT_GATE;
    idt[i] = (uint64_t)high << 32 | low;
  }
  struct {
    uint16_t limit;
    uint32_t base;
  } __attribute__((packed)) pointer = {sizeof idt - 1, (uint32_t)idt};
  __asm__ volatile("lidt %0" : : "m"(pointer));
  initialize_8259();
  initialize_local_apic();
  __asm__ volatile("sti");
}
