; Interrupts, IRET, far transfers, call gates and fast system calls in long mode (SDM vol 3, chapter 6.14; vol 2).
%include "kernel64.inc"

A     equ SLOT                  ; 50, 16 bytes
B     equ SLOT + 0x10           ; 60
CODE1 equ (SLOT + 0x20) | 1     ; 70: 64-bit, ring 1
DATA1 equ (SLOT + 0x28) | 1     ; 78
CONF  equ SLOT + 0x30           ; 80: conforming, 64-bit
CODE16 equ SLOT + 0x38          ; 88: 16-bit, ring 3
I     equ 0x60

; CALL_GATE slot, selector, offset, access
%macro CALL_GATE 4
        GATE_AT gdt + (%1), %2, %3, %4, 0
%endmacro
GATE_TYPE equ P | DPL3 | 0x0c

bits 32
early:  ret
bits 64

main:
        DESC CODE1 & ~3, 0, 0xfffff, P | DPL1 | S_CODE, G | L
        DESC DATA1 & ~3, 0, 0xfffff, P | DPL1 | S_DATA, G | D
        DESC CONF, 0, 0xfffff, P | S_CONF, G | L
        DESC CODE16, 0x100000, 0xffff, P | DPL3 | S_CODE, 0
        call interrupts
        call irets
        call transfers
        call gates
        call syscalls
        call sysenters
        call steps
        ret

; ---------------------------------------------------------------------------------------------- interrupts
interrupts:
        TEST "frame of INT at ring 0: aligned to 16"
        sub rsp, 5
        int I
        ENDT
        IDT_GATE I, CODE0, .show, P | DPL3 | 0x0e
        TEST "frame at ring 0"
        sub rsp, 8
        int I
.show:  mov rax, rsp
        sub rax, [abs t_krsp]
        mov rcx, [rsp]
        sub rcx, [abs t_base]
        mov rdx, [rsp + 8]
        mov rbx, [rsp + 16]
        mov rsi, [rsp + 24]
        sub rsi, [abs t_krsp]
        mov rdi, [rsp + 32]
        ENDT
        TEST3 "frame from ring 3"
        push rax
        int I
        ENDT
        TESTC "frame from compatibility mode"
        push eax
        int I
        ENDT
        IDT_GATE I, CODE0, .show, P | DPL3 | 0x0e, 1
        TEST "IST"
        int I
        ENDT
        TEST3 "IST from ring 3"
        int I
        ENDT
        IDT_GATE I, CODE1, .show, P | DPL3 | 0x0e
        TEST3 "to ring 1: SS is null with RPL 1"
        int I
        ENDT
        IDT_GATE I, CONF, .show, P | DPL3 | 0x0e
        TEST3 "conforming handler stays at ring 3"
        int I
        ENDT
        IDT_GATE I, CODE0, .show, P | 0x0e
        TEST3 "gate of DPL 0"
        int I
        ENDT
        IDT_GATE I, CODE0, .show, DPL3 | 0x0e
        TEST "not present"
        int I
        ENDT
        IDT_GATE I, CODE0, .show, P | 0x06
        TEST "16-bit gate"
        int I
        ENDT
        IDT_GATE I, CODE0, .show, P | 0x05
        TEST "task gate"
        int I
        ENDT
        IDT_GATE I, CODE0, .show, P | 0x0c
        TEST "call gate"
        int I
        ENDT
        IDT_GATE I, CODE32_0, .show, P | 0x0e
        TEST "32-bit code"
        int I
        ENDT
        IDT_GATE I, 0, .show, P | 0x0e
        TEST "null selector"
        int I
        ENDT
        IDT_GATE I, DATA0, .show, P | 0x0e
        TEST "data"
        int I
        ENDT
        IDT_GATE I, CODE3, .show, P | 0x0e
        TEST "outer code"
        int I
        ENDT
        IDT_GATE I, 0x108, .show, P | 0x0e
        TEST "beyond the GDT"
        int I
        ENDT
        DESC A, 0, 0xfffff, S_CODE, G | L
        IDT_GATE I, A, .show, P | 0x0e
        TEST "code not present"
        int I
        ENDT
        IDT_GATE I, CODE0, LOW_TOP + 1, P | 0x0e
        TEST "offset not canonical"
        int I
        ENDT
        TEST "beyond the IDT"
        lidt [abs .short]
        int 0xff
