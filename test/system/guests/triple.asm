; Triple faults reset the machine: the guest begins again, and CMOS byte 50h tells it how often.
%include "kernel32.inc"

COUNT equ 0x50

main:
        mov al, COUNT
        out 0x70, al
        in al, 0x71
        movzx eax, al
        cmp al, 0x5a
        je .second
        mov al, COUNT
        out 0x70, al
        mov al, 0x5a
        out 0x71, al
        SAY "first time"
        lidt [.none]
        int3
        SAY "not reached"
        ret
.second:
        mov al, COUNT
        out 0x70, al
        xor al, al
        out 0x71, al
        SAY "again, after a reset"
        mov eax, cr0
        SHOW "cr0", eax
        mov eax, cr4
        SHOW "cr4", eax
        mov eax, dr7
        SHOW "dr7", eax
        ret
.none:  dw 0
        dd 0
