/* Register offsets: PCI Local Bus Specification 3.0, section 6.1; classes: its appendix D. */
#include "pci.h"

#include <stdbool.h>

#include "port.h"
#include "print.h"
#include "text.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE 0x80000000u

enum { ID = 0x00, COMMAND = 0x04, CLASS = 0x08, HEADER = 0x0c, BAR0 = 0x10, SECONDARY_BUS = 0x18, INTERRUPT = 0x3c };
#define COMMAND_IO_AND_MEMORY 3u
#define HEADER_MULTIFUNCTION 0x80
#define HEADER_TYPE_BRIDGE 1
#define CLASS_PCI_BRIDGE 0x0604

struct class_name {
  uint16_t class;
  const char *name;
};

static const struct class_name class_names[] = {
    {0x0000, "old device"},        {0x0001, "old VGA device"},   {0x0100, "SCSI controller"},
    {0x0101, "IDE controller"},    {0x0102, "floppy controller"}, {0x0106, "SATA controller"},
    {0x0108, "NVMe controller"},   {0x0180, "mass storage"},     {0x0200, "Ethernet"},
    {0x0280, "network"},           {0x0300, "VGA display"},      {0x0380, "display"},
    {0x0400, "video"},             {0x0401, "audio"},            {0x0403, "HD audio"},
    {0x0480, "multimedia"},        {0x0500, "RAM"},              {0x0600, "host bridge"},
    {0x0601, "ISA bridge"},        {0x0604, "PCI bridge"},       {0x0680, "bridge"},
    {0x0700, "serial port"},       {0x0780, "communication"},    {0x0800, "interrupt controller"},
    {0x0880, "system peripheral"}, {0x0900, "keyboard"},         {0x0980, "input"},
    {0x0c03, "USB controller"},    {0x0c05, "SMBus"},
};

static const char *class_name(uint16_t class) {
  for (unsigned i = 0; i < sizeof class_names / sizeof *class_names; i++)
    if (class_names[i].class == class) return class_names[i].name;
  return "";
}

/* `function` is bus << 8 | device << 3 | function, as the specification lays the address out. */
static uint32_t read(uint32_t function, uint32_t offset) {
  out32(CONFIG_ADDRESS, CONFIG_ENABLE | function << 8 | offset);
  return in32(CONFIG_DATA);
}

static void write(uint32_t function, uint32_t offset, uint32_t value) {
  out32(CONFIG_ADDRESS, CONFIG_ENABLE | function << 8 | offset);
  out32(CONFIG_DATA, value);
}

static bool mechanism_present(void) {
  uint32_t saved = in32(CONFIG_ADDRESS);
  out32(CONFIG_ADDRESS, CONFIG_ENABLE);
  bool present = in32(CONFIG_ADDRESS) == CONFIG_ENABLE;
  out32(CONFIG_ADDRESS, saved);
  return present;
}

static void print_size(uint32_t size) {
  if (size >= 1 << 20)
    print("%5u MiB", size >> 20);
  else if (size >= 1 << 10)
    print("%5u KiB", size >> 10);
  else
    print("%5u B  ", size);
}

/* The bits that stay zero after all ones are written tell the size (section 6.2.5.1). */
static uint32_t probe(uint32_t function, uint32_t offset) {
  uint32_t saved = read(function, offset);
  write(function, offset, 0xffffffff);
  uint32_t mask = read(function, offset);
  write(function, offset, saved);
  return mask;
}

