; Segment limits and rights, selector checks, and instructions that look at descriptors (SDM vol 3, chapter 5).
%include "kernel32.inc"

A equ SLOT
B equ SLOT + 8
C equ SLOT + 16

main:
        ; --- limits
        DESC A, SCRATCH, 0xff, P | S_DATA, 0
        TEST "byte at the limit"
        mov ax, A
        mov fs, ax
        mov al, [fs:0xff]
        ENDT
        TEST "byte beyond the limit"
        mov ax, A
        mov fs, ax
        mov al, [fs:0x100]
        ENDT
        TEST "dword across the limit"
        mov ax, A
        mov fs, ax
        mov ecx, [fs:0xfd]
        ENDT
        TEST "write across the limit"
        mov ax, A
        mov fs, ax
        mov [fs:0xfe], ecx
        ENDT
        TEST "read-modify-write beyond the limit"
        mov ax, A
        mov fs, ax
        add dword [fs:0xfd], 1
        ENDT
        TEST "offset wraps to FFFFFFFF"
        mov ax, A
        mov fs, ax
        xor ebx, ebx
        mov al, [fs:ebx - 1]
        ENDT
        TEST "16-bit address wraps inside 64 KiB"
        DESC B, SCRATCH, 0xffff, P | S_DATA, 0
        mov byte [SCRATCH + 0x10], 0x5a
        mov ax, B
        mov fs, ax
        mov ebx, 0xfff0
        mov al, [fs:bx + 0x20]
        ENDT
        TEST "word at FFFF of a 64 KiB segment"
        mov ax, B
        mov fs, ax
        mov ax, [fs:0xffff]
        ENDT
        DESC A, SCRATCH, 1, P | S_DATA, G
        TEST "page granularity: last byte"
        mov ax, A
        mov fs, ax
        mov al, [fs:0x1fff]
        xor eax, eax
        ENDT
        TEST "page granularity: one beyond"
        mov ax, A
        mov fs, ax
        mov al, [fs:0x2000]
        ENDT

        ; --- expand-down
        DESC A, SCRATCH, 0xfff, P | S_DOWN, D
        TEST "expand-down: at the limit"
        mov ax, A
        mov fs, ax
        mov al, [fs:0xfff]
        ENDT
        TEST "expand-down: above the limit"
        mov ax, A
        mov fs, ax
        mov al, [fs:0x1000]
        mov al, 0
        ENDT
        TEST "expand-down: dword from the limit"
        mov ax, A
        mov fs, ax
        mov eax, [fs:0xffd]
        ENDT
        DESC A, SCRATCH, 0xfff, P | S_DOWN, 0
        TEST "expand-down 16-bit: at FFFF"
        mov ax, A
        mov fs, ax
        mov al, [fs:0xffff]
        mov al, 0
        ENDT
        TEST "expand-down 16-bit: beyond FFFF"
        mov ax, A
        mov fs, ax
        mov al, [fs:0x10000]
        ENDT
        TEST "expand-down 16-bit: word at FFFF"
        mov ax, A
        mov fs, ax
        mov ax, [fs:0xffff]
        ENDT
        DESC A, 0, 0xfffff, P | S_DOWN, G | D
        TEST "expand-down: nothing is inside"
        mov ax, A
        mov fs, ax
        mov al, [fs:0xffffffff]
        ENDT

        ; --- rights
        DESC A, SCRATCH, 0xffff, P | S_RODATA, 0
        TEST "write to read-only data"
        mov ax, A
        mov fs, ax
        mov byte [fs:0], 1
        ENDT
        TEST "read-modify-write of read-only data"
        mov ax, A
        mov fs, ax
        inc byte [fs:0]
        ENDT
        TEST "read of read-only data"
        mov ax, A
        mov fs, ax
        mov al, [fs:0]
        mov al, 0
        ENDT
        TEST "write through CS"
        mov byte [cs:SCRATCH], 1
        ENDT
        TEST "readable code in a data register"
        DESC A, SCRATCH, 0xffff, P | S_CODE, D
        mov ax, A
        mov gs, ax
        mov al, [gs:0]
        mov al, 0
        ENDT
        TEST "write to code"
        mov ax, A
        mov gs, ax
        mov [gs:0], al
        ENDT
        TEST "execute-only code in a data register"
        DESC A, SCRATCH, 0xffff, P | S_XCODE, D
        mov ax, A
        mov gs, ax
        ENDT
        TEST "read of execute-only CS"
        DESC A, 0, 0xfffff, P | S_XCODE, G | D
        jmp A:.execute_only
