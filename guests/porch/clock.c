#include "clock.h"

#include "acpi.h"
#include "port.h"
#include "text.h"

#define CPUID_EDX_TSC (1u << 4)
#define DELAY_PORT 0x80

bool clock_has_tsc(void) {
  uint32_t eax = 1, ebx, ecx, edx;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
  return edx & CPUID_EDX_TSC;
}

uint64_t clock_tsc(void) {
  uint64_t value;
  __asm__ volatile("rdtsc" : "=A"(value));
  return value;
}

uint32_t clock_pm(void) {
  return acpi.pm_timer_port ? in32(acpi.pm_timer_port) : 0;
}

uint32_t clock_pm_between(uint32_t from, uint32_t to) {
  return acpi.pm_timer_bits == 32 ? to - from : (to - from) & 0xffffff;
}

uint64_t clock_pm_to_ns(uint64_t ticks) {
  uint32_t rest;
  uint64_t seconds = divide64(ticks, PM_TIMER_HZ, &rest);
  return seconds * 1000000000u + divide64((uint64_t)rest * 1000000000u, PM_TIMER_HZ, 0);
}

uint32_t clock_tsc_khz(void) {
  if (!acpi.pm_timer_port || !clock_has_tsc()) return 0;
  uint32_t from = clock_pm(), ticks;
  uint64_t start = clock_tsc();
  do ticks = clock_pm_between(from, clock_pm());
  while (ticks < PM_TIMER_HZ / 20);
  uint64_t cycles = clock_tsc() - start;
  return (uint32_t)divide64(cycles * (PM_TIMER_HZ / 1000), ticks, 0);
}

void clock_wait_ms(uint32_t ms) {
  if (!acpi.pm_timer_port) {
    for (uint32_t i = 0; i < ms * 1000; i++) out8(DELAY_PORT, 0);
    return;
  }
  while (ms--) {
    uint32_t from = clock_pm();
    while (clock_pm_between(from, clock_pm()) < PM_TIMER_HZ / 1000) {
    }
  }
}
