/*
 * ports: IN, OUT, INS and OUTS in every form and mode, under all conditions that they know. A line a case says how it
 * ended and what is then in registers, memory and devices; it is the same wherever this runs, if it is right.
 */
#include <stddef.h>

#include "../porch/port.h"
#include "../porch/print.h"
#include "../porch/serial.h"
#include "cases.h"
#include "layout.h"
#include "machine.h"
#include "portico_pv.h"

#define FLAG_ONE 0x2u
#define FLAG_ARITHMETIC 0x8d5u
#define FLAG_VM 0x20000u

#define DR7_NONE 0x400u
#define DR7_PORT 0x20601u /* DR0, local; one byte, I/O */
#define DR6_NONE 0xffff0ff0u

enum { UNDEFINED = 6, DEBUG = 1, PROTECTION = 13, PAGE_FAULT = 14 };

#define EXIT_PORT 0xf4

/* --- devices that every PC has --- */

enum { MASK1 = 0x21, MASK2 = 0xa1, CMOS = 0x70, SCRATCH = 0x3ff, PCI_ADDRESS = 0xcf8 };
enum { FW_SELECTOR = 0x510, FW_DATA = 0x511 };
enum { CELLS = 0x50, CELL_COUNT = 8 };
enum { NOBODY = 0x30 };
#define PCI_ADDRESS_BITS 0x80fffffcu /* the others are reserved */

static void devices_set_up(void) {
  out8(MASK1, 0xb8);
  out8(MASK2, 0x8f);
  out8(SCRATCH, 0x5a);
  out32(PCI_ADDRESS, 0x8000003c);
  out16(FW_SELECTOR, 0);
  for (unsigned i = 0; i < CELL_COUNT; i++) {
    out8(CMOS, CELLS + i);
    out8(CMOS + 1, 0xc0 + i);
  }
  out8(CMOS, CELLS + 3);
}

static uint32_t mix(uint32_t digest, uint32_t value) {
  return (digest ^ value) * 0x01000193;
}

static uint32_t devices_digest(void) {
  uint32_t digest = mix(0x811c9dc5, in8(CMOS + 1)); /* of the cell that is selected */
  for (unsigned i = 0; i < CELL_COUNT; i++) {
    out8(CMOS, CELLS + i);
    digest = mix(digest, in8(CMOS + 1));
  }
  digest = mix(digest, in8(MASK1) | in8(MASK2) << 8 | in8(SCRATCH) << 16 | (uint32_t)in8(FW_DATA) << 24);
  return mix(digest, in32(PCI_ADDRESS) & PCI_ADDRESS_BITS);
}

/* A port whose device says something about an access of this form, and takes all of its bytes. */
static unsigned stock_port(unsigned form, const struct condition *condition) {
  static const uint16_t in[] = {FW_DATA, CMOS, PCI_ADDRESS}, out[] = {SCRATCH, CMOS, PCI_ADDRESS};
  static const uint16_t immediate[] = {MASK1, CMOS, NOBODY};
  unsigned size = condition->rex && (form & FORM_SIZE) == 1 ? 2 : form & FORM_SIZE; /* REX.W wins over 66h */
  if (!(form & FORM_STRING) && form & FORM_VARIANT) return immediate[size];
  return form & FORM_STRING && !(form & FORM_OUT) ? in[size] : out[size];
}

/* --- one case --- */

struct test {
  const struct mode *mode;
  const struct condition *condition;
  unsigned form;
  unsigned port;
};

static unsigned width_of(const struct test *test) {
  return 1u << (test->form & FORM_SIZE);
}

/* The instruction, at the beginning of the arena's code; its length. */
static unsigned instruction(const struct test *test) {
  const struct condition *condition = test->condition;
  bool string = test->form & FORM_STRING, variant = test->form & FORM_VARIANT;
  unsigned size = test->form & FORM_SIZE, direction = test->form & FORM_OUT ? 2 : 0;
  uint8_t *start = arena(CODE_AT), *at = start;
  for (const char *prefix = condition->prefixes; prefix != NULL && *prefix != 0;) *at++ = (uint8_t)*prefix++;
  if (size > 0 && (size == 1) != (test->mode->bits == 16)) *at++ = 0x66;
  if (string && variant) *at++ = 0xf3;
  if (condition->rex) *at++ = condition->rex;
  *at++ = (string ? 0x6c : variant ? 0xe4 : 0xec) + direction + (size > 0);
  if (!string && variant) *at++ = (uint8_t)test->port;
  return (unsigned)(at - start);
}

static void case_end(unsigned length) {
  for (unsigned i = 0; i < 4; i++) *arena(CODE_AT + length + i) = i & 1 ? 0x0b : 0x0f; /* UD2 */
}