.execute_only:
        mov al, [cs:SCRATCH]
        ENDT
        TEST "data from a null FS"
        mov al, [fs:0]
        ENDT
        TEST "write to a null DS"
        xor eax, eax
        mov ds, ax
        mov [SCRATCH], al
        ENDT
        TEST "null selectors with any RPL"
        mov ax, 3
        mov fs, ax
        mov ax, 2
        mov gs, ax
        ENDT
        TEST3 "SS limit: push"
        DESC A, SCRATCH, 0xfff, P | DPL3 | S_DATA, D
        mov ax, A | 3
        mov ss, ax
        mov esp, 0x1004
        push eax
        ENDT
        TEST3 "SS limit: EBP-based read"
        mov ax, A | 3
        mov ss, ax
        mov esp, 0x1000
        mov ebp, 0x1000
        mov al, [ebp]
        ENDT
        TEST3 "SS limit: override"
        mov ax, A | 3
        mov ss, ax
        mov esp, 0x1000
        mov al, [ss:0x1000]
        ENDT
        TEST3 "SS limit: DS-based access through EBP with an override is #GP"
        DESC B, SCRATCH, 0xfff, P | DPL3 | S_DATA, D
        mov ax, B | 3
        mov fs, ax
        mov ebp, 0x1000
        mov al, [fs:ebp]
        ENDT
        TEST3 "SS limit: pop"
        mov ax, A | 3
        mov ss, ax
        mov esp, 0xffe
        pop eax
        ENDT
        TEST3 "16-bit stack wraps"
        DESC A, SCRATCH, 0xffff, P | DPL3 | S_DATA, 0
        mov ax, A | 3
        mov ss, ax
        mov esp, 0xdead0002
        push ax
        push ax
        push ax
        ENDT
        TEST3 "16-bit stack: dword push at 2 wraps to FFFE and faults"
        DESC A, SCRATCH, 0xffff, P | DPL3 | S_DATA, 0
        mov ax, A | 3
        mov ss, ax
        mov esp, 0xdead0002
        push eax
        ENDT

        ; --- loading segment registers
        TEST "selector beyond the GDT"
        mov ax, 0x100
        mov fs, ax
        ENDT
        TEST "selector in a null LDT"
        mov ax, 0x44
        mov fs, ax
        ENDT
        TEST "system descriptor in a data register"
        mov ax, TSS
        mov fs, ax
        ENDT
        TEST "data segment not present"
        DESC A, SCRATCH, 0xffff, S_DATA, 0
        mov ax, A | 1
        mov fs, ax
        ENDT
        TEST "failed load keeps the register"
        mov ax, DATA3
        mov gs, ax
        mov ax, A
        mov gs, ax
        ENDT
        TEST "RPL too large for the DPL"
        mov ax, DATA0 | 1
        mov fs, ax
        ENDT
        TEST "SS: null"
        xor eax, eax
        mov ss, ax
        ENDT
        TEST "SS: wrong RPL"
        mov ax, DATA0 | 3
        mov ss, ax
        ENDT
        TEST "SS: wrong DPL"
        mov ax, DATA3
        mov ss, ax
        ENDT
        TEST "SS: not present"
        DESC A, 0, 0xfffff, S_DATA, G | D
        mov ax, A
        mov ss, ax
        ENDT
        TEST "SS: read-only"
        DESC A, 0, 0xfffff, P | S_RODATA, G | D
        mov ax, A
        mov ss, ax
        ENDT
        TEST "SS: code"
        mov ax, CODE0
        mov ss, ax
        ENDT
        TEST "SS: read-only and not present: #GP first"
        DESC A, 0, 0xfffff, S_RODATA, G | D
        mov ax, A
        mov ss, ax
        ENDT
        TEST "MOV to CS"
        db 0x8e, 0xc8
        ENDT
        TEST "MOV to segment register 6"
        db 0x8e, 0xf0
        ENDT
        TEST "accessed bit of data"
        DESC A, SCRATCH, 0xffff, P | S_DATA, 0
        mov ax, A
        mov fs, ax
        movzx eax, byte [gdt + A + 5]
        ENDT
        TEST "accessed bit of code"
        DESC A, 0, 0xfffff, P | S_CODE, G | D
        jmp A:.accessed
