; Long mode: entering and leaving it, canonical addresses, segments, paging, and what 64-bit mode has not
; (SDM vol 3, chapters 3.2.4, 4.5, 9.8.5).
%include "kernel64.inc"

A equ SLOT
B equ SLOT + 0x10

; ---------------------------------------------------------------------------------------------- the way in, 32 bits
bits 32
; EARLY name: the next faults are counted by a little handler of their own.
%macro EARLY 1
        [section .rodata]
%%text: db %1, ": ", 0
        __SECT__
        mov esi, %%text
        call early_text
        mov dword [early_resume], %%end
        mov [early_esp], esp
%push early
%define %$end %%end
%endmacro
%macro ENDE 0
        mov esi, early_ok
        call early_text
%$end:
%pop
%endmacro

section .rodata
early_ok db "ok", 10, 0
early_gp db "#GP", 10, 0
section .data
early_resume dd 0
early_esp dd 0
early_idt: times 13 dq 0
early_idt13: dq 0
early_idtr: dw 14 * 8 - 1
        dd early_idt
section .text

early_text:
        lodsb
        test al, al
        jz .end
        out 0xe9, al
        jmp early_text
.end:   ret

early_handler:
        mov esi, early_gp
        call early_text
        mov esp, [early_esp]
        jmp [early_resume]

early:
        mov eax, early_handler
        mov [early_idt13], ax
        mov word [early_idt13 + 2], CODE32_0
        mov word [early_idt13 + 4], 0x8e00
        shr eax, 16
        mov [early_idt13 + 6], ax
        lidt [early_idtr]
        mov eax, PML4
        mov cr3, eax

        EARLY "EFER: reserved bit"
        mov ecx, EFER
        mov eax, 2
        xor edx, edx
        wrmsr
        ENDE
        EARLY "EFER: reserved high bit"
        mov ecx, EFER
        xor eax, eax
        mov edx, 1
        wrmsr
        ENDE
        EARLY "EFER.LMA cannot be written"
        mov ecx, EFER
        mov eax, 0x400
        xor edx, edx
        wrmsr
        ENDE
        mov ecx, EFER
        mov eax, 0x100
        xor edx, edx
        wrmsr
        EARLY "paging with LME and without PAE"
        mov eax, 0x80000011
        mov cr0, eax
        ENDE
        mov eax, 0x20
        mov cr4, eax
        ; Into compatibility mode and out again.
        EARLY "compatibility mode, ring 0"
        mov eax, 0x80000011
        mov cr0, eax
        mov ecx, EFER
        rdmsr
        bt eax, 10
        jnc $
        ENDE
        lidt [early_none]
        ; From here an exception would need a 64-bit handler.
        mov eax, 0x11
        mov cr0, eax
        mov ecx, EFER
        rdmsr
        bt eax, 10
        jc $
        lidt [early_idtr]
        EARLY "out of compatibility mode"
        ENDE
        xor eax, eax
        mov cr4, eax
        ret
early_none: dw 0
        dd 0
bits 64

; ----------------------------------------------------------------------------------------------
main:
        call modes
        call canonical
        call segments
        call missing
        call paging
        call registers
        call stack
        call io
        ret

modes:
        TEST "64-bit mode: paging cannot be turned off"
        mov rax, cr0
        btr rax, 31
        mov cr0, rax
        ENDT
        TEST "PAE cannot be turned off"
        mov rax, cr4
        btr rax, 5
        mov cr4, rax
        ENDT
        TEST "LME cannot change with paging"
        mov ecx, EFER
        rdmsr
        btr eax, 8
        wrmsr
        ENDT
        TEST "LMA is ignored by WRMSR"
        mov ecx, EFER
        rdmsr
        btr eax, 10
        wrmsr
        rdmsr
        ENDT
        TEST "CR0: high half"
        mov rax, cr0
        bts rax, 32
        mov cr0, rax
        ENDT
        TEST "CR4: high half"
        mov rax, cr4
        bts rax, 32
        mov cr4, rax
        ENDT
        TEST "CR3: reserved high bit"
        mov rax, cr3
        bts rax, 52
        mov cr3, rax
        ENDT
        TEST "CR2: 64 bits"
        mov rax, 0x123456789abcdef0
        mov cr2, rax
        mov rcx, cr2
        ENDT
        TEST "DR6: high half"
        mov rax, 0x100000000
        mov dr6, rax
        ENDT
        TEST "DR7: high half"
        mov rax, 0x100000000
        mov dr7, rax
        ENDT
        TEST "DR0: 64 bits"
        mov rax, 0x123456789abcdef0
        mov dr0, rax
        mov rcx, dr0
        ENDT
        TEST "DR0: operand size prefix is ignored"
        mov rax, 0x123456789abcdef0
        db 0x66
        mov dr0, rax
        mov rcx, dr0
        ENDT
        TEST "CR8"
        mov eax, 5
        mov cr8, rax
        mov rcx, cr8
        xor eax, eax
        mov cr8, rax
        ENDT
        TEST "CR8: reserved bit"
        mov eax, 0x10
        mov cr8, rax
        ENDT
        TEST "CR9"
        db 0x44, 0x0f, 0x20, 0xc8
        ENDT
        TEST "DR8"
        db 0x44, 0x0f, 0x21, 0xc0
        ENDT
        DESC A, 0, 0xfffff, P | S_CODE, G | L | D
        TEST "L and D together"
        jmp far dword [abs .far]
.far:   dd .there
        dw A
.there: ENDT
        TEST "32-bit code at ring 0 and back"
        jmp far dword [abs .down]
.down:  dd .compat
        dw CODE32_0
bits 32
.compat:
        mov eax, cs
        jmp CODE0:.up
bits 64
.up:    mov ecx, cs
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- canonical addresses
canonical:
        TEST "read beyond the lower half"
        mov rax, LOW_TOP + 1
        mov cl, [rax]
        ENDT
        TEST "write beyond the lower half"
        mov rax, LOW_TOP + 1
        mov [rax], cl
        ENDT
        TEST "read below the upper half"
        mov rax, HIGH - 1
        mov cl, [rax]
        ENDT
        TEST "read at the end of the lower half"
        mov byte [abs 0xdfffff], 0x5a
        mov rax, LOW_TOP
        movzx ecx, byte [rax]
        ENDT
        TEST "read at the start of the upper half"
        mov byte [abs 0x1234], 0xa5
        mov rax, HIGH + 0x1234
        movzx ecx, byte [rax]
        ENDT
        TEST "dword across the end of the lower half"
        mov rax, LOW_TOP - 2
        mov ecx, [rax]
        ENDT
        TEST "dword write across the end of the lower half"
        mov rax, LOW_TOP - 2
        mov [rax], ecx
        ENDT
        TEST "the last bytes of the space"
        mov rax, -4
        mov dword [abs 0xdffffc], 0x12345678
        mov ecx, [rax]
        ENDT
        TEST "across the end of the space"
        mov rax, -2
        mov word [abs 0xdffffe], 0x5678
        mov word [abs 0], 0x1234
        mov ecx, [rax]
        ENDT
        TEST "through RBP"
        mov rbp, LOW_TOP + 1
        mov cl, [rbp]
        ENDT
        TEST "through RBP with displacement"
        mov rbp, LOW_TOP
        mov cl, [rbp + 0x10]
        ENDT
        TEST3 "through RSP"
        mov rsp, LOW_TOP + 1
        mov cl, [rsp]
        ENDT
        TEST3 "PUSH"
        mov rsp, LOW_TOP + 0x100
        push rax
        ENDT
        TEST3 "POP"
        mov rsp, LOW_TOP + 0x100
        pop rax
        ENDT
        TEST3 "CALL: stack"
        mov rsp, LOW_TOP + 0x100
        call $ + 10
        ENDT
        TEST3 "RET: stack"
        mov rsp, LOW_TOP + 0x100
        ret
        ENDT
        TEST3 "ENTER"
        mov rsp, LOW_TOP + 0x100
        enter 0, 0
        ENDT
        TEST3 "LEAVE"
        mov rbp, LOW_TOP + 0x100
        leave
        ENDT
        TEST3 "PUSHF"
        mov rsp, LOW_TOP + 0x100
        pushfq
        ENDT
        TEST3 "PUSH m: the operand"
        mov rax, LOW_TOP + 1
        push qword [rax]
        ENDT
        TEST3 "POP m: the operand"
        mov rax, LOW_TOP + 1
        pop qword [rax]
        ENDT
        TEST "through FS with RBP"
        mov rbp, LOW_TOP + 1
        mov cl, [fs:rbp]
        ENDT
        TEST "through R12 and R13"
        mov r13, LOW_TOP + 1
        mov cl, [r13]
        ENDT
        TEST "through R12"
        mov r12, LOW_TOP + 1
        mov cl, [r12]
        ENDT
        TEST "JMP"
        mov rax, LOW_TOP + 1
        jmp rax
        ENDT
        TEST "CALL"
        mov rax, LOW_TOP + 1
        call rax
        ENDT
        TEST "RET"
        mov rax, LOW_TOP + 1
        push rax
        ret
        ENDT
        TEST "running over the end of the lower half"
        mov dword [abs 0xdffffc], 0x90909090
        mov rax, LOW_TOP - 3
        jmp rax
        ENDT
        TEST "an instruction across the end of the lower half"
        mov dword [abs 0xdffffc], 0x00b89090
        mov rax, LOW_TOP - 3
        jmp rax
        ENDT
        TEST "code in the upper half"
        mov dword [abs 0x1000], 0xc3c08949
        mov rax, HIGH + 0x1000
        call rax
        ENDT
        TEST "JMP rel over the end"
        mov dword [abs 0xdffff0], 0x000010e9
        mov byte [abs 0xdffff4], 0
        mov rax, LOW_TOP - 15
        jmp rax
        ENDT
        TEST "MOVS: destination"
        mov rdi, LOW_TOP + 1
        mov rsi, SCRATCH
        movsb
        ENDT
        TEST "REP STOSB runs into it"
        mov rdi, LOW_TOP - 3
        mov ecx, 8
        rep stosb
        ENDT
        TEST "XLAT"
        mov rbx, LOW_TOP + 1
        xlatb
        ENDT
        TEST "INVLPG does nothing"
        mov rax, LOW_TOP + 1
        invlpg [rax]
        ENDT
        TEST "LEA does nothing"
        mov rax, LOW_TOP + 1
        lea rcx, [rax + 1]
        ENDT
        TEST "BTS with a large bit offset"
        mov rcx, 0x400000000000
        shl rcx, 4
        bts [abs SCRATCH], rcx
        ENDT
        TEST "LGDT"
        mov word [abs SCRATCH], 0xff
        mov rax, LOW_TOP + 1
        mov [abs SCRATCH + 2], rax
        lgdt [abs SCRATCH]
        ENDT
        TEST "LIDT"
        lidt [abs SCRATCH]
        ENDT
        %macro BASE_TEST 2
        TEST %1
        mov ecx, %2
        mov rdx, LOW_TOP + 1
        mov eax, edx
        shr rdx, 32
        wrmsr
        ENDT
        %endmacro
        BASE_TEST "FS.base", 0xc0000100
        BASE_TEST "GS.base", 0xc0000101
        BASE_TEST "KERNEL_GS_BASE", 0xc0000102
        BASE_TEST "LSTAR", 0xc0000082
        BASE_TEST "CSTAR", 0xc0000083
        BASE_TEST "SYSENTER_ESP", 0x175
        BASE_TEST "SYSENTER_EIP", 0x176
        BASE_TEST "SFMASK: high half", 0xc0000084
        BASE_TEST "STAR takes everything", 0xc0000081
        TEST "an MSR that does not exist: RDMSR"
        mov ecx, 0x12345678
        rdmsr
        ENDT
        TEST "an MSR that does not exist: WRMSR"
        mov ecx, 0x12345678
        wrmsr
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- segments
segments:
        TEST "null DS and ES are usable"
        xor eax, eax
        mov ds, ax
        mov es, ax
        mov [abs SCRATCH], eax
        ENDT
        TEST "null SS at ring 0"
        xor eax, eax
        mov ss, ax
        push rax
        pop rax
        ENDT
        TEST "null SS at ring 0 with RPL 1"
        mov eax, 1
        mov ss, ax
        ENDT
        TEST3 "null SS at ring 3"
        mov eax, 3
        mov ss, ax
        ENDT
        DESC A, 0x1000, 0xff, P | DPL3 | S_DATA, D
        TEST3 "base and limit of DS do not count"
        mov ax, A | 3
        mov ds, ax
        mov ecx, [abs SCRATCH]
        mov ecx, 0
        ENDT
        mov dword [abs 0x1234], 0xcafe1234
        TEST3 "base of FS counts, its limit does not"
        mov ax, A | 3
        mov fs, ax
        mov ecx, [fs:0x234]
        ENDT
        DESC A, 0x1000, 0xff, P | DPL3 | S_RODATA, D
        TEST3 "writes to read-only data pass"
        mov ax, A | 3
        mov fs, ax
        mov byte [fs:0x300], 1
        ENDT
        TEST3 "writes through CS pass"
        mov eax, SCRATCH
        db 0x2e
        mov byte [rax], 1
        ENDT
        DESC A, 0, 0xfffff, DPL3 | S_DATA, G | D
        TEST3 "DS not present"
        mov ax, A | 3
        mov ds, ax
        ENDT
        TEST3 "DS: system descriptor"
        mov ax, TSS
        mov ds, ax
        ENDT
        TEST3 "DS: RPL 3 of DPL 0"
        mov ax, DATA0
        mov ds, ax
        ENDT
        TEST "SS: wrong RPL"
        mov ax, DATA3
        mov ss, ax
        ENDT
        TEST "FS.base from the MSR"
        WRMSR 0xc0000100, 0x0000000000001000
        mov ecx, [fs:0x234]
        mov rax, rcx
        mov edx, 0
        ENDT
        TEST "GS.base in the upper half"
        WRMSR 0xc0000101, HIGH
        mov ecx, [gs:0x1234]
        xor eax, eax
        xor edx, edx
        ENDT
        TEST "FS.base + offset not canonical"
        WRMSR 0xc0000100, LOW_TOP - 0xff
        mov rax, 0x100
        mov cl, [fs:rax]
        ENDT
        TEST "SWAPGS"
        WRMSR 0xc0000101, 0x1111111111
        WRMSR 0xc0000102, 0x2222222222
        swapgs
        mov ecx, 0xc0000101
        rdmsr
        mov ebx, eax
        mov ecx, 0xc0000102
        rdmsr
        ENDT
        TEST3 "SWAPGS at ring 3"
        swapgs
        ENDT
        TESTC "SWAPGS in compatibility mode"
        db 0x0f, 0x01, 0xf8
        ENDT
        TEST "a selector in FS loads 32 bits of base"
        WRMSR 0xc0000100, HIGH
        DESC A, 0x12345678, 0xff, P | S_DATA, D
        mov ax, A
        mov fs, ax
        mov ecx, 0xc0000100
        rdmsr
        ENDT
        TEST "PUSH FS and POP FS: 64 bits"
        mov ax, DATA0
        mov fs, ax
        push fs
        pop rcx
        push DATA3
        pop fs
        ENDT
        TEST "MOV r64, sreg"
        mov rax, -1
        mov rcx, -1
        mov ax, ds
        mov ecx, ds
        ENDT
        TEST "LSS: 64-bit operand"
        mov [abs SCRATCH], rsp
        mov word [abs SCRATCH + 8], DATA0
        o64 lss rsp, [abs SCRATCH]
        ENDT
        TEST "LFS"
        mov rax, 0x123456789abcdef0
        mov [abs SCRATCH], rax
        mov word [abs SCRATCH + 8], DATA3
        o64 lfs rcx, [abs SCRATCH]
        ENDT
        TEST "LLDT: 16 bytes"
        DESC A, SCRATCH, 0xff, P | 2, 0
        UPPER A, 0xffff8000, 0
        mov ax, A
        lldt ax
        mov dword [abs SCRATCH + 8], 0x0000ffff
        mov dword [abs SCRATCH + 12], 0x00cf9200
        mov ax, 12
        mov ds, ax
        sldt ecx
        ENDT
        TEST "LLDT: upper half is not 0"
        UPPER A, 0, 0x100
        mov ax, A
        lldt ax
        ENDT
        TEST "LLDT: base not canonical"
        UPPER A, 0x8000, 0
        mov ax, A
        lldt ax
        ENDT
        TEST "LTR: 16-bit TSS"
        DESC A, SCRATCH, 0x67, P | 1, 0
        UPPER A, 0, 0
        mov ax, A
        ltr ax
        ENDT
        TEST "LTR: the upper half lies beyond the GDT"
        DESC 0xf8, SCRATCH, 0x67, P | 9, 0
        mov ax, 0xf8
        ltr ax
        ENDT
        TEST "LAR and LSL"
        mov eax, TSS
        lar ecx, eax
        lsl edx, eax
        mov eax, CODE3
        lar rbx, eax
        mov eax, DATA0
        lsl rsi, eax
        ENDT
        %assign kind 0
        %rep 16
        DESC A, 0x123456, 0xabcde, P | kind, G
        UPPER A, 0, 0
        TEST "LAR and LSL of a system type"
        mov eax, A
        lar ecx, eax
        setz bl
        lsl edx, eax
        setz bh
        ENDT
        %assign kind kind + 1
        %endrep
        TEST "SGDT: 10 bytes"
        sgdt [abs SCRATCH]
        mov rcx, [abs SCRATCH + 2]
        mov rax, gdt
        sub rcx, rax
        movzx eax, word [abs SCRATCH]
        ENDT
        TEST "SLDT, STR, SMSW: sizes"
        mov rax, -1
        mov rcx, -1
        mov rdx, -1
        sldt rax
        str ecx
        str dx
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- not in 64-bit mode
%macro GONE 2+
        TEST %1
        db %2
        nop
        nop
        nop
        nop
        nop
        nop
        ENDT
%endmacro
missing:
        GONE "PUSH ES", 0x06
        GONE "POP ES", 0x07
        GONE "PUSH CS", 0x0e
        GONE "PUSH SS", 0x16
        GONE "POP SS", 0x17
        GONE "PUSH DS", 0x1e
        GONE "POP DS", 0x1f
        GONE "DAA", 0x27
        GONE "DAS", 0x2f
        GONE "AAA", 0x37
        GONE "AAS", 0x3f
        GONE "PUSHA", 0x60
        GONE "POPA", 0x61
        GONE "group 1, 82h", 0x82, 0xc0, 0x01
        GONE "CALL far", 0x9a, 0, 0, 0, 0, 8, 0
        GONE "JMP far", 0xea, 0, 0, 0, 0, 8, 0
        GONE "INTO", 0xce
        GONE "AAM", 0xd4, 0x0a
        GONE "AAD", 0xd5, 0x0a
        GONE "SALC", 0xd6
        GONE "LES with a register", 0xc4, 0xc0
        GONE "SYSENTER without its CS", 0x0f, 0x34
        GONE "UD2", 0x0f, 0x0b
        GONE "UD1", 0x0f, 0xb9, 0xc0
        GONE "0F FF", 0x0f, 0xff, 0xc0
        GONE "LOCK NOP", 0xf0, 0x90
        GONE "LOCK ADD to a register", 0xf0, 0x01, 0xc0
        GONE "SYSCALL without SCE", 0x0f, 0x05
        GONE "SYSRET without SCE", 0x48, 0x0f, 0x07
        TEST3 "SYSRET at ring 3"
        o64 sysret
        ENDT
        TESTC "compatibility mode has them: PUSHA, AAA, DAA, PUSH ES, BOUND"
        pushad
        popad
        push es
        pop es
        aaa
        daa
        aam
        mov eax, EAX_
        ENDT
        TESTC "compatibility mode: INTO"
        mov al, 0x7f
        inc al
        into
        ENDT
        TESTC "compatibility mode: segment limits count"
        mov eax, 5
        mov ebx, SCRATCH
        mov ecx, [ebx]
        mov ecx, 0
        mov al, [fs:0]
        ENDT
        DESC A, SCRATCH, 0xff, P | DPL3 | S_DATA, D
        TESTC "compatibility mode: limit"
        mov ax, A | 3
        mov es, ax
        mov cl, [es:0xff]
        mov cl, [es:0x100]
        ENDT
        TESTC "compatibility mode: addresses wrap at 4 GiB"
        mov ebx, 0xffffffff
        mov dword [0x1233], 0x12345678
        mov ecx, [ebx + 0x1234]
        ENDT
        TESTC "compatibility mode: no REX"
        db 0x48, 0x90
        ENDT
        TESTC "compatibility mode: SYSCALL"
        syscall
        ENDT
        TESTC "compatibility mode: into 64-bit mode"
        jmp CODE3:.up
bits 64
.up:    mov rax, 0x123456789abcdef0
        ENDT
        DESC A, 0x100000, 0xffff, P | DPL3 | S_CODE, 0
        TESTC "compatibility mode: 16-bit code"
        jmp (A | 3):.small - 0x100000
bits 16
.small: mov ax, cs
        mov bx, 0xffff
        inc bx
        ENDT
        TESTC "compatibility mode: pushes 4 bytes, upper half of RSP is 0"
        push eax
        pushfd
        ENDT
        TESTC "compatibility mode: not canonical is not possible, page fault"
        mov ecx, [0xfffffff0]
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- 4-level paging
paging:
        mov rax, cr0
        bts rax, 16
        mov cr0, rax
        TEST "no PML4 entry"
        mov rax, 0x8000000000
        mov cl, [rax]
        ENDT
        TEST3 "no PML4 entry, ring 3 write"
        mov rax, 0x8000000000
        mov [rax], cl
        ENDT
        TEST "no PDPT entry"
        mov rax, 0x80000000
        mov cl, [rax]
        ENDT
        TEST "no directory entry"
        mov cl, [abs 0x40200000]
        ENDT
        TEST "no table entry"
        mov cl, [abs W + 0x123]
        ENDT
        TEST "no table entry: upper half alias"
        mov rax, HIGH + W
        mov cl, [rax]
        ENDT
        PAGE 0, ALL
        TEST "good"
        mov dword [abs W], 0x12345678
        mov ecx, [abs M]
        ENDT
        SHOW "pte", [abs PT1]
        PAGE 0, ALL, 1 << 19
        TEST "reserved bit 51"
        mov cl, [abs W]
        ENDT
        PAGE 0, ALL, 1 << 20
        TEST "bit 52 is ignored"
        mov cl, [abs W]
        mov cl, 0
        ENDT
        PAGE 0, ALL, 1 << 30
        TEST "bit 62 is ignored"
        mov cl, [abs W]
        mov cl, 0
        ENDT
        PAGE 0, ALL, 0x80000000
        mov byte [abs M], 0xc3
        TEST "NX: fetch"
        mov eax, W
        call rax
        ENDT
        TEST3 "NX: fetch at ring 3"
        mov eax, W
        jmp rax
        ENDT
        PAGE 0, PRESENT | US
        TEST3 "read-only: ring 3"
        mov [abs W], cl
        ENDT
        TEST "read-only with WP: ring 0"
        mov [abs W], cl
        ENDT
        PAGE 0, ALL
        mov dword [abs PD1], PT1 | PRESENT | US
        mov rax, cr3
        mov cr3, rax
        TEST3 "read-only directory entry"
        mov [abs W], cl
        ENDT
        mov dword [abs PD1], PT1 | PRESENT | RW
        mov rax, cr3
        mov cr3, rax
        TEST3 "supervisor's directory entry"
        mov cl, [abs W]
        ENDT
        mov dword [abs PD1], PT1 | ALL
        mov dword [abs PDPT + 8], PD1 | PRESENT | RW
        mov rax, cr3
        mov cr3, rax
        TEST3 "supervisor's PDPT entry"
        mov cl, [abs W]
        ENDT
        mov dword [abs PDPT + 8], PD1 | ALL
        mov dword [abs PDPT + 12], 0x80000000
        mov rax, cr3
        mov cr3, rax
        TEST "NX in the PDPT entry"
        mov eax, W
        call rax
        ENDT
        mov dword [abs PDPT + 12], 0
        mov dword [abs PML4 + 256 * 8], PDPT | PRESENT | RW
        mov rax, cr3
        mov cr3, rax
        TEST3 "supervisor's PML4 entry"
        mov rax, HIGH
        mov cl, [rax]
        ENDT
        mov dword [abs PML4 + 256 * 8], PDPT | ALL | PS
        mov rax, cr3
        mov cr3, rax
        TEST "PS in a PML4 entry is reserved"
        mov rax, HIGH
        mov cl, [rax]
        ENDT
        mov dword [abs PML4 + 256 * 8], PDPT | ALL
        mov dword [abs PD + 31 * 8], 0x2000 | ALL | PS
        mov rax, cr3
        mov cr3, rax
        TEST "2 MiB page: reserved bit 13"
        mov cl, [abs 31 * 0x200000]
        ENDT
        mov dword [abs PD + 31 * 8], ALL | PS
        mov rax, cr3
        mov cr3, rax
        TEST "2 MiB page"
        mov dword [abs 0x1234], 0x5a5a1234
        mov ecx, [abs 31 * 0x200000 + 0x1234]
        ENDT
        SHOW "pde", [abs PD + 31 * 8]
        PAGE 1, 0
        PAGE 0, ALL
        TEST "8 bytes across into a missing page"
        mov rcx, [abs W + 0xffc]
        ENDT
        TEST "16 bytes: CMPXCHG16B"
        mov rax, cr4
        lock cmpxchg16b [abs W + 0x1000]
        ENDT
        TEST "CMPXCHG16B: alignment"
        lock cmpxchg16b [abs W + 8]
        ENDT
        TEST "REP MOVSQ into a missing page"
        mov rsi, SCRATCH
        mov rdi, W + 0xff0
        mov ecx, 4
        rep movsq
        ENDT
        TEST "REP with 32-bit addresses"
        mov rsi, 0xffffffff00000000 | SCRATCH
        mov rdi, 0xffffffff00000000 | (W + 0xff8)
        mov rcx, 0xffffffff00000010
        a32 rep movsb
        ENDT
        mov rax, cr0
        btr rax, 16
        mov cr0, rax
        ret

registers:
        TEST3 "MOV CR8 at ring 3"
        mov rax, cr8
        ENDT
        TEST3 "RDMSR at ring 3"
        mov ecx, EFER
        rdmsr
        ENDT
        TEST "POPFQ: all that ring 0 may change"
        push 0x003f3ed7
        popfq
        ENDT
        TEST "POPFQ: reserved high bits"
        mov rax, 0xffffffff00000002
        push rax
        popfq
        pushfq
        pop rcx
        ENDT
        TEST "POPFQ: VIP, VIF, VM"
        push 0x1a0002
        popfq
        ENDT
        TEST "LEAVE and ENTER"
        mov rbp, rsp
        enter 0x20, 2
        mov rax, rsp
        mov rcx, rbp
        sub rax, rbp
        sub rcx, [abs t_krsp]
        leave
        mov rbp, 0
        ENDT
        ret

stack:
        TEST "PUSH imm8, imm32, 16-bit"
        push -1
        push 0x12345678
        db 0x66
        push word 0x1234
        mov ax, [rsp]
        mov rcx, [rsp + 2]
        mov rdx, [rsp + 10]
        ENDT
        TEST "POP RSP"
        mov rax, rsp
        push rax
        pop rsp
        sub rax, rsp
        ENDT
        TEST "PUSH RSP"
        push rsp
        pop rax
        sub rax, rsp
        ENDT
        ret

; The bitmap of a 64-bit TSS.
io:
        DESC A, 0, 0x68 + 0x11, P | 9, 0
        mov rax, tss_io
        mov [abs gdt + A + 2], ax
        shr rax, 16
        mov [abs gdt + A + 4], al
        mov [abs gdt + A + 7], ah
        UPPER A, 0, 0
        mov ax, A
        ltr ax
        mov byte [abs tss_io + 0x68 + 4], 0x02
        TEST3 "IN: allowed"
        in al, 0x20
        mov al, 1
        ENDT
        TEST3 "IN: bit set"
        in al, 0x21
        ENDT
        TEST3 "IN: word that ends at a set bit"
        in ax, 0x20
        ENDT
        TESTC "IN in compatibility mode: bit set"
        in al, 0x21
        ENDT
        TEST3 "IN: beyond the bitmap"
        in al, 0x88
        ENDT
        mov qword [abs t_flags], 0x3002
        TEST3 "IN: IOPL 3"
        in al, 0x21
        mov al, 1
        ENDT
        TEST3 "OUTS: bit set"
        mov rsi, SCRATCH
        mov edx, 0x21
        outsb
        ENDT
        mov byte [abs gdt + TSS + 5], 0x89
        mov ax, TSS
        ltr ax
        ret
section .data
align 8
tss_io: dd 0
        dq TSTACK, T1STACK, 0, 0
        dq ISTACK, 0, 0, 0, 0, 0, 0, 0
        dw 0, 0x68
        times 0x90 - ($ - tss_io) db 0
section .text
