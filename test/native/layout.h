/*
 * Addresses, selectors and record formats shared by the native runner and test/differential/state.ts.
 * All integers are little-endian.
 */
#ifndef PORTICO_LAYOUT_H
#define PORTICO_LAYOUT_H

#include <stdint.h>

#define WINDOW_BASE 0x10000000u /* 64 KiB of data, the stack inside it */
#define WINDOW_SIZE 0x10000u
#define WINDOW_WRITABLE 0xf000u /* the last page is read-only: faults with P and W set */
#define CODE_BASE 0x28000000u   /* one page; the next one is not mapped */
#define CODE_SIZE 0x1000u
#define GS_BASE_64 (WINDOW_BASE + 0x8000u) /* FS base in 64-bit mode is WINDOW_BASE */

/* Local descriptor table used in 32-bit mode: selector = index * 8 + 7. */
enum {
  LDT_CODE = 0,        /* base 0, limit 1 GiB, 32-bit, readable */
  LDT_FLAT = 1,        /* base 0, limit 1 GiB, data */
  LDT_WINDOW = 2,      /* exactly the window */
  LDT_HALF = 3,        /* base window + 0x4000, limit 0x7fff */
  LDT_READ_ONLY = 4,   /* exactly the window, not writable */
  LDT_EXPAND_DOWN = 5, /* base window, offsets 0x8000-0xffff */
  LDT_STACK16 = 6,     /* exactly the window, B = 0: SP instead of ESP */
  LDT_ABSENT = 7,      /* exactly the window, not present */
  LDT_EXECUTE = 8,     /* as LDT_CODE, but not readable */
  LDT_ABSENT_CODE = 9, /* as LDT_CODE, but not present */
  LDT_CODE16 = 10,     /* exactly the code page, 16-bit, readable */
  LDT_SIZE = 11,
  LDT_NULL = 0xff      /* the null selector */
};

#define REQUEST_MAGIC 0x46494450u /* "PDIF" */
#define REPLY_MAGIC 0x4f494450u   /* "PDIO" */
#define PROTOCOL_VERSION 2u

struct request_header {
  uint32_t magic, version, background_size, reserved;
  /* followed by background_size bytes: the window before each case */
};

struct reply_header {
  uint32_t magic, version, mode, reserved;
};

struct case_record {
  uint32_t length; /* of the whole record, a multiple of 16 */
  uint16_t code_length, patch_length, code_offset;
  uint8_t ds, es, fs, gs, ss, cs; /* LDT indexes, 32-bit mode only */
  uint64_t gpr[16];                     /* rax rcx rdx rbx rsp rbp rsi rdi r8-r15 */
  uint64_t rflags;
  uint64_t reserved2[5];
  uint8_t fx[512]; /* FXSAVE image */
  /* followed by code_length bytes of code and patch_length bytes of patches: { u16 offset, u16 length, bytes } */
};

#define VECTOR_TIMEOUT 0xffu

struct outcome_record {
  uint32_t length; /* of the whole record, a multiple of 16 */
  uint32_t vector, error, runs;
  uint64_t cr2;
  uint64_t rip, rflags;
  uint64_t gpr[16];
  uint64_t reserved;
  uint16_t segments[8]; /* selectors ds es fs gs ss cs, 32-bit mode only */
  uint8_t fx[512];
  /* followed by `runs` changes against the background: { u16 offset, u16 length, bytes } */
};

#endif
