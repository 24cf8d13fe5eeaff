; When x87 instructions fault, and the four layouts of their environment in memory (SDM vol 1, 8.1.10; vol 3, 2.5).
%include "kernel32.inc"

CR0_MP equ 2
CR0_EM equ 4
CR0_TS equ 8
CR0_NE equ 0x20
BUFFER equ SCRATCH
BUFFER_V equ 0xa000             ; ES:0 in virtual-8086 mode

; SET_CR0 set, clear: keeps the registers.
%macro SET_CR0 2
        push eax
        mov eax, cr0
        and eax, ~(%2)
        or eax, %1
        mov cr0, eax
        pop eax
%endmacro
; Anything between tests: as a kernel leaves it, nothing pending.
%macro RESET 0
        SET_CR0 CR0_NE | CR0_MP, CR0_EM | CR0_TS
        fninit
%endmacro
; DUMP text, address, dwords
%macro DUMP 3
        SAY %1
%assign i 0
%rep %3
        SHOW "+", dword [%2 + i * 4]
%assign i i + 1
%endrep
%endmacro

; TESTV at IOPL 3, where INT F0h ends it.
%macro VIRTUAL 1
        mov dword [t_flags], 0x3002
        TESTV %1
%endmacro

; AVAILABLE name, CR0 bits, instruction
%macro AVAILABLE 3+
        TEST %1
        SET_CR0 %2, CR0_EM | CR0_MP | CR0_TS
        %3
        ENDT
        RESET
%endmacro
%macro AVAILABILITY 2
%strcat with_fwait %1, ": fwait"
%strcat with_fld1 %1, ": fld1"
%strcat with_fninit %1, ": fninit"
%strcat with_fnstcw %1, ": fnstcw"
%strcat with_fnsave %1, ": fnsave"
%strcat with_fld %1, ": fld of a null segment"
        AVAILABLE with_fwait, %2, fwait
        AVAILABLE with_fld1, %2, fld1
        AVAILABLE with_fninit, %2, fninit
        AVAILABLE with_fnstcw, %2, fnstcw [BUFFER]
        AVAILABLE with_fnsave, %2, fnsave [BUFFER]
        AVAILABLE with_fld, %2, fld dword [gs:0]
%endmacro

; PENDING name, instruction: after a division by zero that is not masked. Without CR0.NE: ferr.asm.
%macro PENDING 2+
        TEST %1
        fldcw [control_zero]
        fld1
        fldz
        fdivp st1, st0
        %2
        mov eax, EAX_
        ENDT
        RESET
%endmacro

main:
        SET_CR0 CR0_NE | CR0_MP, CR0_EM | CR0_TS
        fninit
        call availability
        call pending
        call protected
        call virtual
        ret

availability:
        AVAILABILITY "none", 0
        AVAILABILITY "TS", CR0_TS
        AVAILABILITY "MP", CR0_MP
        AVAILABILITY "MP TS", CR0_MP | CR0_TS
        AVAILABILITY "EM", CR0_EM
        AVAILABILITY "EM TS", CR0_EM | CR0_TS
        AVAILABILITY "EM MP", CR0_EM | CR0_MP
        AVAILABILITY "EM MP TS", CR0_EM | CR0_MP | CR0_TS
        ret

pending:
        PENDING "pending: fwait", fwait
        PENDING "pending: fnop", fnop
        PENDING "pending: fld1", fld1
        PENDING "pending: fld of a null segment", fld dword [gs:0]
        PENDING "pending: fldcw", fldcw [control_zero]
        PENDING "pending: fldenv", fldenv [BUFFER]
        PENDING "pending: frstor", frstor [BUFFER]
        PENDING "pending: fincstp", fincstp
        PENDING "pending: ffree", ffree st0
        PENDING "pending: fnstsw", fnstsw ax
        PENDING "pending: fnstcw", fnstcw [BUFFER]
        PENDING "pending: fnclex", fnclex
        PENDING "pending: fninit", fninit
        PENDING "pending: fnstenv", fnstenv [BUFFER]
        PENDING "pending: fnsave", fnsave [BUFFER]

        TEST "unmasked later by FLDCW"
        fld1
        fldz
        fdivp st1, st0
        fldcw [control_zero]
        fnop
        ENDT
        RESET
        ; Pointers of an instruction that raises an exception.
        TEST "pointers: memory operand"
        fldcw [control_zero]
        fld1
        fdiv dword [es:zero]
        mov eax, esp
        sub eax, [t_esp]
        fnstenv [BUFFER]
        mov eax, [BUFFER + 12]
        sub eax, [t_base]
        mov [BUFFER + 12], eax
        mov eax, [BUFFER + 20]
        sub eax, zero
        mov [BUFFER + 20], eax
        mov eax, EAX_
        ENDT
        RESET
        DUMP "pointers", BUFFER, 7
        ret

control_zero: dw 0x37b          ; division by zero is not masked

