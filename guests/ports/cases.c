#include "cases.h"

#include <stddef.h>

#include "layout.h"

const struct mode modes[] = {
  {"real", REAL, 16, 0, ARENA_SEGMENT, ARENA_SEGMENT},
  {"v86", V86, 16, 3, ARENA_SEGMENT, ARENA_SEGMENT},
  {"p16.0", PROTECTED, 16, 0, CODE16, DATA16},
  {"p16.3", PROTECTED, 16, 3, USER_CODE16, USER_DATA16},
  {"p32.0", PROTECTED, 32, 0, CODE32, DATA32},
  {"p32.3", PROTECTED, 32, 3, USER_CODE32, USER_DATA32},
  {"c16.3", LONG, 16, 3, USER_CODE16, USER_DATA16},
  {"c32.3", LONG, 32, 3, USER_CODE32, USER_DATA32},
  {"l64.0", LONG, 64, 0, CODE64, DATA32},
  {"l64.3", LONG, 64, 3, USER_CODE64, USER_DATA32},
};
const unsigned mode_count = sizeof modes / sizeof *modes;

#define MIDDLE .operand = 0x1010, .count = 3
#define TO_ABSENT .operand = 0x4ff9, .count = 9

/* Names that begin with "limit" are of checks that not every emulator makes. */
const struct condition conditions[] = {
  {"plain", MIDDLE},
  {"lock", .prefixes = "\xf0", MIDDLE},
  {"66 twice", .prefixes = "\x66\x66", MIDDLE, .needs = NARROW | WIDE | WIDE_CODE},
  {"67", .prefixes = "\x67", MIDDLE},
  {"rex.w", .rex = 0x48, MIDDLE, .needs = CODE_64},
  {"rex.w, then 2e", .prefixes = "\x48\x2e", MIDDLE, .needs = CODE_64},
  {"rep", .prefixes = "\xf3", .needs = SCALAR},
  {"es", .prefixes = "\x26", MIDDLE},
  {"cs", .prefixes = "\x2e", MIDDLE},
  {"ss", .prefixes = "\x36", MIDDLE},
  {"ds", .prefixes = "\x3e", MIDDLE},
  {"fs", .prefixes = "\x64", MIDDLE},
  {"gs", .prefixes = "\x65", MIDDLE},
  {"gs, then es", .prefixes = "\x65\x26", MIDDLE, .needs = STRING},
  {"repne", .prefixes = "\xf2", MIDDLE, .needs = STRING | ONCE},
  {"f3, then f2", .prefixes = "\xf3\xf2", MIDDLE, .needs = STRING | ONCE},
  {"no units", .operand = 0x1010, .count = 0, .needs = REP},
  {"no units, absent", .operand = 0x5010, .count = 0, .needs = REP},
  {"one unit", .operand = 0x1010, .count = 1, .needs = REP},
  {"down", .operand = 0x1020, .count = 4, .flags = FLAG_DF, .needs = STRING},
  {"down, 67", .prefixes = "\x67", .operand = 0x1020, .count = 4, .flags = FLAG_DF, .needs = STRING},
  {"to the next page", .operand = 0x1ff8, .count = 9, .needs = REP},
  {"down to the next page", .operand = 0x2004, .count = 5, .flags = FLAG_DF, .needs = REP},
  {"in two pages", .operand = 0x1fff, .count = 1, .needs = STRING | WIDE},
  {"in two pages, repeated", .operand = 0x1ffd, .count = 3, .needs = REP | WIDE},
  {"read-only", .operand = 0x3010, .count = 2, .needs = STRING | PAGED},
  {"absent", .operand = 0x5010, .count = 2, .needs = STRING | PAGED},
  {"supervisor's", .operand = 0x7010, .count = 2, .needs = STRING | PAGED},
  {"to read-only", .operand = 0x2ff9, .count = 9, .needs = REP | PAGED},
  {"to absent", TO_ABSENT, .needs = REP | PAGED},
  {"to absent, 67", TO_ABSENT, .prefixes = "\x67", .needs = REP | PAGED},
  {"to supervisor's", .operand = 0x6ff9, .count = 9, .needs = REP | PAGED},
  {"half absent", .operand = 0x4fff, .count = 2, .needs = STRING | WIDE | PAGED},
  {"down to absent", .operand = 0x6004, .count = 9, .flags = FLAG_DF, .needs = REP | PAGED},
  {"wrap", .operand = 0xfffe, .count = 3, .needs = REP | NARROW | ADDRESS16},
  {"wrap down", .operand = 0x0002, .count = 4, .flags = FLAG_DF, .needs = REP | NARROW | ADDRESS16},
  {"step", .flags = FLAG_TF, MIDDLE},
  {"step, last unit", .flags = FLAG_TF, .operand = 0x1010, .count = 1, .needs = REP},
  {"step, no units", .flags = FLAG_TF, .operand = 0x1010, .count = 0, .needs = REP},
  {"breakpoint", .breakpoint = true, MIDDLE},
  {"breakpoint, step", .breakpoint = true, .flags = FLAG_TF, MIDDLE},
  {"closed", .bitmap = CLOSED, MIDDLE},
  {"closed, IOPL 3", .bitmap = CLOSED, .flags = IOPL_3, MIDDLE, .needs = CHECKED},
  {"hole", .bitmap = HOLE, MIDDLE, .needs = CHECKED},
  {"cut", .bitmap = CUT, MIDDLE, .needs = CHECKED},
  {"closed, absent", .bitmap = CLOSED, .operand = 0x5010, .count = 2, .needs = STRING | CHECKED},
  {"closed, step", .bitmap = CLOSED, .flags = FLAG_TF, MIDDLE, .needs = CHECKED},
  {"closed, breakpoint", .bitmap = CLOSED, .breakpoint = true, MIDDLE, .needs = CHECKED},
  {"limit of 64 KiB", .operand = 0xffff, .count = 2, .needs = STRING | WIDE | ADDRESS16},
  {"limit of 64 KiB, in the middle", .operand = 0xfff9, .count = 9, .needs = REP | WIDE | ADDRESS16},
  {"limit of a segment", .segment = SHORT_DATA, .operand = SHORT_LIMIT + 1, .count = 2, .needs = STRING | SELECTORS},
  {"limit of a segment, in the middle", .segment = SHORT_DATA, .operand = 0x1ff8, .count = 9, .needs = REP | SELECTORS},
};
const unsigned condition_count = sizeof conditions / sizeof *conditions;

