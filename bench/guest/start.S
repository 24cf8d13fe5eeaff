/*
 * Entry of both variants. A Multiboot loader leaves us in 32-bit protected mode without paging, EAX = 0x2BADB002 and
 * EBX = the information structure (Multiboot Specification 0.6.96, section 3.2).
 */

#define MAGIC 0x1BADB002
#define FLAGS 0x00010002 /* memory information; the header states the addresses */

#define CODE32 0x08
#define DATA   0x10
#define CODE64 0x18

    .section .multiboot, "ax"
    .balign 4
header:
    .long MAGIC
    .long FLAGS
    .long -(MAGIC + FLAGS)
    .long header
    .long image_start
    .long image_end
    .long bss_end
    .long start

    .text
    .code32
    .globl start
start:
    cli
    cld
    movl $stack_top, %esp
    /* Loaders differ in whether they clear our bss. */
    movl $image_end, %edi
    movl $bss_end, %ecx
    subl %edi, %ecx
    xorl %eax, %eax
    rep stosb
    lgdt gdt_pointer
    ljmp $CODE32, $1f
1:  movl $DATA, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    movl %ecx, %fs
    movl %ecx, %gs
    movl %ecx, %ss
    /* x87 and SSE on: CR0.EM 0, MP and NE 1; CR4.OSFXSR and OSXMMEXCPT. */
    movl %cr0, %eax
    andl $~0xc, %eax
    orl $0x22, %eax
    movl %eax, %cr0
    movl %cr4, %eax
    orl $0x600, %eax
    movl %eax, %cr4
    fninit

#ifdef __x86_64__
    /* 4 GiB in pages of 2 MiB, open to ring 3. */
    movl $large_pml4, %edi
    movl $large_pdpt + 7, (%edi)
    movl $large_pdpt, %edi
    movl $large_directories + 7, %eax
    movl $4, %ecx
2:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    loop 2b
    movl $large_directories, %edi
    movl $0x87, %eax
    movl $2048, %ecx
3:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 3b
    movl $large_pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax        /* PAE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx /* EFER */
    rdmsr
    orl $0x100, %eax       /* LME */
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmp $CODE64, $4f
    .code64
4:  movl $stack_top, %esp
    call bench_main
#else
    call bench_main
#endif
5:  hlt
    jmp 5b

    .data
    .balign 8
    .globl gdt
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* 08: code, 32 bits */
    .quad 0x00cf93000000ffff /* 10: data */
    .quad 0x00af9b000000ffff /* 18: code, 64 bits */
#ifdef __x86_64__
    .quad 0x00affb000000ffff /* 20: code of ring 3, 64 bits */
#else
    .quad 0x00cffb000000ffff /* 20: code of ring 3, 32 bits */
#endif
    .quad 0x00cff3000000ffff /* 28: data of ring 3 */
    .quad 0, 0               /* 30: task state segment */
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .bss
    .balign 4096
#ifdef __x86_64__
    .globl large_pml4
large_pml4:
    .skip 4096
large_pdpt:
    .skip 4096
large_directories:
    .skip 4 * 4096
#endif
    .skip 0x4000
    .globl stack_top
stack_top:
