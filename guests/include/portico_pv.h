/*
 * portico_pv.h: port and MMIO access by hypercall, for guests of Portico; by plain instructions anywhere else.
 *
 * C99 with GNU inline assembly, freestanding, 32- and 64-bit; good for modules of Linux. For code at CPL 0: elsewhere
 * calls give PV_EPERM.
 *
 *   struct pv pv = pv_probe();
 *   uint8_t status = pv_in8(&pv, 0x3fd);
 *   struct pv_range nic = pv_map(&pv, PV_MMIO, bar, 0x1000);
 *   pv_write(&nic, 0x10, 4, 1);
 *
 * A range that the host does not emulate (it may be passed through) has no handle and is accessed as it is; so is one
 * whose handle has become stale.
 *
 * Copyright (c) 2026 The Portico authors. MIT License: use, copy and change it freely, with this notice; no warranty.
 */
#ifndef PORTICO_PV_H
#define PORTICO_PV_H

#ifdef __KERNEL__ /* Linux's own; it has no stdint.h */
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/* CPUID leaf 40000001h, EAX. Qwords: 8 bytes of MMIO by handle. */
#define PV_FEATURE_IO 1u
#define PV_FEATURE_HANDLES 2u
#define PV_FEATURE_DOORBELLS 4u
#define PV_FEATURE_QWORDS 8u

/*
 * Numbers of calls. The 24 forms of port instructions are PV_CALL_IO plus the sum of: 0, 1 or 2 for 1, 2 or 4 bytes; 4 for
 * an immediate port, or REP; 8 for OUT or OUTS; 16 for INS or OUTS.
 */
#define PV_CALL_IO 0x5000u
#define PV_CALL_IO_DELAY 0x5020u
#define PV_CALL_SET_IOPL_MASK 0x5021u
#define PV_CALL_MAP 0x5030u
#define PV_CALL_UNMAP 0x5031u
#define PV_CALL_READ 0x5032u
#define PV_CALL_WRITE 0x5033u
#define PV_CALL_READ_BLOCK 0x5034u
#define PV_CALL_WRITE_BLOCK 0x5035u
#define PV_CALL_NOTIFY 0x5040u

#define PV_EPERM (-1)
#define PV_ENOENT (-2)
#define PV_EIO (-5)
#define PV_ENXIO (-6)
#define PV_E2BIG (-7)
#define PV_EFAULT (-14)
#define PV_EINVAL (-22)
#define PV_ENOSPC (-28)
#define PV_ESTALE (-116)
#define PV_ENOSYS (-1000)

enum pv_space { PV_PORT = 0, PV_MMIO = 1 };

struct pv {
  uint32_t features; /* 0: no Portico, or no calls */
};

struct pv_range {
  enum pv_space space;
  uintptr_t base; /* for plain instructions: the first port, or a linear address */
  long handle;    /* 0: plain instructions */
};

/* --- calls --- */

static inline long pv_call(unsigned long number, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  long result;
  __asm__ volatile(".byte 0x0f, 0x01, 0xc1" /* VMCALL */
                   : "=a"(result)
                   : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d)
                   : "memory");
  return result;
}

static inline void pv_cpuid(uint32_t leaf, uint32_t out[4]) {
  __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(0));
}

static inline struct pv pv_probe(void) {
  struct pv pv = {0};
  uint32_t r[4];
  pv_cpuid(1, r);
  if (!(r[2] >> 31)) return pv; /* no hypervisor */
  pv_cpuid(0x40000000, r);
  /* "PorticoVMM" and two zeros. */
  if (r[1] != 0x74726f50 || r[2] != 0x566f6369 || r[3] != 0x00004d4d || r[0] < 0x40000001) return pv;
  pv_cpuid(0x40000001, r);
  if (r[1] == 1) pv.features = r[0]; /* version of the interface */
  return pv;
}

/* --- plain instructions --- */

