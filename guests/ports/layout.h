/* Shared by assembly and C: selectors, places in memory, and the frame through which a case is run. */
#pragma once

#define CODE32        0x08
#define DATA32        0x10
#define CODE16        0x18 /* of the arena */
#define DATA16        0x20
#define USER_CODE32   0x2b
#define USER_DATA32   0x33
#define USER_CODE16   0x3b
#define USER_DATA16   0x43
#define CODE64        0x48
#define USER_CODE64   0x53
#define FS32          0x5b /* like the DS that goes with them, and 1000h or 2000h higher */
#define GS32          0x63
#define FS16          0x6b
#define GS16          0x73
#define SHORT_DATA    0x7b /* of the arena, as far as SHORT_LIMIT */
#define READ_ONLY     0x83
#define LOW_CODE16    0x88 /* of `low_start` as copied to LOW */
#define LOW_DATA16    0x90
#define TASK          0x98 /* 16 bytes: for either mode */

#define LOW           0x10000 /* where real mode begins and ends */
#define ARENA         0x20000 /* 64 KiB: code, operands and stack of a case */
#define ARENA_SEGMENT 0x2000
#define CODE_AT       0x400
#define STACK_AT      0xc800
#define SHORT_LIMIT   0x1ffb

#define BITMAP_AT     0x68 /* in the TSS */
#define BITMAP_BYTES  0x2001

/* Offsets in `struct frame`. */
#define F_RAX    0
#define F_RCX    8
#define F_RDX    16
#define F_RBX    24
#define F_RSP    32
#define F_RBP    40
#define F_RSI    48
#define F_RDI    56
#define F_R8     64
#define F_RIP    128
#define F_RFLAGS 136
#define F_CS     144
#define F_SS     148
#define F_DS     152
#define F_ES     156
#define F_FS     160
#define F_GS     164
#define F_VECTOR 168
#define F_ERROR  172

#ifndef __ASSEMBLER__
#include <stdint.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

/* The state that a case begins with; then the state in which an exception ended it. */
struct frame {
  uint64_t gpr[16];
  uint64_t rip, rflags;
  uint32_t cs, ss, ds, es, fs, gs;
  uint32_t vector, error;
};

extern struct frame frame;
extern uint64_t gdt[];
extern uint8_t task[BITMAP_AT + BITMAP_BYTES];

extern uint8_t low_start[], low_end[];
extern uint32_t real_vectors[];
extern uint32_t stubs32[], stubs64[];
extern uint64_t idt32[], idt64[];
extern uint64_t page_directory[], page_table[];
extern uint64_t pointers_pae[], pointers_long[], level4[];

/* Each runs `frame` until the first exception. Interrupts are off, paging is on. */
void run_protected(void); /* virtual-8086 mode, too, if RFLAGS has VM */
void run_real(void);
void run_long(void);

/* Turns paging on, with the tables above. */
void paging_enable(void);
#endif
