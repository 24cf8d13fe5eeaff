#include "float.h"
#include "float-steps.h"

u32 x87_steps(u32 iterations) { return double_steps(iterations); }
