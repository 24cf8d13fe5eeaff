; Faults of instructions: alignment checks, #DE, #BR, #UD, LOCK, instruction length, and 32-bit SYSENTER
; (SDM vol 3, chapter 6.15).
%include "kernel32.inc"

A equ SLOT
CR0_AM equ 0x40000
AC equ 0x40002

%macro UD 2+
        TEST %1
        db %2
        nop
        nop
        nop
        nop
        nop
        nop
        nop
        nop
        ENDT
%endmacro
; Ring 3, EFLAGS.AC set, CR0.AM set.
%macro AC_TEST 1
        mov dword [t_flags], AC
        TEST3 %1
        mov ebx, SCRATCH + 0x100
%endmacro

main:
        mov eax, cr4
        or eax, 0x600                   ; OSFXSR, OSXMMEXCPT
        mov cr4, eax
        call alignment
        call division
        call undefined
        call locked
        call lengths
        call strings
        call sysenters
        call registers
        ret

; ---------------------------------------------------------------------------------------------- #AC
alignment:
        mov dword [t_flags], AC
        TEST3 "without CR0.AM"
        mov eax, [SCRATCH + 1]
        ENDT
        mov eax, cr0
        or eax, CR0_AM
        mov cr0, eax
        TEST3 "without EFLAGS.AC"
        mov ebx, SCRATCH + 0x100
        mov eax, [ebx + 1]
        mov eax, EAX_
        ENDT
        mov dword [t_flags], AC
        TEST "ring 0"
        mov eax, [SCRATCH + 1]
        mov eax, EAX_
        ENDT
        AC_TEST "word"
        mov ax, [ebx + 1]
        ENDT
        AC_TEST "word write"
        mov [ebx + 1], ax
        ENDT
        AC_TEST "word read-modify-write"
        inc word [ebx + 1]
        ENDT
        AC_TEST "dword at 2"
        mov eax, [ebx + 2]
        ENDT
        AC_TEST "dword across a line"
        mov eax, [ebx + 0x3e]
        ENDT
        AC_TEST "byte"
        mov al, [ebx + 1]
        mov al, 1
        ENDT
        AC_TEST "aligned"
        mov ecx, [ebx + 4]
        mov ecx, ECX_
        ENDT
        AC_TEST "PUSH"
        mov esp, USTACK - 2
        push eax
        ENDT
        AC_TEST "POP"
        mov esp, USTACK - 0x12
        pop eax
        ENDT
        AC_TEST "PUSHA"
        mov esp, USTACK - 2
        pusha
        ENDT
        AC_TEST "CALL"
        mov esp, USTACK - 2
        call $ + 5
        ENDT
        AC_TEST "ENTER"
        mov esp, USTACK - 2
        enter 0, 0
        ENDT
        AC_TEST "BOUND"
        bound eax, [ebx + 2]
        ENDT
        AC_TEST "LDS at 2"
        lds eax, [ebx + 2]
        ENDT
        AC_TEST "far JMP through memory"
        jmp far [ebx + 2]
        ENDT
        AC_TEST "SGDT at 2"
        sgdt [ebx + 2]
        ENDT
        AC_TEST "MOVSD: source"
        lea esi, [ebx + 1]
        mov edi, SCRATCH
        movsd
        ENDT
        AC_TEST "REP MOVSD: destination"
        mov esi, SCRATCH
        lea edi, [ebx + 1]
        mov ecx, 2
        rep movsd
        ENDT
        AC_TEST "CMPXCHG8B at 4"
        cmpxchg8b [ebx + 4]
        ENDT
        AC_TEST "XCHG at 1"
        xchg eax, [ebx + 1]
        ENDT
        AC_TEST "BT with an offset"
        mov ecx, 9
        bt [ebx + 2], ecx
        ENDT
        AC_TEST "FLD dword at 2"
        fld dword [ebx + 2]
        ENDT
        AC_TEST "FLD qword at 4"
        fld qword [ebx + 4]
        ENDT
        AC_TEST "FLD tword at 4"
        fld tword [ebx + 4]
        ENDT
        AC_TEST "FILD qword at 4"
        fild qword [ebx + 4]
        ENDT
        AC_TEST "FNSTCW at 1"
        fnstcw [ebx + 1]
        ENDT
        AC_TEST "MOVQ at 4"
        movq mm0, [ebx + 4]
        ENDT
        AC_TEST "MOVUPS at 4"
        movups xmm0, [ebx + 4]
        ENDT
        AC_TEST "MOVAPS at 8: #GP"
        movaps xmm0, [ebx + 8]
        ENDT
        AC_TEST "MOVSS at 2"
        movss xmm0, [ebx + 2]
        ENDT
        AC_TEST "LAR at 1"
        lar eax, [ebx + 1]
        ENDT
        AC_TEST "segment load at 1"
        mov fs, [ebx + 1]
        ENDT
        ; The descriptor read is not the user's.
        DESC A, SCRATCH + 1, 0xffff, P | 2, 0
        mov ax, A
        lldt ax
        mov dword [SCRATCH + 9], 0x0000ffff
        mov dword [SCRATCH + 13], 0x00cff300
        AC_TEST "segment load from a table at an odd address"
        mov ax, 15
        mov fs, ax
        ENDT
        xor eax, eax
        lldt ax
        DESC A, SCRATCH + 1, 0xffff, P | DPL3 | S_DATA, D
        AC_TEST "the linear address counts, not the offset"
        mov ax, A | 3
        mov fs, ax
        mov ecx, [fs:3]
        mov ecx, 0
        mov ecx, [fs:4]
        ENDT
        AC_TEST "POPF clears AC"
        push dword 2
        popfd
        mov eax, [ebx + 1]
        mov eax, EAX_
        ENDT
        TEST3 "POPF sets AC"
        mov ebx, SCRATCH + 0x100
        push dword AC
        popfd
        mov eax, [ebx + 1]
        ENDT
        AC_TEST "#GP before #AC"
        mov ax, A | 3
        mov fs, ax
        mov eax, [fs:0xffff]
        ENDT
        AC_TEST "IRET"
        mov esp, USTACK - 0x22
        iretd
        ENDT
        mov eax, cr0
        and eax, ~CR0_AM
        mov cr0, eax
        fninit
        ret

