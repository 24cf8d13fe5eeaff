; x87 errors with CR0.NE = 0: FERR#, IRQ 13, port F0h and IGNNE# (SDM vol 1, D.2).
%include "kernel32.inc"

CR0_MP equ 2
CR0_EM equ 4
CR0_TS equ 8
CR0_NE equ 0x20
ERROR  equ 0x4d                 ; IRQ 13
STATUS equ SCRATCH

; A division by zero that is not masked.
%macro DIVIDE 0
        fldcw [control_zero]
        fld1
        fldz
        fdivp st1, st0
%endmacro

main:
        mov al, 0x11
        out 0x20, al
        out 0xa0, al
        mov al, 0x40
        out 0x21, al
        mov al, 0x48
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xfb
        out 0x21, al
        mov al, 0xdf
        out 0xa1, al
        mov eax, cr0
        and eax, ~(CR0_NE | CR0_EM | CR0_TS)
        or eax, CR0_MP
        mov cr0, eax
        fninit

        TEST "interrupt before the instruction that waits"
        sti
        DIVIDE
        nop
        fld1
        ENDT
        call finish

        TEST "before FWAIT"
        sti
        DIVIDE
        fwait
        ENDT
        call finish

        TEST "before an MMX instruction"
        sti
        DIVIDE
        movd mm0, eax
        ENDT
        call finish

        TEST "FNSTSW does not wait, and FNCLEX ends the error"
        sti
        DIVIDE
        fnstsw ax
        fnclex
        fld1
        fwait
        ENDT
        call finish

        mov dword [t_fixup], ignore
        TEST "port F0h: the instruction goes on, the error stays"
        sti
        DIVIDE
        fld1
        fldz
        fnstsw ax
        ENDT
        call finish

        mov dword [t_fixup], ignore
        TEST "a new error after FNCLEX is not ignored any more"
        sti
        DIVIDE
        fld1
        fnclex
        mov dword [t_fixup], over
        fldz
        fdivp st1, st0
        fwait
        ENDT
        call finish

        mov dword [t_fixup], clear
        TEST "FNCLEX in the handler: the instruction runs without an error"
        sti
        DIVIDE
        fld1
        fnstsw ax
        ENDT
        call finish

        TEST "port F0h before the interrupt: nothing to ignore"
        sti
        DIVIDE
        mov al, 0
        out 0xf0, al
        fld1
        ENDT
        call finish

        TEST "NE set: #MF, and no interrupt"
        mov eax, cr0
        or eax, CR0_NE
        mov cr0, eax
        sti
        DIVIDE
        fld1
        ENDT
        mov eax, cr0
        and eax, ~CR0_NE
        mov cr0, eax
        call finish
        mov al, 0xff
        out 0x21, al
        out 0xa1, al
        mov eax, cr0
        or eax, CR0_NE
        mov cr0, eax
        ret

; Between tests: no error, nothing requested or in service.
finish:
        fninit
        mov al, 0
        out 0xf0, al
        mov al, 0x20
        out 0xa0, al
        out 0x20, al
        ret

; Handlers. Carry: the test is over.
clear:
        fnclex
ignore:
        cmp dword [ebp + F_VECTOR], ERROR
        jne over
        mov al, 0
        out 0xf0, al
        mov al, 0x20
        out 0xa0, al
        out 0x20, al
        clc
        ret
over:   stc
        ret

section .rodata
control_zero: dw 0x37b
