; Virtual-8086 mode and the I/O permission bitmap (SDM vol 3, chapter 20, and vol 1, 19.5). There is no VME.
; bochs: model=atom_n270
%include "kernel32.inc"

A equ SLOT

%define IOPL3 0x3002
%define BITMAP 104

; FLAGS value: of the next test
%macro FLAGS 1
        mov dword [t_flags], %1
%endmacro

main:
        ; --- entry and what the modes are like
        FLAGS IOPL3
        TESTV "segments and pointers"
        mov ax, cs
        mov bx, ss
        mov cx, ds
        mov dx, es
        mov si, fs
        mov di, gs
        ENDT
        FLAGS IOPL3
        TESTV "segment loads shift by four"
        mov ax, 0xa01
        mov fs, ax
        mov byte [fs:0], 0x5a
        mov al, [es:0x10]
        push word 0xb00
        pop gs
        mov cx, gs
        ENDT
        FLAGS IOPL3
        TESTV "limit of 64 KiB"
        mov al, [0xffff]
        mov ax, [0xffff]
        ENDT
        FLAGS IOPL3
        TESTV "limit of 64 KiB with 32-bit addresses"
        mov ebx, 0x10000
        mov al, [ebx]
        ENDT
        FLAGS IOPL3
        TESTV "stack wraps at 64 KiB"
        mov sp, 2
        push ax
        push ax
        ENDT
        FLAGS IOPL3
        TESTV "stack: dword push at 2"
        mov sp, 2
        push eax
        ENDT
        FLAGS IOPL3
        TESTV "far jump"
        jmp 0x0801:%$there - %$start - 16
%$there:
        mov ax, cs
        ENDT
        FLAGS IOPL3
        TESTV "far call and return"
        call 0x0801:%$there - %$start - 16
        jmp %$done
%$there: pop bx
        pop cx
        push cx
        push bx
        retf
%$done:
        ENDT
        FLAGS IOPL3
        TESTV "32-bit far jump beyond 64 KiB"
        db 0x66, 0xea
        dd 0x10000
        dw 0x0800
        ENDT

        ; --- privileged and sensitive instructions
        FLAGS 2
        TESTV "CLI, IOPL 0"
        cli
        ENDT
        FLAGS 2
        TESTV "STI, IOPL 0"
        sti
        ENDT
        FLAGS 2
        TESTV "PUSHF, IOPL 0"
        pushf
        ENDT
        FLAGS 2
        TESTV "POPF, IOPL 0"
        popf
        ENDT
        FLAGS 2
        TESTV "IRET, IOPL 0"
        iret
        ENDT
        FLAGS 2
        TESTV "INT n, IOPL 0"
        int 0x21
        ENDT
        FLAGS 2
        TESTV "INT3, IOPL 0, goes to the protected-mode handler"
        int3
        ENDT
        FLAGS 2
        TESTV "INTO, IOPL 0, goes to the protected-mode handler"
        mov al, 0x7f
        inc al
        into
        ENDT
        FLAGS 2
        TESTV "INT1, IOPL 0"
        db 0xf1
        ENDT
        FLAGS 0x1002
        TESTV "CLI, IOPL 1"
        cli
        ENDT
        FLAGS IOPL3
        TESTV "CLI and STI, IOPL 3"
        sti
        pushf
        cli
        pushf
        pop ax
        pop bx
        ENDT
        FLAGS IOPL3
        TESTV "PUSHFD, IOPL 3: VM and RF are pushed as 0"
        pushfd
        pop eax
        ENDT
        FLAGS IOPL3
        TESTV "POPFD, IOPL 3: IOPL and VM stay"
        push dword 0x00244ed7 & ~0x4000
        popfd
        pushfd
        pop eax
        ENDT
        FLAGS IOPL3
        TESTV "POPF, IOPL 3: IOPL stays"
        push word 0x0ed7
        popf
        pushf
        pop ax
        ENDT
        FLAGS IOPL3
        TESTV "IRET, IOPL 3"
        push word 0x0ed7
        push word 0x0801
        push word %$there - %$start - 16
        iret
