/* Words of the guest; `word` is as wide as a general register. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long word;

#define NOINLINE __attribute__((noinline))
