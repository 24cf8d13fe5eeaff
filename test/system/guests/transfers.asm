; Far jumps, calls and returns, call gates, interrupt gates, IRET, and faults while an interrupt is delivered
; (SDM vol 3, chapters 5.8 and 6.12).
%include "kernel32.inc"

A     equ SLOT
B     equ SLOT + 0x08
C     equ SLOT + 0x10
CODE1 equ (SLOT + 0x40) | 1     ; 80: ring 1
DATA1 equ (SLOT + 0x48) | 1
CODE2 equ (SLOT + 0x50) | 2     ; 90: ring 2
DATA2 equ (SLOT + 0x58) | 2
CONF  equ SLOT + 0x60           ; a0: conforming, DPL 0
SMALL equ SLOT + 0x68           ; a8: code of 64 KiB at the image, for 16-bit gates
STACK16 equ SLOT + 0x70         ; b0: 16-bit stack, ring 0
STACK16_3 equ (SLOT + 0x78) | 3 ; b8: ring 3

%define GATE_TYPE (P | DPL3 | 0x0c)
%define GATE_TYPE16 (P | DPL3 | 0x04)
I equ 0x60                      ; a vector for the tests

; IDT_GATE vector, selector, offset, access
%macro IDT_GATE 4
        GATE_AT idt + (%1) * 8, %2, %3, %4, 0
%endmacro

main:
        DESC CODE1 & ~3, 0, 0xfffff, P | DPL1 | S_CODE, G | D
        DESC DATA1 & ~3, 0, 0xfffff, P | DPL1 | S_DATA, G | D
        DESC CODE2 & ~3, 0, 0xfffff, P | DPL2 | S_CODE, G | D
        DESC DATA2 & ~3, 0, 0xfffff, P | DPL2 | S_DATA, G | D
        DESC CONF, 0, 0xfffff, P | S_CONF, G | D
        DESC SMALL, 0x100000, 0xffff, P | S_CODE, D
        DESC STACK16, KSTACK - 0x10000, 0xffff, P | S_DATA, 0
        DESC STACK16_3 & ~3, USTACK - 0x8000, 0xffff, P | DPL3 | S_DATA, 0
        mov dword [tss + 12], T1STACK
        mov dword [tss + 16], DATA1
        mov dword [tss + 20], T2STACK
        mov dword [tss + 24], DATA2

        call jumps
        call calls
        call returns
        call interrupts
        call irets
        ret

; ---------------------------------------------------------------------------------------------- JMP
jumps:
        TEST "JMP: null selector"
        jmp 0:0
        ENDT
        TEST "JMP: beyond the GDT"
        jmp 0x108:0
        ENDT
        TEST "JMP: data"
        jmp DATA0:0
        ENDT
        TEST "JMP: same level"
        jmp CODE0:.same
.same:  ENDT
        TEST "JMP: RPL above CPL"
        jmp CODE0 | 1:.same
        ENDT
        TEST "JMP: outer code"
        jmp CODE3:.same
        ENDT
        TEST "JMP: not present"
        DESC A, 0, 0xfffff, S_CODE, G | D
        jmp A:.same
        ENDT
        TEST "JMP: offset beyond the limit"
        DESC A, 0, 0xfff, P | S_CODE, D
        jmp A:0x1000
        ENDT
        TEST3 "JMP ring 3: inner code"
        jmp CODE0:.same
        ENDT
        TEST3 "JMP ring 3: conforming inner code keeps CPL"
        jmp CONF:.conforming