%$there: mov ax, cs
        ENDT
        FLAGS IOPL3
        TESTV "IRETD, IOPL 3"
        push dword 0x00240ed7
        push dword 0x0801
        push dword %$there - %$start - 16
        iretd
%$there: mov ax, cs
        ENDT
        FLAGS IOPL3
        TESTV "INT n, IOPL 3, gate of DPL 0"
        int 0x21
        ENDT
        FLAGS IOPL3
        TESTV "HLT"
        hlt
        ENDT
        FLAGS IOPL3
        TESTV "CLTS"
        clts
        ENDT
        FLAGS IOPL3
        TESTV "LGDT"
        lgdt [0]
        ENDT
        FLAGS IOPL3
        TESTV "MOV from CR0"
        mov eax, cr0
        ENDT
        FLAGS IOPL3
        TESTV "LMSW"
        lmsw ax
        ENDT
        FLAGS IOPL3
        TESTV "SMSW is allowed"
        smsw ax
        and ax, 0xf
        ENDT
        FLAGS IOPL3
        TESTV "SGDT is allowed"
        sgdt [0x800]
        mov ax, [0x800]
        ENDT
        FLAGS IOPL3
        TESTV "LAR"
        lar ax, bx
        ENDT
        FLAGS IOPL3
        TESTV "VERR"
        verr ax
        ENDT
        FLAGS IOPL3
        TESTV "ARPL"
        arpl ax, bx
        ENDT
        FLAGS IOPL3
        TESTV "SLDT"
        sldt ax
        ENDT
        FLAGS IOPL3
        TESTV "STR"
        str ax
        ENDT
        FLAGS IOPL3
        TESTV "LLDT"
        lldt ax
        ENDT
        FLAGS IOPL3
        TESTV "LTR"
        ltr ax
        ENDT
        FLAGS IOPL3
        TESTV "undefined opcode"
        ud2
        ENDT
        FLAGS IOPL3
        TESTV "divide error"
        xor cx, cx
        div cx
        ENDT
        FLAGS IOPL3
        TESTV "BOUND"
        mov word [0x900], 0
        mov word [0x902], 1
        bound ax, [0x900]
        bound sp, [0x900]
        ENDT
        FLAGS IOPL3
        TESTV "LDS, LES"
        mov dword [0x900], 0x12345678
        lds si, [0x900]
        mov ax, ds
        ENDT

        ; --- the handler
        GATE_AT idt + 0x60 * 8, CODE3, stubs, P | DPL3 | 0x0e, 0
        FLAGS IOPL3
        TESTV "INT n: handler of DPL 3"
        int 0x60
        ENDT
        DESC A, 0, 0xfffff, P | S_CONF, G | D
        GATE_AT idt + 0x60 * 8, A, stubs, P | DPL3 | 0x0e, 0
        FLAGS IOPL3
        TESTV "INT n: conforming handler"
        int 0x60
        ENDT
        DESC A, 0x100000, 0xffff, P | S_CODE, D
        GATE_AT idt + 0x60 * 8, A, .handler16, P | DPL3 | 0x06, 0
        FLAGS IOPL3
        TESTV "INT n: 16-bit gate"
        int 0x60
        ENDT
        jmp .trap
.handler16:
        ; ip, cs, flags, sp, ss, es, ds, fs, gs: words
        mov eax, [esp]
        mov ecx, [esp + 4]
        mov edx, [esp + 8]
        mov ebx, [esp + 12]
        movzx esi, word [esp + 16]
        int 0xf0
.trap:
        ; Single step from V86 mode comes back to it.
        CONTINUE 1
        FLAGS IOPL3 | 0x100
        TESTV "TF in V86 mode"
        nop
        mov ax, 0x900
        mov fs, ax
        popf
        ENDT
        call bitmap
        call ring3_io
        ret

; ---------------------------------------------------------------------------------------------- I/O in V86 mode
; IOPL does not count for IN and OUT here.
%macro MAP_BASE 1
        mov word [tss + 102], %1