; ---------------------------------------------------------------------------------------------- #DE, #BR, #OF
division:
        mov dword [t_flagmask], 0x003f7702
        TEST "DIV by 0"
        xor ecx, ecx
        div ecx
        ENDT
        TEST "DIV: quotient too large"
        mov edx, 5
        mov ecx, 5
        div ecx
        ENDT
        TEST "DIV: largest quotient"
        mov edx, 4
        mov eax, 0xffffffff
        mov ecx, 5
        div ecx
        ENDT
        TEST "DIV r8 too large"
        mov ax, 0x100
        mov cl, 1
        div cl
        ENDT
        TEST "DIV r16 by memory"
        mov word [SCRATCH], 0
        div word [SCRATCH]
        ENDT
        TEST "IDIV: most negative by -1"
        mov eax, 0x80000000
        mov edx, -1
        mov ecx, -1
        idiv ecx
        ENDT
        TEST "IDIV: quotient -80000000"
        mov eax, 0x80000000
        mov edx, 0xffffffff
        mov ecx, 1
        idiv ecx
        ENDT
        TEST "IDIV: quotient 80000000"
        mov eax, 0x80000000
        mov edx, 0
        mov ecx, 1
        idiv ecx
        ENDT
        TEST "IDIV r8: -128"
        mov ax, -128
        mov cl, 1
        idiv cl
        ENDT
        TEST "IDIV r8: -129"
        mov ax, -129
        mov cl, 1
        idiv cl
        ENDT
        TEST "AAM 0"
        db 0xd4, 0
        ENDT
        TEST "BOUND: below"
        mov dword [SCRATCH], -5
        mov dword [SCRATCH + 4], 5
        mov eax, -6
        bound eax, [SCRATCH]
        ENDT
        TEST "BOUND: at the edges"
        mov eax, -5
        bound eax, [SCRATCH]
        mov eax, 5
        bound eax, [SCRATCH]
        ENDT
        TEST "BOUND: above"
        mov eax, 6
        bound eax, [SCRATCH]
        ENDT
        TEST "BOUND: 16 bits, signed"
        mov word [SCRATCH], 0xfff0
        mov word [SCRATCH + 2], 0x10
        mov ax, 0
        bound ax, [SCRATCH]
        mov ax, 0x8000
        bound ax, [SCRATCH]
        ENDT
        mov dword [t_flagmask], 0x003f7fd7
        ret

; ---------------------------------------------------------------------------------------------- #UD
undefined:
        UD "UD2", 0x0f, 0x0b
        UD "UD1", 0x0f, 0xb9, 0xc0
        UD "UD0", 0x0f, 0xff, 0xc0
        UD "LEA of a register", 0x8d, 0xc0
        UD "BOUND of a register", 0x62, 0xc0
        UD "LDS of a register", 0xc5, 0xc0
        UD "group 4, /2", 0xfe, 0xd0
        UD "group 5, /7", 0xff, 0xf8
        UD "CALL far of a register", 0xff, 0xd8
        UD "JMP far of a register", 0xff, 0xe8
        UD "group 1A, /1", 0x8f, 0xc8
        UD "MOV imm, /1", 0xc6, 0xc8, 0
        UD "group 8, /0", 0x0f, 0xba, 0xc0, 0
        UD "group 9, /0", 0x0f, 0xc7, 0x00
        UD "CMPXCHG8B of a register", 0x0f, 0xc7, 0xc8
        UD "SGDT of a register", 0x0f, 0x01, 0xc5
        UD "INVLPG of a register", 0x0f, 0x01, 0xfa
        UD "SWAPGS", 0x0f, 0x01, 0xf8
        UD "group 6, /6", 0x0f, 0x00, 0xf0
        UD "MOV from DR8", 0x0f, 0x04
        UD "0F 0A", 0x0f, 0x0a
        UD "0F 24", 0x0f, 0x24, 0xc0
        UD "0F 36", 0x0f, 0x36
        UD "0F A6", 0x0f, 0xa6, 0xc0
        UD "SYSCALL", 0x0f, 0x05
        UD "SYSRET", 0x0f, 0x07
        UD "RSM", 0x0f, 0xaa
        UD "MOVAPS to MMX", 0x0f, 0x0e
        UD "82h is group 1 again", 0x82, 0xc0, 0x01
        UD "SHL /6 is SHL", 0xc1, 0xf0, 1
        UD "TEST /1 is TEST", 0xf6, 0xc8, 0
        UD "PREFETCH of a register", 0x0f, 0x18, 0xc0
        UD "reserved NOP", 0x0f, 0x19, 0xc0
        UD "0F 0D is NOP", 0x0f, 0x0d, 0x00
        UD "FFREEP", 0xdf, 0xc0
        UD "D9 D1", 0xd9, 0xd1
        UD "DB E5 and more", 0xdb, 0xe5
        fninit
        ; Before memory is touched: nothing at this address would be readable.
        DESC A, SCRATCH, 0xff, P | S_DATA, 0
        mov ax, A
        mov fs, ax
        UD "LOCK before the limit", 0xf0, 0x64, 0x8b, 0x05, 0, 0, 1, 0
        ret

