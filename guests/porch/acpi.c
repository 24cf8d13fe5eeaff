#include "acpi.h"

#include <stddef.h>

#include "clock.h"
#include "port.h"
#include "print.h"
#include "text.h"

/* Section 5.2.6. */
struct header {
  char signature[4];
  uint32_t length;
  uint8_t revision, checksum;
  char oem[6], oem_table[8];
  uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

/* Table 5.3, RSDP. */
#define RSDP_V1_LENGTH 20
enum { RSDP_REVISION = 15, RSDP_RSDT = 16, RSDP_XSDT = 24 };

/* Table 5.9, FADT. */
enum {
  FADT_DSDT = 40, FADT_SMI_CMD = 48, FADT_ACPI_ENABLE = 52, FADT_PM1A_CNT = 64, FADT_PM1B_CNT = 68, FADT_PM_TMR = 76,
  FADT_FLAGS = 112, FADT_RESET_REG = 116, FADT_RESET_VALUE = 128, FADT_X_DSDT = 140, FADT_X_PM1A_CNT = 172,
  FADT_X_PM_TMR = 208,
};
#define FLAG_TMR_VAL_EXT (1u << 8)
#define FLAG_RESET_REG_SUP (1u << 10)
enum { SPACE_MEMORY = 0, SPACE_PORT = 1, SPACE_PCI = 2 };

/* Table 4.16, PM1 control. */
#define SCI_EN (1u << 0)
#define SLP_TYP_SHIFT 10
#define SLP_TYP_MASK (7u << SLP_TYP_SHIFT)
#define SLP_EN (1u << 13)

/* AML encodings: section 20.3. */
enum { ZERO_OP = 0x00, ONE_OP = 0x01, NAME_OP = 0x08, BYTE_PREFIX = 0x0a, WORD_PREFIX = 0x0b, PACKAGE_OP = 0x12 };

struct acpi acpi;

static uint32_t read32(uint32_t address) { return *(const uint32_t *)address; }
static uint8_t read8(uint32_t address) { return *(const uint8_t *)address; }

static bool checksum_good(uint32_t address, uint32_t length) {
  uint8_t sum = 0;
  while (length--) sum += read8(address++);
  return sum == 0;
}

static uint32_t find_rsdp(uint32_t first, uint32_t end) {
  for (uint32_t at = first; at < end; at += 16)
    if (memcmp((const void *)at, "RSD PTR ", 8) == 0 && checksum_good(at, RSDP_V1_LENGTH)) return at;
  return 0;
}

static uint32_t root_count(void) {
  uint32_t bytes = ((const struct header *)acpi.root)->length - sizeof(struct header);
  return bytes / (acpi.root_is_xsdt ? 8 : 4);
}

/* 0 for a table above 4 GiB, which we cannot see. */
static uint32_t root_entry(uint32_t index) {
  uint32_t at = acpi.root + sizeof(struct header) + index * (acpi.root_is_xsdt ? 8 : 4);
  return acpi.root_is_xsdt && read32(at + 4) ? 0 : read32(at);
}

/* A port out of the FADT: the extended block if it is there and in port space, else the 32-bit field. */
static uint16_t fadt_port(uint32_t extended, uint32_t plain) {
  uint32_t length = ((const struct header *)acpi.fadt)->length;
  if (length >= extended + 12 && read8(acpi.fadt + extended) == SPACE_PORT && read32(acpi.fadt + extended + 4))
    return (uint16_t)read32(acpi.fadt + extended + 4);
  return length >= plain + 4 ? (uint16_t)read32(acpi.fadt + plain) : 0;
}

/* An integer of the forms that a _S5 package holds; moves `at` past it. */
static bool aml_integer(const uint8_t **at, const uint8_t *end, uint32_t *value) {
  if (*at >= end) return false;
  uint8_t op = *(*at)++;
  if (op == ZERO_OP || op == ONE_OP) {
    *value = op;
    return true;
  }
  uint32_t size = op == BYTE_PREFIX ? 1 : op == WORD_PREFIX ? 2 : 0;
  if (!size || *at + size > end) return false;
  *value = size == 1 ? **at : (uint32_t)((*at)[0] | (*at)[1] << 8);
  *at += size;
  return true;
}

/* Section 7.4.2: `Name (\_S5, Package () { PM1a SLP_TYP, PM1b SLP_TYP, ... })`, looked for without an AML interpreter. */
static void find_s5(void) {
  const uint8_t *start = (const uint8_t *)acpi.dsdt + sizeof(struct header);
  const uint8_t *end = (const uint8_t *)acpi.dsdt + ((const struct header *)acpi.dsdt)->length;
  for (const uint8_t *at = start + 1; at + 8 < end; at++) {
    if (memcmp(at, "_S5_", 4) != 0 || at[4] != PACKAGE_OP) continue;
    bool named = at[-1] == NAME_OP || (at[-1] == '\\' && at - 2 >= start && at[-2] == NAME_OP);
    if (!named) continue;
    const uint8_t *element = at + 5;
    element += 1 + (*element >> 6); /* PkgLength: the top two bits count the bytes that follow */
    element++;                      /* NumElements */
    uint32_t a, b = 0;
    if (!aml_integer(&element, end, &a)) return;
    aml_integer(&element, end, &b);
    acpi.has_s5 = true;
    acpi.s5_type_a = a & 7;
    acpi.s5_type_b = b & 7;
    return;
  }
}

static void read_fadt(void) {
  uint32_t fadt = acpi.fadt, length = ((const struct header *)fadt)->length;
  uint32_t flags = length >= FADT_FLAGS + 4 ? read32(fadt + FADT_FLAGS) : 0;
  acpi.dsdt = read32(fadt + FADT_DSDT);
  if (length >= FADT_X_DSDT + 8 && read32(fadt + FADT_X_DSDT) && !read32(fadt + FADT_X_DSDT + 4))
    acpi.dsdt = read32(fadt + FADT_X_DSDT);
  acpi.pm_timer_port = fadt_port(FADT_X_PM_TMR, FADT_PM_TMR);
  acpi.pm_timer_bits = flags & FLAG_TMR_VAL_EXT ? 32 : 24;
  acpi.pm1a_control = fadt_port(FADT_X_PM1A_CNT, FADT_PM1A_CNT);
  acpi.pm1b_control = (uint16_t)read32(fadt + FADT_PM1B_CNT);
  acpi.smi_command = (uint16_t)read32(fadt + FADT_SMI_CMD);
  acpi.acpi_enable = read8(fadt + FADT_ACPI_ENABLE);
  if (flags & FLAG_RESET_REG_SUP && length > FADT_RESET_VALUE) {
    acpi.reset_space = read8(fadt + FADT_RESET_REG);
    acpi.reset_address = read32(fadt + FADT_RESET_REG + 4);
    acpi.reset_value = read8(fadt + FADT_RESET_VALUE);
    acpi.has_reset = acpi.reset_space == SPACE_MEMORY || acpi.reset_space == SPACE_PORT;
  }
}

void acpi_initialize(void) {
  /* Section 5.2.5.1: the first KiB of the EBDA, then the BIOS area. */
  uint32_t ebda = (uint32_t)*(const volatile uint16_t *)0x40e << 4;
  if (ebda >= 0x80000 && ebda < 0xa0000) acpi.rsdp = find_rsdp(ebda, ebda + 1024);
  if (!acpi.rsdp) acpi.rsdp = find_rsdp(0xe0000, 0x100000);
  if (!acpi.rsdp) return;

  acpi.root = read32(acpi.rsdp + RSDP_RSDT);
  if (read8(acpi.rsdp + RSDP_REVISION) >= 2 && read32(acpi.rsdp + RSDP_XSDT) && !read32(acpi.rsdp + RSDP_XSDT + 4)) {
    acpi.root = read32(acpi.rsdp + RSDP_XSDT);
    acpi.root_is_xsdt = true;
  }
  if (!checksum_good(acpi.root, ((const struct header *)acpi.root)->length)) {
    acpi.rsdp = 0;
    return;
  }
  for (uint32_t i = 0; i < root_count(); i++) {
    uint32_t table = root_entry(i);
    if (table && memcmp((const void *)table, "FACP", 4) == 0) acpi.fadt = table;
  }
  if (!acpi.fadt) return;
  read_fadt();
  if (acpi.dsdt) find_s5();
}

static void print_table(uint32_t address) {
  const struct header *header = (const struct header *)address;
  char name[5] = {0}, oem[7] = {0}, oem_table[9] = {0};
  memcpy(name, header->signature, 4);
  if (text_equal(name, "FACS")) { /* section 5.2.10: no OEM, no checksum */
    print("%s   0x%08x  %6u\n", name, address, header->length);
    return;
  }
  memcpy(oem, header->oem, 6);
  memcpy(oem_table, header->oem_table, 8);
  print("%s   0x%08x  %6u  %4u  %s %s%s\n", name, address, header->length, (uint32_t)header->revision, oem, oem_table,
        checksum_good(address, header->length) ? "" : "  (bad checksum)");
}

void acpi_print(void) {
  if (!acpi.rsdp) {
    print("no ACPI tables\n");
    return;
  }
  print("table  address     length   rev  OEM\n");
  print("RSDP   0x%08x  %6u  %4u\n", acpi.rsdp, acpi.root_is_xsdt ? 36u : 20u, (uint32_t)read8(acpi.rsdp + RSDP_REVISION));
  print_table(acpi.root);
  for (uint32_t i = 0; i < root_count(); i++)
    if (root_entry(i)) print_table(root_entry(i));
  if (acpi.dsdt) print_table(acpi.dsdt);
  if (acpi.fadt && read32(acpi.fadt + 36)) print_table(read32(acpi.fadt + 36));
  if (acpi.pm1a_control) print("PM1a control  port 0x%04x\n", (uint32_t)acpi.pm1a_control);
  if (acpi.pm_timer_port) print("PM timer      port 0x%04x, %u-bit\n", (uint32_t)acpi.pm_timer_port, (uint32_t)acpi.pm_timer_bits);
  if (acpi.has_s5) print("S5 sleep type %u\n", (uint32_t)acpi.s5_type_a);
  if (acpi.has_reset)
    print("reset         %s 0x%x, value 0x%02x\n", acpi.reset_space == SPACE_PORT ? "port" : "memory", acpi.reset_address,
          (uint32_t)acpi.reset_value);
}

/* Section 4.8.2.5: with SCI_EN clear, the firmware is asked to hand the registers over first. */
static void enable_acpi(void) {
  if (in16(acpi.pm1a_control) & SCI_EN || !acpi.smi_command || !acpi.acpi_enable) return;
  out8(acpi.smi_command, acpi.acpi_enable);
  for (int i = 0; i < 300 && !(in16(acpi.pm1a_control) & SCI_EN); i++) clock_wait_ms(1);
}

static void sleep(uint16_t control, uint8_t type) {
  uint16_t value = (uint16_t)((in16(control) & ~SLP_TYP_MASK) | (uint32_t)type << SLP_TYP_SHIFT);
  out16(control, value);
  out16(control, value | SLP_EN);
}

void acpi_power_off(void) {
  if (!acpi.pm1a_control || !acpi.has_s5) {
    print("cannot power off: %s\n", !acpi.rsdp            ? "this machine has no ACPI tables"
                                    : !acpi.pm1a_control ? "the FADT names no PM1a control register"
                                                         : "the DSDT has no _S5 package");
    return;
  }
  enable_acpi();
  sleep(acpi.pm1a_control, acpi.s5_type_a);
  if (acpi.pm1b_control) sleep(acpi.pm1b_control, acpi.s5_type_b);
  clock_wait_ms(1000);
  print("the machine is still on: writing SLP_TYP %u with SLP_EN to port 0x%04x did nothing\n", (uint32_t)acpi.s5_type_a,
        (uint32_t)acpi.pm1a_control);
}

void acpi_reset(void) {
  if (!acpi.has_reset) return;
  if (acpi.reset_space == SPACE_PORT)
    out8((uint16_t)acpi.reset_address, acpi.reset_value);
  else
    *(volatile uint8_t *)acpi.reset_address = acpi.reset_value;
  clock_wait_ms(100);
}
