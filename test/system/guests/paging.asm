; 32-bit and PAE paging: page faults with their error codes, accessed and dirty bits, WP, PSE, PGE, SMEP, NX, and faults
; in the middle of instructions (SDM vol 3, chapter 4).
; bochs: model=corei7_ivy_bridge_3770k
%include "kernel32.inc"

A   equ SLOT
PD  equ 0x200000
PT0 equ 0x201000                ; 0 to 4 MiB, identity
PT1 equ 0x202000                ; the window
PDPT equ 0x210000
PAE_PD equ 0x211000             ; four of them
PAE_PT0 equ 0x215000            ; 0 to 2 MiB, identity
PAE_PT1 equ 0x216000            ; the window
W   equ 0x400000                ; the window in linear space
M   equ 0x300000                ; what it shows

PRESENT equ 1
RW equ 2
US equ 4
PCD equ 0x10
ACC equ 0x20
DIRTY equ 0x40
PS equ 0x80
GLOB equ 0x100
ALL equ PRESENT | RW | US

; PAGE n, flags: page n of the window shows page n of M.
%macro PAGE 2
        mov dword [PT1 + (%1) * 4], (M + (%1) * 0x1000) | (%2)
        invlpg [W + (%1) * 0x1000]
%endmacro
%macro SHOW_PTE 1
        SHOW "pte", dword [PT1 + (%1) * 4]
%endmacro
%macro CR0_SET 1
        mov eax, cr0
        or eax, %1
        mov cr0, eax
%endmacro
%macro CR0_CLEAR 1
        mov eax, cr0
        and eax, ~(%1)
        mov cr0, eax
%endmacro
%macro CR4_SET 1
        mov eax, cr4
        or eax, %1
        mov cr4, eax
%endmacro
%macro CR4_CLEAR 1
        mov eax, cr4
        and eax, ~(%1)
        mov cr4, eax
%endmacro
WP equ 0x10000
CR4_PSE equ 0x10
CR4_PAE equ 0x20
CR4_PGE equ 0x80
CR4_SMEP equ 0x100000

main:
        mov edi, PD
        mov ecx, 0x18000 / 4
        xor eax, eax
        rep stosd
        mov dword [PD], PT0 | ALL
        mov dword [PD + 4], PT1 | ALL
        mov edi, PT0
        mov eax, ALL
.identity:
        stosd
        add eax, 0x1000
        cmp edi, PT0 + 0x1000
        jb .identity
        mov eax, PD
        mov cr3, eax
        CR0_SET 0x80000000

        call rights
        call marks
        call middle
        call delivery
        call toggles
        call rings
        call large
        call smep
        call control
        CR0_CLEAR 0x80000000
        call pae
        ret