.short: dw 0xfe * 16 + 15
        dq idt
        ENDT
        lidt [abs idtr]
        IDT_GATE I, CODE0, .show, P | DPL3 | 0x0f
        mov qword [abs t_flags], 0x4202
        TEST "trap gate keeps IF, clears NT"
        pushfq
        popfq
        int I
        ENDT
        ; Stacks that are none. #SS itself goes to IST 1.
        IDT_GATE 12, CODE0, stubs + 12 * 16, P | 0x0e, 1
        IDT_GATE 10, CODE0, stubs + 10 * 16, P | 0x0e, 1
        IDT_GATE 8, CODE0, stubs + 8 * 16, P | 0x0e, 1
        IDT_GATE 14, CODE0, stubs + 14 * 16, P | 0x0e, 1
        IDT_GATE I, CODE0, .show, P | DPL3 | 0x0e
        TEST "stack not canonical"
        mov rsp, LOW_TOP + 0x1001
        int I
        ENDT
        TEST "stack at the end of the lower half is one"
        mov rsp, LOW_TOP + 1
        int 0xf0
        ENDT
        TEST "stack in a missing page"
        mov rsp, W + 0x1000
        int I
        ENDT
        TEST "stack in a missing page, #UD"
        mov rsp, W + 0x1000
        ud2
        ENDT
        TEST "stack not canonical, #UD"
        mov rsp, LOW_TOP + 0x1001
        ud2
        ENDT
        TEST "stack not canonical, #GP"
        mov rsp, LOW_TOP + 0x1001
        mov ax, 0x108
        mov fs, ax
        ENDT
        mov rax, LOW_TOP + 0x1001
        mov [abs tss + 4], rax
        TEST3 "RSP0 not canonical"
        int I
        ENDT
        TEST3 "RSP0 not canonical, #UD"
        ud2
        ENDT
        mov qword [abs tss + 4], W + 0x1000
        TEST3 "RSP0 in a missing page"
        int I
        ENDT
        mov qword [abs tss + 4], TSTACK
        mov word [abs gdt + TSS], 0x0a
        mov byte [abs gdt + TSS + 5], 0x89
        mov ax, TSS
        ltr ax
        IDT_GATE 10, CODE0, stubs + 10 * 16, P | 0x0e
        TEST "TSS too small for RSP0 is not needed at ring 0"
        int I
        ENDT
        IDT_GATE I, CODE0, .show, P | DPL3 | 0x0e, 1
        TEST "TSS too small for the IST"
        int I
        ENDT
        mov word [abs gdt + TSS], 0x67
        mov byte [abs gdt + TSS + 5], 0x89
        mov ax, TSS
        ltr ax
        IDT_GATE 12, CODE0, stubs + 12 * 16, P | 0x0e
        IDT_GATE 8, CODE0, stubs + 8 * 16, P | 0x0e
        IDT_GATE 14, CODE0, stubs + 14 * 16, P | 0x0e
        IDT_GATE 13, CODE0, stubs + 13 * 16, 0x0e
        TEST "double fault"
        mov ax, 0x108
        mov fs, ax
        ENDT
        IDT_GATE 13, CODE0, stubs + 13 * 16, P | 0x0e
        ret

; ---------------------------------------------------------------------------------------------- IRET
; IRETQ_TO name, ss, rsp, rflags, cs, rip
%macro IRETQ_TO 6
        TEST %1
        push %2
        mov rax, %3
        push rax
        push %4
        push %5
        mov rax, %6
        push rax
        mov eax, EAX_
        iretq
        ENDT
%endmacro

irets:
        TEST "IRETQ: same level, new stack"
        push 0
        push KSTACK - 0x800
        push 0x3ed7
        push CODE0
        push .same
        iretq
.same:  mov ax, ss
        ENDT
        TEST "IRETQ: to ring 3"
        push DATA3
        push USTACK
        push 0x3202
        push CODE3
        push .ring3
        mov ax, DATA0
        mov fs, ax
        iretq
.ring3: ENDT
        TEST "IRETQ: to compatibility mode"
        push DATA3
        mov rax, 0xffffffff00000000 | USTACK
        push rax
        push 2
        push CODE32
        mov rax, 0xffffffff00000000 + .compat
        push rax
        iretq