static bool has_prefix(const struct condition *condition, char prefix) {
  const char *at = condition->prefixes;
  while (at != NULL && *at != 0 && *at != prefix) at++;
  return at != NULL && *at != 0;
}

unsigned address_bits(const struct mode *mode, const struct condition *condition) {
  bool other = has_prefix(condition, '\x67');
  if (mode->bits == 64) return other ? 32 : 64;
  return (mode->bits == 16) != other ? 16 : 32;
}

bool applies(const struct condition *condition, const struct mode *mode, unsigned form) {
  bool string = form & FORM_STRING, out = form & FORM_OUT, variant = form & FORM_VARIANT;
  unsigned size = form & FORM_SIZE;
  uint32_t has = string ? STRING : SCALAR;
  if (string) has |= (out ? OUTS : INS) | (variant ? REP : ONCE);
  if (size > 0) has |= WIDE;
  if (size < 2) has |= NARROW;
  if (mode->kind == V86 || mode->ring == 3) has |= CHECKED;
  if (address_bits(mode, condition) == 16) has |= ADDRESS16;
  if (mode->bits != 16) has |= WIDE_CODE;
  if (mode->bits == 64) has |= CODE_64;
  if (mode->kind != REAL) has |= PAGED;
  if (mode->kind != REAL && mode->kind != V86 && mode->bits != 64) has |= SELECTORS;
  return (condition->needs & ~has) == 0;
}