; ---------------------------------------------------------------------------------------------- error codes
rights:
        TEST "not present: read"
        mov al, [W + 0x123]
        ENDT
        TEST "not present: write"
        mov [W + 0x123], al
        ENDT
        TEST "not present: read-modify-write"
        inc byte [W + 0x123]
        ENDT
        TEST "not present: fetch"
        jmp W + 0x123
        ENDT
        TEST3 "ring 3 not present: read"
        mov al, [W + 0x123]
        ENDT
        TEST3 "ring 3 not present: write"
        mov [W + 0x123], al
        ENDT
        TEST3 "ring 3 not present: fetch"
        jmp W + 0x123
        ENDT
        TEST3 "ring 3 not present: CALL pushes nothing"
        call W + 0x123
        ENDT
        TEST "directory entry not present"
        mov al, [0x800000]
        ENDT
        PAGE 0, PRESENT | US
        TEST "read-only: ring 0 may write without WP"
        mov byte [W], 0x5a
        ENDT
        TEST3 "read-only: ring 3 write"
        mov byte [W], 0x5a
        ENDT
        TEST3 "read-only: ring 3 read"
        mov al, [W]
        ENDT
        CR0_SET WP
        TEST "read-only with WP: ring 0 write"
        mov byte [W], 0x5a
        ENDT
        TEST "read-only with WP: ring 0 read"
        mov al, [W]
        ENDT
        PAGE 0, PRESENT | RW
        TEST3 "supervisor page: ring 3 read"
        mov al, [W]
        ENDT
        TEST3 "supervisor page: ring 3 write"
        mov [W], al
        ENDT
        TEST3 "supervisor page: ring 3 fetch"
        jmp W
        ENDT
        PAGE 0, ALL
        mov dword [PD + 4], PT1 | PRESENT | US
        mov eax, cr3
        mov cr3, eax
        TEST "directory entry read-only with WP"
        mov [W], al
        ENDT
        TEST3 "directory entry read-only: ring 3"
        mov [W], al
        ENDT
        mov dword [PD + 4], PT1 | PRESENT | RW
        mov eax, cr3
        mov cr3, eax
        TEST3 "directory entry for the supervisor: ring 3"
        mov al, [W]
        ENDT
        mov dword [PD + 4], PT1 | ALL
        mov eax, cr3
        mov cr3, eax
        ; Implicit accesses are the supervisor's: an LDT in the window, with data of DPL 3 and data not yet accessed.
        PAGE 0, PRESENT | RW
        DESC A, W, 0xfff, P | 2, 0
        mov ax, A
        lldt ax
        mov dword [M + 8], 0x0000ffff
        mov dword [M + 8 + 4], 0x00cff300
        mov dword [M + 16], 0x0000ffff
        mov dword [M + 16 + 4], 0x00cff200
        TEST3 "segment load at ring 3 from an LDT in a supervisor page"
        mov ax, 8 | 7
        mov fs, ax
        ENDT
        TEST3 "accessed bit of an LDT descriptor in a supervisor page"
        mov ax, 16 | 7
        mov fs, ax
        ENDT
        SHOW "descriptor", dword [M + 16 + 4]
        PAGE 0, 0
        TEST3 "segment load at ring 3 from an LDT that is not present"
        mov ax, 8 | 7
        mov fs, ax
        ENDT
        TEST3 "LAR at ring 3 from an LDT that is not present"
        mov ax, 8 | 7
        lar ecx, ax
        ENDT
        mov byte [M + 16 + 5], 0xf2
        PAGE 0, PRESENT
        TEST "accessed bit of a descriptor in a read-only page, WP"
        mov ax, 16 | 4
        mov fs, ax
        ENDT
        TEST3 "accessed bit of a descriptor in a read-only page, WP, ring 3"
        mov ax, 16 | 7
        mov fs, ax
        ENDT
        CR0_CLEAR WP
        TEST "accessed bit of a descriptor in a read-only page, no WP"
        mov ax, 16 | 4
        mov fs, ax
        ENDT
        SHOW "descriptor", dword [M + 16 + 4]
        xor eax, eax
        lldt ax
        ret

; ---------------------------------------------------------------------------------------------- accessed and dirty
marks:
        PAGE 0, ALL
        TEST "accessed after a read"
        mov al, [W]
        ENDT
        SHOW_PTE 0
        TEST "dirty after a write"
        mov [W], al
        ENDT
        SHOW_PTE 0
        PAGE 0, ALL
        TEST "dirty after CMPXCHG that does not match"
        mov dword [M], 1
        cmpxchg [W], ecx
        ENDT
        SHOW_PTE 0
        PAGE 0, ALL
        mov byte [M], 0xc3
        TEST "accessed after a fetch"
        mov eax, W
        call eax
        ENDT
        SHOW_PTE 0
        PAGE 0, PRESENT | US
        TEST3 "a write that faults leaves D"
        mov [W], al
        ENDT
        mov eax, [PT1]
        and eax, DIRTY
        SHOW "dirty", eax
        PAGE 0, ALL
        TEST "VERW and LEA touch nothing"
        lea eax, [W]
        mov ax, DATA0
        verw ax
        ENDT
        SHOW_PTE 0
        PAGE 0, ALL
        PAGE 1, ALL
        TEST "a write across two pages: both dirty"
        mov [W + 0xffe], ecx
        ENDT
        SHOW_PTE 0
        SHOW_PTE 1
        SHOW "memory", dword [M + 0xffe]
        PAGE 0, ALL
        TEST "remapping is seen after INVLPG"
        mov byte [W], 0x11
        mov byte [M + 0x1000], 0x22
        mov dword [PT1], (M + 0x1000) | ALL
        invlpg [W + 0x7ff]
        movzx eax, byte [W]
        ENDT
        PAGE 0, ALL
        TEST "remapping is seen after a CR3 load"
        mov byte [W], 0x11
        mov dword [PT1], (M + 0x1000) | ALL
        mov ecx, cr3
        mov cr3, ecx
        movzx eax, byte [W]
        mov ecx, 0
        ENDT
        PAGE 0, ALL
        TEST "rights taken away are seen after INVLPG"
        mov byte [W], 0x11
        mov dword [PT1], 0
        invlpg [W]
        mov al, [W]
        ENDT
        CR4_SET CR4_PGE
        PAGE 0, ALL | GLOB
        TEST "INVLPG drops a global translation"
        mov byte [W], 0x11
        mov dword [PT1], (M + 0x1000) | ALL
        invlpg [W]
        movzx eax, byte [W]
        ENDT
        PAGE 0, ALL | GLOB
        TEST "a change of CR4.PGE drops global translations"
        mov byte [W], 0x11
        mov dword [PT1], (M + 0x1000) | ALL
        mov eax, cr4
        xor eax, CR4_PGE
        mov cr4, eax
        xor eax, CR4_PGE
        mov cr4, eax
        movzx eax, byte [W]
        ENDT
        CR4_CLEAR CR4_PGE
        ret

