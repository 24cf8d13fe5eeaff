#!/usr/bin/env bash
# Runs the guests on Bochs 2.7 and writes what they say to expectations/. Needs the Debian packages bochs and nasm.
# Arguments: guests; default all. A guest may name its CPU model in a line "; bochs: model=NAME".
set -eu -o pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

head -c 512 /dev/zero >"$work/vga.rom"
echo c >"$work/commands"
# A reset of the machine goes back to the debugger.
printf 'c\nc\nquit\n' >"$work/stdin"

guests=("$@")
if ((${#guests[@]} == 0)); then
  for file in guests/*.asm; do
    name=$(basename "$file" .asm)
    [[ $name == rom ]] || guests+=("$name")
  done
fi

for name in "${guests[@]}"; do
  model=$(sed -n 's/^; bochs: model=//p' "guests/$name.asm")
  nasm -f bin -I guests/ -o "$work/guest" "guests/$name.asm"
  nasm -f bin -DGUEST="'$work/guest'" -o "$work/rom" guests/rom.asm
  cat >"$work/bochsrc" <<END
memory: guest=64, host=64
romimage: file=$work/rom
vgaromimage: file=$work/vga.rom
cpu: model=${model:-core2_penryn_t9600}, count=1, ips=50000000, reset_on_triple_fault=1, ignore_bad_msrs=0
port_e9_hack: enabled=1
display_library: rfb, options="timeout=0"
plugin_ctrl: sb16=0, es1370=0, voodoo=0, e1000=0, ne2k=0, usb_uhci=0
pci: enabled=1, chipset=i440fx
clock: sync=none, time0=0
sound: driver=dummy
log: $work/log
panic: action=fatal
END
  timeout 60 bochs -q -f "$work/bochsrc" -rc "$work/commands" <"$work/stdin" 2>/dev/null | head -c 2000000 >"$work/output" || true
  # The log lies between "BEGIN" and "end"; a reset of the machine begins it again, and the debugger says so.
  sed -E '/^(\(0\)|Next at|<bochs:)/d' "$work/output" | sed -n '/^BEGIN$/,/^end$/p' |
    sed '1{/^BEGIN$/d}' >"expectations/$name.txt"
  if [[ $(tail -n 1 "expectations/$name.txt") != end ]]; then
    echo "$name: no end on Bochs" >&2
    tail -n 5 "$work/output" | cut -c 1-200 >&2
    exit 1
  fi
  echo "$name: $(wc -l <"expectations/$name.txt") lines"
done
