#include "memory.h"

#include <stddef.h>

#include "print.h"
#include "text.h"

#define FLAG_MEMORY (1u << 0)
#define FLAG_MEMORY_MAP (1u << 6)
#define MAP_ENTRIES 32

struct information {
  uint32_t flags, mem_lower, mem_upper, boot_device, command_line, modules_count, modules_address;
  uint32_t symbols[4];
  uint32_t map_length, map_address;
};

/* `size` does not count itself, and need not be 20. */
struct map_entry {
  uint32_t size;
  uint64_t base, length;
  uint32_t type;
} __attribute__((packed));

extern char image_end[];
static uint32_t flags, lower, upper, entries;
static struct map_entry map[MAP_ENTRIES];

void memory_initialize(uint32_t magic, uint32_t address) {
  if (magic != MULTIBOOT_BOOTLOADER_MAGIC) return;
  const struct information *information = (const struct information *)address;
  flags = information->flags;
  lower = information->mem_lower;
  upper = information->mem_upper;
  if (!(flags & FLAG_MEMORY_MAP)) return;
  for (uint32_t at = 0; at < information->map_length && entries < MAP_ENTRIES;) {
    const struct map_entry *entry = (const struct map_entry *)(information->map_address + at);
    map[entries++] = *entry;
    at += entry->size + 4;
  }
}

uint32_t memory_kib(void) {
  if (!(flags & FLAG_MEMORY_MAP)) return flags & FLAG_MEMORY ? lower + upper : 0;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < entries; i++)
    if (map[i].type == 1) bytes += map[i].length;
  return (uint32_t)(bytes >> 10);
}

static const char *type_name(uint32_t type) {
  static const char *const names[] = {"?", "usable", "reserved", "ACPI tables", "ACPI non-volatile", "defective"};
  return type < sizeof names / sizeof *names ? names[type] : "reserved";
}

static void print_size(uint64_t bytes) {
  if (bytes >= 16 << 20 && !(bytes & 0xfffff))
    print("%8U MiB", bytes >> 20);
  else if (bytes >= 1 << 10)
    print("%8U KiB", bytes >> 10);
  else
    print("%8U B  ", bytes);
}

void memory_print(void) {
  if (!(flags & (FLAG_MEMORY | FLAG_MEMORY_MAP))) {
    print("the loader gave no memory information\n");
    return;
  }
  if (flags & FLAG_MEMORY_MAP) {
    print("first       last                size  use\n");
    for (uint32_t i = 0; i < entries; i++) {
      print("0x%08X  0x%08X", map[i].base, map[i].base + map[i].length - 1);
      print_size(map[i].length);
      print("  %s\n", type_name(map[i].type));
    }
  }
  if (flags & FLAG_MEMORY) print("lower memory %u KiB, upper memory %u KiB\n", lower, upper);
  print("porch itself 0x%08x-0x%08x\n", 0x100000u, (uint32_t)image_end - 1);
}