.conforming:
        mov ax, cs
        ENDT
        TEST3 "JMP ring 3: TSS"
        jmp TSS:0
        ENDT
        TEST "JMP: LDT descriptor"
        DESC A, 0, 0xffff, P | 2, 0
        jmp A:0
        ENDT
        TEST "JMP: interrupt gate in the GDT"
        DESC A, 0, 0xffff, P | 0x0e, 0
        jmp A:0
        ENDT
        TEST "JMP: 16-bit code"
        mov dword [0x110000], 0x00f0cd40        ; inc ax; int f0h
        DESC A, 0x110000, 0xffff, P | S_CODE, 0
        jmp A:0
        ENDT
        TEST "JMP: memory operand"
        mov dword [SCRATCH], .indirect
        mov word [SCRATCH + 4], CODE0
        jmp far [SCRATCH]
.indirect:
        ENDT
        TEST "JMP: 16-bit memory operand"
        mov dword [SCRATCH], A << 16
        o16 jmp far [SCRATCH]
        ENDT
        TEST "near JMP beyond the limit: the fault is the jump's"
        DESC A, 0, 0x1ff, P | S_CODE, G | D
        jmp A:.limited
.limited:
        jmp 0x200000
        ENDT
        TEST "near Jcc beyond the limit"
        jmp A:.limited_jcc
.limited_jcc:
        jnc near 0x200000
        ENDT
        TEST "near CALL beyond the limit"
        jmp A:.limited_call
.limited_call:
        call 0x200000
        ENDT
        TEST "near RET beyond the limit"
        jmp A:.limited_ret
.limited_ret:
        push dword 0x200000
        ret
        ENDT
        TEST "near JMP r beyond the limit"
        jmp A:.limited_jmp
.limited_jmp:
        mov eax, 0x200000
        jmp eax
        ENDT
        TEST "LOOP beyond the limit leaves ECX"
        DESC A, 0x110000, 3, P | S_CODE, D
        mov dword [0x110000], 0x407be290        ; nop; loop 7eh; inc eax
        jmp A:0
        ENDT
        TEST "running off the end of the segment"
        DESC A, 0x110000, 1, P | S_CODE, D
        mov dword [0x110000], 0x40404040
        jmp A:0
        ENDT
        TEST "an instruction across the end of the segment"
        DESC A, 0x110000, 3, P | S_CODE, D
        mov dword [0x110000], 0x3412b840        ; inc eax; mov eax, imm32
        jmp A:0
        ENDT
        TEST "JMP with operand size 16 truncates EIP"
        DESC A, SCRATCH - 0x10000, 0xfffff, P | S_CODE, G | D
        mov dword [SCRATCH], 0xf000eb66         ; at 10000h: o16 jmp $ + 3
        mov dword [SCRATCH - 0x10000], 0xcd909090
        mov byte [SCRATCH - 0x10000 + 4], 0xf0  ; at 3: int f0h
        jmp A:0x10000
        ENDT

        GATE A, CODE0, .through, GATE_TYPE, 0
        TEST "JMP through a call gate"
        jmp A:0x12345678
.through:
        ENDT
        TEST3 "JMP ring 3 through a call gate to inner code"
        jmp A:0
        ENDT
        GATE A, CONF, .through3, GATE_TYPE, 0
        TEST3 "JMP ring 3 through a call gate to conforming code"
        jmp A:0
.through3:
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- CALL
; Targets. They show what is on their stack and return.
target0:
        mov eax, cs
        SHOW "cs", eax
        SHOW "esp", esp
        mov eax, [esp]
        sub eax, [t_base]
        SHOW "return", eax
        SHOW "[4]", dword [esp + 4]
        SHOW "[8]", dword [esp + 8]
        SHOW "[12]", dword [esp + 12]
        SHOW "[16]", dword [esp + 16]
        SHOW "[20]", dword [esp + 20]
        mov eax, EAX_
        retf 8

target0_16:
        mov eax, [esp]
        sub ax, [t_base]
        SHOW "return", eax
        SHOW "[4]", dword [esp + 4]
        SHOW "[8]", dword [esp + 8]
        SHOW "[12]", dword [esp + 12]
        mov eax, EAX_
        int 0xf0

calls:
        TEST "CALL: null selector"
        call 0:0
        ENDT
        TEST "CALL: data"
        call DATA0:0
        ENDT
        TEST "CALL: same level"
        call CODE0:.same
.same:  pop eax
        sub eax, [t_base]
        pop ecx
        ENDT
        TEST "CALL: offset beyond the limit leaves ESP"
        DESC A, 0, 0xfff, P | S_CODE, D
        call A:0x1000
        ENDT
        TEST "CALL: 16 bits"
        mov dword [0x110000], 0x00f0cd90
        DESC A, 0x110000, 0xffff, P | S_CODE, 0
        o16 call A:0
        ENDT
        TEST3 "CALL ring 3: inner code"
        call CODE0:.same
        ENDT
        GATE A, CODE0, target0, GATE_TYPE, 2
        TEST3 "call gate to ring 0 with two parameters"
        push dword 0xcafe0001
        push dword 0xcafe0002
        call A:0x12345678
        ENDT
        TEST "call gate at the same level copies nothing"
        push dword 0xcafe0001
        push dword 0xcafe0002
        call A:0
        ENDT
        GATE A, SMALL, target0_16, GATE_TYPE16, 2
        TEST3 "16-bit call gate"
        push word 0xcaf1
        push word 0xcaf2
        call A | 3:0
        ENDT
        GATE A, CONF, .conforming, GATE_TYPE, 0
        TEST3 "call gate to conforming code"
        call A:0
.conforming:
        mov ecx, [esp + 4]
        ENDT
        GATE A, CODE0, target0, P | 0x0c, 0
        TEST3 "call gate of DPL 0"
        call A:0
        ENDT
        GATE A, CODE0, target0, P | DPL1 | 0x0c, 0
        TEST "call gate: RPL above its DPL"
        call A | 2:0
        ENDT
        GATE A, CODE0, target0, DPL3 | 0x0c, 0
        TEST3 "call gate not present"
        call A:0
        ENDT
        GATE A, 0, target0, GATE_TYPE, 0
        TEST3 "call gate with a null selector"
        call A:0
        ENDT
        GATE A, DATA0, target0, GATE_TYPE, 0
        TEST3 "call gate to data"
        call A:0
        ENDT
        GATE A, 0x108, target0, GATE_TYPE, 0
        TEST3 "call gate beyond the GDT"
        call A:0
        ENDT
        DESC B, 0, 0xfffff, S_CODE, G | D
        GATE A, B, target0, GATE_TYPE, 0
        TEST3 "call gate to code that is not present"
        call A:0
        ENDT
        GATE A, CODE3, target0, GATE_TYPE, 0
        TEST "call gate to outer code"
        call A:0
        ENDT
        DESC B, 0, 0xfff, P | S_CODE, D
        GATE A, B, 0x1000, GATE_TYPE, 0
        TEST3 "call gate: offset beyond the limit"
        call A:0
        ENDT

        ; Inner stacks, at ring 1.
        GATE A, CODE1, .ring1, GATE_TYPE, 1
        TEST3 "call gate to ring 1"
        push dword 0xcafe0001
        call A:0
.ring1: mov eax, [esp + 8]
        mov ecx, [esp + 12]
        sub ecx, USTACK
        mov edx, [esp + 16]
        mov bx, ss
        ENDT
        TEST3 "call gate: parameters beyond SS"
        lss esp, [.ss_small]
        call A:0
