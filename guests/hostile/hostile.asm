; A guest that means no good: it accesses random ports and MMIO addresses with random values, in every width and by
; many instructions, and enables interrupts meanwhile. It runs until somebody stops it; whatever resets or stops the
; machine is part of the game. A flat Multiboot image; whoever loads it fills in the parameters at offset 40h.
;
; It lies at 2 MiB, where neither A20 nor the BIOS area matters.

bits 32
org 0x200000

MAGIC equ 0x1BADB002
FLAGS equ 1 << 16                       ; the address fields are valid

header:
        dd MAGIC, FLAGS, -(MAGIC + FLAGS)
        dd header, header, image_end, memory_end, start

times 0x40 - ($ - $$) db 0
seed:           dd 1
reckless:       dd 0                    ; not 0: does not spare the ports that end the machine
port_count:     dd 0
window_count:   dd 0
progress:       dd 0                    ; steps done since the start
interrupts:     dd 0
faults:         dd 0
restarts:       dd 0

times 0x80 - ($ - $$) db 0
ports:          times 2 * 48 dd 0       ; base, length
windows:        times 2 * 24 dd 0       ; base, length

; Ports whose writing ends or resets the machine, first and last: spared unless reckless.
killers:        dw 0x92, 0x92, 0xf4, 0xf7, 0x604, 0x605, 0xcf9, 0xcf9
killers_end:

SCRATCH  equ 0x240000                   ; 64 KiB that string instructions and DMA may fill
STACK    equ 0x25f000
memory_end equ 0x260000

LAPIC    equ 0xfee00000
IOAPIC   equ 0xfec00000
HPET     equ 0xfed00000

; ---------------------------------------------------------------------------------------------------------------------

start:
        mov esp, STACK
        lgdt [gdt_pointer]
        jmp 8:.flat
.flat:
        mov ax, 16
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        xor ax, ax
        lldt ax
        call build_idt
        rdtsc                           ; virtual time goes on over resets, so each start takes another way
        imul eax, eax, 0x9e3779b1
        xor eax, [seed]
        jnz .seeded
        inc eax
.seeded:
        mov [state], eax
        mov eax, 0x31                   ; PE, ET, NE: protected mode without paging, caches on
        mov cr0, eax
        mov eax, 0x600                  ; OSFXSR, OSXMMEXCPT
        mov cr4, eax
        fninit
        call rand
        test al, 3
        jz main
        call setup_controllers
main:
        mov esp, STACK
        push 2
        popfd
        mov ax, 16
        mov ds, ax
        mov es, ax
        mov ss, ax
.step:
        inc dword [progress]
        cld
        call rand
        and eax, 63
        call [actions + eax * 4]
        jmp .step

actions:
        dd do_out, do_out, do_out, do_out, do_out, do_out, do_out, do_out
        dd do_in, do_in, do_in, do_in, do_in, do_in
        dd do_mmio, do_mmio, do_mmio, do_mmio, do_mmio, do_mmio, do_mmio, do_mmio
        dd do_mmio, do_mmio, do_mmio, do_mmio, do_mmio, do_mmio
        dd do_ins, do_ins, do_outs, do_outs
        dd do_rtc, do_rtc, do_pci, do_pci, do_pci, do_ioapic, do_ioapic, do_fw_cfg, do_fw_dma
        dd do_keyboard, do_keyboard, do_pic, do_pit, do_pit, do_uart, do_uart
        dd do_apic_timer, do_hpet, do_icr, do_msr, do_msr
        dd do_control, do_debug, do_flags, do_int, do_delay, do_sti, do_sti, do_cli, do_halt
        dd do_cpuid, do_command
%if ($ - actions) != 64 * 4
%error "64 actions"
%endif

; ---------------------------------------------------------------------------------------------------------------------

; eax: a random number (Marsaglia's xorshift). Nothing else changes but flags.
rand:
        push ecx
        mov eax, [state]
        mov ecx, eax
        shl ecx, 13
        xor eax, ecx
        mov ecx, eax
        shr ecx, 17
        xor eax, ecx
        mov ecx, eax
        shl ecx, 5
        xor eax, ecx
        mov [state], eax
        pop ecx
        ret

; eax: a number below ecx.
below:
        push edx
        call rand
        mul ecx
        mov eax, edx
        pop edx
        ret

; eax: a value: any, a byte, one bit, or all.
value:
        push ecx
        call rand
        mov ecx, eax
        call rand
        test cl, 3
        jz .done
        test cl, 4
        jz .byte
        test cl, 8
        jz .bit
        test cl, 16
        jz .done
        mov eax, -1
        jmp .done
.byte:  movzx eax, al
        jmp .done
.bit:   xchg eax, ecx
        shr eax, 8
        xchg eax, ecx
        mov eax, 1
        shl eax, cl
.done:  pop ecx
        ret

; edx: a port; three times of four one that somebody claims, or up to three beside it. ebx: a width, 1, 2 or 4.
pick_port:
        call rand
        mov edx, eax
        and eax, 3
        mov bl, [.widths + eax]
        movzx ebx, bl
        shr edx, 2
        test dl, 3
        jz .any
        mov ecx, [port_count]
        jecxz .any
        call below
        mov edx, [ports + eax * 8]
        mov ecx, [ports + eax * 8 + 4]
        call rand
        test al, 7
        jnz .inside
        add ecx, 3
        sub edx, 3
.inside:
        call below
        add edx, eax
        movzx edx, dx
        ret
.any:
        shr edx, 8
        movzx edx, dx
        ret
.widths: db 1, 2, 4, 1

; CF: a write of ebx bytes at port edx would end the machine, and is to be spared.
spared:
        cmp dword [reckless], 0
        jne .no
        push esi
        push eax
        push ecx
        mov esi, killers
.next:
        movzx eax, word [esi + 2]       ; last
        cmp edx, eax
        ja .beyond
        movzx eax, word [esi]           ; first
        lea ecx, [edx + ebx - 1]
        cmp ecx, eax
        jb .beyond
        pop ecx
        pop eax
        pop esi
        stc
        ret
.beyond:
        add esi, 4
        cmp esi, killers_end
        jb .next
        pop ecx
        pop eax
        pop esi
.no:
        clc
        ret

do_out:
        call pick_port
        call spared
        jc .done
        call value
        cmp ebx, 2
        je .word
        ja .dword
        out dx, al
        ret
.word:  out dx, ax
        ret
.dword: out dx, eax
.done:  ret

do_in:
        call pick_port
        cmp ebx, 2
        je .word
        ja .dword
        in al, dx
        ret
.word:  in ax, dx
        ret
.dword: in eax, dx
        ret

; edi: where a string goes to or comes from, mostly RAM. ecx: a count. DF any.
pick_string:
        call rand
        test al, 7
        jz .mmio
        and eax, 0xfff
        lea edi, [SCRATCH + 0x8000 + eax]
        jmp .count
.mmio:  call pick_address
.count: call rand
        mov ecx, eax
        and ecx, 63
        test eax, 0x7000
        jnz .up
        std
.up:    ret

do_ins:
        call pick_port
        push edx
        call pick_string
        pop edx
        cmp ebx, 2
        je .word
        ja .dword
        rep insb
        ret
.word:  rep insw
        ret
.dword: rep insd
        ret

do_outs:
        call pick_port
        call spared
        jc .done
        push edx
        call pick_string
        pop edx
        mov esi, edi
        cmp ebx, 2
        je .word
        ja .dword
        rep outsb
        ret
.word:  rep outsw
        ret
.dword: rep outsd
.done:  ret

; edi: an address in a window, mostly a dword's; sometimes up to 8 bytes before the window.
pick_address:
        push ecx
        mov ecx, [window_count]
        call below
        mov edi, [windows + eax * 8]
        mov ecx, [windows + eax * 8 + 4]
        call below
        mov ecx, eax
        call rand
        test al, 7
        jz .odd
        and ecx, -4
.odd:   add edi, ecx
        test eax, 0x1f00
        jnz .done
        sub edi, 8
.done:  pop ecx
        ret

do_mmio:
        call pick_address
        call rand
        mov ecx, eax
        call value
        and ecx, 63
        cmp ecx, 24
        jb .mov
        sub ecx, 24
        jmp [.others + ecx * 4]
.mov:
        cmp ecx, 12
        jb .write
        mov eax, [edi]
        ret
.write: mov [edi], eax
        ret
.others:
        dd .b_read, .b_write, .w_read, .w_write, .movzx, .cmp, .test, .add
        dd .or, .not, .xchg, .xadd, .cmpxchg, .bts, .bt, .movs_in
        dd .movs_out, .movs_both, .stos, .lods, .scas, .cmps, .push_m, .pop_m
        dd .movq_in, .movq_out, .movups_in, .movups_out, .cmpxchg8b, .fild, .fistp, .stack
        dd .call_m, .execute, .fxsave, .shld, .inc, .neg, .movs_w, .lgdt
.b_read: mov al, [edi]
        ret
.b_write: mov [edi], al
        ret
.w_read: mov ax, [edi]
        ret
.w_write: mov [edi], ax
        ret
.movzx: movzx eax, word [edi]
        ret
.cmp:   cmp [edi], eax
        ret
.test:  test [edi], eax
        ret
.add:   add [edi], eax
        ret
.or:    lock or [edi], ax
        ret
.not:   not byte [edi]
        ret
.xchg:  xchg [edi], eax
        ret
.xadd:  lock xadd [edi], eax
        ret
.cmpxchg: lock cmpxchg [edi], ebx
        ret
.bts:   bts [edi], eax                  ; the bit may lie anywhere
        ret
.bt:    bt [edi], eax
        ret
.movs_in:
        mov esi, edi
        mov edi, SCRATCH
        mov ecx, 9
        rep movsd
        ret
.movs_out:
        mov esi, SCRATCH
        mov ecx, 9
        rep movsd
        ret
.movs_both:
        mov esi, edi
        call pick_address
        mov ecx, 5
        rep movsb
        ret
.movs_w:
        mov esi, edi
        add edi, 2
        mov ecx, 7
        rep movsw
        ret
.stos:  mov ecx, 17
        rep stosd
        ret
.lods:  mov esi, edi
        mov ecx, 17
        rep lodsd
        ret
.scas:  mov ecx, 17
        repne scasd
        ret
.cmps:  mov esi, edi
        mov edi, SCRATCH
        mov ecx, 17
        repe cmpsd
        ret
.push_m: push dword [edi]
        pop eax
        ret
.pop_m: push eax
        pop dword [edi]
        ret
.movq_in: movq mm0, [edi]
        ret
.movq_out: movq [edi], mm0
        ret
.movups_in: movups xmm0, [edi]
        ret
.movups_out: movups [edi], xmm0
        ret
.cmpxchg8b: lock cmpxchg8b [edi]
        ret
.fild:  fild qword [edi]
        ret
.fistp: fldpi
        fistp qword [edi]
        ret
.stack:                                 ; interrupts and exceptions find this stack too
        mov [saved_stack], esp
        mov esp, edi
        push eax
        pushad
        popad
        pop eax
        mov esp, [saved_stack]
        ret
.call_m: call [edi]
        ret
.execute: call edi
        ret
.fxsave: and edi, -16
        fxsave [edi]
        ret
.shld:  shld [edi], eax, 7
        ret
.inc:   inc dword [edi]
        ret
.neg:   neg word [edi]
        ret
.lgdt:  sidt [edi]                      ; SIDT, since a wild GDT would end everything at once
        ret

; ---------------------------------------------------------------------------------------------------------------------
; Devices, as far as random accesses alone would hardly get.

do_rtc:
        call rand
        and al, 0x7f
        test eax, 0x3000
        jz .any
        and al, 0x0f
.any:   out 0x70, al
        call rand
        test al, 1
        jz .read
        call value
        out 0x71, al
        ret
.read:  in al, 0x71
        ret

do_pci:
        call rand
        and eax, 0x0003_f8fc            ; a few buses, every device, function 0
        test eax, 0x0002_0000
        jz .any
        and eax, 0x18fc                 ; the first four devices of bus 0
.any:   mov ecx, eax
        call rand
        and eax, 0x700
        test eax, 0x300
        jnz .function0
        or ecx, eax
.function0:
        or ecx, 0x8000_0000
        mov eax, ecx
        mov dx, 0xcf8
        out dx, eax
        call rand
        mov edx, eax
        and edx, 3
        add edx, 0xcfc
        mov ecx, eax
        shr ecx, 8
        call value
        test cl, 1
        jnz .write
        test cl, 6
        jnz .read4
        in al, dx
        ret
.read4: and dl, -4
        in eax, dx
        ret
.write: test cl, 6
        jz .write1
        and dl, -4
        test cl, 8
        jz .write2
        out dx, eax
        ret
.write2: out dx, ax
        ret
.write1: out dx, al
        ret

do_ioapic:
        call rand
        and eax, 0x3f
        mov [IOAPIC], eax
        call rand
        mov ecx, eax
        call value
        test cl, 1
        jz .read
        test cl, 2
        jz .any
        and eax, 0x0000_a7ff            ; unmasked, any vector and delivery mode
.any:   mov [IOAPIC + 0x10], eax
        ret
.read:  mov eax, [IOAPIC + 0x10]
        ret

do_fw_cfg:
        call rand
        test eax, 0x3000
        jz .any
        and eax, 0x3f
.any:   mov dx, 0x510
        out dx, ax
        call rand
        mov ecx, eax
        and ecx, 0x7f
        mov edi, SCRATCH
        mov dx, 0x511
        rep insb
        ret

do_fw_dma:                              ; descriptor: control, length, address, all big-endian (QEMU fw_cfg)
        call rand
        and eax, 0x3f00_1f00            ; select, with a key below 64; any command
        mov [SCRATCH + 0xf000], eax
        call rand
        mov ecx, eax
        call rand
        test cl, 15
        jz .length
        and eax, 0xff1f_0000            ; below 8 KiB
.length: mov [SCRATCH + 0xf004], eax
        mov dword [SCRATCH + 0xf008], 0
        call rand
        test cl, 0x70
        jz .address
        and eax, 0xff3f_0000
        or eax, 0x0000_2400             ; SCRATCH and on
.address: mov [SCRATCH + 0xf00c], eax
        mov dx, 0x514
        xor eax, eax
        out dx, eax
        mov eax, SCRATCH + 0xf000
        test ecx, 0xf00
        jnz .go
        call rand
.go:    bswap eax
        mov dx, 0x518
        out dx, eax
        ret

do_keyboard:
        call rand
        cmp dword [reckless], 0
        jne .any
        cmp al, 0xf0                    ; F0-FF pulse the reset line
        jae .data
.any:   out 0x64, al
.data:  call value
        out 0x60, al
        in al, 0x64
        in al, 0x60
        ret

; edx: 20h or A0h.
pick_pic:
        call rand
        and eax, 0x80
        lea edx, [eax + 0x20]
        ret

do_pic:
        call pick_pic
        call rand
        test eax, 0x300
        jnz .command
        or al, 0x10                     ; ICW1
        out dx, al
        inc edx
        call rand
        mov ecx, 3
.icw:   out dx, al
        ror eax, 8
        loop .icw
        ret
.command:
        test eax, 0x400
        jz .mask
        and al, 0xef                    ; OCW2 or OCW3
        out dx, al
        in al, dx
        ret
.mask:  inc edx
        and al, ah
        out dx, al
        in al, dx
        ret

do_pit:
        call rand
        out 0x43, al
        call rand
        mov edx, eax
        and edx, 3
        add edx, 0x40
        shr eax, 2
        test eax, 0x10_0000
        jz .count
        and eax, 3                      ; counts as short as can be
.count: out dx, al
        shr eax, 8
        out dx, al
        in al, dx
        call value
        out 0x61, al
        in al, 0x61
        ret

do_uart:
        call rand
        mov edx, eax
        and edx, 7
        add edx, 0x3f8
        call value
        test ecx, 1
        jz .read
        out dx, al
.read:  in al, dx
        ret

do_apic_timer:
        mov dword [LAPIC + 0xf0], 0x1ff
        call rand
        and eax, 0x0006_00ff            ; unmasked, every mode
        or eax, 0x20
        mov [LAPIC + 0x320], eax
        call rand
        and eax, 15
        mov [LAPIC + 0x3e0], eax
        call rand
        mov ecx, eax
        call rand
        shr eax, cl
        mov [LAPIC + 0x380], eax
        mov eax, [LAPIC + 0x390]
        ret

do_hpet:
        call rand
        and eax, 3
        mov [HPET + 0x10], eax
        call rand
        mov ecx, eax
        and ecx, 0x60                   ; timers 0 to 3
        and eax, 0x7f7e
        mov [HPET + 0x100 + ecx], eax
        call rand
        shr eax, 12
        test eax, 0x8_0000
        jz .far
        and eax, 0xff
.far:   test eax, 1
        jz .relative
        mov [HPET + 0x108 + ecx], eax
        ret
.relative:
        add eax, [HPET + 0xf0]
        mov [HPET + 0x108 + ecx], eax
        mov dword [HPET + 0x10c + ecx], 0
        ret

do_icr:
        call value
        mov [LAPIC + 0x310], eax
        call rand
        test al, 7
        jz .any
        and eax, 0x000c_08ff            ; fixed, to somebody
        or eax, 0x20
.any:   mov [LAPIC + 0x300], eax
        ret

do_msr:
        call rand
        mov ecx, eax
        and ecx, 31
        mov ecx, [.numbers + ecx * 4]
        test eax, 0x300
        jnz .known
        mov ecx, eax
        and ecx, 0xc000_1fff
.known: test eax, 0x400
        jz .write
        rdmsr
        ret
.write: call value
        mov edx, eax
        call rand
        test al, 3
        jz .high
        xor edx, edx
.high:  call value
        wrmsr
        ret
.numbers:
        dd 0x10, 0x17, 0x1b, 0x1b, 0x3b, 0x8b, 0xfe, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x1a0, 0x200, 0x201, 0x20f
        dd 0x250, 0x258, 0x26f, 0x277, 0x2ff, 0x6e0, 0x6e0, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083
        dd 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103

do_control:
        call rand
        test al, 3
        jz .cr4
        and eax, 0x6005_003e            ; CD, NW, AM, WP and the x87 bits
        or eax, 1
        mov cr0, eax
        clts
        mov eax, 0x31
        mov cr0, eax
        ret
.cr4:   call value
        mov cr4, eax                    ; mostly #GP
        mov eax, 0x600
        mov cr4, eax
        ret

do_debug:
        call pick_address
        call pick_port
        mov dr0, edi
        mov dr1, edx
        call rand
        mov dr2, eax
        mov dr6, eax
        call rand
        test eax, 0x700
        jz .any
        and eax, 0x00ff_00ff
.any:   test eax, 0x3000
        jz .on
        xor eax, eax
.on:    mov dr7, eax
        mov ecx, cr4
        xor ecx, 8                      ; DE: breakpoints on ports
        mov cr4, ecx
        ret

do_flags:
        call rand
        test al, 1
        jz .done
        push eax
        popfd
        nop
        nop
        push 2
        popfd
.done:  ret

do_int:
        call rand
        mov [.vector], al
        jmp .flush
.flush: db 0xcd
.vector: db 0x20
        ret

do_delay:
        call rand
        mov ecx, eax
        and ecx, 0xff
.spin:  dec ecx
        jns .spin
        ret

do_sti:
        sti
        nop
        ret

do_cli:
        cli
        ret

do_halt:                                ; only with something to wake it, most of the time
        call rand
        test al, 63
        jz .halt
        push eax
        mov ecx, 0x1b
        rdmsr
        test ah, 8
        jz .off
        call do_apic_timer
        mov dword [LAPIC + 0x320], 0x20040
        mov dword [LAPIC + 0x80], 0
.pending:                               ; what was in service would hold the timer back
        mov dword [LAPIC + 0xb0], 0
        mov ecx, 8
.empty: mov edx, ecx
        shl edx, 4
        cmp dword [LAPIC + 0x100 + edx - 16], 0
        jne .pending
        loop .empty
        pop eax
        shr eax, 12
        inc eax
        mov [LAPIC + 0x380], eax
.halt:  sti
        hlt
        cli
        ret
.off:   pop eax
        ret

do_cpuid:
        call value
        mov ecx, eax
        call rand
        and eax, 0x8000_001f
        cpuid
        rdtsc
        ret

do_command:                             ; what ends the machine, with the usual values
        cmp dword [reckless], 0
        je .done
        call rand
        test eax, 0xff00
        jnz .done
        and eax, 7
        jmp [.ways + eax * 4]
.ways:  dd .cf9, .port92, .keyboard, .off, .exit, .triple, .init, .cf9_soft
.cf9:   mov dx, 0xcf9
        mov al, 2
        out dx, al
        mov al, 6
        out dx, al
        ret
.cf9_soft:
        mov dx, 0xcf9
        mov al, 4
        out dx, al
        ret
.port92: mov al, 3
        out 0x92, al
        ret
.keyboard: mov al, 0xfe
        out 0x64, al
        ret
.off:   mov dx, 0x604
        mov ax, (5 << 10) | (1 << 13)
        out dx, ax
        ret
.exit:  mov al, 0x10
        out 0xf4, al
        ret
.triple: lidt [no_idt]
        int3
        ret
.init:  mov dword [LAPIC + 0x310], 0
        mov dword [LAPIC + 0x300], 0x4500
.done:  ret

setup_controllers:                      ; what an operating system would do: vectors 20h-2Fh, everything unmasked
        mov al, 0x11
        out 0x20, al
        out 0xa0, al
        mov al, 0x20
        out 0x21, al
        mov al, 0x28
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        xor al, al
        out 0x21, al
        out 0xa1, al
        mov dword [LAPIC + 0xf0], 0x1ff
        mov dword [LAPIC + 0x80], 0
        ret

; ---------------------------------------------------------------------------------------------------------------------

build_idt:
        mov edi, idt
        xor ecx, ecx
.gate:
        mov eax, on_fault
        cmp ecx, 2
        jne .not_nmi
        mov eax, on_nmi
.not_nmi:
        cmp ecx, 32
        jb .store
        mov eax, on_interrupt
.store:
        mov edx, eax
        and edx, 0xffff
        or edx, 8 << 16
        mov [edi], edx
        and eax, 0xffff_0000
        or eax, 0x8e00
        mov [edi + 4], eax
        add edi, 8
        inc ecx
        cmp ecx, 256
        jb .gate
        lidt [idt_pointer]
        ret

on_fault:
        inc dword [faults]
        mov esp, STACK
        mov eax, 16
        mov ds, ax
        mov eax, 0x31
        mov cr0, eax
        fninit
        jmp main

on_nmi:
        iretd

on_interrupt:
        pushad
        inc dword [interrupts]
        call rand
        mov ecx, eax
        test cl, 1
        jz .not_apic
        mov dword [LAPIC + 0xb0], 0
.not_apic:
        test cl, 2
        jz .not_pic1
        mov al, 0x20
        out 0x20, al
.not_pic1:
        test cl, 4
        jz .not_pic2
        mov al, 0x20
        out 0xa0, al
.not_pic2:
        test cl, 0x38
        jz main                         ; never returns; interrupts are off for a while
        popad
        iretd

align 8
gdt:    dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        dw 23
        dd gdt
idt_pointer:
        dw 256 * 8 - 1
        dd idt
no_idt:
        dw 0
        dd 0
state:  dd 1
saved_stack: dd 0
align 8
image_end:
idt     equ 0x230000
