/* The interrupt descriptor table, the 8259A pair and processor exceptions. */
#pragma once

void interrupts_initialize(void);

/* start.S: back to the prompt, whatever was running. */
_Noreturn void restart_monitor(void);
_Noreturn void triple_fault(void);