locked:
        UD "LOCK ADD m, r", 0xf0, 0x01, 0x05, 0, 0, 0x1c, 0
        UD "LOCK ADD r, m", 0xf0, 0x03, 0x05, 0, 0, 0x1c, 0
        UD "LOCK ADD r, r", 0xf0, 0x01, 0xc0
        UD "LOCK CMP m, r", 0xf0, 0x39, 0x05, 0, 0, 0x1c, 0
        UD "LOCK CMP m, imm", 0xf0, 0x83, 0x3d, 0, 0, 0x1c, 0, 1
        UD "LOCK TEST", 0xf0, 0x85, 0x05, 0, 0, 0x1c, 0
        UD "LOCK XCHG m, r", 0xf0, 0x87, 0x05, 0, 0, 0x1c, 0
        UD "LOCK XCHG r, r", 0xf0, 0x87, 0xc0
        UD "LOCK MOV", 0xf0, 0x89, 0x05, 0, 0, 0x1c, 0
        UD "LOCK INC m", 0xf0, 0xff, 0x05, 0, 0, 0x1c, 0
        UD "LOCK PUSH m", 0xf0, 0xff, 0x35, 0, 0, 0x1c, 0
        UD "LOCK NOT m", 0xf0, 0xf7, 0x15, 0, 0, 0x1c, 0
        UD "LOCK MUL m", 0xf0, 0xf7, 0x25, 0, 0, 0x1c, 0
        UD "LOCK SHL m", 0xf0, 0xd1, 0x25, 0, 0, 0x1c, 0
        UD "LOCK BT m, r", 0xf0, 0x0f, 0xa3, 0x05, 0, 0, 0x1c, 0
        UD "LOCK BTS m, imm", 0xf0, 0x0f, 0xba, 0x2d, 0, 0, 0x1c, 0, 1
        UD "LOCK BT m, imm", 0xf0, 0x0f, 0xba, 0x25, 0, 0, 0x1c, 0, 1
        UD "LOCK CMPXCHG", 0xf0, 0x0f, 0xb1, 0x0d, 0, 0, 0x1c, 0
        UD "LOCK XADD r, r", 0xf0, 0x0f, 0xc1, 0xc0
        UD "LOCK MOVS", 0xf0, 0xa4
        UD "LOCK NOP", 0xf0, 0x90
        UD "LOCK JMP", 0xf0, 0xeb, 0
        UD "LOCK IN", 0xf0, 0xe4, 0x21
        UD "LOCK MOV CR0", 0xf0, 0x0f, 0x20, 0xc0
        UD "LOCK FLD", 0xf0, 0xd9, 0xe8
        UD "LOCK UD2", 0xf0, 0x0f, 0x0b
        TEST3 "LOCK HLT at ring 3: #UD before #GP"
        db 0xf0, 0xf4
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- 15 bytes
lengths:
        UD "14 prefixes and NOP", 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
        UD "15 prefixes and NOP", 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
        UD "15 bytes with an immediate", 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0xb8, 1, 0, 0, 0
        UD "16 bytes with an immediate", 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0xb8, 1, 0, 0, 0
        UD "15 prefixes and UD2", 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x0f, 0x0b
        UD "LOCK and too long", 0xf0, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x90
        TEST3 "too long HLT at ring 3"
        times 15 db 0x3e
        hlt
        ENDT
        ; Too long, but the page or the segment ends before.
        DESC A, 0x110000, 9, P | S_CODE, D
        mov edi, 0x110000
        mov al, 0x3e
        mov ecx, 32
        rep stosb
        TEST "prefixes up to the end of the segment"
        jmp A:0
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- strings and limits
strings:
        DESC A, SCRATCH, 0x0f, P | S_DATA, D
        TEST "REP MOVSD from FS runs into its limit"
        mov ax, A
        mov fs, ax
        mov esi, 0
        mov edi, SCRATCH + 0x100
        mov ecx, 8
        fs rep movsd
        ENDT
        TEST "REP STOSW to ES runs into its limit"
        mov ax, A
        mov es, ax
        mov edi, 9
        mov ecx, 8
        rep stosw
        ENDT
        TEST "STD: REP STOSB runs below 0"
        mov ax, A
        mov es, ax
        mov edi, 3
        mov ecx, 8
        std
        rep stosb
        ENDT
        TEST "REP MOVSB with 16-bit addresses wraps"
        mov esi, 0x1111fffe
        mov edi, 0x22227ffe
        mov ecx, 0x33330004
        a16 rep movsb
        ENDT
        TEST "REPNE SCASB with nothing to do keeps the flags"
        xor ecx, ecx
        stc
        mov edi, 0xfff
        repne scasb
        ENDT
        TEST "REP LODSB with an ES override"
        mov byte [SCRATCH + 2], 0x77
        mov ax, A
        mov es, ax
        mov esi, 0
        mov ecx, 3
        db 0x26
        rep lodsb
        ENDT
        TEST "PUSHAD: ESP as it was"
        pushad
        mov eax, [esp + 12]
        sub eax, [t_esp]
        add esp, 32
        ENDT
        TEST "POPAD skips ESP"
        sub esp, 32
        mov dword [esp + 12], 0x12345678
        popad
        mov eax, esp
        sub eax, [t_esp]
        mov edx, EDX_
        mov ecx, ECX_
        mov ebx, EBX_
        mov esi, ESI_
        mov edi, EDI_
        mov ebp, EBP_
        ENDT
        DESC A, USTACK - 0x1000, 0xfff, P | DPL3 | S_DATA, D
        TEST3 "PUSHAD: stack limit"
        mov ax, A | 3
        mov ss, ax
        mov esp, 0x10
        pushad
        ENDT
        TEST3 "POPAD: stack limit"
        mov ax, A | 3
        mov ss, ax
        mov esp, 0xff0
        popad
        ENDT
        TEST3 "ENTER: stack limit"
        mov ax, A | 3
        mov ss, ax
        mov esp, 2
        enter 0, 0
        ENDT
        TEST3 "ENTER: the frame goes below the segment"
        mov ax, A | 3
        mov ss, ax
        mov esp, 0x100
        enter 0x200, 0
        ENDT
        TEST3 "ENTER: level 3"
        mov ebp, esp
        sub esp, 0x40
        mov eax, 0xaaaa0001
        mov [ebp - 4], eax
        inc eax
        mov [ebp - 8], eax
        enter 8, 3
        mov eax, [ebp - 4]
        mov ecx, [ebp - 8]
        mov edx, [ebp - 12]
        mov ebx, esp
        mov ebp, EBP_
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- SYSENTER, 32 bits
%macro WRMSR 2
        mov ecx, %1
        mov eax, %2
        xor edx, edx
        wrmsr
