; Real mode: addressing, limits, interrupts through the vector table, faults without error codes, and the way there and
; back (SDM vol 3, chapters 9.9 and 20.1).
; bochs: model=atom_n270
%include "kernel32.inc"

CODE16 equ SLOT
DATA16 equ SLOT + 8
BIG    equ SLOT + 16
R      equ 0x8000               ; where the tests run, 0800:0000
VECTORS equ 0x1000              ; a vector table that is not at 0

; The body is copied to 8000h and runs in real mode, DS = 0800, ES = 0A00, SS:SP = 0900:1000. Exceptions go through a
; vector table to protected mode, which logs vector, IP, CS, FLAGS and registers.
%macro TESTR 1
        %push test
        [section .rodata]
%$name: db %1, 0
        __SECT__
        mov dword [t_name], %$name
        mov dword [t_resume], %$end
        mov esi, %$start
        mov ecx, %$end
        jmp beginr
%$start:
        bits 16
%endmacro

main:
        DESC CODE16, 0x10000, 0xffff, P | S_CODE, 0
        DESC DATA16, 0, 0xffff, P | S_DATA, 0
        DESC BIG, 0, 0xfffff, P | S_DATA, G
        ; The 16-bit part goes to 1000:0000.
        mov esi, part16
        mov edi, 0x10000
        mov ecx, part16_end
        sub ecx, esi
        rep movsb
        ; 256 stubs, 8 bytes each, at 2000:0000: push ax; mov ax, n; jmp common
        mov edi, 0x20000
        xor ecx, ecx
.stub:  mov dword [edi], 0x00b86890
        mov byte [edi], 0x50
        mov byte [edi + 1], 0xb8
        mov [edi + 2], cl
        mov byte [edi + 3], 0
        mov byte [edi + 4], 0xe9
        mov eax, 0x800 - 7
        mov edx, ecx
        shl edx, 3
        sub eax, edx
        mov [edi + 5], ax
        mov eax, edx
        or eax, 0x20000000
        mov [VECTORS + ecx * 4], eax
        add edi, 8
        inc ecx
        cmp ecx, 256
        jb .stub
        ; common, at 2000:0800
        mov dword [0x20800], 0x000000ea         ; jmp 1000:exception16
        mov dword [0x20801], 0x10000000 + exception16 - part16

        TESTR "segments and registers"
        mov ax, cs
        mov bx, ds
        mov cx, ss
        mov dx, es
        ENDT
        TESTR "address arithmetic"
        mov word [0x900], 0x1234
        mov ax, 0x0810
        mov ds, ax
        mov ax, [0x800]
        ENDT
        TESTR "beyond 64 KiB"
        mov ebx, 0x10000
        mov al, [ebx]
        ENDT
        TESTR "word at FFFF"
        mov ax, [0xffff]
        ENDT
        TESTR "stack: word at FFFF"
        mov bp, 0xffff
        mov ax, [bp]
        ENDT
        TESTR "stack wraps"
        mov sp, 2
        push ax
        push ax
        mov sp, 0x1000
        ENDT
        TESTR "INT pushes FLAGS, CS, IP"
        stc
        int 0x60
        ENDT
        TESTR "divide error: IP of the instruction"
        xor cx, cx
        div cx
        ENDT
        TESTR "#UD"
        ud2
        ENDT
        TESTR "BOUND"
        mov word [0x900], 1
        mov word [0x902], 2
        bound ax, [0x900]
        ENDT
        TESTR "INTO"
        mov al, 0x7f
        inc al
        into
        ENDT
        TESTR "LAR does not exist"
        lar ax, bx
        ENDT
        TESTR "ARPL does not exist"
        arpl ax, bx
        ENDT
        TESTR "LLDT does not exist"
        lldt ax
        ENDT
        TESTR "SYSENTER"
        sysenter
        ENDT
        TESTR "LOCK"
        db 0xf0
        nop
        ENDT
        TESTR "too long"
        times 15 db 0x3e
        nop
        ENDT
        TESTR "HLT and CLI are allowed: SMSW, SGDT"
        smsw ax
        and ax, 0xf
        sgdt [0x900]
        mov cx, [0x900]
        cli
        ENDT
        TESTR "far call and return"
        call 0x0801:%$there - %$start - 16
        jmp %$over
%$there:
        pop bx
        pop cx
        push cx
        push bx
        retf
%$over: ENDT
        TESTR "IRET sets the flags"
        push word 0x0ed7
        push cs
        push word %$back - %$start
        iret
