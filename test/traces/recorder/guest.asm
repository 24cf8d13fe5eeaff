; The guest of the recorded traces: 25 times every kind of access that the tests know about, then a write to port F4h.
; 32-bit protected mode without paging; vm.c sets it up.
bits 32
org 0x1000
start:
  mov ecx, 25
again:
  push ecx
  out 0x80, al              ; port, user
  in al, 0x61               ; port, kernel: the PIT's speaker port
  mov dx, 0x3fd
  in al, dx                 ; port, user
  mov dx, 0x3f8
  mov al, 'x'
  out dx, al                ; port, user
  mov dx, 0xcf8
  mov eax, 0x80000000
  out dx, eax               ; port, user
  in ax, 0x40               ; port, kernel: two bytes of the PIT
  mov eax, [0xd0000000]     ; MMIO, user
  mov [0xd0000010], eax
  mov eax, [0xfee00020]     ; MMIO, kernel: local APIC
  mov dword [0xfee00080], 0
  mov dword [0xfec00000], 1 ; MMIO, kernel: I/O APIC
  mov eax, [0xfec00010]
  mov dx, 0x500
  mov ax, 1
  out dx, ax                ; port, ioeventfd
  mov dword [0xd0001000], 1 ; MMIO, ioeventfd
  mov esi, 0x1000
  mov ecx, 16
  mov dx, 0x3f8
  rep outsb                 ; string, user: KVM exits for each unit, and once more at the end
  mov edi, 0x3000
  mov ecx, 8
  mov dx, 0x1f0
  rep insw                  ; string, user: KVM reads ahead, so all units in one exit, and once more at the end
  mov dx, 0x3f8
  mov esi, 0x1000
  cs outsb                  ; string with an override, user
  mov ax, [0xd0000020]      ; MMIO, user
  movzx eax, byte [0xd0000021]
  xor eax, eax
  cpuid                     ; no access
  pop ecx
  dec ecx
  jnz again
  out 0xf4, al
  hlt
