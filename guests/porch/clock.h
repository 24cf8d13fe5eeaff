/* The two clocks at hand: the ACPI PM timer and the time-stamp counter. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define PM_TIMER_HZ 3579545u /* ACPI 6.5, section 4.8.3.3 */

bool clock_has_tsc(void);
uint64_t clock_tsc(void);

/* The PM timer's value; 0 where there is none. */
uint32_t clock_pm(void);

/* Ticks from `from` to `to`, across one wrap of the counter. */
uint32_t clock_pm_between(uint32_t from, uint32_t to);

uint64_t clock_pm_to_ns(uint64_t ticks);

/* TSC frequency in kHz by the PM timer over 50 ms; 0 if either clock is missing. */
uint32_t clock_tsc_khz(void);

/* By the PM timer, or by 1 microsecond an ISA access where there is none. */
void clock_wait_ms(uint32_t ms);
