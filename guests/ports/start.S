/*
 * Entry and descriptor tables. A flat Multiboot image, so that a ROM can start it as well: the header says all
 * (Multiboot Specification 0.6.96, section 3.1.3).
 */
#include "layout.h"

#define MULTIBOOT_MAGIC 0x1BADB002
#define MULTIBOOT_FLAGS 0x00010000 /* addresses are in the header */
#define STACK_SIZE      0x4000

    .section .multiboot, "ax"
header:
    .long MULTIBOOT_MAGIC
    .long MULTIBOOT_FLAGS
    .long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
    .long header
    .long header
    .long image_end
    .long bss_end
    .long start

    .text
    .globl start
start:
    cli
    cld
    lgdt gdt_pointer
    ljmp $CODE32, $1f
1:  movl $DATA32, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    movl %ecx, %fs
    movl %ecx, %gs
    movl %ecx, %ss
    movl $stack_top, %esp
    /* A ROM leaves whatever was behind the image. */
    movl $image_end, %edi
    movl $bss_end, %ecx
    subl %edi, %ecx
    xorl %eax, %eax
    rep stosb
    call ports_main
2:  hlt
    jmp 2b

    .data
    .balign 8
    .globl gdt
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* CODE32 */
    .quad 0x00cf93000000ffff /* DATA32 */
    .quad 0x00009b020000ffff /* CODE16 */
    .quad 0x000093020000ffff /* DATA16 */
    .quad 0x00cffb000000ffff /* USER_CODE32 */
    .quad 0x00cff3000000ffff /* USER_DATA32 */
    .quad 0x0000fb020000ffff /* USER_CODE16 */
    .quad 0x0000f3020000ffff /* USER_DATA16 */
    .quad 0x00af9b000000ffff /* CODE64 */
    .quad 0x00affb000000ffff /* USER_CODE64 */
    .quad 0x00cff3001000ffff /* FS32 */
    .quad 0x00cff3002000ffff /* GS32 */
    .quad 0x0000f3021000ffff /* FS16 */
    .quad 0x0000f3022000ffff /* GS16 */
    .quad 0x0040f30200000000 | SHORT_LIMIT /* SHORT_DATA */
    .quad 0x00cff1000000ffff /* READ_ONLY */
    .quad 0x00009b010000ffff /* LOW_CODE16 */
    .quad 0x000093010000ffff /* LOW_DATA16 */
    .quad 0, 0               /* TASK */
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .section .bss
    .balign 16
    .space STACK_SIZE
stack_top:
