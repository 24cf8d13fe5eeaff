/* What programs do all day. Every value depends on the one before, so that nothing is optimised away. */
#include "layout.h"
#include "test.h"

static u32 random_state;

static inline u32 random_word(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static u8 *fill_random(u32 bytes) {
    u32 *words = (u32 *)BUFFER;
    random_state = 0x12345678;
    for (u32 i = 0; i < bytes / 4; i++) words[i] = random_word();
    return (u8 *)words;
}

/* --- CRC-32 by table ------------------------------------------------------------------------------------------ */

#define CRC_BYTES 16384

static u32 crc_table[256];

static NOINLINE u32 crc32(u32 crc, const u8 *data, u32 length) {
    crc = ~crc;
    while (length--) crc = crc_table[(crc ^ *data++) & 255] ^ (crc >> 8);
    return ~crc;
}

static void test_crc32(u32 iterations) {
    for (u32 i = 0; i < 256; i++) {
        u32 value = i;
        for (int bit = 0; bit < 8; bit++) value = value & 1 ? (value >> 1) ^ 0xedb88320 : value >> 1;
        crc_table[i] = value;
    }
    const u8 *data = fill_random(CRC_BYTES);
    u32 crc = 0;
    begin_test();
    while (iterations--) crc = crc32(crc, data, CRC_BYTES);
    end_test(crc);
}

/* --- SHA-256, FIPS 180-4 -------------------------------------------------------------------------------------- */

static const u32 sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline u32 rotate_right(u32 x, int by) { return (x >> by) | (x << (32 - by)); }

static NOINLINE void sha256_block(u32 state[8], const u32 *block) {
    u32 w[64];
    for (int i = 0; i < 16; i++) w[i] = __builtin_bswap32(block[i]);
    for (int i = 16; i < 64; i++) {
        u32 s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ (w[i - 15] >> 3);
        u32 s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    u32 a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        u32 s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        u32 t1 = h + s1 + ((e & f) ^ (~e & g)) + sha_k[i] + w[i];
        u32 s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        u32 t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static void test_sha256(u32 iterations) {
    const u32 *data = (const u32 *)fill_random(4096);
    u32 state[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };
    begin_test();
    for (u32 i = 0; i < iterations; i++) sha256_block(state, data + (i & 63) * 16);
    end_test(state[0] ^ state[7]);
}

/* --- Quicksort ------------------------------------------------------------------------------------------------ */

#define SORT_ELEMENTS 4096

static void quicksort(u32 *first, u32 *last) {
    while (first < last) {
        u32 pivot = first[(last - first) / 2], *low = first, *high = last;
        while (low <= high) {
            while (*low < pivot) low++;
            while (*high > pivot) high--;
            if (low > high) break;
            u32 swapped = *low;
            *low++ = *high;
            *high-- = swapped;
        }
        quicksort(first, high);
        first = low;
    }
}

static void test_quicksort(u32 iterations) {
    u32 *data = (u32 *)BUFFER, sum = 0;
    random_state = 0x2468ace1;
    begin_test();
    while (iterations--) {
        for (u32 i = 0; i < SORT_ELEMENTS; i++) data[i] = random_word();
        quicksort(data, data + SORT_ELEMENTS - 1);
        sum += data[SORT_ELEMENTS / 2];
    }
    end_test(sum);
}

/* --- A bytecode interpreter: indirect jumps ------------------------------------------------------------------- */

enum { PUSH, LOAD, STORE, ADD, SUB, MUL, XOR, JUMP_NOT_ZERO, HALT };

/* n = 100; do { sum = (sum + n) * 3 ^ n; n = n - 1; } while (n); */
static const u8 bytecode[] = {
    PUSH, 100, STORE, 0,
    LOAD, 1, LOAD, 0, ADD, PUSH, 3, MUL, LOAD, 0, XOR, STORE, 1,
    LOAD, 0, PUSH, 1, SUB, STORE, 0,
    LOAD, 0, JUMP_NOT_ZERO, 4,
    HALT,
};
#define BYTECODES (2 + 100 * 14 + 1)

static NOINLINE u32 interpret(const u8 *code, u32 *variables) {
    u32 stack[16], *top = stack;
    const u8 *pc = code;
    for (;;) {
        switch (*pc++) {
        case PUSH: *top++ = *pc++; break;
        case LOAD: *top++ = variables[*pc++]; break;
        case STORE: variables[*pc++] = *--top; break;
        case ADD: top--, top[-1] += *top; break;
        case SUB: top--, top[-1] -= *top; break;
        case MUL: top--, top[-1] *= *top; break;
        case XOR: top--, top[-1] ^= *top; break;
        case JUMP_NOT_ZERO: pc = *--top ? code + *pc : pc + 1; break;
        default: return variables[1];
        }
    }
}

static void test_bytecode(u32 iterations) {
    u32 variables[2] = {0, 0}, result = 0;
    begin_test();
    while (iterations--) result = interpret(bytecode, variables);
    end_test(result);
}

/* --- Structures and calls through pointers -------------------------------------------------------------------- */

#define SHAPES 64

typedef struct Shape Shape;
struct Shape {
    u32 (*area)(const Shape *);
    u32 width, height;
    Shape *next;
};

static NOINLINE u32 rectangle(const Shape *shape) { return shape->width * shape->height; }
static NOINLINE u32 triangle(const Shape *shape) { return (shape->width * shape->height) >> 1; }
static NOINLINE u32 frame(const Shape *shape) { return 2 * (shape->width + shape->height); }

static NOINLINE u32 total_area(const Shape *shape, u32 scale) {
    u32 sum = 0;
    for (; shape; shape = shape->next) sum += shape->area(shape) * scale;
    return sum;
}

static void test_structs(u32 iterations) {
    static u32 (*const kinds[])(const Shape *) = {rectangle, triangle, frame};
    Shape *shapes = (Shape *)BUFFER;
    random_state = 0x31415927;
    for (u32 i = 0; i < SHAPES; i++) {
        shapes[i].area = kinds[random_word() % 3];
        shapes[i].width = i + 1;
        shapes[i].height = random_word() & 255;
        shapes[i].next = i + 1 < SHAPES ? &shapes[i + 1] : 0;
    }
    u32 sum = 0;
    begin_test();
    while (iterations--) sum = total_area(shapes, sum | 1);
    end_test(sum);
}

/* --- Recursion ------------------------------------------------------------------------------------------------ */

static NOINLINE __attribute__((optimize("no-optimize-sibling-calls", "no-inline"))) u32 fibonacci(u32 n) {
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}
#define FIBONACCI_CALLS 21891 /* of fibonacci(20) */

static void test_recursion(u32 iterations) {
    u32 sum = 0;
    begin_test();
    while (iterations--) sum += fibonacci(20);
    end_test(sum);
}

/* --- Division ------------------------------------------------------------------------------------------------- */

static void test_division(u32 iterations) {
    u32 sum = 0;
    volatile u32 keep_divisor = 3;
    u32 divisor = keep_divisor;
    begin_test();
    for (u32 i = 0; i < iterations; i++) {
        u32 dividend = i * 2654435761u;
        sum += dividend / divisor + (u32)((int)dividend % (int)(divisor + 7));
        divisor = (divisor + dividend) % 1021 + 1;
    }
    end_test(sum);
}

/* --- Branches that depend on data ----------------------------------------------------------------------------- */

static void test_branches(u32 iterations) {
    u32 even = 0, large = 0, state = 0x9e3779b9;
    begin_test();
    while (iterations--) {
        state = state * 1664525 + 1013904223;
        if (state & 0x10000) even += state >> 24;
        else even ^= state;
        if ((int)state > (int)large) large += 3;
        else if (state & 0x200000) large -= 1;
    }
    end_test(even + large);
}

const Test integer_tests[] = {
    {"crc32", "byte", CRC_BYTES, test_crc32},
    {"sha256", "block", 1, test_sha256},
    {"quicksort", "element", SORT_ELEMENTS, test_quicksort},
    {"bytecode", "bytecode", BYTECODES, test_bytecode},
    {"structs", "call", SHAPES, test_structs},
    {"recursion", "call", FIBONACCI_CALLS, test_recursion},
    {"division", "3-divisions", 1, test_division},
    {"branches", "iteration", 1, test_branches},
    {0, 0, 0, 0},
};