.ss_small:
        dd 0xfffe
        dw STACK16_3
        ENDT
        mov dword [tss + 16], 0
        TEST3 "call gate: null inner SS"
        call A:0
        ENDT
        mov dword [tss + 16], DATA1 & ~3
        TEST3 "call gate: inner SS with a wrong RPL"
        call A:0
        ENDT
        mov dword [tss + 16], (DATA2 & ~3) | 1
        TEST3 "call gate: inner SS with a wrong DPL"
        call A:0
        ENDT
        mov dword [tss + 16], CODE1
        TEST3 "call gate: inner SS is code"
        call A:0
        ENDT
        mov dword [tss + 16], 0x109
        TEST3 "call gate: inner SS beyond the GDT"
        call A:0
        ENDT
        DESC B, 0, 0xfffff, DPL1 | S_DATA, G | D
        mov dword [tss + 16], B | 1
        TEST3 "call gate: inner SS not present"
        call A:0
        ENDT
        DESC B, 0, 0xfff, P | DPL1 | S_DATA, D
        mov dword [tss + 12], 0x1010
        TEST3 "call gate: inner stack too small"
        call A:0
        ENDT
        mov dword [tss + 12], T1STACK
        mov dword [tss + 16], DATA1
        mov word [gdt + TSS], 0x0f
        mov byte [gdt + TSS + 5], 0x89
        mov ax, TSS
        ltr ax
        TEST3 "call gate: TSS too small"
        call A:0
        ENDT
        mov word [gdt + TSS], tss_end - tss - 1
        mov byte [gdt + TSS + 5], 0x89
        mov ax, TSS
        ltr ax
        ret

; ---------------------------------------------------------------------------------------------- RETF
; RETURN name, cs, offset: far return with these two on the stack.
%macro RETURN 3
        TEST %1
        push dword %2
        push dword %3
        retf
        ENDT
%endmacro

returns:
        RETURN "RETF: null", 0, 0
        RETURN "RETF: data", DATA0, 0
        RETURN "RETF: beyond the GDT", 0x108, 0
        RETURN "RETF: wrong RPL", CODE0 | 1, 0
        TEST "RETF: same level"
        push dword CODE0
        push dword .landed
        retf
.landed:
        ENDT
        TEST "RETF: conforming"
        push dword CONF
        push dword .landed2
        retf
.landed2:
        ENDT
        DESC A, 0, 0xfffff, S_CODE, G | D
        RETURN "RETF: not present", A, 0
        DESC A, 0, 0xfff, P | S_CODE, D
        RETURN "RETF: offset beyond the limit", A, 0x1000
        TEST3 "RETF ring 3: RPL below CPL"
        push dword CODE0
        push dword 0
        retf
        ENDT
        TEST3 "RETF ring 3: stack limit"
        lss esp, [.ss_small]
        retf
.ss_small:
        dd 0xfffe
        dw STACK16_3
        ENDT
        TEST "RETF n to ring 3"
        push dword DATA3
        push dword USTACK - 0x20
        push dword 0xcafe0002
        push dword 0xcafe0001
        push dword CODE3
        push dword .outer
        mov fs, [.data1]
        mov gs, [.data3]
        mov es, [.conf]
        retf 8
.data1: dw DATA1
.data3: dw DATA3
.conf:  dw CONF
.outer: ENDT
        TEST "RETF to ring 1 drops DS but keeps ring 1 data"
        push dword DATA1
        push dword T1STACK
        push dword CODE1
        push dword .outer1
        mov ax, DATA1
        mov fs, ax
        retf
.outer1:
        ENDT
        TEST "RETF to ring 3: null SS"
        push dword 0
        push dword USTACK
        push dword CODE3
        push dword .outer
        retf
        ENDT
        TEST "RETF to ring 3: SS of ring 1"
        push dword DATA1
        push dword USTACK
        push dword CODE3
        push dword .outer
        retf
        ENDT
        TEST "RETF to ring 3: SS is code"
        push dword CODE3
        push dword USTACK
        push dword CODE3
        push dword .outer
        retf
        ENDT
        DESC A, 0, 0xfffff, DPL3 | S_DATA, G | D
        TEST "RETF to ring 3: SS not present"
        push dword A | 3
        push dword USTACK
        push dword CODE3
        push dword .outer
        retf
        ENDT
        TEST "RETF to ring 3: 16-bit stack keeps the upper half of ESP"
        push dword STACK16_3
        push dword 0xdead7000
        push dword CODE3
        push dword .outer16
        retf
