/*
 * Runs floating-point instructions on the host CPU. Reads 40-byte records from standard input (operation number, control,
 * two 16-byte operands) and writes 40-byte records (two 16-byte results, status, trapped). With the argument "list" it
 * prints the operations in the order of their numbers. `control` is MXCSR or the x87 control word.
 *
 * Build: gcc -O1 -mno-red-zone -o softfloat-oracle softfloat-oracle.c
 */
#define _GNU_SOURCE
#include <emmintrin.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

struct request {
  uint32_t operation;
  uint32_t control;
  uint8_t a[16];
  uint8_t b[16];
};

struct response {
  uint8_t result[2][16];
  uint32_t status;
  uint32_t trapped;
};

static const uint32_t default_mxcsr = 0x1f80;
static volatile uint32_t trapped, trapped_mxcsr;

/* An unmasked SSE exception: keep MXCSR as the processor left it, mask everything and let the instruction run again. */
static void on_fpe(int number, siginfo_t *info, void *context) {
  ucontext_t *u = context;
  (void)number;
  (void)info;
  trapped = 1;
  trapped_mxcsr = u->uc_mcontext.fpregs->mxcsr;
  u->uc_mcontext.fpregs->mxcsr = default_mxcsr;
}

/* Result in an SSE register: destination a, source b. */
#define SSE(name, instruction)                                                                        \
  static void name(const struct request *i, struct response *o) {                                     \
    __m128i a = _mm_loadu_si128((const void *)i->a), b = _mm_loadu_si128((const void *)i->b);         \
    __asm__ volatile("ldmxcsr %[c]\n\t" instruction "\n\tstmxcsr %[m]\n\tldmxcsr %[d]"                \
                     : [a] "+x"(a), [m] "=m"(o->status)                                               \
                     : [b] "x"(b), [c] "m"(i->control), [d] "m"(default_mxcsr));                      \
    _mm_storeu_si128((void *)o->result[0], a);                                                        \
  }

/* Result in a general register. */
#define SSE_TO_INTEGER(name, instruction)                                                             \
  static void name(const struct request *i, struct response *o) {                                     \
    __m128i a = _mm_loadu_si128((const void *)i->a), b = _mm_loadu_si128((const void *)i->b);         \
    uint64_t r = 0;                                                                                   \
    __asm__ volatile("ldmxcsr %[c]\n\t" instruction "\n\tstmxcsr %[m]\n\tldmxcsr %[d]"                \
                     : [r] "+r"(r), [m] "=m"(o->status)                                               \
                     : [a] "x"(a), [b] "x"(b), [c] "m"(i->control), [d] "m"(default_mxcsr));          \
    memcpy(o->result[0], &r, 8);                                                                      \
  }

#define SSE_FROM_INTEGER(name, instruction)                                                           \
  static void name(const struct request *i, struct response *o) {                                     \
    __m128i a = _mm_setzero_si128();                                                                  \
    uint64_t r;                                                                                       \
    memcpy(&r, i->a, 8);                                                                              \
    __asm__ volatile("ldmxcsr %[c]\n\t" instruction "\n\tstmxcsr %[m]\n\tldmxcsr %[d]"                \
                     : [a] "+x"(a), [m] "=m"(o->status)                                               \
                     : [r] "r"(r), [c] "m"(i->control), [d] "m"(default_mxcsr));                      \
    _mm_storeu_si128((void *)o->result[0], a);                                                        \
  }

#define FLAGS "\n\tpushfq\n\tpopq %[r]"

