; Single steps, breakpoints and the debug registers (SDM vol 3, chapter 17.2 and 17.3).
%include "kernel32.inc"

CR4_DE equ 8

; ARM value: DR7 for the next test, written behind its other preparations. Address registers through AT.
%macro AT 2
        mov eax, %2
        mov dr%1, eax
%endmacro
%macro ARM 1
        mov eax, %1
        mov dr7, eax
%endmacro
; DR7 fields of breakpoint n: enable, condition, length (1, 2 or 4).
%define ENABLE(n) (2 << (2 * (n)))
%define ON_EXECUTE(n) ENABLE(n)
%define ON_WRITE(n, length) (ENABLE(n) | (1 << (16 + 4 * (n))) | (((length) - 1) << (18 + 4 * (n))))
%define ON_IO(n, length) (ENABLE(n) | (2 << (16 + 4 * (n))) | (((length) - 1) << (18 + 4 * (n))))
%define ON_ACCESS(n, length) (ENABLE(n) | (3 << (16 + 4 * (n))) | (((length) - 1) << (18 + 4 * (n))))

%macro STEP 0
        CONTINUE 1
        mov dword [t_flags], 0x102
%endmacro

main:
        call steps
        call execute
        call data
        call io
        call registers
        ret

; ---------------------------------------------------------------------------------------------- TF
steps:
        STEP
        TEST "TF: from POPF"
        nop
        inc eax
        push dword 2
        popfd
        nop
        ENDT
        STEP
        TEST "TF: jumps"
        jmp .next
        nop
.next:  jc .next
        call .sub
        jmp .end
.sub:   ret
.end:
        ENDT
        STEP
        TEST "TF: REP MOVSB"
        mov esi, SCRATCH
        mov edi, SCRATCH + 0x10
        mov ecx, 3
        rep movsb
        nop
        ENDT
        STEP
        TEST "TF: REP with nothing to do"
        mov ecx, 0
        rep stosb
        nop
        ENDT
        STEP
        TEST "TF: REPE CMPSB"
        mov dword [SCRATCH], 0x00010000
        mov dword [SCRATCH + 0x10], 0
        mov esi, SCRATCH
        mov edi, SCRATCH + 0x10
        mov ecx, 4
        repe cmpsb
        nop
        ENDT
        STEP
        TEST "TF: REP OUTSB and REP INSB"
        mov esi, SCRATCH
        mov edi, SCRATCH + 0x20
        mov dx, 0x80
        mov ecx, 2
        rep outsb
        mov ecx, 2
        mov dx, 0x61
        rep insb
        nop
        ENDT
        STEP
        TEST "TF: MOV SS holds the trap back"
        mov ax, DATA0
        mov ss, ax
        nop
        nop
        ENDT
        STEP
        TEST "TF: POP SS holds the trap back"
        push dword DATA0
        pop ss
        nop
        nop
        ENDT
        STEP
        TEST "TF: LSS does not"
        mov [SCRATCH], esp
        mov word [SCRATCH + 4], DATA0
        lss esp, [SCRATCH]
        nop
        ENDT
        STEP
        TEST "TF: POP DS does not"
        push dword DATA0
        pop ds
        nop
        ENDT
        STEP
        TEST "TF: STI, CLI"
        sti
        nop
        cli
        nop
        ENDT
        STEP
        TEST "TF: PUSHF"
        pushfd
        pop eax
        ENDT
        STEP
        TEST "TF: LAHF, SAHF, CLC"
        lahf
        clc
        ENDT
        CONTINUE 1
        TEST "TF: IRET sets it"
        push dword 0x102
        push dword CODE0
        push dword .there
        iretd
.there: nop
        nop
        ENDT
        STEP
        TEST "TF: IRET clears it"
        push dword 2
        push dword CODE0
        push dword .cleared
        iretd
.cleared:
        nop
        ENDT
        STEP
        TEST "TF: a fault is reported first, with TF in its frame"
        mov dword [t_fixup], .repair
        mov ecx, [fs:0]
        nop
        ENDT
        jmp .after
.repair:
        mov dword [ebp + F_FS], DATA0
        cmp dword [ebp + F_VECTOR], 0xf0
        je .no
        clc
        ret
.no:    stc
        ret
.after:
        STEP
        TEST "TF: INT n clears it"
        int 0x60
        ENDT
        CONTINUE 3
        STEP
        TEST "TF: INT3"
        int3
        nop
        ENDT
        CONTINUE 4
        STEP
        TEST "TF: INTO"
        mov al, 0x7f
        inc al
        into
        nop
        ENDT
        STEP
        TEST "TF: INT1"
        db 0xf1
        nop
        ENDT
        STEP
        TEST "TF: far jump, far call, far return"
        jmp CODE0:.far
.far:   push cs
        call .sub_far
        jmp .far_end
.sub_far:
        retf
.far_end:
        ENDT
        STEP
        TEST "TF: XCHG, LOCK"
        lock inc dword [SCRATCH]
        xchg eax, [SCRATCH]
        ENDT
        STEP
        TEST3 "TF: ring 3"
        nop
        inc ecx
        mov ax, DATA3
        mov ss, ax
        nop
        ENDT
        STEP
        TEST "TF: MOV to CR0"
        mov eax, cr0
        mov cr0, eax
        nop
        ENDT
        STEP
        TEST "TF: LOOP"
        mov ecx, 2
.loop:  loop .loop
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- instruction breakpoints
execute:
        AT 0, .here
        ARM ON_EXECUTE(0)
        TEST "instruction breakpoint"
        nop
.here:  inc eax
        ENDT
        ; Continued with RF, as a debugger does.
        mov dword [t_fixup], .resume
        ARM ON_EXECUTE(0)
        TEST "RF: the breakpoint is passed once"
        mov ecx, 2
        jmp .here2
.here2: loop .here2
        ENDT
        AT 0, .here3
        ARM ON_EXECUTE(0)
        mov dword [t_fixup], .resume
        TEST "RF: LOOP to itself"
        mov ecx, 3
.here3: loop .here3
        ENDT
        AT 0, .here4
        ARM ON_EXECUTE(0)
        mov dword [t_fixup], .resume
        TEST "RF: REP MOVSB is one instruction"
        mov esi, SCRATCH
        mov edi, SCRATCH + 0x10
        mov ecx, 3
.here4: rep movsb
        ENDT
        AT 0, .here5
        ARM ON_EXECUTE(0)
        TEST "RF: set by IRET"
        push dword 0x10002
        push dword CODE0
        push dword .here5
        iretd
.here5: nop
        nop
        jmp .here5
        ENDT
        GATE_AT idt + 0x60 * 8, CODE0, stubs + 0x60 * 16, P | 0x0e, 0
        %macro RF_TEST 2
        TEST %1
        push dword 0x10002
        push dword CODE0
        push dword %%next
        iretd
%%next: %2
        ENDT
        %endmacro
        RF_TEST "RF: INT n pushes it clear", int 0x60
        RF_TEST "RF: INT3 pushes it clear", int3
        RF_TEST "RF: INT1 pushes it clear", db 0xf1
        RF_TEST "RF: a fault pushes it set", ud2
        RF_TEST "RF: PUSHF pushes it clear", pushfd
        AT 0, .here6
        ARM ON_EXECUTE(0)
        TEST "RF: POPF does not set it"
        push dword 0x10002
        popfd
.here6: nop
        ENDT
        AT 0, .here7
        ARM ON_EXECUTE(0)
        TEST "RF: a fault pushes it, so that its repair passes the breakpoint"
        mov dword [t_fixup], .repair
        mov dword [t_continue], 0
.here7: mov ecx, [fs:0]
        nop
        ENDT
        AT 0, .here8
        ARM ON_EXECUTE(0)
        TEST "breakpoint behind MOV SS"
        mov ax, DATA0
        mov ss, ax
.here8: nop
        jmp .here8
        ENDT
        AT 0, .here9
        AT 1, .here9
        ARM ON_EXECUTE(0) | ON_EXECUTE(1)
        TEST "two at one address"
.here9: nop
        ENDT
        AT 0, .here10
        ARM 0
        TEST "not enabled"
.here10:
        nop
        ENDT
        AT 0, .here11
        ARM 1
        TEST "local enable"
.here11:
        nop
        ENDT
        AT 0, .here12 + 1
        ARM ON_EXECUTE(0)
        TEST "only the first byte counts"
.here12:
        mov eax, 0x12345678
        ENDT
        AT 0, .here13
        ARM ON_EXECUTE(0)
        TEST "at a prefix"
.here13:
        db 0x66
        nop
        ENDT
        AT 0, .here14
        ARM ON_EXECUTE(0)
        mov dword [t_flags], 0x102
        CONTINUE 1
        mov dword [t_fixup], .resume
        TEST "TF and an instruction breakpoint"
        nop
.here14:
        nop
        nop
        ENDT
        AT 0, .here15
        ARM ON_EXECUTE(0)
        TEST "before a fault of the same instruction"
.here15:
        mov al, [fs:0]
        ENDT
        AT 0, .here16
        ARM ON_EXECUTE(0)
        TEST "before #UD"
.here16:
        ud2
        ENDT
        AT 0, .here17
        ARM ON_EXECUTE(0)
        TEST3 "ring 3"
.here17:
        nop
        ENDT
        ret
.resume:
        cmp dword [ebp + F_VECTOR], 1
        stc
        jne .no
        or dword [ebp + F_EFLAGS], 0x10000
        clc
.no:    ret
.repair:
        cmp dword [ebp + F_VECTOR], 13
        stc
        jne .no
        mov dword [ebp + F_FS], DATA0
        clc
        ret

; ---------------------------------------------------------------------------------------------- data breakpoints
%macro DATA_TEST 4
        ; name, length, condition, instruction
        AT 0, SCRATCH + 8
        ARM %3(0, %2)
        CONTINUE 1
        TEST %1
        %4
        nop
        ENDT
%endmacro

