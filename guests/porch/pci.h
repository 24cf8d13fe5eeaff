/* PCI configuration space through mechanism 1 (PCI Local Bus Specification 3.0, section 3.2.2.3.2). */
#pragma once
#include <stdint.h>

/* Every function with its identity, and its base address registers with their sizes. */
void pci_print(void);

/* The 256 bytes of `bus:device.function`, in hexadecimal; says what is wrong with `address` if anything is. */
void pci_dump(const char *address);