/* `value` in the low bits of a register, something else above them. */
static uint64_t low_bits(uint64_t value, unsigned bits) {
  if (bits == 64) return value;
  return bits == 32 ? 0x5a5a5a5a00000000 | value : 0xa5a5a5a5a5a50000 | (value & 0xffff);
}

static void segments(const struct test *test, uint32_t base) {
  const struct mode *mode = test->mode;
  uint32_t data, fs, gs;
  if (mode->kind == REAL || mode->kind == V86) {
    data = ARENA_SEGMENT;
    fs = ARENA_SEGMENT + 0x100;
    gs = ARENA_SEGMENT + 0x200;
  } else {
    data = base ? USER_DATA16 : USER_DATA32;
    fs = base ? FS16 : FS32;
    gs = base ? GS16 : GS32;
  }
  /* The one of DS and ES that the operand is not in is another place, so that a mistake shows. */
  bool out = test->form & FORM_OUT;
  if (test->condition->segment) data = test->condition->segment;
  frame.ds = out ? data : fs;
  frame.es = out ? fs : data;
  frame.fs = fs;
  frame.gs = gs;
}

static void set_up(const struct test *test) {
  const struct mode *mode = test->mode;
  const struct condition *condition = test->condition;
  unsigned address = address_bits(mode, condition);
  bool based = mode->bits == 16 || address == 16 || condition->segment;
  uint32_t base = based ? ARENA : 0;
  uint64_t index = low_bits(condition->operand + ARENA - base, address);
  frame.gpr[RAX] = 0x0123456780abcd54;
  frame.gpr[RCX] = low_bits(condition->count, address);
  frame.gpr[RDX] = low_bits(test->port, 16);
  frame.gpr[RBX] = 0x1111111122222222;
  frame.gpr[RBP] = 0x3333333344444444;
  frame.gpr[RSI] = frame.gpr[RDI] = index;
  frame.gpr[RSP] = STACK_AT + (mode->bits == 16 ? 0 : ARENA);
  frame.rip = CODE_AT + (mode->bits == 16 ? 0 : ARENA);
  frame.rflags = FLAG_ONE | FLAG_ARITHMETIC | condition->flags | (mode->kind == V86 ? FLAG_VM : 0);
  frame.cs = mode->cs;
  frame.ss = mode->ss;
  segments(test, base);
  task_initialize(condition->bitmap, test->port, width_of(test));
  arena_fill();
}

static void run(const struct test *test) {
  bool breakpoint = test->condition->breakpoint;
  __asm__ volatile("mov %0, %%dr0" : : "r"(test->port + width_of(test) - 1));
  __asm__ volatile("mov %0, %%dr6" : : "r"(DR6_NONE));
  if (breakpoint) __asm__ volatile("mov %0, %%dr7" : : "r"(DR7_PORT));
  switch (test->mode->kind) {
    case REAL:
      run_real();
      break;
    case LONG:
      run_long();
      break;
    default:
      run_protected();
  }
  __asm__ volatile("mov %0, %%dr7" : : "r"(DR7_NONE));
}

/* --- the line --- */

static void print_register(const struct test *test, const char *name, unsigned number) {
  if (test->mode->bits == 64)
    print(" %s=%016X", name, frame.gpr[number]);
  else
    print(" %s=%08x", name, (uint32_t)frame.gpr[number]);
}

static void print_name(const struct test *test) {
  bool string = test->form & FORM_STRING, variant = test->form & FORM_VARIANT;
  print("%s %s%s%s%c %s %03x, %s: ", test->mode->name, string && variant ? "rep " : "",
        test->form & FORM_OUT ? "out" : "in", string ? "s" : "", "bwd"[test->form & FORM_SIZE],
        !string && variant ? "imm" : "dx", test->port, test->condition->name);
}

static void print_end(const struct test *test) {
  uint32_t value;
  print("#%u+%u", frame.vector, (uint32_t)frame.rip - CODE_AT - (test->mode->bits == 16 ? 0 : ARENA));
  if (frame.vector == PROTECTION || frame.vector == PAGE_FAULT) print("(%x)", frame.error);
  if (frame.vector == PAGE_FAULT) {
    __asm__ volatile("mov %%cr2, %0" : "=r"(value));
    print(" cr2=%x", value);
  }
  if (frame.vector == DEBUG) {
    __asm__ volatile("mov %%dr6, %0" : "=r"(value));
    print(" dr6=%x", value & 0xe00f);
  }
}

