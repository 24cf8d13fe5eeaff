; Boot sector for machines without a Multiboot loader: reads the image that follows it on the disk, and enters it as such
; a loader would (Multiboot Specification 0.6.96, section 3.2), with no information structure.
;
; The disk: this sector, then the image in whole sectors. Who makes the disk puts the number of sectors at offset 4.

        bits 16
        org 0x7c00

LOAD    equ 0x100000
BOUNCE  equ 0x10000             ; one block of the image on its way up
BLOCK   equ 64                  ; sectors in it

        jmp short start
        align 4
sectors dd 0                    ; filled in

start:  cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        mov [drive], dl
        mov ax, 0x2401          ; A20 by the BIOS, and by port 92h
        int 0x15
        in al, 0x92
        or al, 2
        and al, 0xfe
        out 0x92, al
        lgdt [gdt_pointer]

next:   mov ah, 0x42            ; extended read
        mov dl, [drive]
        mov si, packet
        int 0x13
        jc failed
        ; To protected mode and back for each block: DS and ES keep their limits of 4 GiB.
        cli
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, 0x10
        mov ds, bx
        mov es, bx
        and al, 0xfe
        mov cr0, eax
        xor bx, bx
        mov ds, bx
        mov es, bx
        mov esi, BOUNCE
        mov edi, [target]
        mov ecx, BLOCK * 512 / 4
        a32 rep movsd
        add dword [target], BLOCK * 512
        add dword [lba], BLOCK
        sub dword [sectors], BLOCK
        jg next

        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 0x08:enter

failed: mov al, 'D'
        out 0xe9, al
        hlt
        jmp failed

        bits 32
enter:  mov cx, 0x10
        mov ds, cx
        mov es, cx
        mov fs, cx
        mov gs, cx
        mov ss, cx
        ; The header states the entry: offset 28 from its beginning, which is the beginning of the image.
        mov eax, 0x2badb002
        xor ebx, ebx
        jmp [LOAD + 28]

        align 8
packet  db 16, 0
        dw BLOCK
        dw 0, BOUNCE >> 4
lba     dq 1
target  dd LOAD
drive   db 0

        align 8
gdt     dq 0
        dq 0x00cf9b000000ffff
        dq 0x00cf93000000ffff
gdt_pointer:
        dw gdt_pointer - gdt - 1
        dd gdt

        times 510 - ($ - $$) db 0
        dw 0xaa55