; ---------------------------------------------------------------------------------------------- inside instructions
middle:
        CR0_SET WP
        PAGE 0, ALL
        PAGE 1, 0
        TEST "dword read across into a missing page"
        mov ecx, [W + 0xffd]
        ENDT
        TEST "dword write across into a missing page"
        mov dword [W + 0xffd], 0x12345678
        ENDT
        SHOW "memory", dword [M + 0xffc]
        TEST "dword read-modify-write across into a missing page"
        add dword [W + 0xffd], 1
        ENDT
        PAGE 1, PRESENT | US
        TEST "dword write across into a read-only page"
        mov dword [W + 0xffd], 0x12345678
        ENDT
        SHOW "memory", dword [M + 0xffc]
        fninit
        TEST "8 bytes across, second page read-only"
        fld1
        fstp qword [W + 0xffc]
        ENDT
        fninit
        PAGE 0, 0
        TEST "both pages missing: the first is reported"
        PAGE 1, 0
        mov eax, [W + 0xffe]
        ENDT
        PAGE 0, ALL
        TEST "REP STOSB runs into a missing page"
        mov edi, W + 0xffc
        mov ecx, 8
        rep stosb
        ENDT
        TEST "REP STOSD across into a missing page"
        mov edi, W + 0xffa
        mov ecx, 8
        rep stosd
        ENDT
        TEST "REP MOVSD from a missing page"
        mov esi, W + 0xff8
        mov edi, SCRATCH
        mov ecx, 8
        rep movsd
        ENDT
        TEST "REP MOVSW backwards"
        mov esi, SCRATCH + 0x10
        mov edi, W + 0x1004
        mov ecx, 8
        std
        rep movsw
        ENDT
        TEST "REP LODSD"
        mov esi, W + 0xff0
        mov ecx, 8
        rep lodsd
        ENDT
        TEST "REPE CMPSB"
        mov dword [M + 0xffc], 0
        mov dword [SCRATCH], 0
        mov dword [SCRATCH + 4], 0
        mov esi, W + 0xffc
        mov edi, SCRATCH
        mov ecx, 8
        cmp eax, eax
        repe cmpsb
        ENDT
        TEST "REPNE SCASB"
        mov edi, W + 0xffc
        mov ecx, 8
        mov al, 1
        repne scasb
        ENDT
        TEST "REP INSB: destination missing"
        mov edi, W + 0x1000
        mov ecx, 4
        mov dx, 0x61
        rep insb
        ENDT
        TEST "MOVS: source first when both are missing"
        mov esi, W + 0x1000
        mov edi, W + 0x2000
        movsb
        ENDT
        TEST "CMPS: both missing"
        mov esi, W + 0x1000
        mov edi, W + 0x2000
        cmpsb
        ENDT
        TEST3 "PUSH to a missing page"
        mov esp, W + 0x2000
        push eax
        ENDT
        TEST3 "PUSHAD across into a missing page"
        mov esp, W + 0x1010
        pushad
        ENDT
        TEST3 "POPAD from a missing page"
        mov esp, W + 0xff0
        popad
        ENDT
        TEST3 "ENTER into a missing page"
        mov esp, W + 0x2000
        enter 16, 0
        ENDT
        TEST3 "ENTER: frame allocation in a missing page"
        mov esp, W + 0x204
        enter 0x300, 0
        ENDT
        TEST3 "ENTER: display from a missing page"
        mov esp, W + 0x800
        mov ebp, W + 0x1800
        enter 4, 2
        ENDT
        TEST3 "LEAVE from a missing page"
        mov ebp, W + 0x1800
        leave
        ENDT
        TEST3 "POP to a missing page leaves ESP"
        mov esp, W + 0x800
        pop dword [W + 0x1000]
        ENDT
        TEST3 "RET from a missing page"
        mov esp, W + 0x1000
        ret
        ENDT
        TEST3 "CALL: stack missing"
        mov esp, W + 0x2000
        call $ + 10
        ENDT
        TEST3 "RETF across a page"
        mov esp, W + 0xffc
        retf
        ENDT
        TEST3 "IRETD across a page"
        mov esp, W + 0xff8
        iretd
        ENDT
        TEST "POP segment from a missing page"
        mov ecx, esp
        mov esp, W + 0x1000
        mov eax, esp
        mov esp, ecx
        push dword [W + 0x1000]
        ENDT
        TEST "XCHG with a read-only page"
        PAGE 1, PRESENT | US
        xchg eax, [W + 0x1000]
        ENDT
        TEST "CMPXCHG with a read-only page that does not match"
        cmpxchg [W + 0x1000], ecx
        ENDT
        TEST "CMPXCHG8B with a read-only page"
        cmpxchg8b [W + 0x1000]
        ENDT
        TEST "BTS with a bit offset into a missing page"
        PAGE 1, 0
        mov ecx, 0x8000
        bts [W], ecx
        ENDT
        TEST "SGDT across into a missing page"
        sgdt [W + 0xffc]
        ENDT
        CR4_SET 0x200
        TEST "FXSAVE across into a missing page"
        fxsave [W + 0xf00]
        ENDT
        CR4_CLEAR 0x200
        TEST "BOUND across a page"
        bound eax, [W + 0xffc]
        ENDT
        TEST "LDS across a page"
        lds eax, [W + 0xffc]
        ENDT
        TEST "JMP far from a missing page"
        jmp far [W + 0xffe]
        ENDT
        ; Code.
        mov dword [M + 0xffc], 0x90909090
        TEST "running into a missing page"
        jmp W + 0xffc
        ENDT
        mov dword [M + 0xffc], 0x00b84090       ; nop; inc eax; mov eax, ...
        TEST "an instruction across into a missing page"
        jmp W + 0xffc
        ENDT
        mov dword [M + 0xffc], 0xf3662e90       ; nop; prefixes
        TEST "prefixes at the end of a page"
        jmp W + 0xffc
        ENDT
        mov dword [M + 0xffc], 0xc3909090
        TEST "the last instruction ends with the page"
        mov eax, W + 0xffc
        call eax
        ENDT
        mov dword [M + 0xffc], 0x0b0f9090
        TEST "#UD at the end of a page"
        jmp W + 0xffc
        ENDT
        PAGE 1, ALL
        mov dword [M + 0xffc], 0x00b84090
        mov dword [M + 0x1000], 0xc3000012
        TEST "an instruction across two pages"
        mov eax, W + 0xffc
        call eax
        ENDT
        SHOW_PTE 1
        mov dword [PT1 + 4], (M + 0x3000) | ALL
        mov dword [M + 0x3000], 0xc3000034
        invlpg [W + 0x1000]
        TEST "an instruction across two pages, the second remapped"
        mov eax, W + 0xffc
        call eax
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- faults in a delivery
delivery:
        ; An IDT whose entries 0 to 8 lie in page 2 and the others in page 3 of the window.