static void print_line(const struct test *test) {
  uint32_t devices = devices_digest(); /* before the line goes to one of them */
  print_name(test);
  print_end(test);
  print_register(test, "ax", RAX);
  print_register(test, "cx", RCX);
  print_register(test, "dx", RDX);
  print_register(test, "si", RSI);
  print_register(test, "di", RDI);
  print(" fl=%x mem=%08x dev=%08x\n", (uint32_t)frame.rflags, arena_digest(), devices);
}

static void run_case(const struct test *test) {
  set_up(test);
  case_end(instruction(test));
  devices_set_up();
  run(test);
  print_line(test);
}

/* --- the same by call --- */

static bool has_call(const struct test *test) {
  const struct condition *condition = test->condition;
  if (test->mode->ring != 0 || condition->prefixes != NULL || condition->rex) return false;
  return !(condition->flags & FLAG_TF) && !condition->breakpoint;
}

static const uint8_t vmcall[] = {0x0f, 0x01, 0xc1};

/* Undoes what the convention of calls does to registers: the line has to be that of an instruction, `length` long. */
static void as_instruction(const struct test *test, uint64_t ax, unsigned length) {
  uint64_t result = frame.gpr[RAX];
  frame.gpr[RAX] = ax;
  if (frame.vector != UNDEFINED) return; /* the call has faulted and is as it was */
  frame.rip += length - sizeof vmcall;
  if (test->form & (FORM_STRING | FORM_OUT)) {
    if (result != 0) frame.gpr[RAX] = result; /* an error, to be seen */
    return;
  }
  unsigned bits = 8 * width_of(test);
  frame.gpr[RAX] = bits == 32 ? result : (ax & ~((1ull << bits) - 1)) | result;
}

static void run_call(const struct test *test) {
  set_up(test);
  unsigned length = instruction(test);
  uint64_t ax = frame.gpr[RAX];
  frame.gpr[RBX] = ax;
  frame.gpr[RAX] = PV_CALL_IO + test->form;
  for (unsigned i = 0; i < sizeof vmcall; i++) *arena(CODE_AT + i) = vmcall[i];
  case_end(sizeof vmcall);
  devices_set_up();
  run(test);
  as_instruction(test, ax, length);
  print_line(test);
}

/* --- lists --- */

static void all_conditions(void (*run_one)(const struct test *), bool calls) {
  for (unsigned m = 0; m < mode_count; m++) {
    for (unsigned form = 0; form < FORMS; form++) {
      if ((form & FORM_SIZE) == 3) continue;
      for (unsigned c = 0; c < condition_count; c++) {
        struct test test = {&modes[m], &conditions[c], form, stock_port(form, &conditions[c])};
        if (applies(test.condition, test.mode, form) && (!calls || has_call(&test))) run_one(&test);
      }
    }
  }
}

/*
 * A device of the test, if there is one: ports of all contexts, see test/machine/io-conformance.ts. What an access
 * gives depends on all before it.
 */
enum { TEST_PORT = 0x140 };
static const uint16_t test_ports[] = {0x140, 0x144, 0x148, 0x149, 0x14c, 0xe0, 0x50, 0x54};
static const char *const test_conditions[] = {"plain", "to the next page", "down", "to absent", "hole", "step"};

static bool same(const char *a, const char *b) {
  while (*a != 0 && *a == *b) a++, b++;
  return *a == *b;
}

static bool chosen(const char *name) {
  for (unsigned i = 0; i < sizeof test_conditions / sizeof *test_conditions; i++) {
    if (same(name, test_conditions[i])) return true;
  }
  return false;
}

static void test_device(void) {
  for (unsigned m = 0; m < mode_count; m++) {
    for (unsigned form = 0; form < FORMS; form++) {
      if ((form & FORM_SIZE) == 3) continue;
      for (unsigned p = 0; p < sizeof test_ports / sizeof *test_ports; p++) {
        if (test_ports[p] > 0xff && !(form & FORM_STRING) && form & FORM_VARIANT) continue;
        for (unsigned c = 0; c < condition_count; c++) {
          struct test test = {&modes[m], &conditions[c], form, test_ports[p]};
          if (chosen(test.condition->name) && applies(test.condition, test.mode, form)) run_case(&test);
        }
      }
    }
  }
}

void ports_main(void) {
  serial_initialize();
  machine_initialize();
  print("begin instructions\n");
  all_conditions(run_case, false);
  struct pv pv = pv_probe();
  if (pv.features & PV_FEATURE_IO) {
    print("begin calls\n");
    all_conditions(run_call, true);
  }
  if (in32(TEST_PORT) != 0xffffffff) {
    print("begin test device\n");
    test_device();
  }
  print("end\n");
  serial_flush();
  out8(EXIT_PORT, 0);
}
