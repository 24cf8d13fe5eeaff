#!/usr/bin/env bash
# Everything that must pass: `npm test`. Ends with "N passed, N failed"; the status is 0 if nothing failed.
set -u
cd "$(dirname "$0")/.."

# What the tests compare with or build guests with.
debian_packages=(acpica-tools bash cpio gcc gcc-multilib libelf1 make nasm qemu-system-x86 seabios)

reports=build/test
failed_steps=()

install_debian_packages() {
  local missing=() package
  for package in "${debian_packages[@]}"; do
    if [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) != "install ok installed" ]]; then
      missing+=("$package")
    fi
  done
  ((${#missing[@]})) || return 0
  echo "installing Debian packages: ${missing[*]}"
  local as_root=()
  ((EUID == 0)) || as_root=(sudo)
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

step() {
  local name=$1
  shift
  echo
  echo "== $name"
  "$@" || failed_steps+=("$name")
}

# Vitest with its usual output, and a report to count from.
tests() {
  local report=$1
  shift
  npx vitest run --reporter=default --reporter=json --outputFile.json="$reports/$report.json" "$@"
}

rm -rf "$reports"
mkdir -p "$reports"
step "Debian packages" install_debian_packages
step "lint" npm run --silent lint
step "types" npm run --silent typecheck
step "build" npm run --silent build
step "unit tests" tests unit
step "guests" npm run --silent guests
step "guest tests" tests guests --config vitest.guests.config.ts

exec npx tsx scripts/test-summary.ts "$reports" ${failed_steps[@]+"${failed_steps[@]}"}
