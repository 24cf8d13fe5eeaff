/* porch: an I/O monitor on the serial console. */
#include <stdint.h>

#include "acpi.h"
#include "commands.h"
#include "interrupts.h"
#include "line.h"
#include "memory.h"
#include "print.h"
#include "serial.h"

/* Called by start.S once, with what the loader left in EAX and EBX. */
void porch_main(uint32_t magic, uint32_t information) {
  serial_initialize();
  print("\nportico porch: an I/O monitor\n");
  memory_initialize(magic, information);
  interrupts_initialize();
  serial_enable_input();
  acpi_initialize();
  if (memory_kib()) print("%u MiB of memory, ", memory_kib() >> 10);
  if (acpi.pm_timer_port)
    print("ACPI with the PM timer at port 0x%x", (uint32_t)acpi.pm_timer_port);
  else
    print(acpi.rsdp ? "ACPI" : "no ACPI");
  print("\nType help for the commands, poweroff to leave.\n\n");
}

/* Called by start.S, and again after a processor exception. */
_Noreturn void monitor(void) {
  for (;;) command_run(line_read("porch> "));
}