.accessed:
        movzx eax, byte [gdt + A + 5]
        ENDT
        TEST3 "pop FS: limit of SS"
        DESC A, SCRATCH, 0xfff, P | DPL3 | S_DATA, D
        mov ax, A | 3
        mov ss, ax
        mov esp, 0xfff
        pop fs
        ENDT
        TEST "pop FS: faulting selector leaves ESP"
        push dword 0x100
        pop fs
        ENDT
        TEST "LDS: fault leaves register and DS"
        mov dword [SCRATCH], 0x12345678
        mov word [SCRATCH + 4], 0x100
        lds esi, [SCRATCH]
        ENDT
        TEST "LES: good"
        mov word [SCRATCH + 4], DATA3
        les edi, [SCRATCH]
        ENDT
        TEST "LSS: good, 16 bits"
        mov dword [SCRATCH], DATA0 << 16 | 0x1234
        mov esp, 0x00185678
        db 0x66
        lss esp, [SCRATCH]
        mov eax, esp
        mov esp, [t_kesp]
        ENDT

        ; --- ring 3
        TEST3 "ring 3: data of DPL 0"
        mov ax, DATA0
        mov fs, ax
        ENDT
        TEST3 "ring 3: data of DPL 3 with RPL 0"
        mov ax, 0x20
        mov fs, ax
        ENDT
        DESC A, 0, 0xfffff, P | S_CONF, G | D
        TEST3 "ring 3: conforming code of DPL 0 as data"
        mov ax, A
        mov fs, ax
        mov al, [fs:SCRATCH]
        mov al, 0
        ENDT
        TEST3 "ring 3: SS of RPL 0"
        mov ax, 0x20
        mov ss, ax
        ENDT
        TEST3 "ring 3: HLT"
        hlt
        ENDT
        TEST3 "ring 3: CLTS"
        clts
        ENDT
        TEST3 "ring 3: LGDT"
        lgdt [SCRATCH]
        ENDT
        TEST3 "ring 3: LIDT"
        lidt [SCRATCH]
        ENDT
        TEST3 "ring 3: LLDT"
        lldt ax
        ENDT
        TEST3 "ring 3: LTR"
        ltr ax
        ENDT
        TEST3 "ring 3: LMSW"
        lmsw ax
        ENDT
        TEST3 "ring 3: MOV from CR0"
        mov eax, cr0
        ENDT
        TEST3 "ring 3: MOV to CR3"
        mov cr3, eax
        ENDT
        TEST3 "ring 3: MOV to DR7"
        mov dr7, eax
        ENDT
        TEST3 "ring 3: INVLPG"
        invlpg [SCRATCH]
        ENDT
        TEST3 "ring 3: RDMSR"
        rdmsr
        ENDT
        TEST3 "ring 3: WBINVD"
        wbinvd
        ENDT
        TEST3 "ring 3: CLI"
        cli
        ENDT
        TEST3 "ring 3: STI"
        sti
        ENDT
        TEST3 "ring 3: SLDT and STR are allowed"
        sldt eax
        str ecx
        ENDT
        TEST3 "ring 3: SMSW is allowed"
        smsw ax
        and eax, 0xffff000f
        ENDT
        mov dword [t_flags], 0x3002
        TEST3 "ring 3 with IOPL 3: CLI and STI"
        sti
        cli
        ENDT
        TEST3 "ring 3: POPF cannot change IF nor IOPL"
        push dword 0x00003202
        popfd
        ENDT

        ; --- LAR, LSL, VERR, VERW, ARPL
        TEST "LAR of code, data, TSS"
        mov eax, CODE0
        lar ecx, ax
        mov eax, DATA3
        lar edx, ax
        mov eax, TSS
        lar ebx, ax
        ENDT
        TEST "LAR of null and beyond"
        xor eax, eax
        lar ecx, ax
        mov eax, 0x100
        lar edx, ax
        ENDT
        %assign kind 0
        %rep 16
        DESC A, 0x123456, 0xabcde, P | kind, G | D | 1
        TEST "LAR and LSL of a system type"
        mov eax, A
        lar ecx, ax
        mov esi, 0
        jnz $ + 3
        inc esi
        lsl edx, ax
        mov edi, 0
        jnz $ + 3
        inc edi
        ENDT
        %assign kind kind + 1
        %endrep
        TEST "LSL byte granular, 16-bit destination"
        DESC A, 0, 0x12345, P | S_DATA, 0
        mov eax, A
        lsl edx, ax
        lsl cx, ax
        ENDT
        TEST "LAR of a segment that is not present"
        DESC A, 0, 0x12345, S_DATA, 0
        mov eax, A
        lar edx, ax
        lsl ecx, ax
        ENDT
        TEST "VERR, VERW of a segment that is not present"
        mov eax, A
        verr ax
        setz cl
        verw ax
        setz dl
        mov ebx, 0
        ENDT
        TEST "VERR and VERW of code, data, system"
        DESC A, 0, 0x12345, P | S_XCODE, 0
        mov eax, A
        verr ax
        setz cl
        mov eax, CODE0
        verr ax
        setz ch
        verw ax
        setz dl
        mov eax, DATA0
        verw ax
        setz dh
        mov eax, TSS
        verr ax
        setz bl
        DESC A, 0, 0x12345, P | S_RODATA, 0
        mov eax, A
        verw ax
        setz bh
        ENDT
        TEST "VERR with RPL 3 of DPL 0"
        mov eax, DATA0 | 3
        verr ax
        setz cl
        ENDT
        DESC A, 0, 0x12345, P | S_CONF, 0
        TEST3 "ring 3: VERR, LAR, LSL"
        mov eax, DATA0
        verr ax
        setz cl
        lar edx, ax
        mov eax, A
        verr ax
        setz ch
        lar ebx, ax
        lsl esi, ax
        ENDT
        TEST "ARPL raises"
        mov eax, 0x40
        mov ecx, 3
        arpl ax, cx
        ENDT
        TEST "ARPL leaves"
        mov eax, 0x43
        mov ecx, 2
        arpl ax, cx
        ENDT
        TEST "ARPL to read-only memory that needs no change"
        DESC A, SCRATCH, 0xffff, P | S_RODATA, 0
        mov word [SCRATCH], 3
        mov ax, A
        mov fs, ax
        arpl [fs:0], cx
        ENDT

        ; --- tables
        TEST "SGDT, SIDT"
        sgdt [SCRATCH]
        movzx eax, word [SCRATCH]
        mov ecx, [SCRATCH + 2]
        sub ecx, gdt
        sidt [SCRATCH]
        movzx edx, word [SCRATCH]
        mov ebx, [SCRATCH + 2]
        sub ebx, idt
        ENDT
        TEST "SGDT with operand size 16"
        mov dword [SCRATCH + 4], -1
        o16 sgdt [SCRATCH]
        mov ecx, [SCRATCH + 2]
        sub ecx, gdt
        ENDT
        TEST "LIDT with operand size 16 takes 24 bits"
        mov word [SCRATCH], 0x7ff
        mov dword [SCRATCH + 2], 0xff000000 + idt
        o16 lidt [SCRATCH]
        sidt [SCRATCH + 8]
        lidt [idtr]
        mov eax, [SCRATCH + 10]
        sub eax, idt
        ENDT
        TEST "SGDT to read-only data"
        mov ax, A
        mov fs, ax
        sgdt [fs:0]
        ENDT
        TEST "LGDT of a register"
        db 0x0f, 0x01, 0xd2
        nop
        ENDT
        TEST "SMSW and LMSW"
        smsw eax
        lmsw ax
        mov ecx, cr0
        cmp eax, ecx
        mov ecx, 0
        mov eax, 0
        ENDT
        TEST "LMSW cannot clear PE"
        smsw ax
        and eax, ~1
        lmsw ax
        smsw ax
        and eax, 1
        ENDT
        TEST "LLDT: not an LDT"
        mov ax, DATA0
        lldt ax
        ENDT
        TEST "LLDT: not present"
        DESC A, SCRATCH, 0xff, 0x02, 0
        mov ax, A
        lldt ax
        ENDT
        TEST "LLDT: in the LDT"
        mov ax, A | 4
        lldt ax
        ENDT
        TEST "LDT selectors"
        DESC A, SCRATCH, 0x0f, P | 2, 0
        mov dword [SCRATCH + 8], 0x0000ffff
        mov dword [SCRATCH + 12], 0x00cf9200
        mov ax, A
        lldt ax
        mov ax, 0x0c
        mov fs, ax
        sldt cx
        mov edx, [SCRATCH + 12]
        mov ax, 0x14
        mov gs, ax
        ENDT
        xor eax, eax
        lldt ax
        TEST "LTR: null"
        xor eax, eax
        ltr ax
        ENDT
        TEST "LTR: busy"
        mov ax, TSS
        ltr ax
        ENDT
        TEST "LTR: not present"
        DESC A, SCRATCH, 0x67, 0x09, 0
        mov ax, A
        ltr ax
        ENDT
        TEST "LTR: data"
        mov ax, DATA0
        ltr ax
        ENDT
        TEST "LTR: good"
        DESC A, SCRATCH, 0x67, P | 9, 0
        mov ax, A
        ltr ax
        mov ecx, [gdt + A + 4]
        str dx
        ENDT
        and byte [gdt + TSS + 5], ~2
        mov ax, TSS
        ltr ax
        ret
