; Interrupts that wait: what STI, MOV SS, POPF, IRET and HLT do to them, in which order things come, and NMIs
; (SDM vol 3, chapters 6.8 and 6.9).
%include "kernel32.inc"

A      equ SLOT
TIMER  equ 0x40                 ; IRQ 0
IPI    equ 0x51
LOW_IPI equ 0x35
APIC   equ 0xfee00000
SVR    equ APIC + 0xf0
EOI    equ APIC + 0xb0
TPR    equ APIC + 0x80
ICR    equ APIC + 0x300
ICR_HIGH equ APIC + 0x310
SELF   equ 0x40000
NMI    equ 0x400

; An interrupt request of the timer, held back by IF = 0.
%macro PENDING 0
        call arm
%endmacro
; Handlers acknowledge and go on.
%macro GO_ON 0
        mov dword [t_fixup], acknowledge
%endmacro

main:
        ; Interrupt controllers: vectors 40h and 48h, only the timer.
        mov al, 0x11
        out 0x20, al
        out 0xa0, al
        mov al, TIMER
        out 0x21, al
        mov al, TIMER + 8
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xfe
        out 0x21, al
        mov al, 0xff
        out 0xa1, al
        mov dword [SVR], 0x1ff
        mov dword [TPR], 0

        call shadows
        call order
        call repeats
        call elsewhere
        call apic
        call nmis
        call stacks
        mov al, 0xff
        out 0x21, al
        ret

; Counter 0, mode 0: its output rises once. Returns when the 8259A has the request.
arm:
        pushad
        mov al, 0x30
        out 0x43, al
        mov al, 20
        out 0x40, al
        mov al, 0
        out 0x40, al
.wait:  mov al, 0x0a
        out 0x20, al
        in al, 0x20
        test al, 1
        jz .wait
        popad
        ret

; Carry: the test is over.
acknowledge:
        mov eax, [ebp + F_VECTOR]
        cmp eax, TIMER
        jne .apic
        mov al, 0x20
        out 0x20, al
        clc
        ret
.apic:  cmp eax, IPI
        je .eoi
        cmp eax, LOW_IPI
        jne .exception
.eoi:   mov dword [EOI], 0
        clc
        ret
.exception:
        cmp eax, 0xf0
        je .over
        cmp eax, 32
        jae .over
        clc
        ret
.over:  stc
        ret

; Takes away what a test left pending.
drain:
        GO_ON
        TEST "drained"
        sti
        nop
        nop
        cli
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- who delays
shadows:
        PENDING
        GO_ON
        TEST "STI: after the next instruction"
        sti
        inc eax
        inc eax
        cli
        ENDT
        PENDING
        GO_ON
        TEST "STI, CLI: not at all"
        sti
        cli
        nop
        ENDT
        GO_ON
        TEST "STI, STI: the second delays nothing more"
        sti
        sti
        inc eax
        cli
        ENDT
        PENDING
        GO_ON
        TEST "STI, HLT"
        sti
        hlt
        inc eax
        cli
        ENDT
        PENDING
        GO_ON
        TEST "POPF: at once"
        push dword 0x202
        popfd
        inc eax
        cli
        ENDT
        PENDING
        GO_ON
        TEST "IRET: at once"
        push dword 0x202
        push dword CODE0
        push dword .there
        iretd
.there: inc eax
        cli
        ENDT
        PENDING
        mov dword [t_fixup], .one_more
        TEST "IRET from the handler delays nothing"
        push dword 0x202
        popfd
        inc eax
        inc eax
        cli
        ENDT
        jmp .next
; Arms the timer again inside the handler, twice.
.one_more:
        call acknowledge
        jc .done
        dec dword [.left]
        js .done_ok
        push ebp
        call arm
        pop ebp
.done_ok:
        clc
.done:  ret
.left:  dd 2
.next:
        PENDING
        GO_ON
        TEST "STI, PUSHF, POPF"
        sti
        pushfd
        popfd
        inc eax
        cli
        ENDT
        PENDING
        GO_ON
        TEST "STI and a fault: the fault comes first, then its handler is interrupted"
        sti
        ud2
        ENDT
        call drain
        PENDING
        GO_ON
        TEST "trap gate keeps IF: its first instruction is preceded by the interrupt"
        mov byte [idt + 3 * 8 + 5], 0xef
        sti
        int3
        cli
        ENDT
        mov byte [idt + 3 * 8 + 5], 0xee
        call drain
        PENDING
        mov dword [t_flags], 0x3002
        GO_ON
        TEST3 "STI at ring 3"
        sti
        inc eax
        inc eax
        cli
        ENDT
        PENDING
        mov dword [t_flags], 0x202
        GO_ON
        TEST3 "IRET to ring 3 with IF: before its first instruction"
        inc eax
        ENDT
        PENDING
        mov dword [t_flags], 0x3202
        GO_ON
        TESTV "IRET to V86 mode with IF: before its first instruction"
        inc ax
        ENDT
        PENDING
        mov dword [t_flags], 0x3002
        GO_ON
        TESTV "STI in V86 mode"
        sti
        inc ax
        inc ax
        cli
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- what comes first
order:
        PENDING
        GO_ON
        TEST "the interrupt comes before a fault of the next instruction"
        push dword 0x202
        popfd
        mov al, [fs:0]
        ENDT
        PENDING
        GO_ON
        TEST "and before #UD"
        push dword 0x202
        popfd
        ud2
        ENDT
        PENDING
        GO_ON
        mov eax, .break
        mov dr0, eax
        mov eax, 2
        mov dr7, eax
        TEST "and before an instruction breakpoint"
        push dword 0x202
        popfd
.break: nop
        cli
        ENDT
        PENDING
        GO_ON
        TEST "a single step comes before the interrupt"
        push dword 0x302
        popfd
        inc eax
        inc eax
        cli
        ENDT
        PENDING
        GO_ON
        mov eax, SCRATCH
        mov dr0, eax
        mov eax, 0x000d0002
        mov dr7, eax
        TEST "a data breakpoint comes before the interrupt"
        sti
        mov [SCRATCH], eax
        inc eax
        cli
        ENDT
        PENDING
        GO_ON
        TEST "INT n, then the interrupt after IRET"
        GATE_AT idt + 0x60 * 8, CODE0, .handler, P | 0x0e, 0
        sti
        int 0x60
        inc eax
        cli
        jmp .over
.handler:
        inc ecx
        iretd
.over:
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- inside REP
repeats:
        PENDING
        GO_ON
        TEST "REP MOVSB is interrupted between its units"
        mov esi, SCRATCH
        mov edi, SCRATCH + 0x100
        mov ecx, 5
        sti
        rep movsb
        cli
        ENDT
        PENDING
        GO_ON
        TEST "REPE CMPSB"
        mov edi, SCRATCH
        mov esi, SCRATCH
        mov ecx, 5
        cmp eax, eax
        sti
        repe cmpsb
        cli
        ENDT
        PENDING
        GO_ON
        TEST "REP OUTSB"
        mov esi, SCRATCH
        mov dx, 0x80
        mov ecx, 3
        sti
        rep outsb
        cli
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- gates of interrupts
elsewhere:
        PENDING
        mov byte [idt + TIMER * 8 + 5], 0x0e
        TEST "gate not present"
        sti
        nop
        nop
        ENDT
        mov byte [idt + TIMER * 8 + 5], 0x8e
        mov al, 0x20
        out 0x20, al
        PENDING
        mov word [idt + TIMER * 8 + 2], DATA0
        TEST "handler in data"
        sti
        nop
        nop
        ENDT
        mov word [idt + TIMER * 8 + 2], CODE0
        mov al, 0x20
        out 0x20, al
        PENDING
        lidt [.short]
        TEST "beyond the IDT"
        sti
        nop
        nop
        ENDT
        lidt [idtr]
        mov al, 0x20
        out 0x20, al
        PENDING
        GO_ON
        TEST3 "gate of DPL 0 from ring 3"
        nop
        ENDT
        call drain
        ; DPL does not count.
        PENDING
        mov dword [t_flags], 0x202
        GO_ON
        TEST3 "DPL of the gate does not count"
        nop
        ENDT
        ret
.short: dw TIMER * 8 - 1
        dd idt

; ---------------------------------------------------------------------------------------------- the local APIC
apic:
        GO_ON
        TEST "IPI to itself"
        mov dword [ICR], SELF | IPI
        nop
        sti
        nop
        nop
        cli
        ENDT
        GO_ON
        TEST "two IPIs: the higher one first"
        mov dword [ICR], SELF | LOW_IPI
        mov dword [ICR], SELF | IPI
        sti
        nop
        nop
        nop
        cli
        ENDT
        GO_ON
        TEST "IPI below the task priority"
        mov dword [TPR], 0x60
        mov dword [ICR], SELF | IPI
        sti
        nop
        nop
        mov dword [TPR], 0
        nop
        cli
        ENDT
        GO_ON
        TEST "HLT wakes up for an IPI"
        mov dword [ICR], SELF | IPI
        sti
        hlt
        inc eax
        cli
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- MOV SS
; A hundred interrupts of a loop: none may lie between MOV SS and its successor.
stacks:
        mov al, 0x34
        out 0x43, al
        mov al, 37
        out 0x40, al
        mov al, 0
        out 0x40, al
        GATE_AT idt + TIMER * 8, CODE0, .tick, P | 0x0e, 0
        mov dword [.ticks], 100
        TEST "MOV SS and its successor are not separated"
        mov ax, DATA0
        mov edx, 0
        mov ebx, 0
        sti
.loop:  mov ss, ax
.behind:
        inc edx
        push ss
        pop ss
.behind_pop:
        inc edx
        cmp dword [.ticks], 0
        jg .loop
        cli
        mov edx, EDX_
        cmp dword [.elsewhere], 20
        seta bh
        ENDT
        mov al, 0x30
        out 0x43, al
        ret
.tick:  dec dword [.ticks]
        inc dword [.elsewhere]
        cmp dword [esp], .behind
        je .bad
        cmp dword [esp], .behind_pop
        jne .good
.bad:   inc ebx
.good:  push eax
        mov al, 0x20
        out 0x20, al
        pop eax
        iretd
.ticks: dd 0
.elsewhere: dd 0

; ---------------------------------------------------------------------------------------------- NMI
nmis:
        mov dword [ICR_HIGH], 0
        mov eax, [APIC + 0x20]
        and eax, 0xff000000
        mov [ICR_HIGH], eax
        GO_ON
        TEST "NMI with IF = 0"
        mov dword [ICR], NMI
        nop
        ENDT
        mov dword [t_fixup], .again
        mov dword [.left], 1
        TEST "a second NMI waits for IRET"
        mov dword [ICR], NMI
        nop
        nop
        ENDT
        mov dword [t_fixup], .fault
        mov dword [.left], 1
        TEST "an IRET from a fault inside lets it through too"
        mov dword [ICR], NMI
        nop
        nop
        ENDT
        GO_ON
        TEST "HLT wakes up for an NMI"
        GATE_AT idt + 0x60 * 8, CODE0, .later, P | 0x0e, 0
        mov dword [ICR], NMI
        inc eax
        jmp .over
.later: iretd
.over:  ENDT
        GO_ON
        TEST "NMI before an interrupt"
        mov dword [ICR], SELF | IPI
        sti
        mov dword [ICR], NMI
        nop
        nop
        cli
        ENDT
        ret
.left:  dd 0
; Sends another NMI from inside the handler.
.again:
        cmp dword [ebp + F_VECTOR], 2
        jne .end
        dec dword [.left]
        js .go
        mov dword [ICR], NMI
        SHOW "sent", dword [.left]
.go:    clc
        ret
.end:   stc
        ret
; Sends another and executes INT n, whose IRET ends the blocking: the NMI interrupts the handler.
.fault:
        cmp dword [ebp + F_VECTOR], 2
        jne .end
        dec dword [.left]
        js .go
        mov dword [ICR], NMI
        SHOW "sent", dword [.left]
        int 0x60
        SHOW "back", dword [.left]
        clc
        ret
