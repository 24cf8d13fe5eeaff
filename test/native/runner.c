/*
 * Runs instruction sequences on the host CPU, one at a time, and reports the state they end in.
 *
 * Cases arrive on standard input and outcomes leave on standard output (layout.h). Every case ends in an exception: the
 * INT3 that fills the code page, or a fault of its own. The kernel turns it into a signal whose frame holds the whole
 * state; the handler copies that and leaves without sigreturn. The case runs with nothing of ours in reach: in 64-bit
 * mode the runner is position-independent, far above the low 2 GiB; in 32-bit mode every segment ends at 1 GiB and the
 * runner is linked above it.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "layout.h"

#define IN_CAPACITY (1u << 20)
#define OUT_CAPACITY (1u << 20)
#define TICK_MICROSECONDS 20000
#define TICKS_TO_TIMEOUT 3

static uint8_t *const window = (uint8_t *)(uintptr_t)WINDOW_BASE;
static uint8_t background[WINDOW_SIZE];
static uint8_t *code; /* writable alias of the code page */
static uint8_t in_buffer[IN_CAPACITY] __attribute__((aligned(64)));
static uint8_t out_buffer[OUT_CAPACITY] __attribute__((aligned(64)));
static size_t in_start, in_end, out_used;

static volatile uint32_t running; /* a case is on the CPU */
static volatile uint32_t serial;
static struct outcome_record *volatile outcome;

/* What entering a case needs; the assembly below reads it at fixed offsets. */
struct entry {
  uint64_t gpr[16];     /* 0 */
  uint64_t rip, rflags; /* 128, 136 */
  uint64_t fs_base, gs_base; /* 144, 152 */
  uint32_t esp;         /* 160: m16:32 for LSS */
  uint16_t ss, pad0;    /* 164 */
  uint32_t eip;         /* 168: m16:32 for JMP */
  uint16_t cs, pad1;    /* 172 */
  uint32_t ds, es, fs, gs; /* 176, 180, 184, 188 */
  uint8_t fx[512];      /* 192 */
};
__attribute__((used, aligned(64))) struct entry entry;
__attribute__((used)) uintptr_t host_sp;
__attribute__((used)) uintptr_t host_fs, host_gs;

void enter_case(void);
void leave_case(void);
void signal_stub(int, siginfo_t *, void *);

static void die(const char *what) {
  int saved = errno;
  dprintf(2, "native runner: %s%s%s\n", what, saved ? ": " : "", saved ? strerror(saved) : "");
  _exit(3);
}

#ifdef __x86_64__

/* IRETQ loads RIP, RFLAGS and RSP at once, and serializes after the code page was written. */
__asm__(
    ".text\n"
    ".global enter_case, leave_case, signal_stub\n"
    "enter_case:\n"
    "  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "  mov %rsp, host_sp(%rip)\n"
    "  lea entry(%rip), %r15\n"
    "  fxrstor64 192(%r15)\n"
    "  mov 144(%r15), %rax; wrfsbase %rax\n"
    "  mov 152(%r15), %rax; wrgsbase %rax\n"
    "  mov %ss, %eax; push %rax\n"
    "  push 32(%r15)\n"
    "  push 136(%r15)\n"
    "  mov %cs, %eax; push %rax\n"
    "  push 128(%r15)\n"
    "  mov (%r15), %rax; mov 8(%r15), %rcx; mov 16(%r15), %rdx; mov 24(%r15), %rbx\n"
    "  mov 40(%r15), %rbp; mov 48(%r15), %rsi; mov 56(%r15), %rdi\n"
    "  mov 64(%r15), %r8; mov 72(%r15), %r9; mov 80(%r15), %r10; mov 88(%r15), %r11\n"
    "  mov 96(%r15), %r12; mov 104(%r15), %r13; mov 112(%r15), %r14; mov 120(%r15), %r15\n"
    "  iretq\n"
    "leave_case:\n"
    "  mov host_sp(%rip), %rsp\n"
    "  push $0x202; popfq\n"
    "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
    "  ret\n"
    /* The case's FS base and AC are still in force in a handler. ID and NT must stay: sigreturn does not restore them. */
    "signal_stub:\n"
    "  pushfq; andl $~0x40000, (%rsp); popfq\n"
    "  rdfsbase %rax; push %rax\n"
    "  mov host_fs(%rip), %rax; wrfsbase %rax\n"
    "  call on_signal\n"
    "  pop %rax; wrfsbase %rax\n"
    "  ret\n");

