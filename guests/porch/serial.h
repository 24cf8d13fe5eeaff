/* The console: a 16550A at COM1. Output waits for the transmitter; input arrives by interrupt. */
#pragma once
#include <stdint.h>

#define SERIAL_IRQ 4

void serial_initialize(void);

/* Lets input interrupt. The 8259A must be set up by then: it forgets edges that came before. */
void serial_enable_input(void);
void serial_write(char c);

/* Waits until everything written has left the transmitter, as it must before power goes. */
void serial_flush(void);

/* The next character; the processor sleeps until there is one. */
char serial_read(void);

/* Takes Ctrl-C out of the waiting input, if it is there. */
int serial_interrupted(void);

/* Called for each interrupt of SERIAL_IRQ. */
void serial_interrupt(void);
