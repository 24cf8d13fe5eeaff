#!/usr/bin/env bash
# Runs the guest `ports` on Bochs 2.7 and writes what is to be compared to bochs.txt: the cases in which QEMU errs. Needs
# the Debian packages bochs and nasm.
set -eu -o pipefail
cd "$(dirname "$0")"
root=../../..
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

head -c 512 /dev/zero >"$work/vga.rom"
echo c >"$work/commands"
printf 'quit\n' >"$work/stdin"
nasm -f bin -DGUEST="'$root/guests/ports/ports.bin'" -o "$work/rom" $root/test/system/guests/rom.asm
cat >"$work/bochsrc" <<END
memory: guest=64, host=64
romimage: file=$work/rom
vgaromimage: file=$work/vga.rom
cpu: model=core2_penryn_t9600, count=1, ips=50000000, reset_on_triple_fault=1, ignore_bad_msrs=0
com1: enabled=1, mode=file, dev=$work/com1
display_library: rfb, options="timeout=0"
plugin_ctrl: sb16=0, es1370=0, voodoo=0, e1000=0, ne2k=0, usb_uhci=0
pci: enabled=1, chipset=i440fx
clock: sync=none, time0=0
sound: driver=dummy
log: $work/log
panic: action=fatal
END
# There is no port to end Bochs by: the guest halts.
timeout 600 bochs -q -f "$work/bochsrc" -rc "$work/commands" <"$work/stdin" >"$work/output" 2>&1 &
bochs=$!
until [[ $(tail -n 1 "$work/com1" 2>/dev/null | tr -d '\r') == end ]]; do
  kill -0 $bochs 2>/dev/null || { echo "no end on Bochs" >&2; exit 1; }
  sleep 0.5
done
kill $bochs
tr -d '\r' <"$work/com1" | npx tsx bochs-cases.ts >bochs.txt
echo "bochs.txt: $(wc -l <bochs.txt) cases"