static void prepare_mode(void) {
  if (!(getauxval(AT_HWCAP2) & 2)) die("needs FSGSBASE (Linux 5.9 on an Ivy Bridge or later)");
  __asm__("rdfsbase %0" : "=r"(host_fs));
  entry.fs_base = WINDOW_BASE;
  entry.gs_base = GS_BASE_64;
}

static void prepare_entry(const struct case_record *record) {
  memcpy(entry.gpr, record->gpr, sizeof entry.gpr);
  entry.rip = CODE_BASE + record->code_offset;
  entry.rflags = record->rflags;
}

static void report_state(struct outcome_record *out, const ucontext_t *context) {
  static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  const greg_t *registers = context->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) out->gpr[i] = registers[order[i]];
  out->rip = registers[REG_RIP];
  out->rflags = registers[REG_EFL];
  out->vector = registers[REG_TRAPNO];
  out->error = registers[REG_ERR];
  out->cr2 = registers[REG_CR2];
  memcpy(out->fx, context->uc_mcontext.fpregs, 512);
}

#else

/* IRET to ourselves serializes after the code page was written; POPF, LSS and a far JMP then enter the case. */
__asm__(
    ".text\n"
    ".global enter_case, leave_case, signal_stub\n"
    "enter_case:\n"
    "  push %ebp; push %ebx; push %esi; push %edi\n"
    "  mov %esp, host_sp\n"
    "  fxrstor entry + 192\n"
    "  pushf; push %cs; push $1f; iret\n"
    "1: pushl entry + 136\n"
    "  mov entry, %eax; mov entry + 8, %ecx; mov entry + 16, %edx; mov entry + 24, %ebx\n"
    "  mov entry + 40, %ebp; mov entry + 48, %esi; mov entry + 56, %edi\n"
    "  mov entry + 180, %es; mov entry + 184, %fs; mov entry + 188, %gs; mov entry + 176, %ds\n"
    "  popf\n"
    "  lss %cs:entry + 160, %esp\n"
    "  ljmp *%cs:entry + 168\n"
    "leave_case:\n"
    "  mov host_sp, %esp\n"
    "  push $0x202; popf\n"
    "  pop %edi; pop %esi; pop %ebx; pop %ebp\n"
    "  ret\n"
    /* The kernel reloads DS, ES, SS and CS for a handler, but leaves FS and GS (our TLS). */
    "signal_stub:\n"
    "  pushf; andl $~0x40000, (%esp); popf\n"
    "  mov 4(%esp), %eax; mov 8(%esp), %edx; mov 12(%esp), %ecx\n"
    "  push %gs; mov host_gs, %gs\n"
    "  sub $12, %esp\n"
    "  push %ecx; push %edx; push %eax\n"
    "  call on_signal\n"
    "  add $24, %esp\n"
    "  pop %gs\n"
    "  ret\n");

enum { READ_ONLY = 1, PAGES = 2, WIDE = 4, ABSENT = 8 };

static void set_descriptor(unsigned index, uint32_t base, uint32_t limit, unsigned contents, int attributes) {
  struct user_desc descriptor = {0};
  descriptor.entry_number = index;
  descriptor.base_addr = base;
  descriptor.limit = limit;
  descriptor.seg_32bit = (attributes & WIDE) != 0;
  descriptor.contents = contents;
  descriptor.read_exec_only = (attributes & READ_ONLY) != 0;
  descriptor.limit_in_pages = (attributes & PAGES) != 0;
  descriptor.seg_not_present = (attributes & ABSENT) != 0;
  descriptor.useable = 1;
  if (syscall(SYS_modify_ldt, 0x11, &descriptor, sizeof descriptor) != 0) die("modify_ldt");
}

static uint32_t selector(unsigned index) { return index == LDT_NULL ? 0 : index * 8 + 7; }

