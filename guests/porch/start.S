/*
 * Entry, descriptor table and interrupt stubs.
 *
 * The loader leaves us in 32-bit protected mode without paging, EAX = 0x2BADB002 and EBX = the information structure
 * (Multiboot Specification 0.6.96, section 3.2). Its GDT may be gone, so ours is loaded first.
 */

#define MULTIBOOT_MAGIC 0x1BADB002
#define MULTIBOOT_FLAGS 0x00000003 /* modules on page boundaries; memory map wanted */

#define CODE_SEGMENT 0x08
#define DATA_SEGMENT 0x10
#define STACK_SIZE   0x4000

    .section .multiboot, "ax"
    .balign 4
    .long MULTIBOOT_MAGIC
    .long MULTIBOOT_FLAGS
    .long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

    .text
    .globl start
start:
    cli
    cld
    lgdt gdt_pointer
    ljmp $CODE_SEGMENT, $1f
1:  movl $DATA_SEGMENT, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    movl %ecx, %fs
    movl %ecx, %gs
    movl %ecx, %ss
    movl $stack_top, %esp
    xorl %ebp, %ebp
    pushl %ebx
    pushl %eax
    call porch_main
    jmp restart_monitor

/* Drops whatever was running and asks for the next command: the way back from a processor exception. */
    .globl restart_monitor
restart_monitor:
    movl $stack_top, %esp
    xorl %ebp, %ebp
    sti
    call monitor
2:  hlt
    jmp 2b

/* An empty IDT and an interrupt: the processor shuts down and the chip set resets it. */
    .globl triple_fault
triple_fault:
    lidt empty_pointer
    int3

/*
 * Stubs for vectors 0 to 47: the processor's exceptions, then the sixteen lines of the 8259A pair. Vectors 8, 10 to 14,
 * 17, 21, 29 and 30 come with an error code (SDM volume 3, table 6-1); the others get a zero so that the frames agree.
 */
#define ERROR_CODE_VECTORS ((1 << 8) | (0x1f << 10) | (1 << 17) | (1 << 21) | (1 << 29) | (1 << 30))

    .altmacro
    .macro stub vector
    .balign 4
stub_\vector:
    .if (\vector >= 32) || ((ERROR_CODE_VECTORS >> (\vector % 32)) % 2 == 0)
    pushl $0
    .endif
    pushl $\vector
    jmp interrupt_common
    .endm

    .macro stub_address vector
    .long stub_\vector
    .endm

    .set vector, 0
    .rept 48
    stub %vector
    .set vector, vector + 1
    .endr

interrupt_common:
    pushal
    cld
    pushl %esp
    call interrupt_dispatch
    addl $4, %esp
    popal
    addl $8, %esp
    iretl

    .section .rodata
    .balign 4
    .globl interrupt_stubs
interrupt_stubs:
    .set vector, 0
    .rept 48
    stub_address %vector
    .set vector, vector + 1
    .endr

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* code: base 0, limit 4 GiB, ring 0 */
    .quad 0x00cf93000000ffff /* data: the same */
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt
empty_pointer:
    .word 0
    .long 0

    .section .bss
    .balign 16
    .space STACK_SIZE
stack_top:
