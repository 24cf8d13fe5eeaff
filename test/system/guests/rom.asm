; A 128 KiB ROM that starts a guest as a Multiboot loader would, for machines without one: no firmware runs.
; GUEST is the flat image; its header begins the file.
bits 16
org 0xfffe0000
SIZE equ 0x20000

image:  incbin GUEST
        times (SIZE - 256) - ($ - image) db 0xff

start:
        cli
        o32 lgdt [cs:(gdtr - image) & 0xffff]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 8:protected
bits 32
protected:
        mov ax, 16
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        cld
        mov esi, image
        mov edi, 0x100000
        mov ecx, (SIZE - 256) / 4
        rep movsd
        mov eax, 0x2badb002
        xor ebx, ebx
        jmp [0x100000 + 28]
align 8
gdt:    dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:   dw 23
        dd gdt
        times (SIZE - 16) - ($ - image) db 0xff
bits 16
        jmp start
        times SIZE - ($ - image) db 0xff