.outer16:
        mov eax, esp
        ENDT
        TEST "RETF 16 bits"
        mov dword [0x110000], 0x00f0cd90
        DESC A, 0x110000, 0xffff, P | S_CODE, 0
        push word A
        push word 0
        o16 retf
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- INT
handler:
        mov eax, cs
        SHOW "cs", eax
        mov eax, [esp]
        sub eax, [t_base]
        SHOW "eip", eax
        SHOW "cs", dword [esp + 4]
        SHOW "eflags", dword [esp + 8]
        pushfd
        SHOW "in the handler", dword [esp]
        popfd
        mov eax, EAX_
        iretd

handler16:
        mov eax, [esp]
        sub ax, [t_base]
        SHOW "cs:ip", eax
        movzx eax, word [esp + 4]
        SHOW "flags", eax
        mov eax, EAX_
        int 0xf0

; At ring 1: the stack, then the end.
handler1:
        mov eax, [esp]
        sub eax, [t_base]
        mov ecx, [esp + 4]
        mov edx, [esp + 8]
        mov ebx, [esp + 12]
        mov esi, [esp + 16]
        int 0xf0

interrupts:
        IDT_GATE I, CODE0, handler, P | 0x0e
        mov dword [t_flags], 0x202
        TEST "interrupt gate clears IF"
        int I
        ENDT
        IDT_GATE I, CODE0, handler, P | 0x0f
        mov dword [t_flags], 0x4302 - 0x100
        TEST "trap gate keeps IF, clears NT"
        int I
        ENDT
        IDT_GATE I, SMALL, handler16, P | 0x06
        TEST "16-bit interrupt gate"
        int I
        ENDT
        IDT_GATE I, CODE0, handler, P | 0x0e
        TEST3 "INT n ring 3: gate of DPL 0"
        int I
        ENDT
        IDT_GATE I, CODE0, handler, DPL3 | 0x0e
        TEST3 "INT n: gate not present"
        int I
        ENDT
        IDT_GATE I, CODE0, handler, P | 0x0c
        TEST "INT n: call gate in the IDT"
        int I
        ENDT
        mov dword [idt + I * 8 + 4], 0
        TEST "INT n: empty gate"
        int I
        ENDT
        TEST "INT n: beyond the IDT"
        lidt [.short]
        int 0xff
.short: dw 0xfe * 8 + 7
        dd idt
        ENDT
        lidt [idtr]
        IDT_GATE I, 0, handler, P | 0x0e
        TEST "INT n: null code selector"
        int I
        ENDT
        IDT_GATE I, DATA0, handler, P | 0x0e
        TEST "INT n: data selector"
        int I
        ENDT
        IDT_GATE I, 0x108, handler, P | 0x0e
        TEST "INT n: code beyond the GDT"
        int I
        ENDT
        IDT_GATE I, CODE3, handler, P | 0x0e
        TEST "INT n: outer code"
        int I
        ENDT
        DESC A, 0, 0xfffff, S_CODE, G | D
        IDT_GATE I, A, handler, P | 0x0e
        TEST "INT n: code not present"
        int I
        ENDT
        DESC A, 0, 0xfff, P | S_CODE, D
        IDT_GATE I, A, 0x1000, P | 0x0e
        TEST "INT n: offset beyond the limit"
        int I
        ENDT
        IDT_GATE I, CONF, .conforming, P | DPL3 | 0x0e
        TEST3 "INT n ring 3: conforming handler stays at ring 3"
        int I
