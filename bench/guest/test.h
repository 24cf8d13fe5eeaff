/* What a test is, and how it tells the host when to look at its clock. */
#pragma once

#include "types.h"

typedef struct {
    const char *name;
    /* What one operation is, and how many one iteration makes. */
    const char *unit;
    u32 operations;
    /* Prepares, calls begin_test(), iterates, calls end_test() with a value that every machine must agree on. */
    void (*run)(u32 iterations);
} Test;

void begin_test(void);
void end_test(u32 checksum);
/* Instead of the two: this machine lacks what the test needs. */
void skip_test(const char *why);

extern const Test integer_tests[], memory_tests[], float_tests[], port_tests[], system_tests[];