bits 32
.compat:
        mov eax, esp
        ENDT
        TEST "IRETQ: to 16-bit compatibility mode"
        push DATA3
        push USTACK
        push 2
        push CODE16 | 3
        push .compat16 - 0x100000
        iretq
bits 16
.compat16:
        mov ax, cs
        ENDT
        IRETQ_TO "IRETQ: null CS", DATA0, KSTACK - 0x400, 2, 0, 0
        IRETQ_TO "IRETQ: data", DATA0, KSTACK - 0x400, 2, DATA0, 0
        IRETQ_TO "IRETQ: wrong RPL", DATA0, KSTACK - 0x400, 2, CODE0 | 1, 0
        IRETQ_TO "IRETQ: beyond the GDT", DATA0, KSTACK - 0x400, 2, 0x108, 0
        IRETQ_TO "IRETQ: SS of ring 3", DATA3, KSTACK - 0x400, 2, CODE0, 0
        IRETQ_TO "IRETQ: SS is code", CODE0, KSTACK - 0x400, 2, CODE0, 0
        IRETQ_TO "IRETQ: null SS to ring 3", 0, USTACK, 2, CODE3, 0
        IRETQ_TO "IRETQ: null SS to compatibility mode", 3, USTACK, 2, CODE32, 0
        IRETQ_TO "IRETQ: null SS, RPL 1 at ring 0", 1, KSTACK - 0x400, 2, CODE0, 0
        IRETQ_TO "IRETQ: null SS to 32-bit ring 0", 0, KSTACK - 0x400, 2, CODE32_0, 0
        DESC A, 0, 0xfffff, DPL3 | S_DATA, G | D
        IRETQ_TO "IRETQ: SS not present", A | 3, USTACK, 2, CODE3, 0
        DESC A, 0, 0xfffff, S_CODE, G | L
        IRETQ_TO "IRETQ: CS not present", DATA0, KSTACK - 0x400, 2, A, 0
        DESC A, 0, 0xfffff, P | S_CODE, G | L | D
        IRETQ_TO "IRETQ: L and D", DATA0, KSTACK - 0x400, 2, A, 0
        IRETQ_TO "IRETQ: RIP not canonical", DATA0, KSTACK - 0x400, 2, CODE0, LOW_TOP + 1
        IRETQ_TO "IRETQ: RIP not canonical, to ring 3", DATA3, USTACK, 2, CODE3, LOW_TOP + 1
        TEST "IRETQ: RSP not canonical"
        push DATA3
        mov rax, LOW_TOP + 0x100
        push rax
        push 2
        push CODE3
        push .bad_stack
        iretq
.bad_stack:
        mov eax, EAX_
        ENDT
        DESC A, 0, 0xfff, P | DPL3 | S_CODE, D
        IRETQ_TO "IRETQ: offset beyond the limit of 32-bit code", DATA3, USTACK, 2, A | 3, 0x1000
        TEST3 "IRETQ ring 3: IF and IOPL do not change"
        push DATA3
        push USTACK
        push 0x3202
        push CODE3
        push .flags
        iretq
.flags: ENDT
        TEST3 "IRETQ ring 3: to ring 0"
        push DATA0
        push USTACK
        push 2
        push CODE0
        push 0
        iretq
        ENDT
        TEST "IRETQ: VM is ignored"
        push DATA0
        push KSTACK - 0x100
        push 0x20002
        push CODE0
        push .vm
        iretq
.vm:    ENDT
        mov qword [abs t_flags], 0x4002
        TEST "IRETQ with NT"
        iretq
        ENDT
        TEST "IRETD in 64-bit mode"
        sub rsp, 20
        mov dword [rsp], .dword
        mov dword [rsp + 4], CODE0
        mov dword [rsp + 8], 2
        mov dword [rsp + 12], KSTACK - 0x200
        mov dword [rsp + 16], DATA0
        iretd
