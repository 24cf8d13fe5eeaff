#pragma once

#include "types.h"

/* Sixteen steps of one computation; the result's bits, folded. */
u32 x87_steps(u32 iterations);
u32 sse_double_steps(u32 iterations);
u32 sse_integer_steps(u32 iterations);
