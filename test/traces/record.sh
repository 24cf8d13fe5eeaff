#!/bin/bash
# Records the traces of this folder anew: Debian's KVM on the AMD-V that QEMU emulates, so that any computer will do.
#
#   bash test/traces/record.sh FOLDER      what each program prints, as FOLDER/{ftrace,lost,trace-cmd,perf}.txt
#
# Takes what `npm run guests` fetches, and from Debian: qemu-system-x86 gcc nasm xxd cpio trace-cmd linux-perf.
set -euo pipefail
target=$(realpath "${1:?where to?}")
here=$(cd "$(dirname "$0")" && pwd)
guests=$here/../../build/guests
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

nasm -f bin "$here/recorder/guest.asm" -o "$work/guest.bin"
(cd "$work" && xxd -i guest.bin > guest.h)
root=$work/root
mkdir -p "$root"/{bin,lib,lib64,proc,sys,dev,tmp}
gcc -O1 -static -I"$work" "$here/recorder/vm.c" -o "$root/bin/vm"
install -m 755 "$here/recorder/init" "$root/init"
install -m 755 "$guests/busybox-amd64" "$root/bin/busybox"
dpkg -x "$guests"/packages/linux-image-*-cloud-amd64-*.deb "$work/kernel"
find "$work/kernel" \( -name kvm.ko -o -name kvm-amd.ko -o -name irqbypass.ko \) -exec cp {} "$root/" \;
for program in trace-cmd perf; do
  path=$(command -v $program)
  cp "$path" "$root/bin/"
  ldd "$path" | grep -o '/[^ ]*\.so[^ ]*' | while read -r library; do cp -L "$library" "$root/lib/"; done
done
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
# The plug-in that prints kvm_exit in words of its own.
plugins=$(find /usr/lib -type d -path '*traceevent/plugins' | head -1)
[ -z "$plugins" ] || { mkdir -p "$root$plugins" && cp "$plugins/plugin_kvm.so" "$root$plugins/"; }

(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) > "$work/initramfs.gz"
timeout 600 qemu-system-x86_64 -accel tcg -cpu EPYC,-x2apic -m 768 -nographic -no-reboot \
  -kernel "$guests/vmlinuz-cloud-amd64" -initrd "$work/initramfs.gz" \
  -append 'console=ttyS0 quiet mitigations=off panic=-1' < /dev/null | tr -d '\r' > "$work/log"
for name in ftrace lost trace-cmd perf; do
  awk -v start="==$name" '$0 ~ start "$" { on = 1; next } $0 == "==end" { on = 0 } on' "$work/log" > "$target/$name.txt"
  [ -s "$target/$name.txt" ] || { echo "no $name trace; the end of the log:" >&2; tail -5 "$work/log" >&2; exit 1; }
done