static void prepare_mode(void) {
  const unsigned data = MODIFY_LDT_CONTENTS_DATA, code = MODIFY_LDT_CONTENTS_CODE;
  set_descriptor(LDT_CODE, 0, 0x3ffff, code, PAGES | WIDE);
  set_descriptor(LDT_FLAT, 0, 0x3ffff, data, PAGES | WIDE);
  set_descriptor(LDT_WINDOW, WINDOW_BASE, 0xffff, data, WIDE);
  set_descriptor(LDT_HALF, WINDOW_BASE + 0x4000, 0x7fff, data, WIDE);
  set_descriptor(LDT_READ_ONLY, WINDOW_BASE, 0xffff, data, READ_ONLY | WIDE);
  set_descriptor(LDT_EXPAND_DOWN, WINDOW_BASE, 0x7fff, MODIFY_LDT_CONTENTS_STACK, 0);
  set_descriptor(LDT_STACK16, WINDOW_BASE, 0xffff, data, 0);
  set_descriptor(LDT_ABSENT, WINDOW_BASE, 0xffff, data, WIDE | ABSENT);
  set_descriptor(LDT_EXECUTE, 0, 0x3ffff, code, READ_ONLY | PAGES | WIDE);
  set_descriptor(LDT_ABSENT_CODE, 0, 0x3ffff, code, PAGES | WIDE | ABSENT);
  set_descriptor(LDT_CODE16, CODE_BASE, 0xfff, code, 0);
  __asm__("mov %%gs, %0" : "=r"(host_gs));
}

static void prepare_entry(const struct case_record *record) {
  memcpy(entry.gpr, record->gpr, sizeof entry.gpr);
  entry.rflags = record->rflags;
  entry.esp = record->gpr[4];
  entry.ss = selector(record->ss);
  entry.eip = record->code_offset + (record->cs == LDT_CODE16 ? 0 : CODE_BASE);
  entry.cs = selector(record->cs);
  entry.ds = selector(record->ds);
  entry.es = selector(record->es);
  entry.fs = selector(record->fs);
  entry.gs = selector(record->gs);
}

static void report_state(struct outcome_record *out, const ucontext_t *context) {
  static const uint8_t order[8] = {REG_EAX, REG_ECX, REG_EDX, REG_EBX, REG_UESP, REG_EBP, REG_ESI, REG_EDI};
  const greg_t *registers = context->uc_mcontext.gregs;
  for (int i = 0; i < 8; i++) out->gpr[i] = (uint32_t)registers[order[i]];
  for (int i = 8; i < 16; i++) out->gpr[i] = 0;
  static const uint8_t segments[6] = {REG_DS, REG_ES, REG_FS, REG_GS, REG_SS, REG_CS};
  for (int i = 0; i < 6; i++) out->segments[i] = registers[segments[i]];
  out->rip = (uint32_t)registers[REG_EIP];
  out->rflags = (uint32_t)registers[REG_EFL];
  out->vector = registers[REG_TRAPNO];
  out->error = registers[REG_ERR];
  out->cr2 = (uint32_t)context->uc_mcontext.cr2;
  /* struct _fpstate_32: 112 bytes of FNSAVE format and kernel words, then the FXSAVE image. */
  memcpy(out->fx, (const uint8_t *)context->uc_mcontext.fpregs + 112, 512);
}

#endif

__attribute__((used, noinline)) void on_signal(int number, siginfo_t *info, void *context) {
  (void)info;
  if (number == SIGALRM) {
    static uint32_t last_serial, ticks;
    if (!running || serial != last_serial) {
      last_serial = serial;
      ticks = 0;
      return;
    }
    if (++ticks < TICKS_TO_TIMEOUT) return;
    running = 0;
    report_state(outcome, context);
    outcome->vector = VECTOR_TIMEOUT;
    sigset_t alarm_only;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
    leave_case();
  }
  if (!running) {
    errno = 0;
    die("a signal outside of a case");
  }
  running = 0;
  report_state(outcome, context);
  leave_case();
}

static void read_exactly(void *to, size_t length) {
  uint8_t *bytes = to;
  while (length > 0) {
    if (in_start == in_end) {
      ssize_t got = read(0, in_buffer, sizeof in_buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) die("standard input ends inside a record");
      in_start = 0;
      in_end = got;
    }
    size_t part = in_end - in_start < length ? in_end - in_start : length;
    memcpy(bytes, in_buffer + in_start, part);
    in_start += part;
    bytes += part;
    length -= part;
  }
}

static int at_end(void) {
  while (in_start == in_end) {
    ssize_t got = read(0, in_buffer, sizeof in_buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) die("read");
    if (got == 0) return 1;
    in_start = 0;
    in_end = got;
  }
  return 0;
}

static void flush(void) {
  for (size_t done = 0; done < out_used;) {
    ssize_t put = write(1, out_buffer + done, out_used - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) die("write");
    done += put;
  }
  out_used = 0;
}