static void print_bars(uint32_t function, uint32_t count) {
  /* Decoding is off while a BAR holds all ones; status bits, being write-one-to-clear, are written as zeros. */
  uint32_t command = read(function, COMMAND) & 0xffff;
  write(function, COMMAND, command & ~COMMAND_IO_AND_MEMORY);
  struct {
    uint32_t low, high, size;
  } bars[6];
  for (uint32_t i = 0; i < count; i++) {
    uint32_t offset = BAR0 + i * 4, mask = probe(function, offset);
    bars[i].low = read(function, offset);
    bars[i].high = 0;
    bool port = mask & 1;
    uint32_t bits = port ? (mask & ~3u) | 0xffff0000u : mask & ~15u;
    bars[i].size = mask && bits ? -bits : 0;
    if (!port && (mask & 6) == 4 && i + 1 < count) {
      bars[i].high = read(function, offset + 4);
      bars[++i].size = 0;
    }
  }
  write(function, COMMAND, command);

  for (uint32_t i = 0; i < count; i++) {
    uint32_t low = bars[i].low;
    if (!bars[i].size) continue;
    print("           BAR%u  ", i);
    if (low & 1) {
      print("port    0x%04x      ", low & ~3u);
      print_size(bars[i].size);
    } else {
      uint64_t address = (uint64_t)bars[i].high << 32 | (low & ~15u);
      print("memory  0x%08X  ", address);
      print_size(bars[i].size);
      if ((low & 6) == 4) print("  64-bit");
      if (low & 8) print("  prefetchable");
    }
    print("\n");
    if (!(low & 1) && (low & 6) == 4) i++;
  }
}

static void print_function(uint32_t function) {
  uint32_t id = read(function, ID), class = read(function, CLASS), line = read(function, INTERRUPT);
  uint32_t type = read(function, HEADER) >> 16 & 0x7f;
  print("%02x:%02x.%u    %04x:%04x  %06x  ", function >> 8, function >> 3 & 31, function & 7, id & 0xffff, id >> 16,
        class >> 8);
  uint32_t pin = line >> 8 & 0xff;
  if (pin)
    print("INT%c/%-3u  ", 'A' + (pin - 1) % 4, line & 0xff);
  else
    print("-         ");
  print("%s\n", class_name((uint16_t)(class >> 16)));
  if (type <= HEADER_TYPE_BRIDGE) print_bars(function, type == HEADER_TYPE_BRIDGE ? 2 : 6);
}

static uint32_t print_bus(uint32_t bus, uint8_t *seen) {
  uint32_t found = 0;
  if (seen[bus]) return 0;
  seen[bus] = 1;
  for (uint32_t device = 0; device < 32; device++) {
    uint32_t functions = 1;
    for (uint32_t number = 0; number < functions; number++) {
      uint32_t function = bus << 8 | device << 3 | number;
      if ((read(function, ID) & 0xffff) == 0xffff) continue;
      if (number == 0 && read(function, HEADER) >> 16 & HEADER_MULTIFUNCTION) functions = 8;
      print_function(function);
      found++;
      if (read(function, CLASS) >> 16 == CLASS_PCI_BRIDGE) found += print_bus(read(function, SECONDARY_BUS) >> 8 & 0xff, seen);
    }
  }
  return found;
}

void pci_print(void) {
  if (!mechanism_present()) {
    print("no PCI: port 0xcf8 does not answer as configuration mechanism 1\n");
    return;
  }
  uint8_t seen[256];
  memset(seen, 0, sizeof seen);
  print("address    id         class   interrupt what\n");
  uint32_t found = print_bus(0, seen);
  print("%u function%s\n", found, found == 1 ? "" : "s");
}

/* Up to `limit`, in hexadecimal without a prefix, as PCI addresses are written. */
static const char *hex_field(const char *text, uint32_t limit, uint32_t *value) {
  *value = 0;
  const char *start = text;
  for (;; text++) {
    char c = *text;
    uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10) : 16;
    if (digit == 16) break;
    *value = *value * 16 + digit;
    if (*value > limit) return 0;
  }
  return text == start ? 0 : text;
}

void pci_dump(const char *address) {
  uint32_t bus, device, number;
  const char *at = hex_field(address, 255, &bus);
  if (at && *at == ':') at = hex_field(at + 1, 31, &device);
  else at = 0;
  if (at && *at == '.') at = hex_field(at + 1, 7, &number);
  else at = 0;
  if (!at || *at) {
    print("'%s' is not a PCI address: bus:device.function in hexadecimal, such as 00:1f.0\n", address);
    return;
  }
  uint32_t function = bus << 8 | device << 3 | number;
  if ((read(function, ID) & 0xffff) == 0xffff) {
    print("nothing at %02x:%02x.%u; pci alone lists what is there\n", bus, device, number);
    return;
  }
  uint32_t space[64];
  for (uint32_t i = 0; i < 64; i++) space[i] = read(function, i * 4);
  print_bytes(0, (const uint8_t *)space, sizeof space);
}