.conforming:
        mov eax, [esp + 4]
        ENDT
        IDT_GATE I, CODE1, handler1, P | DPL3 | 0x0e
        TEST3 "INT n to ring 1"
        int I
        ENDT
        mov dword [tss + 16], 0
        TEST3 "INT n: null inner SS"
        int I
        ENDT
        mov dword [tss + 16], DATA1 & ~3
        TEST3 "INT n: inner SS with a wrong RPL"
        int I
        ENDT
        DESC B, 0, 0xfffff, DPL1 | S_DATA, G | D
        mov dword [tss + 16], B | 1
        TEST3 "INT n: inner SS not present"
        int I
        ENDT
        DESC B, 0, 0xfff, P | DPL1 | S_DATA, D
        mov dword [tss + 12], 0x1010
        TEST3 "INT n: inner stack too small"
        int I
        ENDT
        ; The same while a fault is delivered: EXT is set.
        IDT_GATE 6, CODE1, handler1, P | 0x0e
        TEST3 "#UD: inner stack too small"
        ud2
        ENDT
        mov dword [tss + 16], 0
        TEST3 "#UD: null inner SS"
        ud2
        ENDT
        mov dword [tss + 12], T1STACK
        mov dword [tss + 16], DATA1
        TEST3 "#UD to ring 1"
        ud2
        ENDT
        IDT_GATE 6, CODE0, stubs + 6 * 16, 0x0e
        TEST "#UD: gate not present"
        ud2
        ENDT
        IDT_GATE 6, 0, stubs + 6 * 16, P | 0x0e
        TEST "#UD: null code selector"
        ud2
        ENDT
        DESC A, 0, 0xfffff, S_CODE, G | D
        IDT_GATE 6, A, stubs + 6 * 16, P | 0x0e
        TEST "#UD: code not present"
        ud2
        ENDT
        IDT_GATE 6, CODE0, stubs + 6 * 16, P | 0x0e
        IDT_GATE 3, CODE0, stubs + 3 * 16, P | 0x0e
        TEST3 "INT3 ring 3: gate of DPL 0"
        int3
        ENDT
        IDT_GATE 3, CODE0, stubs + 3 * 16, P | DPL3 | 0x0e
        TEST3 "INT3"
        int3
        ENDT
        TEST3 "INT 3 in two bytes"
        db 0xcd, 3
        ENDT
        TEST3 "INT1 ignores the gate's DPL"
        db 0xf1
        ENDT
        TEST3 "INTO without OF"
        into
        ENDT
        TEST3 "INTO with OF"
        mov al, 0x7f
        inc al
        into
        ENDT
        ; #GP cannot be delivered: double fault.
        IDT_GATE 13, CODE0, stubs + 13 * 16, 0x0e
        TEST "double fault: #GP, then #NP"
        mov ax, 0x108
        mov fs, ax
        ENDT
        TEST "no double fault: #UD, then #GP that cannot be delivered becomes one"
        mov byte [idt + 6 * 8 + 2], DATA0
        ud2
        ENDT
        mov byte [idt + 6 * 8 + 2], CODE0
        IDT_GATE 13, CODE0, stubs + 13 * 16, P | 0x0e
        IDT_GATE 11, CODE0, stubs + 11 * 16, 0x0e
        DESC A, 0, 0xfffff, S_DATA, G | D
        TEST "double fault: #NP, then #NP"
        mov ax, A
        mov fs, ax
        ENDT
        IDT_GATE 11, CODE0, stubs + 11 * 16, P | 0x0e
        IDT_GATE 0, CODE0, stubs, 0x0e
        TEST "double fault: #DE, then #NP"
        xor ecx, ecx
        div ecx
        ENDT
        IDT_GATE 0, CODE0, stubs, P | 0x0e
        IDT_GATE 5, CODE0, stubs + 5 * 16, 0x0e
        TEST "no double fault: #BR, then #NP"
        mov dword [SCRATCH], 0
        mov dword [SCRATCH + 4], 1
        bound eax, [SCRATCH]
        ENDT
        IDT_GATE 5, CODE0, stubs + 5 * 16, P | 0x0e
        ret