.idt    equ W + 0x3000 - 9 * 8
        PAGE 2, ALL
        PAGE 3, ALL
        mov esi, idt
        mov edi, .idt
        mov ecx, 256 * 2
        rep movsd
        PAGE 3, PRESENT | RW
        lidt [.table]
        TEST3 "IDT in a supervisor page"
        mov ax, 0x108
        mov fs, ax
        ENDT
        PAGE 3, 0
        TEST "page fault, IDT entry missing: double fault"
        mov al, [W + 0x1fffff]
        ENDT
        TEST "#GP, IDT entry missing: page fault, its entry missing: double fault"
        mov ax, 0x108
        mov fs, ax
        ENDT
        TEST "INT n, IDT entry missing: page fault, its entry missing: double fault"
        int 0x60
        ENDT
        lidt [idtr]
        ; Entries 0 to 13 missing, 14 and up present.
.idt2   equ W + 0x3000 - 14 * 8
        PAGE 3, ALL
        mov esi, idt
        mov edi, .idt2
        mov ecx, 256 * 2
        rep movsd
        PAGE 2, 0
        lidt [.table2]
        TEST "#UD, IDT entry missing: page fault"
        ud2
        ENDT
        TEST "#GP, IDT entry missing: page fault"
        mov ax, 0x108
        mov fs, ax
        ENDT
        TEST3 "ring 3 #GP, IDT entry missing: a supervisor's page fault"
        mov ax, 0x108
        mov fs, ax
        ENDT
        TEST3 "ring 3 INT3, IDT entry missing"
        int3
        ENDT
        lidt [idtr]
        PAGE 2, ALL
        ; Inner stack missing: the frame of a call from ring 3 goes to page 4.
        PAGE 4, 0
        DESC A, 0, 0xfffff, P | DPL1 | S_CODE, G | D
        DESC A + 8, 0, 0xfffff, P | DPL1 | S_DATA, G | D
        mov dword [tss + 12], W + 0x5000
        mov dword [tss + 16], (A + 8) | 1
        GATE_AT idt + 0x60 * 8, A | 1, stubs, P | DPL3 | 0x0e, 0
        TEST3 "INT n: inner stack missing"
        int 0x60
        ENDT
        GATE A + 16, A | 1, stubs, P | DPL3 | 0x0c, 0
        TEST3 "call gate: inner stack missing"
        call A + 16:0
        ENDT
        ; The stack of ring 1 must be writable by the supervisor only.
        PAGE 4, PRESENT | RW
        GATE_AT idt + 0x60 * 8, A | 1, .ring1, P | DPL3 | 0x0e, 0
        TEST3 "INT n: inner stack in a supervisor page"
        int 0x60
.ring1: mov eax, [esp + 4]
        ENDT
        ; A TSS that ends in page 4, its bitmap in page 5.
.tss    equ W + 0x5000 - 104
        PAGE 4, PRESENT | RW
        PAGE 5, 0
        mov esi, tss
        mov edi, .tss
        mov ecx, 26
        rep movsd
        mov word [.tss + 102], 104
        DESC A + 24, .tss, 0x200, P | 9, 0
        mov ax, A + 24
        ltr ax
        TEST3 "IN at ring 3: bitmap missing"
        in al, 0x61
        ENDT
        PAGE 5, PRESENT | RW
        TEST3 "IN at ring 3: bitmap in a supervisor page"
        in al, 0x61
        mov al, 0
        ENDT
        and byte [gdt + TSS + 5], ~2
        mov ax, TSS
        ltr ax
        ret
.table: dw 0x7ff
        dd .idt
.table2:
        dw 0x7ff
        dd .idt2

; ---------------------------------------------------------------------------------------------- changes of mode
toggles:
        CR0_CLEAR WP
        PAGE 0, PRESENT | US
        TEST "WP set after a write without it"
        mov byte [W], 1
        mov eax, cr0
        or eax, WP
        mov cr0, eax
        mov byte [W], 2
        ENDT
        CR0_CLEAR WP
        PAGE 0, PRESENT | RW
        GATE_AT idt + 0x62 * 8, CODE0, .reader, P | DPL3 | 0x0e, 0
        jmp .read
.reader:
        mov al, [W]
        iretd
.read:
        TEST3 "a supervisor page that ring 0 has just read"
        int 0x62
        mov al, [W]
        ENDT
        PAGE 0, ALL
        TEST "D is set by the write after a read"
        mov al, [W]
        mov ecx, [PT1]
        mov [W], al
        mov edx, [PT1]
        ENDT
        PAGE 0, ALL
        TEST "A and D are set again after they were cleared"
        mov byte [W], 0x5a
        mov dword [PT1], M | ALL
        invlpg [W]
        mov byte [W], 0x5a
        mov ecx, [PT1]
        ENDT
        PAGE 0, ALL
        TEST "A of the directory entry"
        and dword [PD + 4], ~(ACC | DIRTY)
        mov eax, cr3
        mov cr3, eax
        mov byte [W], 0x5a
        mov ecx, [PD + 4]
        ENDT
        PAGE 0, ALL
        TEST "paging off and on again"
        mov byte [W], 0x5a
        mov dword [PT1], (M + 0x1000) | ALL
        mov byte [M + 0x1000], 0xa5
        mov eax, cr0
        and eax, ~0x80000000
        mov cr0, eax
        or eax, 0x80000000
        mov cr0, eax
        movzx eax, byte [W]
        ENDT
        TEST "page tables through a page: a change is seen after INVLPG"
        mov dword [PT1 + 7 * 4], PT1 | ALL
        mov dword [W + 0x7000 + 8 * 4], (M + 0x2000) | ALL
        invlpg [W + 0x8000]
        mov dword [M + 0x2000], 0x77777777
        mov eax, [W + 0x8000]
        mov ecx, [PT1 + 7 * 4]
        ENDT
        ret

; Rings 1 and 2 are the supervisor's.
rings:
        DESC A, 0, 0xfffff, P | DPL1 | S_CODE, G | D
        DESC A + 8, 0, 0xfffff, P | DPL1 | S_DATA, G | D
        DESC A + 16, 0, 0xfffff, P | DPL2 | S_CODE, G | D
        DESC A + 24, 0, 0xfffff, P | DPL2 | S_DATA, G | D
        CR0_SET WP
        PAGE 0, PRESENT | RW
        PAGE 1, PRESENT
        %assign ring 1
        %rep 2
        TEST "rings 1 and 2: a supervisor page"
        push dword ((A + 16 * ring - 8) | ring)
        push dword T1STACK
        push dword ((A + 16 * ring - 16) | ring)
        push dword .inside %+ ring
        retf
.inside %+ ring:
        mov byte [ss:W], 1
        mov al, [ss:W]
        mov [ss:W + 0x1000], al
        ENDT
        TEST "rings 1 and 2: HLT"
        push dword ((A + 16 * ring - 8) | ring)
        push dword T1STACK
        push dword ((A + 16 * ring - 16) | ring)
        push dword .hlt %+ ring
        retf
.hlt %+ ring:
        hlt
        ENDT
        %assign ring ring + 1
        %endrep
        mov dword [t_flags], 0x1002
        TEST "ring 1, IOPL 1: CLI and IN"
        push dword (A + 8) | 1
        push dword T1STACK
        push dword A | 1
        push dword .io
        retf
.io:    cli
        in al, 0x21
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- 4 MiB pages
large:
        mov dword [PD + 8], ALL | PS
        mov byte [0x1234], 0x77
        TEST "PS without CR4.PSE: an ordinary table at 0"
        mov al, [0x800000]
        ENDT
        CR4_SET CR4_PSE
        TEST "4 MiB page"
        movzx eax, byte [0x800000 + 0x1234]
        mov [0x800000 + SCRATCH], al
        ENDT
        SHOW "pde", dword [PD + 8]
        mov dword [PD + 8], ALL | PS | 0x200000
        mov eax, cr3
        mov cr3, eax
        TEST "4 MiB page: reserved bit 21"
        mov al, [0x800000]
        ENDT
        TEST3 "4 MiB page: reserved bit 21, ring 3 write"
        mov [0x800000], al
        ENDT
        mov dword [PD + 8], PRESENT | PS
        mov eax, cr3
        mov cr3, eax
        TEST3 "4 MiB page of the supervisor"
        mov al, [0x800000]
        ENDT
        CR0_SET WP
        TEST "4 MiB page, read-only"
        mov [0x800000], al
        ENDT
        mov dword [PD + 8], ALL | PS
        mov eax, cr3
        mov cr3, eax
        TEST "4 MiB page dropped by INVLPG of any address"
        movzx eax, byte [0x801234]
        movzx ecx, byte [0x901234]
        mov dword [PD + 8], 0
        invlpg [0xbff000]
        movzx eax, byte [0x801234]
        ENDT
        ret

smep:
        ; The kernel moves to supervisor pages.
        mov edi, PT0 + 0x100 * 4
        mov ecx, 0x20
.own:   and byte [edi], ~US
        add edi, 4
        loop .own
        mov eax, cr3
        mov cr3, eax
        CR4_SET CR4_SMEP
        PAGE 0, ALL
        mov dword [M], 0xc3c3c3c3
        TEST "SMEP: fetch from a user page"
        mov eax, W
        call eax
        ENDT
        TEST "SMEP: read of a user page"
        mov al, [W]
        ENDT
        PAGE 0, 0
        TEST "SMEP: fetch from a missing page"
        jmp W
        ENDT
        PAGE 0, PRESENT
        TEST "SMEP: fetch from a supervisor page"
        mov eax, W
        call eax
        ENDT
        CR4_CLEAR CR4_SMEP
        mov edi, PT0 + 0x100 * 4
        mov ecx, 0x20
.user:  or byte [edi], US
        add edi, 4
        loop .user
        mov eax, cr3
        mov cr3, eax
        ret

; ---------------------------------------------------------------------------------------------- control registers
control:
        TEST "CR0: PG without PE"
        mov eax, cr0
        and eax, ~1
        mov cr0, eax
        ENDT
        TEST "CR0: NW without CD"
        mov eax, cr0
        or eax, 0x20000000
        and eax, ~0x40000000
        mov cr0, eax
        ENDT
        TEST "CR4: reserved bit"
        mov eax, cr4
        or eax, 0x80000000
        mov cr4, eax
        ENDT
        TEST "CR1"
        db 0x0f, 0x20, 0xc8
        ENDT
        TEST "CR5"
        db 0x0f, 0x22, 0xe8
        ENDT
        TEST "CR2 holds what is written"
        mov eax, 0x12345678
        mov cr2, eax
        mov ecx, cr2
        ENDT
        TEST "MOV CR ignores ModRM.mod"
        mov eax, 0x87654321
        mov cr2, eax
        db 0x0f, 0x20, 0x11                     ; mod 0: mov ecx, cr2
        ENDT
        TEST "CR0.ET cannot be cleared"
        mov eax, cr0
        and eax, ~0x10
        mov cr0, eax
        mov ecx, cr0
        and ecx, 0x10
        mov eax, 0
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- PAE
%macro PAE_PAGE 3
        mov dword [PAE_PT1 + (%1) * 8], (M + (%1) * 0x1000) | (%2)
        mov dword [PAE_PT1 + (%1) * 8 + 4], %3
        invlpg [W + (%1) * 0x1000]
%endmacro
NX equ 0x80000000

pae:
        mov dword [PDPT], PAE_PD | PRESENT
        mov dword [PDPT + 4], 0
        mov dword [PDPT + 8], (PAE_PD + 0x1000) | PRESENT
        mov dword [PAE_PD], PAE_PT0 | ALL
        mov dword [PAE_PD + 8], 0x200000 | ALL | PS
        mov dword [PAE_PD + 16], PAE_PT1 | ALL
        mov edi, PAE_PT0
        mov eax, ALL
.identity:
        stosd
        mov dword [edi], 0
        add edi, 4
        add eax, 0x1000
        cmp edi, PAE_PT0 + 0x1000
        jb .identity
        mov ecx, 0xc0000080
        xor eax, eax
        xor edx, edx
        wrmsr
        CR4_CLEAR CR4_PSE
        CR4_SET CR4_PAE
        mov eax, PDPT
        mov cr3, eax
        CR0_SET 0x80000000 | WP

        TEST "PAE: not present"
        mov al, [W]
        ENDT
        TEST "PAE: no directory pointer"
        mov al, [0x80000000]
        ENDT
        TEST "PAE: directory entry not present"
        mov al, [0x40000000]
        ENDT
        PAE_PAGE 0, ALL, 0
        TEST "PAE: good"
        mov byte [W], 0x12
        movzx eax, byte [M]
        ENDT
        SHOW "pte", dword [PAE_PT1]
        PAE_PAGE 0, PRESENT | US, 0
        TEST "PAE: read-only"
        mov byte [W], 0x12
        ENDT
        TEST3 "PAE: read-only, ring 3"
        mov byte [W], 0x12
        ENDT
        PAE_PAGE 0, ALL, 1 << 19
        TEST "PAE: reserved bit 51"
        mov al, [W]
        ENDT
        TEST3 "PAE: reserved bit 51, ring 3 write"
        mov [W], al
        ENDT
        PAE_PAGE 0, ALL, 1 << 30
        TEST "PAE: bit 62 is reserved"
        mov al, [W]
        ENDT
        PAE_PAGE 0, ALL, NX
        TEST "PAE: bit 63 is reserved without EFER.NXE"
        mov al, [W]
        ENDT
        TEST "PAE: fetch through bit 63 without EFER.NXE"
        jmp W
        ENDT
        mov ecx, 0xc0000080
        mov eax, 0x800
        xor edx, edx
        wrmsr
        mov byte [M], 0xc3
        TEST "NX: read"
        mov al, [W]
        ENDT
        TEST "NX: fetch"
        jmp W
        ENDT
        TEST3 "NX: fetch at ring 3"
        jmp W
        ENDT
        PAE_PAGE 1, 0, 0
        TEST "NXE: fetch from a missing page"
        jmp W + 0x1000
        ENDT
        TEST3 "NXE: fetch from a missing page at ring 3"
        jmp W + 0x1000
        ENDT
        PAE_PAGE 0, ALL, 0
        mov dword [M + 0xffc], 0xb8909090
        PAE_PAGE 1, ALL, NX
        TEST "NX: an instruction across into an NX page"
        jmp W + 0xffc
        ENDT
        mov dword [PAE_PD + 16 + 4], NX
        mov eax, cr3
        mov cr3, eax
        TEST "NX in the directory entry"
        jmp W
        ENDT
        mov dword [PAE_PD + 16 + 4], 0
        mov dword [PAE_PD + 24], 0x200000 | ALL | PS
        mov dword [PAE_PD + 24 + 4], 0
        mov eax, cr3
        mov cr3, eax
        TEST "PAE: 2 MiB page"
        mov dword [M], 0x01020304
        mov eax, [0x600000 + (M - 0x200000)]
        ENDT
        mov dword [PAE_PD + 24], 0x200000 | ALL | PS | 0x2000
        mov eax, cr3
        mov cr3, eax
        TEST "PAE: 2 MiB page, reserved bit 13"
        mov eax, [0x600000]
        ENDT
        mov dword [PAE_PD + 24], 0x200000 | ALL | PS
        mov dword [PAE_PD + 24 + 4], NX
        mov eax, cr3
        mov cr3, eax
        TEST3 "PAE: 2 MiB page, NX"
        jmp 0x600000 + (M - 0x200000)
        ENDT
        mov dword [PDPT + 16], PAE_PD | PRESENT | RW
        TEST "PAE: CR3 load with a reserved bit in a directory pointer"
        mov eax, cr3
        mov cr3, eax
        ENDT
        mov dword [PDPT + 16], PAE_PD | 2
        TEST "PAE: the same bit where P is 0"
        mov eax, cr3
        mov cr3, eax
        ENDT
        mov dword [PDPT + 16], 0
        TEST "PAE: CR3 is 32-byte aligned"
        mov dword [PDPT + 0x20], PAE_PD | PRESENT
        mov dword [PDPT + 0x24], 0
        mov eax, PDPT + 0x20
        mov cr3, eax
        mov ecx, cr3
        mov eax, PDPT
        mov cr3, eax
        ENDT
        CR0_CLEAR 0x80000000
        CR4_CLEAR CR4_PAE
        ret