%endmacro
; Reloads TR with a limit.
%macro TSS_LIMIT 1
        mov word [gdt + TSS], %1
        mov byte [gdt + TSS + 5], 0x89
        mov ax, TSS
        ltr ax
%endmacro

bitmap:
        ; Port 80h and above denied, below allowed: byte 10h and on are ones.
        MAP_BASE BITMAP
        mov edi, tss + BITMAP
        xor eax, eax
        mov ecx, 4
        rep stosd
        mov eax, -1
        mov ecx, 0x80 / 4
        rep stosd
        FLAGS IOPL3
        TESTV "IN: bit clear, IOPL 3"
        in al, 0x61
        mov al, 0
        ENDT
        FLAGS 2
        TESTV "IN: bit clear, IOPL 0"
        in al, 0x61
        mov al, 0
        ENDT
        FLAGS IOPL3
        TESTV "IN: bit set, IOPL 3"
        in al, 0x80
        ENDT
        FLAGS IOPL3
        TESTV "OUT: bit set"
        out 0x80, al
        ENDT
        FLAGS IOPL3
        TESTV "IN: word across to a set bit"
        in ax, 0x7f
        ENDT
        FLAGS IOPL3
        TESTV "IN: dword across to a set bit"
        in eax, 0x7d
        ENDT
        FLAGS IOPL3
        TESTV "OUTSB: bit set"
        mov si, 0
        mov dx, 0x80
        outsb
        ENDT
        FLAGS IOPL3
        TESTV "REP INSB: bit set"
        mov di, 0
        mov cx, 3
        mov dx, 0x80
        rep insb
        ENDT
        FLAGS IOPL3
        TESTV "REP INSB: nothing to do is not checked"
        mov di, 0
        mov cx, 0
        mov dx, 0x80
        rep insb
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- I/O at ring 3
ring3_io:
        TEST3 "ring 3 IN: bit clear"
        in al, 0x61
        mov al, 0
        ENDT
        TEST3 "ring 3 IN: bit set"
        in al, 0x80
        ENDT
        FLAGS IOPL3
        TEST3 "ring 3 IN: IOPL 3 does not look at the bitmap"
        in al, 0x80
        mov al, 0
        ENDT
        FLAGS 0x2002
        TEST3 "ring 3 IN: IOPL 2"
        in al, 0x80
        ENDT
        ; Two bytes are read: both must lie within the limit. Base 68h, port 3F8h: bytes E7h and E8h.
        MAP_BASE 0x68
        mov byte [tss + 0xe7], 0
        mov byte [tss + 0xe8], 0
        TSS_LIMIT 0xe7
        TEST3 "bitmap: second byte beyond the limit"
        mov dx, 0x3f9
        in al, dx
        ENDT
        TSS_LIMIT 0xe8
        TEST3 "bitmap: second byte at the limit"
        mov dx, 0x3f9
        in al, dx
        mov al, 0
        ENDT
        mov byte [tss + 0xe8], 1
        TEST3 "bitmap: dword across into a set bit"
        mov dx, 0x3fd
        in eax, dx
        ENDT
        TEST3 "bitmap: word at the end of a byte, next byte set"
        mov dx, 0x3ff
        in ax, dx
        ENDT
        TEST3 "bitmap: byte at the end of a byte, next byte set"
        mov dx, 0x3ff
        in al, dx
        mov al, 0
        ENDT
        MAP_BASE 0xffff
        TEST3 "bitmap: base beyond the limit"
        in al, 0x61
        ENDT
        MAP_BASE 0xe8
        TEST3 "bitmap: base at the limit"
        in al, 0
        ENDT
        TSS_LIMIT 0x67
        MAP_BASE 0x60
        TEST3 "bitmap inside the TSS of 104 bytes"
        in al, 0x10
        mov al, 0
        ENDT
        TSS_LIMIT 0x66
        TEST3 "bitmap: TSS without the whole base field"
        in al, 0x10
        ENDT
        ret
