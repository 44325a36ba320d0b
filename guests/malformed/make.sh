#!/usr/bin/env bash
# Makes the binary files of this folder; the others are text.
set -euo pipefail
cd "$(dirname "$0")"
: > empty.wasm
head -c 4 ../built/hello-wat.wasm > magic-only.wasm
head -c 3000 ../built/hello-wat.wasm > truncated.wasm
{ printf '\0ASM'; tail -c +5 ../built/hello-wat.wasm; } > wrong-magic.wasm
{ printf '\0asm\x63\0\0\0'; tail -c +9 ../built/hello-wat.wasm; } > wrong-version.wasm
# A type section that says it has 2^32 - 1 bytes.
printf '\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f' > long-section.wasm
printf '\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0' > elf.wasm