protected:
        TEST "32-bit: FRSTOR, FNSTENV"
        frstor [state]
        fnstenv [BUFFER]
        fnstcw [BUFFER + 28]
        fnstsw [BUFFER + 30]
        ENDT
        RESET
        DUMP "32-bit environment", BUFFER, 8
        TEST "32-bit: FRSTOR, FNSAVE"
        frstor [state]
        fnsave [BUFFER]
        ENDT
        DUMP "32-bit state", BUFFER, 27
        TEST "32-bit: after FNSAVE"
        fnstenv [BUFFER]
        ENDT
        RESET
        DUMP "32-bit environment after FNSAVE", BUFFER, 7
        TEST "16-bit: FNSTENV"
        frstor [state]
        mov dword [BUFFER + 12], -1
        o16 fnstenv [BUFFER]
        ENDT
        RESET
        DUMP "16-bit environment", BUFFER, 4
        TEST "16-bit: FNSAVE, FRSTOR"
        frstor [state]
        o16 fnsave [BUFFER]
        o16 frstor [BUFFER]
        fnstenv [BUFFER + 96]
        and dword [BUFFER + 96 + 16], 0xffff    ; no opcode in the short layout
        ENDT
        RESET
        DUMP "16-bit state", BUFFER, 31
        TEST "16-bit: FLDENV"
        frstor [state]
        o16 fldenv [environment16]
        fnstenv [BUFFER]
        and dword [BUFFER + 16], 0xffff
        ENDT
        RESET
        DUMP "16-bit environment loaded", BUFFER, 7
        TEST "FLDENV: a flag without its mask is pending"
        fldenv [unmasked]
        fnop
        ENDT
        RESET
        TEST "FLDENV: ES without a flag is not"
        fldenv [summary]
        fnop
        fnstsw ax
        ENDT
        RESET

        ; Limits: all of the operand counts.
        DESC SLOT, SCRATCH, 107, P | S_DATA, D
        TEST "FNSAVE: at the limit"
        mov ax, SLOT
        mov fs, ax
        fnsave [fs:0]
        ENDT
        TEST "FNSAVE: beyond the limit"
        mov ax, SLOT
        mov fs, ax
        fnsave [fs:1]
        ENDT
        TEST "FNSTENV: beyond the limit"
        mov ax, SLOT
        mov fs, ax
        fnstenv [fs:81]
        ENDT
        TEST "FLDENV: beyond the limit"
        mov ax, SLOT
        mov fs, ax
        fldenv [fs:81]
        ENDT
        TEST "FLD of ten bytes: beyond the limit"
        mov ax, SLOT
        mov fs, ax
        fld tword [fs:99]
        ENDT
        TEST "FSTP of ten bytes: beyond the limit"
        mov ax, SLOT
        mov fs, ax
        fld1
        fstp tword [fs:99]
        ENDT
        RESET
        ret

virtual:
        frstor [state]
        VIRTUAL "V86: FNSTENV, 16-bit"
        fnstenv [es:0]
        ENDT
        RESET
        DUMP "V86 16-bit environment", BUFFER_V, 4
        frstor [state]
        VIRTUAL "V86: FNSTENV, 32-bit"
        o32 fnstenv [es:0]
        ENDT
        RESET
        DUMP "V86 32-bit environment", BUFFER_V, 7
        frstor [state]
        VIRTUAL "V86: FNSAVE, 16-bit"
        fnsave [es:0]
        ENDT
        RESET
        DUMP "V86 16-bit state", BUFFER_V, 24
        frstor [state]
        VIRTUAL "V86: FNSAVE, 32-bit"
        o32 fnsave [es:0]
        ENDT
        RESET
        DUMP "V86 32-bit state", BUFFER_V, 27

        mov esi, environment_v16
        mov edi, BUFFER_V
        mov ecx, 14
        rep movsb
        VIRTUAL "V86: FLDENV, 16-bit"
        fldenv [es:0]
        ENDT
        fnstenv [BUFFER]
        RESET
        DUMP "V86 16-bit environment loaded", BUFFER, 7
        mov esi, environment_v32
        mov edi, BUFFER_V
        mov ecx, 28
        rep movsb
        VIRTUAL "V86: FLDENV, 32-bit"
        o32 fldenv [es:0]
        ENDT
        fnstenv [BUFFER]
        RESET
        DUMP "V86 32-bit environment loaded", BUFFER, 7
        VIRTUAL "V86: pointers of an instruction"
        fninit
        mov word [es:0], 0x37b
        mov dword [es:4], 0
        fldcw [es:0]
        fld1
        fdiv dword [es:4]
        ENDT
        fnstenv [BUFFER]
        RESET
        DUMP "V86 pointers", BUFFER, 7
        ret

section .rodata
zero:   dd 0
; TOP 5; a register of each kind, the last one empty.
state:  dd 0xffff037f, 0xffff6945, 0xffff0300, 0x89abcdef, 0x05a70008, 0x12345678, 0xffff0010
        dt 1.0
        dt 0.0
        dd 0, 0x80000000
        dw 0x7fff               ; infinity
        dd 1, 0xc0000000
        dw 0xffff               ; NaN
        dd 1, 0
        dw 0                    ; denormal
        dd 0, 0x40000000
        dw 0x3fff               ; unnormal
        dd 0, 0x80000000
        dw 0                    ; pseudo-denormal
        dt -2.5
environment16: dw 0x0f7f, 0x7100, 0x00ff, 0xfedc, 0x0018, 0xba98, 0x0020
environment_v16: dw 0x0f7f, 0x7100, 0x00ff, 0xfedc, 0x95a7, 0xba98, 0xc123
environment_v32: dd 0xffff0f7f, 0xffff7100, 0xffff00ff, 0xfffffedc, 0x012345a7, 0xffffba98, 0x0abcd000
unmasked: dd 0x037b, 0x0004, 0xffff, 0, 0, 0, 0
summary: dd 0x037f, 0x8080, 0xffff, 0, 0, 0, 0
