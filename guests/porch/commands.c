#include "commands.h"

#include <stdbool.h>
#include <stdint.h>

#include "acpi.h"
#include "clock.h"
#include "interrupts.h"
#include "line.h"
#include "memory.h"
#include "pci.h"
#include "port.h"
#include "portico_pv.h"
#include "print.h"
#include "serial.h"
#include "text.h"

#define MAX_WORDS 8

struct request {
  int count;              /* words, the command's name among them */
  const char *word[MAX_WORDS];
  unsigned width;         /* bytes of an access, by the letter at the end of the name */
};

struct command {
  const char *name;
  bool sized;             /* takes b, w or l at the end of its name; without a letter, b */
  int least, most;        /* arguments */
  const char *arguments, *summary, *example;
  void (*run)(const struct request *);
};

extern const struct command commands[];
extern const unsigned command_count;

/* --- arguments --- */

static bool number(const char *text, const char *what, uint32_t *value) {
  if (parse_number(text, value)) return true;
  print("'%s' is not a %s: write 0x3f8 or 3f8h in hexadecimal, 1016 in decimal, at most 32 bits\n", text, what);
  return false;
}

static bool port_number(const struct request *request, int word, uint16_t *port) {
  uint32_t value;
  if (!number(request->word[word], "port", &value)) return false;
  if (value + request->width > 0x10000 || value > 0xffff) {
    print("port 0x%x is too high: the last port is 0xffff%s\n", value, value <= 0xffff ? ", and all bytes of an access must fit" : "");
    return false;
  }
  *port = (uint16_t)value;
  return true;
}

static bool datum(const struct request *request, int word, uint32_t *value) {
  if (!number(request->word[word], "value", value)) return false;
  if (request->width < 4 && *value >> (8 * request->width)) {
    print("0x%x does not fit in %u bits; %s\n", *value, 8 * request->width,
          request->width == 1 ? "use the w or l form of the command" : "use the l form of the command");
    return false;
  }
  return true;
}

static bool loops(const char *text, uint32_t *count) {
  if (!number(text, "count", count)) return false;
  if (*count) return true;
  print("a loop of 0 iterations takes no time; give at least 1\n");
  return false;
}

/* --- access --- */

static uint32_t memory_read(uint32_t address, unsigned width) {
  if (width == 1) return *(volatile uint8_t *)address;
  if (width == 2) return *(volatile uint16_t *)address;
  return *(volatile uint32_t *)address;
}

static void memory_write(uint32_t address, unsigned width, uint32_t value) {
  if (width == 1)
    *(volatile uint8_t *)address = (uint8_t)value;
  else if (width == 2)
    *(volatile uint16_t *)address = (uint16_t)value;
  else
    *(volatile uint32_t *)address = value;
}

static void print_value(uint32_t value, unsigned width) {
  print("0x%0*x   %u", (int)width * 2, value, value);
  if (width == 1) {
    print("   ");
    for (int bit = 7; bit >= 0; bit--) print("%s%c", bit == 3 ? "_" : "", value >> bit & 1 ? '1' : '0');
    print("b");
    if (value >= 0x20 && value < 0x7f) print("   '%c'", value);
  }
  print("\n");
}

static void run_in(const struct request *request) {
  uint16_t port;
  if (!port_number(request, 1, &port)) return;
  uint32_t value = in_sized(port, request->width);
  print("port 0x%04x = ", (uint32_t)port);
  print_value(value, request->width);
}

static void run_out(const struct request *request) {
  uint16_t port;
  uint32_t value;
  if (!port_number(request, 1, &port) || !datum(request, 2, &value)) return;
  serial_flush(); /* so that what the write does cannot swallow what was said before */
  out_sized(port, request->width, value);
}