.dword: ENDT
        TEST "IRETW in 64-bit mode"
        sub rsp, 10
        mov word [rsp], 0x5000
        mov word [rsp + 2], CODE0
        mov word [rsp + 4], 2
        mov word [rsp + 6], 0x7000
        mov word [rsp + 8], DATA0
        mov dword [abs 0x5000], 0x90f0cd90
        iretw
        ENDT
        TESTC "IRETD in compatibility mode: same level"
        push dword 2
        push dword CODE32
        push dword .down
        iretd
.down:  ENDT
        TESTC "IRETD in compatibility mode to 64-bit code"
        push dword 2
        push dword CODE3
        push dword .sixty
        iretd
bits 64
.sixty: mov rax, rsp
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- far transfers
transfers:
        TEST "RETFQ: same level"
        push CODE0
        push .same
        o64 retf
.same:  ENDT
        TEST "RETF: 32-bit operand"
        sub rsp, 8
        mov dword [rsp], .same32
        mov dword [rsp + 4], CODE0
        retf
.same32:
        ENDT
        TEST "RETFQ n: to ring 3"
        push DATA3
        push USTACK - 0x20
        push 0
        push CODE3
        push .outer
        o64 retf 8
.outer: ENDT
        TEST "RETFQ: to compatibility mode"
        push DATA3
        push USTACK
        push CODE32
        push .compat
        o64 retf
bits 32
.compat:
        mov eax, esp
        ENDT
        TEST "RETFQ: not canonical"
        push CODE0
        mov rax, LOW_TOP + 1
        push rax
        o64 retf
        ENDT
        TEST "RETFQ: null SS to ring 3"
        push 0
        push USTACK
        push CODE3
        push 0
        o64 retf
        ENDT
        TEST3 "RETFQ at ring 3 to ring 0"
        push CODE0
        push 0
        o64 retf
        ENDT
        TEST "JMP m16:64"
        mov rax, .landing
        mov [abs SCRATCH], rax
        mov word [abs SCRATCH + 8], CODE0
        db 0x48
        jmp far dword [abs SCRATCH]
.landing:
        ENDT
        TEST "JMP m16:64 not canonical"
        mov rax, LOW_TOP + 1
        mov [abs SCRATCH], rax
        db 0x48
        jmp far dword [abs SCRATCH]
        ENDT
        TEST "CALL m16:32"
        mov dword [abs SCRATCH], .called
        mov word [abs SCRATCH + 4], CODE0
        call far dword [abs SCRATCH]
.called:
        mov rax, [rsp]
        mov rcx, rsp
        sub rcx, [abs t_krsp]
        ENDT
        TEST "CALL m16:64"
        mov rax, .called64
        mov [abs SCRATCH], rax
        mov word [abs SCRATCH + 8], CODE0
        db 0x48
        call far dword [abs SCRATCH]
.called64:
        mov rax, [rsp]
        sub rax, [abs t_base]
        mov rcx, rsp
        sub rcx, [abs t_krsp]
        mov rdx, [rsp + 8]
        ENDT
        TEST "JMP to a TSS"
        mov word [abs SCRATCH + 4], TSS
        jmp far dword [abs SCRATCH]
        ENDT
        DESC A, 0, TSS, P | DPL3 | 5, 0
        TEST "JMP to a task gate"
        mov word [abs SCRATCH + 4], A
        jmp far dword [abs SCRATCH]
        ENDT
        TEST3 "JMP at ring 3 to conforming code"
        mov dword [abs SCRATCH], .conforming
        mov word [abs SCRATCH + 4], CONF
        jmp far dword [abs SCRATCH]
.conforming:
        ENDT
        TESTC "CALL far in compatibility mode"
        call CODE32:.called32
.called32:
        pop eax
        sub eax, [t_base]
        pop ecx
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- call gates
; Through a far pointer at SCRATCH: CALL_A in 64-bit mode.
%macro POINT_A 0
        mov qword [abs SCRATCH], 0
        mov word [abs SCRATCH + 4], A | 3
%endmacro
target:
        mov rax, rsp
        sub rax, TSTACK
        mov rcx, [rsp]
        sub rcx, [abs t_base]
        mov rdx, [rsp + 8]
        mov rbx, [rsp + 16]
        sub rbx, USTACK
        mov rsi, [rsp + 24]
        mov rdi, ss
        int 0xf0

