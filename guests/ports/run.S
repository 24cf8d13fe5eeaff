/*
 * Into a case and out of it, in each mode. `frame` has the state; whatever exception comes first writes it back, and
 * the call returns.
 */
#include "layout.h"

#define CR0_PE 1
#define CR0_PG 0x80000000
#define CR0_WP 0x10000
#define CR4_DE 0x08
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define FLAG_VM 0x20000
#define TASK_BUSY 2
#define TASK_STACK 4 /* offset of ESP0 and RSP0 */
#define ERROR_CODE_VECTORS ((1 << 8) | (0x1f << 10) | (1 << 17) | (1 << 21) | (1 << 29) | (1 << 30))

    .macro data_segments
    movl $DATA32, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    .endm

    .macro load_task prefix
    \prefix andb $~TASK_BUSY, gdt + TASK + 5
    movl $TASK, %eax
    ltr %ax
    .endm

    .altmacro
    .macro stub name, vector
    .balign 4
\name\()_\vector:
    .if (ERROR_CODE_VECTORS >> \vector) % 2 == 0
    push $0
    .endif
    push $\vector
    jmp \name\()_common
    .endm
    .macro stub_address name, vector
    .long \name\()_\vector
    .endm

    .text
    .globl paging_enable
paging_enable:
    movl %cr4, %eax
    orl $(CR4_PAE | CR4_DE), %eax
    movl %eax, %cr4
    movl $pointers_pae, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $(CR0_PG | CR0_WP), %eax
    movl %eax, %cr0
    ret

/* --- protected and virtual-8086 mode --- */

    .globl run_protected
run_protected:
    pushal
    movl %esp, kernel_stack
    lidt idt32_pointer
    load_task
    testl $FLAG_VM, frame + F_RFLAGS
    jnz 1f
    testb $3, frame + F_CS
    jnz 2f
    movw frame + F_SS, %ss
    movl frame + F_RSP, %esp
    jmp 3f
1:  pushl frame + F_GS
    pushl frame + F_FS
    pushl frame + F_DS
    pushl frame + F_ES
2:  pushl frame + F_SS
    pushl frame + F_RSP
3:  pushl frame + F_RFLAGS
    pushl frame + F_CS
    pushl frame + F_RIP
    pushl frame + F_RAX
    pushl frame + F_RCX
    pushl frame + F_RDX
    pushl frame + F_RBX
    pushl $0
    pushl frame + F_RBP
    pushl frame + F_RSI
    pushl frame + F_RDI
    testl $FLAG_VM, frame + F_RFLAGS
    jnz 4f
    movw frame + F_ES, %es
    movw frame + F_FS, %fs
    movw frame + F_GS, %gs
    movl frame + F_DS, %eax
    movl %eax, %ds
4:  popal
    iretl

    .set vector, 0
    .rept 32
    stub protected, %vector
    .set vector, vector + 1
    .endr

protected_common:
    pushal
    data_segments
    popl frame + F_RDI
    popl frame + F_RSI
    popl frame + F_RBP
    popl %eax
    popl frame + F_RBX
    popl frame + F_RDX
    popl frame + F_RCX
    popl frame + F_RAX
    popl frame + F_VECTOR
    popl frame + F_ERROR
    popl frame + F_RIP
    popl frame + F_CS
    popl frame + F_RFLAGS
leave_case:
    movl $DATA32, %eax
    movl %eax, %ss
    movl kernel_stack, %esp
    popal
    cld
    ret

/* --- real mode --- */

    .globl run_real
run_real:
    pushal
    movl %esp, kernel_stack
    lidt real_idt_pointer
    /* What real mode will pop: it cannot see the frame. */
    movl $(ARENA + STACK_AT), %esp
    pushl frame + F_RFLAGS
    pushl frame + F_CS
    pushl frame + F_RIP
    pushl frame + F_RAX
    pushl frame + F_RCX
    pushl frame + F_RDX
    pushl frame + F_RBX
    pushl $0
    pushl frame + F_RBP
    pushl frame + F_RSI
    pushl frame + F_RDI
    pushw frame + F_DS
    pushw frame + F_GS
    pushw frame + F_FS
    pushw frame + F_ES
    ljmp $LOW_CODE16, $(real_enter - low_start)

    .globl low_start, low_end, real_vectors
    .code16
low_start:
real_enter:
    /* Real mode keeps the limits that it finds. */
    movw $LOW_DATA16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl %cr0, %eax
    andl $~(CR0_PG | CR0_PE), %eax
    movl %eax, %cr0
    ljmp $(LOW >> 4), $(1f - low_start)
1:  movw $ARENA_SEGMENT, %ax
    movw %ax, %ss
    subl $ARENA, %esp
    popw %es
    popw %fs
    popw %gs
    popw %ds
    popal
    iretl

    .macro real_stub vector
    .balign 4
real_\vector:
    pushw $\vector
    jmp real_common
    .endm
    .set vector, 0
    .rept 32
    real_stub %vector
    .set vector, vector + 1
    .endr
real_common:
    pushal
    movl %cr0, %eax
    orl $(CR0_PG | CR0_PE), %eax
    movl %eax, %cr0
    ljmpl $CODE32, $real_leave
low_end:

    .code32