static void run_peek(const struct request *request) {
  uint32_t address, count = 1;
  if (!number(request->word[1], "address", &address)) return;
  if (request->count > 2 && !number(request->word[2], "count", &count)) return;
  unsigned width = request->width;
  if (count <= 1) {
    uint32_t value = memory_read(address, width);
    print("0x%08x = ", address);
    print_value(value, width);
    return;
  }
  for (uint32_t done = 0; done < count && !serial_interrupted();) {
    uint32_t units = count - done < 16 / width ? count - done : 16 / width;
    uint8_t row[16];
    for (uint32_t i = 0; i < units; i++) {
      uint32_t value = memory_read(address + i * width, width);
      memcpy(row + i * width, &value, width);
    }
    if (width == 1) {
      print_bytes(address, row, units);
    } else {
      print("0x%08x ", address);
      for (uint32_t i = 0; i < units; i++) {
        uint32_t value = 0;
        memcpy(&value, row + i * width, width);
        print(" %0*x", (int)width * 2, value);
      }
      print("\n");
    }
    done += units;
    address += units * width;
  }
}

static void run_poke(const struct request *request) {
  uint32_t address, value;
  if (!number(request->word[1], "address", &address) || !datum(request, 2, &value)) return;
  memory_write(address, request->width, value);
}

/* --- time --- */

static void run_pmtimer(const struct request *request) {
  (void)request;
  if (!acpi.pm_timer_port) {
    print(acpi.rsdp ? "the FADT names no PM timer\n" : "no ACPI tables, so no PM timer\n");
    return;
  }
  uint32_t value = clock_pm();
  uint64_t ms = divide64(clock_pm_to_ns(value), 1000000, 0);
  uint32_t fraction, khz = clock_tsc_khz();
  uint32_t seconds = (uint32_t)divide64(ms, 1000, &fraction);
  print("port   0x%04x, %u-bit, 3.579545 MHz\n", (uint32_t)acpi.pm_timer_port, (uint32_t)acpi.pm_timer_bits);
  print("value  0x%0*x  %u ticks, %u.%03u s since it last wrapped\n", acpi.pm_timer_bits / 4, value, value, seconds, fraction);
  if (khz) print("TSC    %u.%03u MHz by this timer\n", khz / 1000, khz % 1000);
}

enum subject { EMPTY, IN, OUT, PEEK, POKE, PV_IN, PV_OUT, PV_PEEK, PV_POKE };

struct timed {
  enum subject subject;
  unsigned width;
  uint32_t address, value;
};

/* The same by hypercall; ports by call, memory by handle. */
static void iterate_calls(const struct timed *timed, uint32_t count) {
  struct pv pv = pv_probe();
  struct pv_range range = {PV_MMIO, timed->address, 0};
  bool memory = timed->subject == PV_PEEK || timed->subject == PV_POKE;
  if (memory) range = pv_map(&pv, PV_MMIO, timed->address, timed->width);
  for (; count; count--) {
    switch (timed->subject) {
      case PV_IN: pv_in(&pv, (uint16_t)timed->address, timed->width); break;
      case PV_OUT: pv_out(&pv, (uint16_t)timed->address, timed->width, timed->value); break;
      case PV_PEEK: pv_read(&range, 0, timed->width); break;
      default: pv_write(&range, 0, timed->width, timed->value); break;
    }
  }
  pv_unmap(&range);
}

/* `count` iterations of one access and a two-instruction loop; EMPTY has the loop alone. */
static void iterate(const struct timed *timed, uint32_t count) {
#define LOOP(body, ...) __asm__ volatile("1: " body "\n\tdecl %0\n\tjnz 1b" : "+c"(count) : __VA_ARGS__ : "memory", "cc")
  uint32_t address = timed->address, value = timed->value;
  switch (timed->subject << 4 | timed->width) {
    case IN << 4 | 1: LOOP("inb %%dx, %%al", "d"(address), "a"(value)); break;
    case IN << 4 | 2: LOOP("inw %%dx, %%ax", "d"(address), "a"(value)); break;
    case IN << 4 | 4: LOOP("inl %%dx, %%eax", "d"(address), "a"(value)); break;
    case OUT << 4 | 1: LOOP("outb %%al, %%dx", "d"(address), "a"(value)); break;
    case OUT << 4 | 2: LOOP("outw %%ax, %%dx", "d"(address), "a"(value)); break;
    case OUT << 4 | 4: LOOP("outl %%eax, %%dx", "d"(address), "a"(value)); break;
    case PEEK << 4 | 1: LOOP("movb (%%edx), %%al", "d"(address), "a"(value)); break;
    case PEEK << 4 | 2: LOOP("movw (%%edx), %%ax", "d"(address), "a"(value)); break;
    case PEEK << 4 | 4: LOOP("movl (%%edx), %%eax", "d"(address), "a"(value)); break;
    case POKE << 4 | 1: LOOP("movb %%al, (%%edx)", "d"(address), "a"(value)); break;
    case POKE << 4 | 2: LOOP("movw %%ax, (%%edx)", "d"(address), "a"(value)); break;
    case POKE << 4 | 4: LOOP("movl %%eax, (%%edx)", "d"(address), "a"(value)); break;
    default: LOOP("", "d"(address), "a"(value)); break;
  }
#undef LOOP
}

/* `total` divided among `count`, with two decimals. */
static void print_each(uint64_t total, uint32_t count, const char *unit) {
  uint32_t hundredths;
  uint64_t whole = divide64(divide64(total * 100, count, 0), 100, &hundredths);
  print("%8U.%02u %s each\n", whole, hundredths, unit);
}

static void measure(const struct timed *timed, uint32_t count) {
  /* The PM timer wraps after 4.7 s: it is looked at between pieces far shorter than that. */
  const uint32_t piece = 1 << 16;
  bool tsc = clock_has_tsc();
  if (!tsc && !acpi.pm_timer_port) {
    print("this machine has neither a PM timer nor a TSC to measure with\n");
    return;
  }
  uint64_t ticks = 0, start = tsc ? clock_tsc() : 0;
  uint32_t done = 0, last = clock_pm();
  while (done < count && !serial_interrupted()) {
    uint32_t now = count - done < piece ? count - done : piece;
    if (timed->subject >= PV_IN)
      iterate_calls(timed, now);
    else
      iterate(timed, now);
    done += now;
    uint32_t value = clock_pm();
    ticks += clock_pm_between(last, value);
    last = value;
  }
  uint64_t cycles = tsc ? clock_tsc() - start : 0;
  if (done == 0) return;
  print("%u iterations%s\n", done, done < count ? ", then Ctrl-C" : "");
  if (acpi.pm_timer_port) {
    uint64_t ns = clock_pm_to_ns(ticks);
    uint32_t fraction;
    uint32_t ms = (uint32_t)divide64(divide64(ns, 1000, 0), 1000, &fraction);
    print("PM timer  %12U ticks   %8u.%03u ms", ticks, ms, fraction);
    print_each(ns, done, "ns");
  }
  if (tsc) {
    print("TSC       %12U cycles %s", cycles, acpi.pm_timer_port ? "               " : "");
    print_each(cycles, done, "cycles");
  }
}

