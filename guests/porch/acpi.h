/* What ACPI says about this machine (ACPI Specification 6.5; table and section numbers below are its own). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct acpi {
  uint32_t rsdp;          /* 0: none */
  uint32_t root;          /* XSDT or RSDT */
  bool root_is_xsdt;
  uint32_t fadt, dsdt;
  uint16_t pm_timer_port; /* 0: none */
  uint8_t pm_timer_bits;  /* 24 or 32 */
  uint16_t pm1a_control, pm1b_control, smi_command;
  uint8_t acpi_enable;
  bool has_s5;
  uint8_t s5_type_a, s5_type_b;
  bool has_reset;
  uint8_t reset_space, reset_value;
  uint32_t reset_address;
};

extern struct acpi acpi;

void acpi_initialize(void);

/* Every table with its address and length. */
void acpi_print(void);

/* Both return only if the machine goes on, having said why. */
void acpi_power_off(void);
void acpi_reset(void);
