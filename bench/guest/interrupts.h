#pragma once

#include "types.h"

#define VECTOR_NOTHING 0x40
#define VECTOR_RING3   0x41
#define VECTOR_RING3_END 0x42
/* The 8259A pair is moved to 20h-2Fh. */
#define VECTOR_UART    0x24

/* GDT, task state segment, IDT, 8259A pair; interrupts stay off. */
void interrupts_init(void);