%endmacro
sysenters:
        WRMSR 0x174, 0
        TEST3 "SYSENTER with a null CS"
        sysenter
        ENDT
        WRMSR 0x174, CODE0 | 3
        WRMSR 0x175, KSTACK - 0x300
        WRMSR 0x176, .entry
        mov dword [t_flags], 0x3202
        TEST3 "SYSENTER"
        sysenter
        nop
.entry: mov eax, cs
        mov ebx, ss
        mov edx, esp
        pushfd
        pop esi
        ENDT
        WRMSR 0x176, .bounce
        TEST3 "SYSENTER and SYSEXIT"
        sysenter
        nop
.bounce:
        mov edx, .home
        mov ecx, USTACK - 0x10
        sysexit
.home:  mov eax, cs
        mov ebx, ss
        ENDT
        TEST3 "SYSEXIT at ring 3"
        sysexit
        ENDT
        TEST "SYSENTER ignores the descriptors"
        mov byte [gdt + CODE0 + 5], 0
        mov byte [gdt + DATA0 + 5], 0
        mov dword [0x110000], 0xc3909090
        WRMSR 0x176, .ignores
        sysenter
.ignores:
        mov byte [gdt + CODE0 + 5], 0x9b
        mov byte [gdt + DATA0 + 5], 0x93
        ENDT
        WRMSR 0x176, .v86
        mov dword [t_flags], 0x2
        jmp .start
.v86:   pushfd
        pop eax
        mov ebx, cs
        int 0xf0
.start:
        TESTV "SYSENTER from V86 mode"
        sysenter
        ENDT
        WRMSR 0x174, 0
        TEST "SYSEXIT with a null CS"
        sysexit
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- MSRs, CR4.TSD, CR4.PCE
registers:
        TEST "RDMSR of nothing"
        mov ecx, 0x12345678
        rdmsr
        ENDT
        TEST "WRMSR of nothing"
        mov ecx, 0x12345678
        wrmsr
        ENDT
        TEST "PAT: a reserved type"
        mov ecx, 0x277
        mov eax, 2
        xor edx, edx
        wrmsr
        ENDT
        TEST "MTRR default type: reserved"
        mov ecx, 0x2ff
        mov eax, 2
        xor edx, edx
        wrmsr
        ENDT
        TEST "MTRRcap is read-only"
        mov ecx, 0xfe
        wrmsr
        ENDT
        TEST3 "RDTSC at ring 3"
        rdtsc
        mov eax, EAX_
        mov edx, EDX_
        ENDT
        mov eax, cr4
        or eax, 4
        mov cr4, eax
        TEST3 "RDTSC at ring 3 with CR4.TSD"
        rdtsc
        ENDT
        TEST "RDTSC at ring 0 with CR4.TSD"
        rdtsc
        mov eax, EAX_
        mov edx, EDX_
        ENDT
        mov eax, cr4
        and eax, ~4
        mov cr4, eax
        TEST3 "RDPMC at ring 3"
        xor ecx, ecx
        rdpmc
        ENDT
        TEST "CPUID is allowed anywhere"
        mov eax, 0x80000000
        cpuid
        mov eax, EAX_
        mov ecx, ECX_
        mov edx, EDX_
        mov ebx, EBX_
        ENDT
        TEST "CR0: MP, NE, TS stay as written"
        mov eax, cr0
        mov ecx, eax
        or eax, 0x2a
        mov cr0, eax
        mov edx, cr0
        mov cr0, ecx
        and edx, 0x3f
        mov eax, 0
        mov ecx, 0
        ENDT
        TEST "CLTS"
        mov eax, cr0
        or eax, 8
        mov cr0, eax
        clts
        mov eax, cr0
        and eax, 0x3f
        ENDT
        TEST "LMSW sets TS, EM and MP"
        mov ax, 0xf
        lmsw ax
        mov ecx, cr0
        mov ax, 0x1
        lmsw ax
        mov edx, cr0
        and ecx, 0x3f
        and edx, 0x3f
        ENDT
        ret