gates:
        CALL_GATE A, CODE0, target, GATE_TYPE
        POINT_A
        TEST3 "call gate to ring 0"
        call far dword [abs SCRATCH]
        ENDT
        TESTC "call gate from compatibility mode"
        call (A | 3):0
        ENDT
        TEST "call gate at the same level"
        mov word [abs SCRATCH + 4], A
        call far dword [abs SCRATCH]
        ENDT
        POINT_A
        TEST3 "JMP through a call gate to inner code"
        jmp far dword [abs SCRATCH]
        ENDT
        CALL_GATE A, CONF, .there, GATE_TYPE
        TEST3 "JMP through a call gate to conforming code"
        jmp far dword [abs SCRATCH]
.there: ENDT
        CALL_GATE A, CODE0, target, P | 0x0c
        TEST3 "call gate of DPL 0"
        call far dword [abs SCRATCH]
        ENDT
        CALL_GATE A, CODE0, target, DPL3 | 0x0c
        TEST3 "call gate not present"
        call far dword [abs SCRATCH]
        ENDT
        CALL_GATE A, CODE32_0, target, GATE_TYPE
        TEST3 "call gate to 32-bit code"
        call far dword [abs SCRATCH]
        ENDT
        CALL_GATE A, 0, target, GATE_TYPE
        TEST3 "call gate with a null selector"
        call far dword [abs SCRATCH]
        ENDT
        CALL_GATE A, DATA0, target, GATE_TYPE
        TEST3 "call gate to data"
        call far dword [abs SCRATCH]
        ENDT
        CALL_GATE A, CODE0, target, GATE_TYPE
        mov dword [abs gdt + A + 12], 0x100
        TEST3 "call gate with a type in its upper half"
        call far dword [abs SCRATCH]
        ENDT
        CALL_GATE A, CODE0, target, P | DPL3 | 4
        TEST3 "16-bit call gate"
        call far dword [abs SCRATCH]
        ENDT
        CALL_GATE A, CODE0, LOW_TOP + 1, GATE_TYPE
        TEST3 "call gate: offset not canonical"
        call far dword [abs SCRATCH]
        ENDT
        CALL_GATE A, CODE1, .ring1, GATE_TYPE
        TEST3 "call gate to ring 1: null SS with RPL 1"
        call far dword [abs SCRATCH]
.ring1: mov ax, ss
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- SYSCALL and SYSRET
STAR  equ 0xc0000081
LSTAR equ 0xc0000082
CSTAR equ 0xc0000083
FMASK equ 0xc0000084

syscalls:
        mov ecx, EFER
        rdmsr
        or eax, 1
        wrmsr
        WRMSR STAR, ((0x18 | 3) << 48) | (0x08 << 32)
        WRMSR LSTAR, .entry
        WRMSR FMASK, 0x4700
        mov qword [abs t_flags], 0x202
        TEST3 "SYSCALL"
        std
        stc
        syscall
        nop
.entry: mov rax, rsp
        sub rax, USTACK
        sub rcx, [abs t_base]
        mov edx, cs
        mov ebx, ss
        pushfq
        pop rsi
        mov rsp, KSTACK - 0x100
        cld
        ENDT
        WRMSR LSTAR, .bounce
        mov qword [abs t_flags], 0x202
        TEST3 "SYSCALL and SYSRET"
        syscall
        mov ax, ss
        jmp .home
.bounce:
        mov r11d, 0x00257ed7 & ~0x14000
        o64 sysret
.home:  ENDT
        WRMSR LSTAR, .bounce_all
        TEST3 "SYSRET: what R11 may set"
        syscall
        jmp .home2
.bounce_all:
        mov r11d, 0x003f7ed7
        o64 sysret
.home2: ENDT
        WRMSR LSTAR, .bounce32
        TEST3 "SYSRET to compatibility mode"
        syscall
        nop
.bounce32:
        mov ecx, .compat
        mov r11d, 2
        db 0x0f, 0x07
bits 32
.compat:
        mov eax, cs
        mov ebx, ss
        mov edx, esp
        ENDT
        TEST "SYSRET: RCX not canonical"
        mov rcx, LOW_TOP + 1
        o64 sysret
        ENDT
        TEST "SYSRET: attributes of SS and CS are fixed"
        mov byte [abs gdt + 0x28 + 5], 0
        mov byte [abs gdt + 0x20 + 5], 0
        mov rcx, .fixed
        mov r11d, 2
        o64 sysret