real_leave:
    data_segments
    movzwl %sp, %esi
    addl $ARENA, %esi
    movl 0(%esi), %eax
    movl %eax, frame + F_RDI
    movl 4(%esi), %eax
    movl %eax, frame + F_RSI
    movl 8(%esi), %eax
    movl %eax, frame + F_RBP
    movl 16(%esi), %eax
    movl %eax, frame + F_RBX
    movl 20(%esi), %eax
    movl %eax, frame + F_RDX
    movl 24(%esi), %eax
    movl %eax, frame + F_RCX
    movl 28(%esi), %eax
    movl %eax, frame + F_RAX
    movzwl 32(%esi), %eax
    movl %eax, frame + F_VECTOR
    movzwl 34(%esi), %eax
    movl %eax, frame + F_RIP
    movzwl 38(%esi), %eax
    movl %eax, frame + F_RFLAGS
    movl $0, frame + F_ERROR
    jmp leave_case

/* --- long mode: 64-bit code and compatibility mode --- */

    .macro paging_off
    movl %cr0, %eax
    andl $~CR0_PG, %eax
    movl %eax, %cr0
    .endm
    /* `change` is done to EAX, the low half of EFER. */
    .macro paging_on tables, change
    movl $MSR_EFER, %ecx
    rdmsr
    \change
    wrmsr
    movl $\tables, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $CR0_PG, %eax
    movl %eax, %cr0
    .endm

    .globl run_long
run_long:
    pushal
    movl %esp, kernel_stack
    paging_off
    paging_on level4, <orl $EFER_LME, %eax>
    ljmp $CODE64, $1f
    /* An ELF32 object has relocations for 32-bit addresses only. */
    .code64
1:  movl %esp, %esp
    addr32 lidt idt64_pointer
    /* The upper half of RSP0 is where a 32-bit TSS has SS0. */
    addr32 movl $0, task + TASK_STACK + 4
    load_task addr32
    addr32 movl frame + F_DS, %eax
    movl %eax, %ds
    addr32 movl frame + F_ES, %eax
    movl %eax, %es
    addr32 movl frame + F_FS, %eax
    movl %eax, %fs
    addr32 movl frame + F_GS, %eax
    movl %eax, %gs
    addr32 movl frame + F_SS, %eax
    pushq %rax
    addr32 pushq frame + F_RSP
    addr32 pushq frame + F_RFLAGS
    addr32 movl frame + F_CS, %eax
    pushq %rax
    addr32 pushq frame + F_RIP
    addr32 movq frame + F_RAX, %rax
    addr32 movq frame + F_RCX, %rcx
    addr32 movq frame + F_RDX, %rdx
    addr32 movq frame + F_RBX, %rbx
    addr32 movq frame + F_RBP, %rbp
    addr32 movq frame + F_RSI, %rsi
    addr32 movq frame + F_RDI, %rdi
    .irp number, 8, 9, 10, 11, 12, 13, 14, 15
    addr32 movq frame + F_R8 + (\number - 8) * 8, %r\number
    .endr
    iretq

    .set vector, 0
    .rept 32
    stub long, %vector
    .set vector, vector + 1
    .endr

long_common:
    addr32 movq %rax, frame + F_RAX
    addr32 movq %rcx, frame + F_RCX
    addr32 movq %rdx, frame + F_RDX
    addr32 movq %rbx, frame + F_RBX
    addr32 movq %rbp, frame + F_RBP
    addr32 movq %rsi, frame + F_RSI
    addr32 movq %rdi, frame + F_RDI
    .irp number, 8, 9, 10, 11, 12, 13, 14, 15
    addr32 movq %r\number, frame + F_R8 + (\number - 8) * 8
    .endr
    popq %rax
    addr32 movl %eax, frame + F_VECTOR
    popq %rax
    addr32 movl %eax, frame + F_ERROR
    addr32 popq frame + F_RIP
    popq %rax
    addr32 popq frame + F_RFLAGS
    addr32 movl kernel_stack, %esp
    addr32 ljmpl *long_leave_pointer
    .code32
long_leave:
    data_segments
    paging_off
    paging_on pointers_pae, <andl $~EFER_LME, %eax>
    movl $DATA32, task + TASK_STACK + 4
    jmp leave_case

    .section .rodata
    .globl stubs32, stubs64
    .balign 4
stubs32:
    .set vector, 0
    .rept 32
    stub_address protected, %vector
    .set vector, vector + 1
    .endr
stubs64:
    .set vector, 0
    .rept 32
    stub_address long, %vector
    .set vector, vector + 1
    .endr
/* Segment and offset as in the table of vectors. */
    .macro real_vector vector
    .word real_\vector - low_start, LOW >> 4
    .endm
real_vectors:
    .set vector, 0
    .rept 32
    real_vector %vector
    .set vector, vector + 1
    .endr
long_leave_pointer:
    .long long_leave
    .word CODE32
real_idt_pointer:
    .word 32 * 4 - 1
    .long 0
idt32_pointer:
    .word 32 * 8 - 1
    .long idt32
idt64_pointer: /* ten bytes in 64-bit code */
    .word 32 * 16 - 1
    .long idt64, 0

    .section .bss
    .globl frame, idt32, idt64, task, page_directory, page_table, pointers_pae, pointers_long, level4
    .balign 4096
page_directory:
    .space 4096
page_table:
    .space 4096
pointers_pae:
    .space 4096
pointers_long:
    .space 4096
level4:
    .space 4096
idt32:
    .space 32 * 8
idt64:
    .space 32 * 16
task:
    .space BITMAP_AT + BITMAP_BYTES
    .balign 8
frame:
    .space 176
kernel_stack:
    .space 4