/* Appends the window's changes against the background to the outcome, and takes them back. */
static uint8_t *report_memory(struct outcome_record *out, uint8_t *at) {
  for (unsigned block = 0; block < WINDOW_WRITABLE; block += 1024) {
    if (memcmp(window + block, background + block, 1024) == 0) continue;
    for (unsigned i = block; i < block + 1024;) {
      if (window[i] == background[i]) {
        i++;
        continue;
      }
      unsigned first = i, last = i;
      while (i < block + 1024 && i - last <= 4) {
        if (window[i] != background[i]) last = i;
        i++;
      }
      uint16_t length = last - first + 1, offset = first;
      memcpy(at, &offset, 2);
      memcpy(at + 2, &length, 2);
      memcpy(at + 4, window + first, length);
      at += 4 + length;
      out->runs++;
    }
    memcpy(window + block, background + block, 1024);
  }
  return at;
}

static void run_case(const struct case_record *record) {
  const uint8_t *body = (const uint8_t *)(record + 1);
  const uint8_t *patch = body + record->code_length, *patches_end = patch + record->patch_length;
  if (record->code_offset + record->code_length > CODE_SIZE) die("code does not fit its page");
  /* A window that changed everywhere costs at most 4 bytes of header for 6 of data. */
  if (out_used + sizeof *outcome + 2 * WINDOW_SIZE > sizeof out_buffer) flush();

  memcpy(code + record->code_offset, body, record->code_length);
  while (patch < patches_end) {
    uint16_t offset, length;
    memcpy(&offset, patch, 2);
    memcpy(&length, patch + 2, 2);
    if (offset + length > WINDOW_WRITABLE) die("a patch does not fit the window");
    memcpy(window + offset, patch + 4, length);
    patch += 4 + length;
  }
  prepare_entry(record);
  memcpy(entry.fx, record->fx, sizeof entry.fx);

  struct outcome_record *out = (struct outcome_record *)(out_buffer + out_used);
  memset(out, 0, sizeof *out);
  outcome = out;
  serial++;
  running = 1;
  enter_case();

  memset(code + record->code_offset, 0xcc, record->code_length);
  uint8_t *end = report_memory(out, (uint8_t *)(out + 1));
  while ((size_t)(end - (uint8_t *)out) & 15) *end++ = 0;
  out->length = end - (uint8_t *)out;
  out_used += out->length;
}

int main(void) {
  int memory = memfd_create("code", 0);
  if (memory < 0 || ftruncate(memory, CODE_SIZE) != 0) die("memfd_create");
  code = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (code == MAP_FAILED) die("mmap of the code alias");
  if (mmap((void *)(uintptr_t)CODE_BASE, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE, memory,
           0) == MAP_FAILED)
    die("mmap of the code page");
  if (mmap(window, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
      MAP_FAILED)
    die("mmap of the window");
  memset(code, 0xcc, CODE_SIZE);

  struct request_header header;
  read_exactly(&header, sizeof header);
  if (header.magic != REQUEST_MAGIC || header.version != PROTOCOL_VERSION || header.background_size != WINDOW_SIZE)
    die("not a batch of this version");
  read_exactly(background, sizeof background);
  memcpy(window, background, sizeof background);
  if (mprotect(window + WINDOW_WRITABLE, WINDOW_SIZE - WINDOW_WRITABLE, PROT_READ) != 0) die("mprotect");

  prepare_mode();
  static uint8_t alternate[65536] __attribute__((aligned(64)));
  stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  if (sigaltstack(&stack, NULL) != 0) die("sigaltstack");
  struct sigaction action = {0};
  action.sa_sigaction = signal_stub;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (sigaction(numbers[i], &action, NULL) != 0) die("sigaction");
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  if (sigaction(SIGALRM, &action, NULL) != 0) die("sigaction");
  struct itimerval tick = {{0, TICK_MICROSECONDS}, {0, TICK_MICROSECONDS}};
  if (setitimer(ITIMER_REAL, &tick, NULL) != 0) die("setitimer");

  struct reply_header reply = {REPLY_MAGIC, PROTOCOL_VERSION, sizeof(void *) * 8, 0};
  memcpy(out_buffer, &reply, sizeof reply);
  out_used = sizeof reply;

  static uint8_t record[65536] __attribute__((aligned(64)));
  while (!at_end()) {
    uint32_t length;
    read_exactly(&length, 4);
    if (length < sizeof(struct case_record) || length > sizeof record || length % 16 != 0) die("a bad case record");
    memcpy(record, &length, 4);
    read_exactly(record + 4, length - 4);
    run_case((const struct case_record *)record);
  }
  flush();
  return 0;
}