data:
        mov edi, SCRATCH
        xor eax, eax
        mov ecx, 0x100
        rep stosd
        DATA_TEST "write: byte", 1, ON_WRITE, {mov [SCRATCH + 8], al}
        DATA_TEST "write: read does not count", 1, ON_WRITE, {mov al, [SCRATCH + 8]}
        DATA_TEST "access: read", 1, ON_ACCESS, {mov al, [SCRATCH + 8]}
        DATA_TEST "access: write", 1, ON_ACCESS, {mov [SCRATCH + 8], al}
        DATA_TEST "write: byte before", 1, ON_WRITE, {mov [SCRATCH + 7], al}
        DATA_TEST "write: byte behind", 1, ON_WRITE, {mov [SCRATCH + 9], al}
        DATA_TEST "write: dword that ends in it", 1, ON_WRITE, {mov [SCRATCH + 5], eax}
        DATA_TEST "write: dword that begins in it", 4, ON_WRITE, {mov [SCRATCH + 11], eax}
        DATA_TEST "write: byte in a word", 2, ON_WRITE, {mov [SCRATCH + 9], al}
        DATA_TEST "write: behind the word", 2, ON_WRITE, {mov [SCRATCH + 10], al}
        DATA_TEST "write: last byte of the dword", 4, ON_WRITE, {mov [SCRATCH + 11], al}
        DATA_TEST "write: read-modify-write", 4, ON_WRITE, {inc dword [SCRATCH + 8]}
        DATA_TEST "access: read-modify-write", 4, ON_ACCESS, {inc dword [SCRATCH + 8]}
        DATA_TEST "write: CMPXCHG that does not match", 4, ON_WRITE, {cmpxchg [SCRATCH + 8], ecx}
        DATA_TEST "access: TEST", 4, ON_ACCESS, {test [SCRATCH + 8], ecx}
        DATA_TEST "access: PUSH m", 4, ON_ACCESS, {push dword [SCRATCH + 8]}
        DATA_TEST "access: LEA does not count", 4, ON_ACCESS, {lea eax, [SCRATCH + 8]}
        DATA_TEST "access: x87", 4, ON_ACCESS, {fld qword [SCRATCH + 4]}
        fninit
        DATA_TEST "access: BTS next to it", 4, ON_ACCESS, {bts dword [SCRATCH + 4], 3}
        DATA_TEST "access: INVLPG does not count", 4, ON_ACCESS, {invlpg [SCRATCH + 8]}
        AT 0, SCRATCH + 9
        ARM ON_WRITE(0, 4)
        CONTINUE 1
        TEST "the low bits of the address are ignored: dword"
        mov [SCRATCH + 8], al
        mov [SCRATCH + 12], al
        ENDT
        AT 0, SCRATCH + 9
        ARM ON_WRITE(0, 2)
        CONTINUE 1
        TEST "the low bits of the address are ignored: word"
        mov [SCRATCH + 8], al
        mov [SCRATCH + 10], al
        ENDT
        AT 0, SCRATCH + 8
        AT 1, SCRATCH + 12
        AT 2, SCRATCH + 10
        AT 3, SCRATCH
        ARM ON_WRITE(0, 4) | ON_WRITE(1, 4) | ON_ACCESS(2, 1) | ON_WRITE(3, 4)
        CONTINUE 1
        TEST "three at once"
        mov [SCRATCH + 10], ecx
        nop
        ENDT
        AT 0, SCRATCH + 8
        ARM ON_WRITE(0, 4)
        CONTINUE 1
        TEST "REP STOSB: after the unit"
        mov edi, SCRATCH + 6
        mov ecx, 5
        rep stosb
        ENDT
        AT 0, SCRATCH + 8
        ARM ON_ACCESS(0, 4)
        CONTINUE 1
        TEST "REP MOVSD: read side"
        mov esi, SCRATCH
        mov edi, SCRATCH + 0x40
        mov ecx, 4
        rep movsd
        ENDT
        AT 0, SCRATCH + 0x48
        ARM ON_ACCESS(0, 4)
        CONTINUE 1
        TEST "REP MOVSD: write side"
        mov esi, SCRATCH
        mov edi, SCRATCH + 0x40
        mov ecx, 4
        rep movsd
        ENDT
        GATE_AT idt + 0x60 * 8, CODE0, .handler, P | 0x0e, 0
        jmp .frame
.handler:
        nop
        mov ecx, 0
        mov dr7, ecx
        iretd
.frame:
        CONTINUE 1
        TEST "the frame of an interrupt"
        lea eax, [esp - 8]
        mov dr0, eax
        mov eax, ON_WRITE(0, 4)
        mov dr7, eax
        int 0x60
        mov eax, EAX_
        ENDT
        AT 0, SCRATCH + 8
        ARM ON_ACCESS(0, 4)
        CONTINUE 1
        TEST "MOV SS from it: held back"
        mov dword [SCRATCH + 8], DATA0
        mov ss, [SCRATCH + 8]
        nop
        nop
        ENDT
        AT 0, USTACK - 4
        ARM ON_WRITE(0, 4)
        CONTINUE 1
        TEST3 "PUSH at ring 3"
        push eax
        nop
        ENDT
        AT 0, USTACK - 4
        ARM ON_ACCESS(0, 4)
        CONTINUE 1
        TEST3 "CALL and RET"
        call .sub
        jmp .end
.sub:   ret
.end:
        ENDT
        AT 0, SCRATCH + 8
        ARM ON_ACCESS(0, 4)
        CONTINUE 1
        mov dword [t_flags], 0x102
        TEST "TF and data"
        mov ecx, [SCRATCH + 8]
        nop
        ENDT
        AT 0, .code
        ARM ON_ACCESS(0, 4)
        CONTINUE 1
        TEST "a fetch does not count"
        nop
.code:  nop
        nop
        ENDT
        ret

; ---------------------------------------------------------------------------------------------- I/O breakpoints
%macro IO_TEST 4
        AT 0, %2
        ARM ON_IO(0, %3)
        CONTINUE 1
        TEST %1
        %4
        nop
        ENDT
