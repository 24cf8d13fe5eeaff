/* A machine of KVM for guest.asm: local APIC, I/O APIC and PIT in the kernel, two ioeventfds, everything else here. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "guest.h"

enum { RAM = 1 << 20, LOAD = 0x1000, STACK = 0x8000, LEAVE = 0xf4 };

static int check(int result, const char *what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
  return result;
}
#define CHECK(call) check(call, #call)

int main(void) {
  int kvm = CHECK(open("/dev/kvm", O_RDWR));
  int vm = CHECK(ioctl(kvm, KVM_CREATE_VM, 0));
  CHECK(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000L));
  CHECK(ioctl(vm, KVM_CREATE_IRQCHIP, 0));
  struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
  CHECK(ioctl(vm, KVM_CREATE_PIT2, &pit));

  char *ram = mmap(0, RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memcpy(ram + LOAD, guest_bin, guest_bin_len);
  struct kvm_userspace_memory_region region = {.memory_size = RAM, .userspace_addr = (unsigned long)ram};
  CHECK(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
  struct kvm_ioeventfd port = {.addr = 0x500, .len = 2, .fd = eventfd(0, 0), .flags = KVM_IOEVENTFD_FLAG_PIO};
  CHECK(ioctl(vm, KVM_IOEVENTFD, &port));
  struct kvm_ioeventfd mmio = {.addr = 0xd0001000, .len = 0, .fd = eventfd(0, 0)};
  CHECK(ioctl(vm, KVM_IOEVENTFD, &mmio));

  int cpu = CHECK(ioctl(vm, KVM_CREATE_VCPU, 0));
  struct {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[100];
  } cpuid = {{.nent = 100}};
  CHECK(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid));
  CHECK(ioctl(cpu, KVM_SET_CPUID2, &cpuid));
  struct kvm_segment flat = {.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .db = 1, .g = 1};
  struct kvm_sregs system;
  CHECK(ioctl(cpu, KVM_GET_SREGS, &system));
  system.cs = flat;
  flat.type = 3;
  flat.selector = 16;
  system.ds = system.es = system.ss = system.fs = system.gs = flat;
  system.cr0 |= 1;
  CHECK(ioctl(cpu, KVM_SET_SREGS, &system));
  struct kvm_regs registers = {.rip = LOAD, .rsp = STACK, .rflags = 2};
  CHECK(ioctl(cpu, KVM_SET_REGS, &registers));

  struct kvm_run *run = mmap(0, CHECK(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0)), PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
  for (;;) {
    CHECK(ioctl(cpu, KVM_RUN, 0));
    if (run->exit_reason == KVM_EXIT_IO) {
      if (run->io.port == LEAVE) return 0;
      if (run->io.direction == KVM_EXIT_IO_IN) memset((char *)run + run->io.data_offset, 0x60, run->io.size * run->io.count);
    } else if (run->exit_reason == KVM_EXIT_MMIO) {
      if (!run->mmio.is_write) memset(run->mmio.data, 0x5a, sizeof run->mmio.data);
    } else {
      fprintf(stderr, "exit %u\n", run->exit_reason);
      return 1;
    }
  }
}
