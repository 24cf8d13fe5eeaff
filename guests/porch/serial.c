/* Registers and bits: PC16550D data sheet, table II. */
#include "serial.h"

#include "port.h"

#define COM1 0x3f8
enum { DATA = COM1, IER = COM1 + 1, FCR = COM1 + 2, LCR = COM1 + 3, MCR = COM1 + 4, LSR = COM1 + 5 };
enum { DIVISOR_LOW = COM1, DIVISOR_HIGH = COM1 + 1 };

#define IER_RECEIVED 0x01
#define FCR_ENABLE_AND_CLEAR 0x07 /* trigger level 1: an interrupt as soon as a byte is there */
#define LCR_8N1 0x03
#define LCR_DIVISOR_LATCH 0x80
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 connects the interrupt line on a PC */
#define LSR_DATA_READY 0x01
#define LSR_THR_EMPTY 0x20
#define LSR_IDLE 0x40
#define DIVISOR_115200 1

#define CTRL_C 3
#define CAPACITY 4096 /* a power of two */

static volatile uint8_t received[CAPACITY];
static volatile uint32_t head, tail; /* written at head by the interrupt, read at tail by the monitor */

/* Takes what the UART holds, as far as there is room. */
static void receive(void) {
  while (head - tail < CAPACITY && in8(LSR) & LSR_DATA_READY) {
    received[head % CAPACITY] = in8(DATA);
    head++;
  }
}

void serial_initialize(void) {
  out8(IER, 0);
  out8(LCR, LCR_DIVISOR_LATCH);
  out8(DIVISOR_LOW, DIVISOR_115200);
  out8(DIVISOR_HIGH, 0);
  out8(LCR, LCR_8N1);
  receive(); /* what was sent before now: enabling the FIFOs clears them */
  out8(FCR, FCR_ENABLE_AND_CLEAR);
  out8(MCR, MCR_DTR_RTS_OUT2);
}

void serial_enable_input(void) {
  out8(IER, IER_RECEIVED);
}

void serial_write(char c) {
  while (!(in8(LSR) & LSR_THR_EMPTY)) {
  }
  out8(DATA, (uint8_t)c);
}

void serial_flush(void) {
  while (!(in8(LSR) & LSR_IDLE)) {
  }
}

void serial_interrupt(void) {
  receive();
  if (head - tail == CAPACITY) out8(IER, 0); /* the rest stays with the sender until serial_read has made room */
}

char serial_read(void) {
  for (;;) {
    __asm__ volatile("cli");
    if (head != tail) break;
    __asm__ volatile("sti; hlt"); /* STI holds interrupts off for one instruction, so none is lost before HLT */
  }
  char c = (char)received[tail % CAPACITY];
  tail++;
  out8(IER, IER_RECEIVED);
  __asm__ volatile("sti");
  return c;
}

int serial_interrupted(void) {
  int found = 0;
  __asm__ volatile("cli");
  for (uint32_t i = tail; i != head; i++) {
    if (received[i % CAPACITY] == CTRL_C) {
      tail = i + 1;
      found = 1;
    }
  }
  __asm__ volatile("sti");
  return found;
}