static void run_time(const struct request *request) {
  static const struct {
    const char *name;
    enum subject subject;
    int arguments;
  } subjects[] = {{"in", IN, 2}, {"out", OUT, 3}, {"peek", PEEK, 2}, {"poke", POKE, 3},
                {"pvin", PV_IN, 2}, {"pvout", PV_OUT, 3}, {"pvpeek", PV_PEEK, 2}, {"pvpoke", PV_POKE, 3}};
  const char *first = request->word[1];
  struct timed timed = {EMPTY, 1, 0, 0};
  uint32_t count;

  for (unsigned i = 0; i < sizeof subjects / sizeof *subjects; i++) {
    if (!text_starts(first, subjects[i].name)) continue;
    const char *letter = first + text_length(subjects[i].name);
    if (*letter && letter[1]) continue;
    timed.width = *letter == 0 || *letter == 'b' ? 1 : *letter == 'w' ? 2 : *letter == 'l' ? 4 : 0;
    if (!timed.width) continue;
    timed.subject = subjects[i].subject;
    if (request->count - 2 != subjects[i].arguments) {
      enum subject plain = timed.subject >= PV_IN ? timed.subject - PV_IN + IN : timed.subject;
      print("time %s needs %s and a count, such as: time %s%s\n", first,
            plain == IN     ? "a port"
            : plain == OUT  ? "a port, a value"
            : plain == PEEK ? "an address"
                            : "an address, a value",
            timed.subject >= PV_IN ? "pv" : "",
            plain == IN     ? "inb 0x3f8 100000"
            : plain == OUT  ? "outb 0x80 0 100000"
            : plain == PEEK ? "peekl 0xfee00030 100000"
                            : "pokel 0x200000 0 100000");
      return;
    }
    struct request access = *request;
    access.width = timed.width;
    uint16_t port = 0;
    bool is_port = timed.subject == IN || timed.subject == OUT || timed.subject == PV_IN || timed.subject == PV_OUT;
    if (is_port ? !port_number(&access, 2, &port) : !number(request->word[2], "address", &timed.address)) return;
    if (is_port) timed.address = port;
    if (subjects[i].arguments == 3 && !datum(&access, 3, &timed.value)) return;
    if (timed.subject >= PV_IN && !pv_probe().features) print("no hypercalls here: plain instructions instead\n");
    if (loops(request->word[request->count - 1], &count)) measure(&timed, count);
    return;
  }
  if (request->count != 2) {
    print("time takes a count, or in, out, peek or poke with their arguments and a count; see: help time\n");
    return;
  }
  if (loops(first, &count)) measure(&timed, count);
}

/* --- hypercalls --- */

static void run_pv(const struct request *request) {
  struct pv pv = pv_probe();
  if (!pv.features) {
    print("no hypercalls: this is not Portico, or it does not announce them\n");
    return;
  }
  print("hypercalls:%s%s%s\n", pv.features & PV_FEATURE_IO ? " ports" : "", pv.features & PV_FEATURE_HANDLES ? " handles" : "",
        pv.features & PV_FEATURE_DOORBELLS ? " doorbells" : "");
  if (request->count == 1) return;
  uint32_t address;
  if (!number(request->word[1], "address", &address)) return;
  struct pv_range range = pv_map(&pv, PV_MMIO, address, 4);
  if (!range.handle) {
    print("0x%08x is not emulated: plain instructions reach it\n", address);
    return;
  }
  uint32_t handle = (uint32_t)range.handle;
  uint32_t value = pv_read(&range, 0, 4);
  print("0x%08x = 0x%08x by handle %u\n", address, value, handle);
  pv_unmap(&range);
}

/* --- the machine --- */

static void run_pci(const struct request *request) {
  if (request->count > 1)
    pci_dump(request->word[1]);
  else
    pci_print();
}

static void run_mem(const struct request *request) {
  (void)request;
  memory_print();
}

static void run_acpi(const struct request *request) {
  (void)request;
  acpi_print();
}

static void run_poweroff(const struct request *request) {
  (void)request;
  print("powering off\n");
  serial_flush();
  acpi_power_off();
}

/* The FADT's reset register, then CF9h (hard reset), then the keyboard controller, then a shutdown. */
static void run_reboot(const struct request *request) {
  (void)request;
  print("rebooting\n");
  serial_flush();
  __asm__ volatile("cli");
  acpi_reset();
  out8(0xcf9, 0x02);
  out8(0xcf9, 0x06);
  clock_wait_ms(50);
  out8(0x64, 0xfe);
  clock_wait_ms(50);
  triple_fault();
}

static void usage(const struct command *command) {
  print("%s%s %s\n", command->name, command->sized ? "[bwl]" : "", command->arguments);
  print("  %s\n", command->summary);
  if (command->example) print("  such as: %s\n", command->example);
}

static const struct command *find(const char *name, unsigned *width);

