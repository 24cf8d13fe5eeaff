/* Port access, one instruction each. */
#pragma once
#include <stdint.h>

static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline uint16_t in16(uint16_t port) {
  uint16_t value;
  __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline uint32_t in32(uint16_t port) {
  uint32_t value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline void out8(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value) {
  __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value) {
  __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

/* One access of 1, 2 or 4 bytes. */
static inline uint32_t in_sized(uint16_t port, unsigned width) {
  return width == 1 ? in8(port) : width == 2 ? in16(port) : in32(port);
}

static inline void out_sized(uint16_t port, unsigned width, uint32_t value) {
  if (width == 1)
    out8(port, (uint8_t)value);
  else if (width == 2)
    out16(port, (uint16_t)value);
  else
    out32(port, value);
}
