/* What the loader said about memory (Multiboot Specification 0.6.96, section 3.3). */
#pragma once
#include <stdint.h>

#define MULTIBOOT_BOOTLOADER_MAGIC 0x2badb002

/* Keeps a copy of what matters; the original may be overwritten with `poke`. */
void memory_initialize(uint32_t magic, uint32_t information);

/* Usable RAM in KiB, 0 if the loader did not say. */
uint32_t memory_kib(void);

void memory_print(void);
