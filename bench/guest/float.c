/* Floating point and vectors; the loops are compiled with their own instruction sets. */
#include "float.h"

#include "test.h"

static void test_x87(u32 iterations) {
    begin_test();
    end_test(x87_steps(iterations));
}

static void test_sse_double(u32 iterations) {
    begin_test();
    end_test(sse_double_steps(iterations));
}

static void test_sse_integer(u32 iterations) {
    begin_test();
    end_test(sse_integer_steps(iterations));
}

const Test float_tests[] = {
    {"x87", "8-operations", 1, test_x87},
    {"sse2-double", "8-operations", 1, test_sse_double},
    {"sse2-integer", "8-operations", 1, test_sse_integer},
    {0, 0, 0, 0},
};