%$back: cli
        ENDT
        TESTR "POPF: IOPL and NT"
        push word 0x7002
        popf
        pushf
        pop ax
        push word 2
        popf
        ENDT
        TESTR "IRET with NT is nothing special"
        push word 0x4002
        push cs
        push word %$nt - %$start
        push word 0x4002
        popf
        iret
%$nt:   push word 2
        popf
        ENDT
        TESTR "far jump beyond the limit"
        db 0x66, 0xea
        dd 0x10000
        dw 0x0800
        ENDT
        TESTR "IP wraps at the end of the segment"
        jmp 0x0800:0xfffe
        ENDT
        TESTR "TF"
        push word 0x0102
        popf
        nop
        push word 2
        popf
        ENDT
        TESTR "MOV to CR0 in real mode: PG without PE"
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        ENDT
        TESTR "unreal mode"
        mov dword [0x900], 0
        cli
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, BIG
        mov fs, bx
        and al, ~1
        mov cr0, eax
        mov ebx, 0x1c0000
        mov dword [fs:ebx], 0x12345678
        mov ecx, [fs:ebx]
        mov fs, dx
        mov dword [fs:ebx], 0x12345678
        mov eax, 0
        xor bx, bx
        mov fs, bx
        ENDT
        TESTR "vector table limit: INT beyond it"
        lidt [cs:%$short - %$start]
        int 0x60
%$short:
        dw 0x60 * 4 - 1
        dd VECTORS
        ENDT
        TESTR "REP INSB is allowed"
        mov di, 0x900
        mov cx, 2
        mov dx, 0x21
        rep insb
        ENDT
        ret

beginr:
        mov [t_kesp], esp
        sub ecx, esi
        mov edi, R
        rep movsb
        mov edi, R + 0xfffe
        mov word [edi], 0x9090
        call set_pattern
        lidt [.real]
        jmp CODE16:enter16 - part16
.real:  dw 0x3ff
        dd VECTORS

; Back in protected mode: [frame16] holds what the exception saw.
logr:
        mov ax, DATA0
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, [t_kesp]
        lidt [idtr]
        mov esi, [t_name]
        call puts
        mov esi, msg_vector
        call puts
        mov eax, [F16 + 0]
        call hex8
        mov al, ' '
        call putc
        mov eax, [F16 + 4]
        call hex16
        mov al, ' '
        call putc
        mov eax, [F16 + 8]
        call hex16
        mov esi, msg_flags
        call puts
        mov eax, [F16 + 12]
        call hex16
        mov esi, msg_sp
        call puts
        mov eax, [F16 + 16]
        call hex16
        xor ebx, ebx
.register:
        mov eax, [F16 + 20 + ebx * 4]
        cmp eax, [register_table + ebx * 8 + 4]
        je .next
        mov esi, [register_names + ebx * 4]
        call puts
        call hex32
.next:  inc ebx
        cmp ebx, 7
        jb .register
        mov al, 10
        call putc
        jmp resume

F16 equ 0x3000

; At 1000:0000.
part16:
bits 16
enter16:
        push eax
        mov ax, DATA16
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov eax, cr0
        and al, ~1
        mov cr0, eax
        jmp 0x1000:.real - part16
.real:  pop eax
        mov sp, 0x0800
        mov ss, sp
        mov ds, sp
        mov sp, 0x0900
        mov ss, sp
        mov sp, 0x0a00
        mov es, sp
        mov sp, 0
        mov fs, sp
        mov gs, sp
        mov esp, 0x1000
        push word 2
        popf
        jmp 0x0800:0

; AX: vector; stack: AX, IP, CS, FLAGS.
exception16:
        push ds
        push word 0
        pop ds
        mov [F16 + 0], ax
        mov word [F16 + 2], 0
        pop ax
        ; DS of the test is not of interest.
        pop ax
        mov [F16 + 20], eax
        mov [F16 + 24], ecx
        mov [F16 + 28], edx
        mov [F16 + 32], ebx
        mov [F16 + 36], ebp
        mov [F16 + 40], esi
        mov [F16 + 44], edi
        pop word [F16 + 4]
        pop word [F16 + 8]
        pop word [F16 + 12]
        mov word [F16 + 6], 0
        mov word [F16 + 10], 0
        mov word [F16 + 14], 0
        mov [F16 + 16], esp
        cli
        mov eax, cr0
        or al, 1
        and eax, 0x7fffffff
        mov cr0, eax
        jmp dword CODE0:logr
part16_end:
bits 32