%endmacro

io:
        IO_TEST "I/O without CR4.DE", 0x80, 1, {out 0x80, al}
        mov eax, cr4
        or eax, CR4_DE
        mov cr4, eax
        IO_TEST "I/O: OUT", 0x80, 1, {out 0x80, al}
        IO_TEST "I/O: IN", 0x21, 1, {in al, 0x21}
        IO_TEST "I/O: another port", 0x80, 1, {out 0x81, al}
        IO_TEST "I/O: dword onto it", 0x82, 1, {out 0x80, eax}
        IO_TEST "I/O: last of four", 0x80, 4, {out 0x83, al}
        IO_TEST "I/O: behind four", 0x80, 4, {out 0x84, al}
        IO_TEST "I/O: data at the same address does not count", SCRATCH + 8, 4, {mov [SCRATCH + 8], eax}
        AT 0, 0x80
        ARM ON_IO(0, 1)
        CONTINUE 1
        TEST "I/O: OUTSB"
        mov dx, 0x80
        mov esi, SCRATCH
        outsb
        nop
        ENDT
        AT 0, 0x80
        ARM ON_IO(0, 1)
        CONTINUE 1
        TEST "I/O: REP OUTSB"
        mov dx, 0x80
        mov esi, SCRATCH
        mov ecx, 3
        rep outsb
        nop
        ENDT
        AT 0, 0x61
        ARM ON_IO(0, 1)
        CONTINUE 1
        TEST "I/O: REP INSB"
        mov dx, 0x61
        mov edi, SCRATCH + 0x20
        mov ecx, 2
        rep insb
        nop
        ENDT
        TEST "DR4 with CR4.DE"
        mov eax, dr4
        ENDT
        TEST "DR5 with CR4.DE"
        mov dr5, eax
        ENDT
        mov eax, cr4
        and eax, ~CR4_DE
        mov cr4, eax
        ret

; ---------------------------------------------------------------------------------------------- the registers
registers:
        TEST "DR6: fixed bits"
        mov eax, -1
        mov dr6, eax
        mov ecx, dr6
        xor eax, eax
        mov dr6, eax
        mov edx, dr6
        ENDT
        TEST "DR7: fixed bits"
        mov eax, 0xffffdfff
        mov dr7, eax
        mov ecx, dr7
        xor eax, eax
        mov dr7, eax
        mov edx, dr7
        ENDT
        TEST "DR0 to DR3"
        mov eax, 0x12345678
        mov dr0, eax
        mov dr3, eax
        mov ecx, dr0
        mov edx, dr3
        ENDT
        TEST "DR4 and DR5 are DR6 and DR7 without CR4.DE"
        mov eax, dr4
        mov ecx, dr5
        ENDT
        ; General detection; the handler itself reads DR6.
        AT 0, SCRATCH
        ARM 0x2000
        mov dword [t_hook], .show_dr7
        TEST "GD: read"
        mov eax, dr0
        ENDT
        ARM 0x2000
        TEST "GD: write"
        mov dr0, eax
        ENDT
        ARM 0x2000
        TEST "GD: DR7"
        mov dr7, eax
        ENDT
        TEST "BS stays until software clears it"
        mov eax, 0xffff4ff0
        mov dr6, eax
        mov ecx, dr6
        ENDT
        mov eax, 0xffff4ff0
        mov dr6, eax
        AT 0, SCRATCH
        ARM ON_WRITE(0, 1)
        TEST "a later breakpoint keeps BS"
        mov [SCRATCH], al
        nop
        ENDT
        mov eax, 0xffff0ff2
        mov dr6, eax
        AT 0, SCRATCH
        ARM ON_WRITE(0, 1)
        TEST "and what of B1"
        mov [SCRATCH], al
        nop
        ENDT
        ret
.show_dr7:
        cmp dword [ebp + F_VECTOR], 1
        jne .no
        mov eax, dr7
        SHOW "dr7", eax
.no:    ret
