/*
 * What the processor under this program does where the manual leaves a choice, or where Bochs differs from it: one line
 * for each entry of `silicon.test.ts`. Plain user mode: faults come back as signals, segments from modify_ldt.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static greg_t registers[NGREG];
static uintptr_t address;

static void caught(int signal, siginfo_t *info, void *context) {
  (void)signal;
  memcpy(registers, ((ucontext_t *)context)->uc_mcontext.gregs, sizeof registers);
  address = (uintptr_t)info->si_addr;
  siglongjmp(back, 1);
}

static void prepare(void) {
  static char stack[65536];
  sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
  struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  int signals[] = {SIGSEGV, SIGBUS, SIGTRAP, SIGILL, SIGFPE};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
}

/* Runs code that ends in a fault, or does not. */
#define FAULTS(...) (sigsetjmp(back, 1) == 0 ? (({ __VA_ARGS__; }), 0) : 1)

static int ldt(unsigned entry, uintptr_t base, int contents, int read_only, int absent) {
  struct user_desc descriptor = {.entry_number = entry, .base_addr = base, .limit = 0xfffff, .seg_32bit = 1,
    .contents = contents, .read_exec_only = read_only, .limit_in_pages = 1, .seg_not_present = absent, .useable = 1};
  return syscall(SYS_modify_ldt, 0x11, &descriptor, sizeof descriptor);
}

#define FLAGS_RF 0x10000
#define FLAGS_ZF 0x40
#define PAGE 0x10000000

#ifdef __x86_64__
/* IRETQ or IRETD through a frame; returns through INT3 at PAGE + 100h. */
static int through(uint64_t *frame, int wide) {
  return FAULTS(if (wide) asm volatile("mov %0, %%rsp; iretq" ::"r"(frame));
                else asm volatile("mov %0, %%rsp; iretl" ::"r"(frame)));
}

int main(void) {
  prepare();
  char *page = mmap((void *)PAGE, 0x10000, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  memset(page, 0xcc, 0x1000);
  mprotect(page + 0x2000, 0x2000, PROT_NONE);
  mprotect(page + 0x5000, 0x1000, PROT_NONE);

  FAULTS(asm volatile("cmpsb" ::"S"(page + 0x2000), "D"(page + 0x3000) : "memory"));
  printf("CMPS with both operands missing reports %s\n", address == PAGE + 0x3000 ? "ES:EDI" : "DS:ESI");
  FAULTS(asm volatile("fxsave (%0)" ::"r"(page + 0x4f00) : "memory"));
  printf("FXSAVE into a missing page reports offset %lx\n", address - (PAGE + 0x4f00));

  static char zeros[8], data[8] = {0, 0, 1};
  FAULTS(asm volatile("push $0x102; popfq; repe cmpsb; nop" ::"S"(zeros), "D"(data), "c"(4L) : "memory"));
  printf("a trap inside REPE CMPSB: RF %d, ZF %d\n", (registers[REG_EFL] & FLAGS_RF) != 0,
         (registers[REG_EFL] & FLAGS_ZF) != 0);

  uint64_t frame[5] = {PAGE + 0x100, 0x33, 0x202 | FLAGS_RF, PAGE + 0x9000, 0x2b};
  through(frame, 1);
  printf("INT3 with RF set pushes RF %d\n", (registers[REG_EFL] & FLAGS_RF) != 0);
  uint32_t small[5] = {PAGE + 0x100, 0x33, 0x202, PAGE + 0x9000, 0x2b};
  through((uint64_t *)small, 0);
  printf("IRETD in 64-bit mode pops %s\n", registers[REG_RSP] == PAGE + 0x9000 ? "RSP" : "no RSP");
  uint64_t compat[5] = {0xffffffff00000000 | (PAGE + 0x100), 0x23, 0x202, PAGE + 0x9000, 0x2b};
  through(compat, 1);
  printf("IRETQ to compatibility mode arrives at %llx\n", (unsigned long long)registers[REG_RIP]);
  if (ldt(0, 0, 0, 0, 1) == 0) {
    uint64_t absent[5] = {PAGE + 0x100, 0x33, 0x202, PAGE + 0x9000, 7};
    through(absent, 1);
    printf("IRETQ with SS not present: #%lld e=%llx\n", registers[REG_TRAPNO], registers[REG_ERR]);
  }
  return 0;
}
#else
int main(void) {
  prepare();
  static unsigned char memory[4096];
  if (ldt(0, (uintptr_t)memory, 0, 1, 0) != 0) return 0;
  int faults = FAULTS(asm volatile("mov %0, %%fs; xor %%ecx, %%ecx; arpl %%cx, %%fs:0" ::"r"(7) : "ecx", "memory"));
  printf("ARPL without a change to a read-only segment %s\n", faults ? "faults" : "passes");
  unsigned rights;
  asm volatile("mov %%ss, %%ecx; lar %%ecx, %0" : "=r"(rights)::"ecx");
  printf("LAR of a flat segment: %08x\n", rights);
  return 0;
}
#endif