static inline uint32_t pv_plain_in(uint16_t port, unsigned width) {
  uint32_t value = 0;
  if (width == 1)
    __asm__ volatile("inb %w1, %b0" : "+a"(value) : "Nd"(port));
  else if (width == 2)
    __asm__ volatile("inw %w1, %w0" : "+a"(value) : "Nd"(port));
  else
    __asm__ volatile("inl %w1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline void pv_plain_out(uint16_t port, unsigned width, uint32_t value) {
  if (width == 1)
    __asm__ volatile("outb %b0, %w1" : : "a"(value), "Nd"(port));
  else if (width == 2)
    __asm__ volatile("outw %w0, %w1" : : "a"(value), "Nd"(port));
  else
    __asm__ volatile("outl %0, %w1" : : "a"(value), "Nd"(port));
}

static inline uint32_t pv_plain_read(uintptr_t address, unsigned width) {
  if (width == 1) return *(volatile uint8_t *)address;
  if (width == 2) return *(volatile uint16_t *)address;
  return *(volatile uint32_t *)address;
}

static inline void pv_plain_write(uintptr_t address, unsigned width, uint32_t value) {
  if (width == 1)
    *(volatile uint8_t *)address = (uint8_t)value;
  else if (width == 2)
    *(volatile uint16_t *)address = (uint16_t)value;
  else
    *(volatile uint32_t *)address = value;
}

/* --- ports --- */

/* One access of 1, 2 or 4 bytes. */
static inline uint32_t pv_in(const struct pv *pv, uint16_t port, unsigned width) {
  if (!(pv->features & PV_FEATURE_IO)) return pv_plain_in(port, width);
  return (uint32_t)pv_call(PV_CALL_IO + (width >> 1), 0, 0, port, 0);
}

static inline void pv_out(const struct pv *pv, uint16_t port, unsigned width, uint32_t value) {
  if (pv->features & PV_FEATURE_IO)
    pv_call(PV_CALL_IO + 8 + (width >> 1), value, 0, port, 0);
  else
    pv_plain_out(port, width, value);
}

static inline uint8_t pv_in8(const struct pv *pv, uint16_t port) { return (uint8_t)pv_in(pv, port, 1); }
static inline uint16_t pv_in16(const struct pv *pv, uint16_t port) { return (uint16_t)pv_in(pv, port, 2); }
static inline uint32_t pv_in32(const struct pv *pv, uint16_t port) { return pv_in(pv, port, 4); }
static inline void pv_out8(const struct pv *pv, uint16_t port, uint8_t value) { pv_out(pv, port, 1, value); }
static inline void pv_out16(const struct pv *pv, uint16_t port, uint16_t value) { pv_out(pv, port, 2, value); }
static inline void pv_out32(const struct pv *pv, uint16_t port, uint32_t value) { pv_out(pv, port, 4, value); }

/* --- ranges --- */

/* Never fails: without a handle, plain instructions do, for MMIO at the linear address `plain`. */
static inline struct pv_range pv_map_at(const struct pv *pv, enum pv_space space, uintptr_t base, unsigned long length,
                                        uintptr_t plain) {
  struct pv_range range = {space, plain, 0};
  if (pv->features & PV_FEATURE_HANDLES) {
    long handle = pv_call(PV_CALL_MAP, space, base, length, 0);
    if (handle > 0) range.handle = handle;
  }
  return range;
}

/* The same for ports, and for MMIO that is mapped at its own address. */
static inline struct pv_range pv_map(const struct pv *pv, enum pv_space space, uintptr_t base, unsigned long length) {
  return pv_map_at(pv, space, base, length, base);
}

static inline void pv_unmap(struct pv_range *range) {
  if (range->handle) pv_call(PV_CALL_UNMAP, (unsigned long)range->handle, 0, 0, 0);
  range->handle = 0;
}

static inline uint32_t pv_read(struct pv_range *range, unsigned long offset, unsigned width) {
  if (range->handle) {
    long value, failed;
    __asm__ volatile(".byte 0x0f, 0x01, 0xc1"
                     : "=a"(value), "=d"(failed)
                     : "a"((unsigned long)PV_CALL_READ), "b"(range->handle), "c"(offset), "d"((unsigned long)width)
                     : "memory");
    if (!failed) return (uint32_t)value;
    pv_unmap(range);
  }
  if (range->space == PV_PORT) return pv_plain_in((uint16_t)(range->base + offset), width);
  return pv_plain_read(range->base + offset, width);
}

static inline void pv_write(struct pv_range *range, unsigned long offset, unsigned width, uint32_t value) {
  if (range->handle) {
    if (pv_call(PV_CALL_WRITE, (unsigned long)range->handle, offset, width, value) == 0) return;
    pv_unmap(range);
  }
  if (range->space == PV_PORT)
    pv_plain_out((uint16_t)(range->base + offset), width, value);
  else
    pv_plain_write(range->base + offset, width, value);
}

/* 8 bytes of MMIO at once; plain instructions outside 64-bit code make two of it, the low one first. */
static inline uint64_t pv_read64(const struct pv *pv, struct pv_range *range, unsigned long offset) {
  if (range->handle && pv->features & PV_FEATURE_QWORDS) {
    unsigned long value, upper = 0;
    long failed;
    __asm__ volatile(".byte 0x0f, 0x01, 0xc1"
                     : "=a"(value), "=d"(failed), "+D"(upper)
                     : "a"((unsigned long)PV_CALL_READ), "b"(range->handle), "c"(offset), "d"(8ul)
                     : "memory");
    if (!failed) return sizeof value == 8 ? value : (uint64_t)upper << 32 | value;
    pv_unmap(range);
  }
#ifdef __x86_64__
  return *(volatile uint64_t *)(range->base + offset);
#else
  uint32_t low = pv_plain_read(range->base + offset, 4);
  return (uint64_t)pv_plain_read(range->base + offset + 4, 4) << 32 | low;
#endif
}

static inline void pv_write64(const struct pv *pv, struct pv_range *range, unsigned long offset, uint64_t value) {
  if (range->handle && pv->features & PV_FEATURE_QWORDS) {
    long failed;
    __asm__ volatile(".byte 0x0f, 0x01, 0xc1"
                     : "=a"(failed)
                     : "a"((unsigned long)PV_CALL_WRITE), "b"(range->handle), "c"(offset), "d"(8ul),
                       "S"((unsigned long)value), "D"((unsigned long)(value >> 32))
                     : "memory");
    if (!failed) return;
    pv_unmap(range);
  }
#ifdef __x86_64__
  *(volatile uint64_t *)(range->base + offset) = value;
#else
  pv_plain_write(range->base + offset, 4, (uint32_t)value);
  pv_plain_write(range->base + offset + 4, 4, (uint32_t)(value >> 32));
#endif
}

/* 0, PV_ENOENT, or PV_ENOSYS where there are no doorbells. */
static inline long pv_notify(const struct pv *pv, unsigned long doorbell) {
  if (!(pv->features & PV_FEATURE_DOORBELLS)) return PV_ENOSYS;
  return pv_call(PV_CALL_NOTIFY, doorbell, 0, 0, 0);
}

#endif
