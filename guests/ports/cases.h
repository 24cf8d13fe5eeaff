/* What a case is: a mode, a form of the instruction, and conditions. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

enum kind { REAL, V86, PROTECTED, LONG };

struct mode {
  const char *name;
  enum kind kind;
  unsigned bits; /* of code */
  unsigned ring;
  uint32_t cs, ss;
};

/* As the hypercalls number them: bits 1:0 size, 2 immediate port or REP, 3 OUT, 4 string. */
enum { FORM_SIZE = 3, FORM_VARIANT = 4, FORM_OUT = 8, FORM_STRING = 16, FORMS = 32 };

struct condition {
  const char *name;
  const char *prefixes;
  uint8_t rex;       /* in 64-bit code; it has to be the last prefix */
  uint32_t operand;  /* of a string, in the arena */
  uint32_t count;    /* of REP */
  uint32_t flags;    /* beside those that every case has */
  enum bitmap bitmap;
  bool breakpoint;   /* at the last port of the access */
  uint32_t segment;  /* selector of the operand in place of the usual; base of the arena */
  uint32_t needs;
};

/* What a case needs that a condition applies to. */
enum {
  SCALAR = 1 << 0,
  STRING = 1 << 1,
  INS = 1 << 2,
  OUTS = 1 << 3,
  REP = 1 << 4,        /* the form with REP */
  ONCE = 1 << 5,       /* the form without */
  WIDE = 1 << 6,       /* more than a byte */
  NARROW = 1 << 7,     /* less than four */
  CHECKED = 1 << 8,    /* IOPL or the bitmap count */
  ADDRESS16 = 1 << 9,  /* 16-bit addresses */
  CODE_64 = 1 << 10,
  PAGED = 1 << 11,
  SELECTORS = 1 << 12, /* segments by descriptors, and with limits */
  WIDE_CODE = 1 << 13, /* of 32 or 64 bits */
};

#define FLAG_TF 0x100u
#define FLAG_DF 0x400u
#define IOPL_3 0x3000u

extern const struct mode modes[];
extern const unsigned mode_count;
extern const struct condition conditions[];
extern const unsigned condition_count;

unsigned address_bits(const struct mode *mode, const struct condition *condition);
bool applies(const struct condition *condition, const struct mode *mode, unsigned form);