#define CMP(type, suffix, n) SSE(type##_cmp##n, "cmp" suffix " $" #n ", %[b], %[a]")
#define SSE_TYPE(type, s, q, p)                                        \
  SSE(type##_add, "add" s " %[b], %[a]")                               \
  SSE(type##_sub, "sub" s " %[b], %[a]")                               \
  SSE(type##_mul, "mul" s " %[b], %[a]")                               \
  SSE(type##_div, "div" s " %[b], %[a]")                               \
  SSE(type##_min, "min" s " %[b], %[a]")                               \
  SSE(type##_max, "max" s " %[b], %[a]")                               \
  SSE(type##_sqrt, "sqrt" s " %[a], %[a]")                             \
  SSE(type##_packed_add, "add" p " %[b], %[a]")                        \
  SSE(type##_packed_div, "div" p " %[b], %[a]")                        \
  SSE(type##_packed_hadd, "hadd" p " %[b], %[a]")                      \
  SSE(type##_packed_hsub, "hsub" p " %[b], %[a]")                      \
  CMP(type, s, 0)                                                      \
  CMP(type, s, 1)                                                      \
  CMP(type, s, 2)                                                      \
  CMP(type, s, 3)                                                      \
  CMP(type, s, 4)                                                      \
  CMP(type, s, 5)                                                      \
  CMP(type, s, 6)                                                      \
  CMP(type, s, 7)                                                      \
  SSE_TO_INTEGER(type##_compare, "comi" s " %[b], %[a]" FLAGS)         \
  SSE_TO_INTEGER(type##_compare_unordered, "ucomi" s " %[b], %[a]" FLAGS) \
  SSE_TO_INTEGER(type##_to_i32, "cvt" s "2si %[a], %k[r]")             \
  SSE_TO_INTEGER(type##_to_i32_truncate, "cvtt" s "2si %[a], %k[r]")   \
  SSE_TO_INTEGER(type##_to_i64, "cvt" s "2si %[a], %q[r]")             \
  SSE_TO_INTEGER(type##_to_i64_truncate, "cvtt" s "2si %[a], %q[r]")   \
  SSE_FROM_INTEGER(type##_from_i32, "cvtsi2" s " %k[r], %[a]")         \
  SSE_FROM_INTEGER(type##_from_i64, "cvtsi2" s " %q[r], %[a]")

SSE_TYPE(f64, "sd", "q", "pd")
SSE_TYPE(f32, "ss", "d", "ps")
SSE(f32_to_f64, "cvtss2sd %[a], %[a]")
SSE(f64_to_f32, "cvtsd2ss %[a], %[a]")

/* The environment and registers as FNSAVE writes them outside of 16-bit modes. SDM vol. 1, figures 8-9 and 8-13. */
struct saved {
  uint32_t control, status, tags, other[4];
  uint8_t st[8][10];
} __attribute__((packed));

static void keep(struct response *o, const struct saved *s) {
  o->status = s->status;
  memcpy(o->result[0], s->st[0], 10);
  memcpy(o->result[1], s->st[1], 10);
}

/* ST0 = a, ST1 = b. */
#define X87_TWO(name, instruction)                                                                    \
  static void name(const struct request *i, struct response *o) {                                     \
    struct saved s;                                                                                   \
    __asm__ volatile("fninit\n\tfldt %[b]\n\tfldt %[a]\n\tfldcw %[c]\n\t" instruction "\n\tfnsave %[s]" \
                     : [s] "=m"(s)                                                                    \
                     : [a] "m"(i->a), [b] "m"(i->b), [c] "m"(i->control));                            \
    keep(o, &s);                                                                                      \
  }

/* ST0 = a. */
#define X87_ONE(name, instruction)                                                                    \
  static void name(const struct request *i, struct response *o) {                                     \
    struct saved s;                                                                                   \
    __asm__ volatile("fninit\n\tfldt %[a]\n\tfldcw %[c]\n\t" instruction "\n\tfnsave %[s]"            \
                     : [s] "=m"(s)                                                                    \
                     : [a] "m"(i->a), [b] "m"(i->b), [c] "m"(i->control));                            \
    keep(o, &s);                                                                                      \
  }

#define X87_NONE(name, instruction)                                                                   \
  static void name(const struct request *i, struct response *o) {                                     \
    struct saved s;                                                                                   \
    __asm__ volatile("fninit\n\tfldcw %[c]\n\t" instruction "\n\tfnsave %[s]"                         \
                     : [s] "=m"(s)                                                                    \
                     : [a] "m"(i->a), [c] "m"(i->control));                                           \
    keep(o, &s);                                                                                      \
  }

/* Stores go to result 1, filled with 0x5a before, so that a store that does not happen shows. */
#define X87_STORE(name, instruction)                                                                  \
  static void name(const struct request *i, struct response *o) {                                     \
    struct saved s;                                                                                   \
    memset(o->result[1], 0x5a, 16);                                                                   \
    __asm__ volatile("fninit\n\tfldt %[a]\n\tfldcw %[c]\n\t" instruction "\n\tfnsave %[s]"            \
                     : [s] "=m"(s), [r] "+m"(o->result[1])                                            \
                     : [a] "m"(i->a), [c] "m"(i->control));                                           \
    o->status = s.status;                                                                             \
    memcpy(o->result[0], o->result[1], 16);                                                           \
  }

X87_TWO(f80_add, "fadd %%st(1), %%st")
X87_TWO(f80_sub, "fsub %%st(1), %%st")
X87_TWO(f80_mul, "fmul %%st(1), %%st")
X87_TWO(f80_div, "fdiv %%st(1), %%st")
X87_TWO(f80_compare, "fcom %%st(1)")
X87_TWO(f80_compare_unordered, "fucom %%st(1)")
X87_TWO(f80_rem, "fprem")
X87_TWO(f80_rem_nearest, "fprem1")
X87_TWO(f80_scale, "fscale")
X87_TWO(f80_log2, "fyl2x")
X87_TWO(f80_log2_plus_1, "fyl2xp1")
X87_TWO(f80_atan, "fpatan")
X87_ONE(f80_add_f32, "fadds %[b]")
X87_ONE(f80_add_f64, "faddl %[b]")
X87_ONE(f80_div_f64, "fdivl %[b]")
X87_ONE(f80_divr_f32, "fdivrs %[b]")
X87_ONE(f80_compare_f64, "fcoml %[b]")
X87_ONE(f80_sqrt, "fsqrt")
X87_ONE(f80_round, "frndint")
X87_ONE(f80_extract, "fxtract")
X87_ONE(f80_examine, "fxam")
X87_ONE(f80_exp2_minus_1, "f2xm1")
X87_ONE(f80_sin, "fsin")
X87_ONE(f80_cos, "fcos")
X87_ONE(f80_sincos, "fsincos")
X87_ONE(f80_tan, "fptan")
X87_NONE(f80_from_f32, "flds %[a]")
X87_NONE(f80_from_f64, "fldl %[a]")
X87_NONE(f80_from_i64, "fildq %[a]")
X87_NONE(f80_from_bcd, "fbld %[a]")
X87_NONE(f80_one, "fld1")
X87_NONE(f80_zero, "fldz")
X87_NONE(f80_pi, "fldpi")
X87_NONE(f80_log2_10, "fldl2t")
X87_NONE(f80_log2_e, "fldl2e")
X87_NONE(f80_log10_2, "fldlg2")
X87_NONE(f80_ln_2, "fldln2")
X87_STORE(f80_to_f32, "fstps %[r]")
X87_STORE(f80_to_f64, "fstpl %[r]")
X87_STORE(f80_to_i16, "fistps %[r]")
X87_STORE(f80_to_i32, "fistpl %[r]")
X87_STORE(f80_to_i64, "fistpq %[r]")
X87_STORE(f80_to_i16_truncate, "fisttps %[r]")
X87_STORE(f80_to_i32_truncate, "fisttpl %[r]")
X87_STORE(f80_to_i64_truncate, "fisttpq %[r]")
X87_STORE(f80_to_bcd, "fbstp %[r]")

typedef void operation(const struct request *, struct response *);

#define ROW(name) {#name, name}
#define SSE_ROWS(t) \
  ROW(t##_add), ROW(t##_sub), ROW(t##_mul), ROW(t##_div), ROW(t##_min), ROW(t##_max), ROW(t##_sqrt), \
      ROW(t##_packed_add), ROW(t##_packed_div), ROW(t##_packed_hadd), ROW(t##_packed_hsub), ROW(t##_cmp0), \
      ROW(t##_cmp1), ROW(t##_cmp2), ROW(t##_cmp3), ROW(t##_cmp4), ROW(t##_cmp5), ROW(t##_cmp6), \
      ROW(t##_cmp7), ROW(t##_compare), ROW(t##_compare_unordered), ROW(t##_to_i32), \
      ROW(t##_to_i32_truncate), ROW(t##_to_i64), ROW(t##_to_i64_truncate), ROW(t##_from_i32), \
      ROW(t##_from_i64)

static const struct {
  const char *name;
  operation *run;
} operations[] = {
    SSE_ROWS(f64), SSE_ROWS(f32), ROW(f32_to_f64), ROW(f64_to_f32), ROW(f80_add), ROW(f80_sub), ROW(f80_mul),
    ROW(f80_div), ROW(f80_compare), ROW(f80_compare_unordered), ROW(f80_rem), ROW(f80_rem_nearest), ROW(f80_scale),
    ROW(f80_log2), ROW(f80_log2_plus_1), ROW(f80_atan), ROW(f80_add_f32), ROW(f80_add_f64), ROW(f80_div_f64),
    ROW(f80_divr_f32), ROW(f80_compare_f64), ROW(f80_sqrt), ROW(f80_round), ROW(f80_extract), ROW(f80_examine),
    ROW(f80_exp2_minus_1), ROW(f80_sin), ROW(f80_cos), ROW(f80_sincos), ROW(f80_tan), ROW(f80_from_f32),
    ROW(f80_from_f64), ROW(f80_from_i64), ROW(f80_from_bcd), ROW(f80_one), ROW(f80_zero), ROW(f80_pi),
    ROW(f80_log2_10), ROW(f80_log2_e), ROW(f80_log10_2), ROW(f80_ln_2), ROW(f80_to_f32), ROW(f80_to_f64),
    ROW(f80_to_i16), ROW(f80_to_i32), ROW(f80_to_i64), ROW(f80_to_i16_truncate), ROW(f80_to_i32_truncate),
    ROW(f80_to_i64_truncate), ROW(f80_to_bcd),
};

int main(int argc, char **argv) {
  struct sigaction action = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO};
  struct request request;
  const size_t count = sizeof operations / sizeof operations[0];
  if (argc > 1 && strcmp(argv[1], "list") == 0) {
    for (size_t n = 0; n < count; n++) puts(operations[n].name);
    return 0;
  }
  sigaction(SIGFPE, &action, NULL);
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    struct response response;
    memset(&response, 0, sizeof response);
    if (request.operation >= count) return 1;
    trapped = 0;
    operations[request.operation].run(&request, &response);
    if (trapped) {
      response.trapped = 1;
      response.status = trapped_mxcsr;
    }
    fwrite(&response, sizeof response, 1, stdout);
  }
  return 0;
}