static void run_help(const struct request *request) {
  if (request->count > 1) {
    unsigned width;
    const struct command *command = find(request->word[1], &width);
    if (command)
      usage(command);
    else
      print("there is no command '%s'; help lists them\n", request->word[1]);
    return;
  }
  for (unsigned i = 0; i < command_count; i++) {
    const struct command *command = &commands[i];
    int used = (int)(text_length(command->name) + text_length(command->arguments)) + (command->sized ? 6 : 1);
    print("  %s%s %s", command->name, command->sized ? "[bwl]" : "", command->arguments);
    print_run(' ', 28 - used);
    print("%s\n", command->summary);
  }
  print("Numbers: 0x3f8 or 3f8h hexadecimal, 1016 decimal. b, w, l: 1, 2 or 4 bytes, b if left out.\n");
  print("Keys: up and down for earlier lines, Ctrl-U to clear the line, Ctrl-C to stop a command.\n");
}

const struct command commands[] = {
    {"help", false, 0, 1, "[COMMAND]", "this list, or more about one command", "help time", run_help},
    {"pci", false, 0, 1, "[BUS:DEV.FN]", "PCI devices with their BARs, or one device's registers", "pci 00:00.0", run_pci},
    {"in", true, 1, 1, "PORT", "read a port", "inb 0x3fd", run_in},
    {"out", true, 2, 2, "PORT VALUE", "write a port", "outb 0x80 0x42", run_out},
    {"peek", true, 1, 2, "ADDRESS [COUNT]", "read physical memory or a device's registers", "peekl 0xfee00030", run_peek},
    {"poke", true, 2, 2, "ADDRESS VALUE", "write physical memory or a device's registers", "pokel 0x200000 0x12345678", run_poke},
    {"pmtimer", false, 0, 0, "", "the ACPI PM timer, and the TSC's speed by it", 0, run_pmtimer},
    {"time", false, 1, 4, "[ACCESS ...] COUNT", "time a loop, empty or of in, out, peek, poke, pvin, pvout, pvpeek, pvpoke", "time inb 0x3fd 100000", run_time},
    {"pv", false, 0, 1, "[ADDRESS]", "hypercalls, and a dword of a device by handle", "pv 0xfee00030", run_pv},
    {"mem", false, 0, 0, "", "the memory map that the loader gave", 0, run_mem},
    {"acpi", false, 0, 0, "", "the ACPI tables", 0, run_acpi},
    {"poweroff", false, 0, 0, "", "switch the machine off (ACPI S5)", 0, run_poweroff},
    {"reboot", false, 0, 0, "", "reset the machine", 0, run_reboot},
};
const unsigned command_count = sizeof commands / sizeof *commands;

static const struct command *find(const char *name, unsigned *width) {
  for (unsigned i = 0; i < command_count; i++) {
    const struct command *command = &commands[i];
    *width = 1;
    if (text_equal(name, command->name)) return command;
    if (!command->sized || !text_starts(name, command->name)) continue;
    const char *letter = name + text_length(command->name);
    *width = *letter == 'b' ? 1 : *letter == 'w' ? 2 : *letter == 'l' ? 4 : 0;
    if (*width && !letter[1]) return command;
  }
  return 0;
}

void command_run(const char *line) {
  static char words[LINE_LENGTH];
  struct request request = {0};
  memcpy(words, line, text_length(line) + 1);
  for (char *at = words; *at;) {
    while (*at == ' ') *at++ = 0;
    if (!*at) break;
    if (request.count == MAX_WORDS) {
      print("too many words in this line\n");
      return;
    }
    request.word[request.count++] = at;
    while (*at && *at != ' ') at++;
  }
  if (!request.count) return;

  const struct command *command = find(request.word[0], &request.width);
  if (!command) {
    print("there is no command '%s'; help lists them\n", request.word[0]);
    return;
  }
  int arguments = request.count - 1;
  if (arguments < command->least || arguments > command->most) {
    const char *few = command->least == 1 ? "needs an argument" : "needs two arguments";
    const char *many = command->most == 0 ? "takes no argument" : "does not take so many arguments";
    print("%s %s:\n", request.word[0], arguments < command->least ? few : many);
    usage(command);
    return;
  }
  command->run(&request);
}