.fixed: push rax
        pop rax
        mov ax, cs
        lar ecx, eax
        ENDT
        mov byte [abs gdt + 0x28 + 5], 0xfb
        mov byte [abs gdt + 0x20 + 5], 0xf3
        TEST3 "SYSRET at ring 3"
        o64 sysret
        ENDT
        TESTC "SYSCALL in compatibility mode"
        syscall
        ENDT
        TEST "SYSCALL at ring 0"
        syscall
        nop
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- SYSENTER and SYSEXIT
sysenters:
        TEST3 "SYSENTER with a null CS"
        sysenter
        ENDT
        WRMSR 0x174, CODE0
        WRMSR 0x175, KSTACK - 0x300
        WRMSR 0x176, .entry
        mov qword [abs t_flags], 0x202
        TEST3 "SYSENTER"
        sysenter
        nop
.entry: mov eax, cs
        mov ebx, ss
        mov rdx, rsp
        pushfq
        pop rsi
        ENDT
        TESTC "SYSENTER from compatibility mode"
        sysenter
        nop
        ENDT
        WRMSR 0x176, .bounce
        TEST3 "SYSEXIT to 64-bit mode"
        sysenter
        nop
.bounce:
        mov rdx, .home
        mov rcx, USTACK - 0x10
        o64 sysexit
.home:  mov eax, cs
        mov ebx, ss
        ENDT
        TEST "SYSEXIT to compatibility mode"
        mov rdx, 0xffffffff00000000 + .compat
        mov rcx, 0xffffffff00000000 | USTACK
        sysexit
bits 32
.compat:
        mov eax, cs
        mov ebx, ss
        mov esi, esp
        ENDT
        TEST "SYSEXIT: RDX not canonical"
        mov rdx, LOW_TOP + 1
        mov rcx, USTACK
        o64 sysexit
        ENDT
        TEST "SYSEXIT: RCX not canonical"
        mov rdx, .home
        mov rcx, LOW_TOP + 1
        o64 sysexit
        ENDT
        TEST3 "SYSEXIT at ring 3"
        o64 sysexit
        ENDT
        WRMSR 0x174, 0
        TEST "SYSEXIT with a null CS"
        sysexit
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- single steps
steps:
        WRMSR LSTAR, .entry
        WRMSR FMASK, 0
        CONTINUE 1
        mov qword [abs t_flags], 0x102
        TEST3 "TF over SYSCALL that does not mask it"
        nop
        syscall
        nop
.entry: nop
        mov rsp, KSTACK - 0x100
        ENDT
        WRMSR FMASK, 0x100
        CONTINUE 1
        mov qword [abs t_flags], 0x102
        TEST3 "TF over SYSCALL that masks it"
        nop
        syscall
        nop
        ENDT
        CONTINUE 1
        TEST "SYSRET that sets TF"
        mov rcx, .back
        mov r11d, 0x102
        o64 sysret
.back:  nop
        nop
        ENDT
        CONTINUE 1
        mov qword [abs t_flags], 0x102
        TEST "TF in 64-bit mode"
        xor eax, eax
        mov ecx, 2
        mov rdi, SCRATCH
        rep stosb
        mov ss, [abs .data]
        nop
        nop
.data:  dw DATA0
        ENDT
        CONTINUE 1
        mov qword [abs t_flags], 0x102
        TESTC "TF in compatibility mode, into 64-bit mode"
        nop
        jmp CODE3:.up
bits 64
.up:    nop
        ENDT
        ; Data breakpoint in the upper half.
        CONTINUE 1
        mov rax, HIGH + SCRATCH
        mov dr0, rax
        mov eax, 0x000f0002
        mov dr7, rax
        TEST "breakpoint in the upper half"
        mov rax, HIGH + SCRATCH
        mov [rax + 3], cl
        mov [abs SCRATCH], cl
        nop
        ENDT
        mov rax, SCRATCH
        mov dr0, rax
        mov eax, 0x000b0002
        mov dr7, rax
        CONTINUE 1
        TEST "breakpoint of 8 bytes"
        mov al, [abs SCRATCH + 7]
        mov al, [abs SCRATCH + 8]
        mov al, 1
        ENDT
        ret
