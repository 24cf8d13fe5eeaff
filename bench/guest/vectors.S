/*
 * Interrupt handlers, as short as they can be: what is measured is the way there and back. And the ring-3 loop.
 */

#ifdef __x86_64__
#define AX %rax
#define DX %rdx
#define CX %rcx
#define SP %rsp
#define WORD 8
#define PUSH pushq
#define POP popq
#define IRET iretq
#else
#define AX %eax
#define DX %edx
#define CX %ecx
#define SP %esp
#define WORD 4
#define PUSH pushl
#define POP popl
#define IRET iretl
#endif

    .text
    .globl on_nothing
on_nothing:
    IRET

/* #PF: makes the page present that the test took away. */
    .globl on_page_fault
on_page_fault:
    PUSH AX
    PUSH CX
    mov page_fault_entry, AX
    mov page_fault_value, CX
    mov CX, (AX)
    POP CX
    POP AX
    add $WORD, SP /* error code */
    IRET

/* IRQ 4 through the 8259A: reading IIR takes back a transmitter-empty interrupt (PC16550D, 8.6.3); then a general EOI. */
    .globl on_uart
on_uart:
    PUSH AX
    PUSH DX
    mov $0x3fa, %dx
    inb %dx, %al
    incl uart_interrupts
    movb $0x20, %al
    outb %al, $0x20
    POP DX
    POP AX
    IRET

/* Anything unexpected: say so and stop. */
    .globl on_unexpected
on_unexpected:
    call unexpected
1:  hlt
    jmp 1b

/* void run_ring3(u32 iterations): INT 41h that often from ring 3. */
    .globl run_ring3
run_ring3:
#ifdef __x86_64__
    movl %edi, %ecx
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, kernel_stack
    movq %rsp, %rax
    subq $512, %rax
    movq %rax, task_state + 4 /* RSP0 */
    pushq $0x2b
    pushq $ring3_stack_top
    pushq $2
    pushq $0x23
    pushq $1f
    iretq
1:  int $0x41
    decl %ecx
    jnz 1b
    int $0x42
#else
    movl 4(%esp), %ecx
    pushal
    movl %esp, kernel_stack
    leal -512(%esp), %eax
    movl %eax, task_state + 4 /* ESP0 */
    pushl $0x2b
    pushl $ring3_stack_top
    pushl $2
    pushl $0x23
    pushl $1f
    iretl
1:  int $0x41
    decl %ecx
    jnz 1b
    int $0x42
#endif

/* INT 42h: back to the caller of run_ring3. */
    .globl on_ring3_end
on_ring3_end:
#ifdef __x86_64__
    movq kernel_stack, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
#else
    /* IRET to ring 3 made the data segments null (SDM vol 2, IRET). */
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl kernel_stack, %esp
    popal
    ret
#endif

/* void modify_and_run(u32 iterations): each time another immediate in the code that is called next. */
    .section .smc, "awx"
    .balign 4096
    .globl modified_code
modified_code:
    .byte 0xb8 /* mov $imm32, %eax */
modified_immediate:
    .long 0
    ret

    .text
    .globl modify_and_run
modify_and_run:
#ifndef __x86_64__
    pushl %ebx
    pushl %esi
    movl 8 + 4(%esp), %ecx
#else
    pushq %rbx
    pushq %rsi
    movl %edi, %ecx
#endif
    xorl %ebx, %ebx
1:  movl %ecx, modified_immediate
    call modified_code
    addl %eax, %ebx
    decl %ecx
    jnz 1b
    movl %ebx, %eax
#ifndef __x86_64__
    popl %esi
    popl %ebx
#else
    popq %rsi
    popq %rbx
#endif
    ret

    .bss
    .balign 16
kernel_stack:
    .skip 8
    .skip 1024
ring3_stack_top:
