; Task switches by JMP, CALL, IRET, interrupts and exceptions, 32 and 16 bits, and the faults on the way (SDM vol 3,
; chapter 7).
; bochs: model=atom_n270
%include "kernel32.inc"

B       equ SLOT                ; 40: TSS of the new task
GATE_B  equ SLOT + 0x08         ; 48: task gate to it
H       equ SLOT + 0x10         ; 50: TSS of the exception handler
X       equ SLOT + 0x18         ; 58: whatever a test needs
LDT_B   equ SLOT + 0x20         ; 60
C16     equ SLOT + 0x28         ; 68: 16-bit code of ring 3 at SCRATCH
BAD     equ SLOT + 0x30         ; 70

tss_b   equ SCRATCH + 0x8000
tss_h   equ SCRATCH + 0x8100
stack_b equ SCRATCH + 0xa000
stack_h equ SCRATCH + 0xb000

T_LINK equ 0
T_ESP0 equ 4
T_SS0 equ 8
T_CR3 equ 28
T_EIP equ 32
T_EFLAGS equ 36
T_EAX equ 40
T_ECX equ 44
T_EDX equ 48
T_EBX equ 52
T_ESP equ 56
T_EBP equ 60
T_ESI equ 64
T_EDI equ 68
T_ES equ 72
T_CS equ 76
T_SS equ 80
T_DS equ 84
T_FS equ 88
T_GS equ 92
T_LDT equ 96
T_TRAP equ 100
T_MAP equ 102

; Puts everything back: only the main task, nothing else busy, a new task in tss_b that starts at its first operand.
%macro TASK 1
        call restore
        mov dword [tss_b + T_EIP], %1
%endmacro
; What a switch left behind.
%macro LEFT 0
        call left
%endmacro

main:
        call restore
        call switches
        call refusals
        call arrivals
        call sixteen
        call v86_task
        call paged
        call restore
        ret

restore:
        mov edi, tss_b
        mov ecx, 0x200 / 4
        xor eax, eax
        rep stosd
        mov dword [tss_b + T_ESP0], TSTACK
        mov dword [tss_b + T_SS0], DATA0
        mov eax, cr3
        mov [tss_b + T_CR3], eax
        mov [tss_h + T_CR3], eax
        mov [tss + T_CR3], eax
        mov dword [tss_b + T_EFLAGS], 2
        mov dword [tss_b + T_EAX], 0xb0b0b0b0
        mov dword [tss_b + T_ECX], 0xb1b1b1b1
        mov dword [tss_b + T_EDX], EDX_
        mov dword [tss_b + T_EBX], EBX_
        mov dword [tss_b + T_ESP], stack_b
        mov dword [tss_b + T_EBP], 0xb5b5b5b5
        mov dword [tss_b + T_ESI], ESI_
        mov dword [tss_b + T_EDI], 0xb7b7b7b7
        mov dword [tss_b + T_ES], DATA0
        mov dword [tss_b + T_CS], CODE0
        mov dword [tss_b + T_SS], DATA0
        mov dword [tss_b + T_DS], DATA0
        mov dword [tss_b + T_MAP], 104
        mov dword [stack_h - 4], 0
        mov dword [tss_h + T_EIP], handler_task
        mov dword [tss_h + T_EFLAGS], 2
        mov dword [tss_h + T_ESP], stack_h
        mov dword [tss_h + T_ES], DATA0
        mov dword [tss_h + T_CS], CODE0
        mov dword [tss_h + T_SS], DATA0
        mov dword [tss_h + T_DS], DATA0
        DESC B, tss_b, 103, P | 9, 0
        DESC H, tss_h, 103, P | 9, 0
        mov dword [gdt + GATE_B], B << 16
        mov dword [gdt + GATE_B + 4], (P | DPL3 | 5) << 8
        DESC C16, SCRATCH, 0xffff, P | DPL3 | S_CODE, 0
        mov dword [tss], 0
        mov byte [gdt + TSS + 5], 0x89
        mov ax, TSS
        ltr ax
        xor eax, eax
        lldt ax
        clts
        ; #TS, #NP, #SS and #GP of a broken task need one that is not.
        GATE_AT idt + 10 * 8, CODE0, stubs + 10 * 16, P | 0x0e, 0
        GATE_AT idt + 11 * 8, CODE0, stubs + 11 * 16, P | 0x0e, 0
        GATE_AT idt + 12 * 8, CODE0, stubs + 12 * 16, P | 0x0e, 0
        GATE_AT idt + 13 * 8, CODE0, stubs + 13 * 16, P | 0x0e, 0
        ret

left:
        mov eax, cr0
        and eax, 8
        SHOW "CR0.TS", eax
        str ax
        movzx eax, ax
        SHOW "TR", eax
        movzx eax, byte [gdt + TSS + 5]
        SHOW "old type", eax
        movzx eax, byte [gdt + B + 5]
        SHOW "new type", eax
        SHOW "link", dword [tss_b + T_LINK]
        mov eax, [tss + T_EIP]
        sub eax, [t_base]
        SHOW "old eip", eax
        SHOW "old eflags", dword [tss + T_EFLAGS]
        SHOW "old eax", dword [tss + T_EAX]
        SHOW "old edi", dword [tss + T_EDI]
        mov eax, [tss + T_ESP]
        sub eax, [t_esp]
        SHOW "old esp", eax
        SHOW "old cs", dword [tss + T_CS]
        SHOW "old ds", dword [tss + T_DS]
        SHOW "old link", dword [tss + T_LINK]
        ret

; A task gate's task: the error code is on its stack.
handler_task:
        mov esi, [t_name]
        call puts
        mov esi, msg_handler
        call puts
        mov eax, [stack_h - 4]
        call hex_short
        mov al, 10
        call putc
        mov eax, stack_h
        sub eax, esp
        SHOW "pushed", eax
        movzx eax, word [tss_h + T_LINK]
        SHOW "link", eax
        pushfd
        SHOW "eflags", dword [esp]
        popfd
        movzx eax, byte [gdt + B + 5]
        SHOW "new type", eax
        movzx eax, byte [gdt + TSS + 5]
        SHOW "old type", eax
        SHOW "new eip", dword [tss_b + T_EIP]
        jmp resume

section .rodata
msg_handler: db ": handler's task e=", 0
section .text

; ---------------------------------------------------------------------------------------------- switches
switches:
        TASK .arrived
        TEST "JMP to a TSS"
        jmp B:0x12345678
.arrived:
        ENDT
        LEFT
        TASK .called
        TEST "CALL to a TSS"
        call B:0
.called:
        ENDT
        LEFT
        TASK .and_back
        TEST "CALL and IRET"
        call B:0
        jmp .back
.and_back:
        mov eax, 0xdeadbeef
        iretd
        nop
.back:
        ENDT
        LEFT
        SHOW "its eax", dword [tss_b + T_EAX]
        SHOW "its eflags", dword [tss_b + T_EFLAGS]
        TASK .again
        TEST "CALL twice: the task goes on where it was"
        call B:0
        inc edi
        call B:0
        jmp .twice
.again: iretd
        mov eax, 0x99999999
        iretd
.twice:
        ENDT
        SHOW "its eax", dword [tss_b + T_EAX]
        TASK .gated
        TEST "JMP through a task gate"
        jmp GATE_B:0
.gated:
        ENDT
        LEFT
        TASK .gated_call
        TEST3 "CALL through a task gate from ring 3"
        call GATE_B:0
.gated_call:
        ENDT
        LEFT
        TASK .gated_return
        TEST3 "CALL through a task gate from ring 3 and back"
        call GATE_B:0
        jmp .home
.gated_return:
        iretd
.home:
        ENDT
        LEFT
        TASK .interrupted
        mov dword [idt + 0x60 * 8], B << 16
        mov dword [idt + 0x60 * 8 + 4], (P | DPL3 | 5) << 8
        TEST "INT n through a task gate and back"
        int 0x60
        nop
        jmp .resumed
.interrupted:
        iretd
.resumed:
        ENDT
        LEFT
        ; An exception with an error code.
        call restore
        mov dword [idt + 13 * 8], H << 16
        mov dword [idt + 13 * 8 + 4], (P | 5) << 8
        TEST "#GP through a task gate"
        mov ax, 0x108
        mov fs, ax
        ENDT
        mov eax, [tss + T_EIP]
        sub eax, [t_base]
        SHOW "old eip", eax
        SHOW "old eflags", dword [tss + T_EFLAGS]
        call restore
        mov dword [idt + 6 * 8], H << 16
        mov dword [idt + 6 * 8 + 4], (P | 5) << 8
        TEST "#UD through a task gate"
        ud2
        ENDT
        GATE_AT idt + 6 * 8, CODE0, stubs + 6 * 16, P | 0x0e, 0
        TASK .ring3
        mov dword [tss_b + T_CS], CODE3
        mov dword [tss_b + T_SS], DATA3
        mov dword [tss_b + T_DS], DATA3
        mov dword [tss_b + T_ES], DATA3
        mov dword [tss_b + T_ESP], USTACK
        TEST "JMP to a task at ring 3"
        mov dword [t_data], DATA3
        mov dword [t_esp], USTACK
        jmp B:0
.ring3:
        ENDT
        TASK .trap
        mov word [tss_b + T_TRAP], 1
        TEST "T flag"
        jmp B:0
.trap:  nop
        ENDT
        TASK .flags
        mov dword [tss_b + T_EFLAGS], 0x00240ed7
        TEST "flags of the new task"
        jmp B:0
.flags:
        ENDT
        TASK .flags_tf
        mov dword [tss_b + T_EFLAGS], 0x102
        TEST "TF of the new task"
        jmp B:0
.flags_tf:
        nop
        nop
        ENDT
        TASK .debug
        TEST "the local enables of DR7 are cleared"
        mov eax, 0x3ff
        mov dr7, eax
        jmp B:0
.debug: mov eax, dr7
        ENDT
        TASK .ldt
        DESC LDT_B, SCRATCH + 0xc000, 0xff, P | 2, 0
        mov dword [SCRATCH + 0xc008], 0x0000ffff
        mov dword [SCRATCH + 0xc00c], 0x00cf9200
        mov dword [tss_b + T_LDT], LDT_B
        mov dword [tss_b + T_FS], 8 | 4
        TEST "LDT of the new task"
        jmp B:0
.ldt:   sldt ax
        ENDT
        TASK .busy
        TEST "saved selectors"
        mov ax, DATA3
        mov gs, ax
        jmp B:0
.busy:
        ENDT
        SHOW "gs", dword [tss + T_GS]
        SHOW "ss", dword [tss + T_SS]
        SHOW "es", dword [tss + T_ES]
        ret

; ---------------------------------------------------------------------------------------------- refused by the old task
refusals:
        call restore
        TEST "JMP: busy TSS"
        jmp TSS:0
        ENDT
        mov byte [gdt + B + 5], 0x09
        TEST "JMP: not present"
        jmp B:0
        ENDT
        DESC B, tss_b, 102, P | 9, 0
        TEST "JMP: limit too small"
        jmp B:0
        ENDT
        DESC B, tss_b, 103, P | 9, 0
        TEST3 "JMP ring 3: TSS of DPL 0"
        jmp B:0
        ENDT
        TEST "JMP: RPL above DPL"
        jmp B | 1:0
        ENDT
        mov byte [gdt + GATE_B + 5], DPL3 | 5
        TEST "JMP: task gate not present"
        jmp GATE_B:0
        ENDT
        mov byte [gdt + GATE_B + 5], P | 5
        TEST3 "JMP ring 3: task gate of DPL 0"
        jmp GATE_B:0
        ENDT
        mov byte [gdt + GATE_B + 5], P | DPL3 | 5
        mov word [gdt + GATE_B + 2], B | 4
        TEST "task gate with a selector in the LDT"
        jmp GATE_B:0
        ENDT
        mov word [gdt + GATE_B + 2], 0
        TEST "task gate with a null selector"
        jmp GATE_B:0
        ENDT
        mov word [gdt + GATE_B + 2], DATA0
        TEST "task gate to data"
        jmp GATE_B:0
        ENDT
        mov word [gdt + GATE_B + 2], 0x108
        TEST "task gate beyond the GDT"
        jmp GATE_B:0
        ENDT
        mov word [gdt + GATE_B + 2], TSS
        TEST "task gate to the busy TSS"
        jmp GATE_B:0
        ENDT
        call restore
        mov dword [idt + 0x60 * 8], TSS << 16
        mov dword [idt + 0x60 * 8 + 4], (P | DPL3 | 5) << 8
        TEST "INT n: task gate to the busy TSS"
        int 0x60
        ENDT
        mov dword [idt + 0x60 * 8], DATA0 << 16
        TEST "INT n: task gate to data"
        int 0x60
        ENDT
        mov dword [idt + 0x60 * 8], 0
        TEST "INT n: task gate with a null selector"
        int 0x60
        ENDT
        mov byte [gdt + B + 5], 0x09
        mov dword [idt + 0x60 * 8], B << 16
        TEST "INT n: task gate, TSS not present"
        int 0x60
        ENDT
        call restore
        mov dword [idt + 6 * 8], TSS << 16
        mov dword [idt + 6 * 8 + 4], (P | 5) << 8
        TEST "#UD: task gate to the busy TSS"
        ud2
        ENDT
        GATE_AT idt + 6 * 8, CODE0, stubs + 6 * 16, P | 0x0e, 0
        DESC X, SCRATCH, 103, P | 0x0b, 0
        mov byte [gdt + X + 5], 0x0b
        mov word [tss], X
        mov dword [t_flags], 0x4002
        TEST "IRET: TSS not present"
        iretd
        ENDT
        mov word [tss], B
        mov dword [t_flags], 0x4002
        TEST "IRET: TSS not busy"
        iretd
        ENDT
        mov word [tss], 4
        mov dword [t_flags], 0x4002
        TEST "IRET: link into the LDT"
        iretd
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- faults of the new task
; ARRIVAL name, field, value: the exception goes to the handler's task.
%macro ARRIVAL 3
        call restore
        call guarded
        mov dword [tss_b + T_EIP], arrived_nowhere
        mov dword [tss_b + %2], %3
        TEST %1
        jmp B:0
        ENDT
%endmacro

guarded:
        %assign vector 10
        %rep 4
        mov dword [idt + vector * 8], H << 16
        mov dword [idt + vector * 8 + 4], (P | 5) << 8
        %assign vector vector + 1
        %endrep
        ret

arrived_nowhere:
        int 0xf0

arrivals:
        DESC BAD, 0, 0xfffff, S_DATA, G | D
        ARRIVAL "CS null", T_CS, 0
        ARRIVAL "CS is data", T_CS, DATA0
        ARRIVAL "CS beyond the GDT", T_CS, 0x108
        ARRIVAL "CS with RPL 1 of DPL 0", T_CS, CODE0 | 1
        ARRIVAL "SS null", T_SS, 0
        ARRIVAL "SS of DPL 3", T_SS, DATA3
        ARRIVAL "SS with RPL 3", T_SS, DATA0 | 3
        ARRIVAL "SS is code", T_SS, CODE0
        ARRIVAL "SS not present", T_SS, BAD
        ARRIVAL "DS not present", T_DS, BAD
        ARRIVAL "DS beyond the GDT", T_DS, 0x108
        ARRIVAL "ES is a TSS", T_ES, TSS
        ARRIVAL "FS with RPL above DPL", T_FS, DATA0 | 3
        ARRIVAL "GS in a null LDT", T_GS, 0x0c
        ARRIVAL "LDT is data", T_LDT, DATA0
        ARRIVAL "LDT in the LDT", T_LDT, 4 | 8
        ARRIVAL "LDT beyond the GDT", T_LDT, 0x108
        DESC BAD, 0, 0xff, 2, 0
        ARRIVAL "LDT not present", T_LDT, BAD
        DESC BAD, 0, 0xfffff, S_CODE, G | D
        ARRIVAL "CS not present", T_CS, BAD
        DESC BAD, 0, 0xfff, P | S_CODE, D
        ARRIVAL "EIP beyond the limit", T_CS, BAD
        ; Handled in the new task itself.
        DESC BAD, 0, 0xfffff, S_DATA, G | D
        call restore
        mov dword [tss_b + T_EIP], arrived_nowhere
        mov dword [tss_b + T_DS], BAD
        TEST "DS not present, handled by the new task"
        jmp B:0
        ENDT
        LEFT
        ret

; ---------------------------------------------------------------------------------------------- 16 bits
sixteen:
        ; tss_b as a 16-bit TSS: link, sp0, ss0, ..., ip at 14, flags, ax cx dx bx sp bp si di, es cs ss ds, ldt.
        call small_task
        TEST "JMP to a 16-bit TSS"
        jmp B:0
        ENDT
        LEFT
        call small_task
        TEST "CALL to a 16-bit TSS"
        call B:0
        ENDT
        SHOW "link", dword [tss_b]
        call small_task
        mov dword [SCRATCH], 0x9090cf90         ; nop; iret
        TEST "CALL to a 16-bit TSS and back"
        call B:0
        ENDT
        mov eax, [tss_b + 14]
        SHOW "its ip and flags", eax
        LEFT
        call small_task
        DESC B, tss_b, 42, P | 1, 0
        TEST "16-bit TSS: limit too small"
        jmp B:0
        ENDT
        ; From a 16-bit task to a 32-bit one: C16 calls H, which shows what was saved.
        call small_task
        mov dword [SCRATCH], 0x0000ea90         ; nop; jmp far H:0
        mov dword [SCRATCH + 4], H
        or byte [gdt + H + 5], DPL3
        TEST "from a 16-bit task to a 32-bit one"
        jmp B:0
        ENDT
        mov eax, [tss_b + 14]
        SHOW "its ip and flags", eax
        SHOW "its ax and cx", dword [tss_b + 18]
        SHOW "its es and cs", dword [tss_b + 34]
        SHOW "its ss and ds", dword [tss_b + 38]
        ; #GP through a task gate of 16 bits: the error code takes two bytes.
        call small_task
        mov dword [idt + 13 * 8], B << 16
        mov dword [idt + 13 * 8 + 4], (P | 5) << 8
        TEST "#GP through a task gate to a 16-bit task"
        mov ax, 0x108
        mov fs, ax
        ENDT
        SHOW "error code", dword [stack_b - 4]
        ret

small_task:
        call restore
        mov edi, tss_b
        mov ecx, 11
        xor eax, eax
        rep stosd
        DESC B, tss_b, 43, P | 1, 0
        mov word [tss_b + 2], 0x7000
        mov word [tss_b + 4], DATA0
        mov word [tss_b + 14], 0
        mov word [tss_b + 16], 2
        mov word [tss_b + 18], 0xb0b0
        mov word [tss_b + 20], 0xb1b1
        mov word [tss_b + 22], 0xb2b2
        mov word [tss_b + 24], 0xb3b3
        mov word [tss_b + 26], stack_b - SCRATCH
        mov word [tss_b + 28], 0xb5b5
        mov word [tss_b + 30], 0xb6b6
        mov word [tss_b + 32], 0xb7b7
        mov word [tss_b + 34], DATA3
        mov word [tss_b + 36], C16 | 3
        mov word [tss_b + 38], X | 3
        mov word [tss_b + 40], DATA3
        DESC X, SCRATCH, 0xffff, P | DPL3 | S_DATA, 0
        mov dword [SCRATCH], 0x90f0cd90         ; nop; int f0h
        mov dword [stack_b - 4], 0xcccccccc
        ret

; ---------------------------------------------------------------------------------------------- a V86 task
v86_task:
        call restore
        mov dword [tss_b + T_EFLAGS], 0x23002
        mov dword [tss_b + T_EIP], 0
        mov dword [tss_b + T_CS], 0x0800
        mov dword [tss_b + T_SS], 0x0900
        mov dword [tss_b + T_ESP], 0x1000
        mov dword [tss_b + T_DS], 0x0801
        mov dword [tss_b + T_ES], 0x0a00
        mov dword [tss_b + T_FS], 0x0b00
        mov dword [tss_b + T_GS], 0
        mov dword [0x8000], 0xcdd88c90          ; nop; mov ax, ds; int f0h
        mov byte [0x8004], 0xf0
        TEST "JMP to a V86 task"
        jmp B:0
        ENDT
        ; An interrupt from V86 mode through a task gate, and back by IRET with NT.
        call restore
        mov dword [tss_b + T_EIP], .serve
        mov dword [idt + 0x60 * 8], B << 16
        mov dword [idt + 0x60 * 8 + 4], (P | DPL3 | 5) << 8
        jmp .start
.serve: iretd
.start:
        mov dword [t_flags], 0x3002
        TESTV "INT n from V86 mode through a task gate and back"
        mov ax, 0x0b00
        mov gs, ax
        int 0x60
        mov ax, gs
        mov bx, ds
        ENDT
        SHOW "saved eflags", dword [tss + T_EFLAGS]
        SHOW "saved cs", dword [tss + T_CS]
        ret

; ---------------------------------------------------------------------------------------------- CR3
PD  equ 0x200000
PT  equ 0x201000
PD2 equ 0x202000
PT1 equ 0x203000
paged:
        mov edi, PD
        mov ecx, 0x4000 / 4
        xor eax, eax
        rep stosd
        mov dword [PD], PT | 7
        mov dword [PD2], PT | 7
        mov dword [PD2 + 4], PT1 | 7
        mov dword [PT1], 0x300007
        mov dword [0x300000], 0x600dda7a
        mov edi, PT
        mov eax, 7
.identity:
        stosd
        add eax, 0x1000
        cmp edi, PT + 0x1000
        jb .identity
        mov eax, PD
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        TASK .other
        mov dword [tss_b + T_CR3], PD2
        TEST "CR3 of the new task"
        call B:0
        mov ebx, cr3
        mov ecx, [0x400000]
.other: mov eax, [0x400000]
        mov edi, cr3
        iretd
        ENDT
        mov eax, cr0
        and eax, ~0x80000000
        mov cr0, eax
        SHOW "its eax", dword [tss_b + T_EAX]
        SHOW "its edi", dword [tss_b + T_EDI]
        xor eax, eax
        mov cr3, eax
        ret