; ---------------------------------------------------------------------------------------------- IRET
; IRETD_TO name, eflags, cs, eip
%macro IRETD_TO 4
        TEST %1
        push dword %2
        push dword %3
        push dword %4
        iretd
        ENDT
%endmacro

irets:
        TEST "IRETD: same level, all flags"
        push dword 0x00243ed7
        push dword CODE0
        push dword .flags
        iretd
.flags: ENDT
        IRETD_TO "IRETD: null", 2, 0, 0
        IRETD_TO "IRETD: data", 2, DATA0, 0
        IRETD_TO "IRETD: beyond the GDT", 2, 0x108, 0
        DESC A, 0, 0xfffff, S_CODE, G | D
        IRETD_TO "IRETD: not present", 2, A, 0
        DESC A, 0, 0xfff, P | S_CODE, D
        IRETD_TO "IRETD: offset beyond the limit", 2, A, 0x1000
        TEST3 "IRETD ring 3: RPL below CPL"
        push dword 2
        push dword CODE0
        push dword 0
        iretd
        ENDT
        TEST3 "IRETD ring 3: IF and IOPL do not change"
        push dword 0x3202
        push dword CODE3
        push dword .flags3
        iretd
.flags3:
        ENDT
        TEST3 "IRETD ring 3: VM does not change"
        push dword 0x20002
        push dword CODE3
        push dword .flags3v
        iretd
.flags3v:
        ENDT
        mov dword [t_flags], 0x3002
        TEST3 "IRETD ring 3, IOPL 3: IF changes, IOPL does not"
        push dword 0x0202
        push dword CODE3
        push dword .flags33
        iretd
.flags33:
        ENDT
        TEST "IRET 16 bits keeps the upper flags"
        DESC A, 0x110000, 0xffff, P | S_CODE, 0
        mov dword [0x110000], 0x00f0cd90
        push dword 0x240002
        popfd
        push word 0x0ed7
        push word A
        push word 0
        iretw
        ENDT
        TEST "IRETD to ring 3: SS of ring 0"
        push dword DATA0
        push dword USTACK
        push dword 2
        push dword CODE3
        push dword .flags
        iretd
        ENDT
        TEST "IRETD to ring 3: 16-bit stack keeps the upper half of ESP"
        push dword STACK16_3
        push dword 0xdead7000
        push dword 2
        push dword CODE3
        push dword .outer16
        iretd
.outer16:
        mov eax, esp
        ENDT
        TEST "IRETD to ring 3 drops FS of ring 0"
        mov ax, DATA0
        mov fs, ax
        push dword DATA3
        push dword USTACK
        push dword 2
        push dword CODE3
        push dword .drops
        iretd
.drops: ENDT
        TEST3 "IRETD ring 3: stack limit"
        lss esp, [.ss_small]
        iretd
.ss_small:
        dd 0xfffa
        dw STACK16_3
        ENDT
        mov dword [t_flags], 0x4002
        TEST "IRETD with NT: null back link"
        mov word [tss], 0
        iretd
        ENDT
        mov dword [t_flags], 0x4002
        TEST "IRETD with NT: back link to the busy TSS itself"
        mov word [tss], DATA0
        iretd
        ENDT
        mov dword [t_flags], 0x4002
        TEST "IRETD with NT: back link to an available TSS"
        DESC A, SCRATCH, 0x67, P | 9, 0
        mov word [tss], A
        iretd
        ENDT
        TEST "POPFD: all that ring 0 may change"
        push dword 0x003f7ed7 & ~0x20000
        popfd
        ENDT
        TEST "POPFD: nothing"
        push dword 0
        popfd
        ENDT
        mov dword [t_flags], 0x240002
        TEST "POPF 16 bits keeps AC and ID"
        push word 0x0ed7
        popfw
        ENDT
        TEST "PUSHFD"
        pushfd
        pop eax
        ENDT
        ret
