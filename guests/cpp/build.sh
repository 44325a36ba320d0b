#!/usr/bin/env bash
# Builds the C++ guest: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
start "$@"
need_wasm_tools
need_clang
headers="$(echo /usr/lib/llvm-*/include/wasm32-wasi/c++/v1 /usr/include/wasm32-wasi/c++/v1 | tr ' ' '\n' |
    while read -r place; do [ -e "$place/string" ] && echo "$place"; done | head -n 1)"
[ -n "$headers" ] || missing "libc++ for wasm32" "Debian: apt-get install libc++-14-dev-wasm32 libc++abi-14-dev-wasm32"

build_hello_cpp() {
    # A reactor: the host calls `handle`, and the constructors of the library run before that.
    "$clang" -x c++ -std=c++20 -fno-exceptions -fno-rtti -nostdinc++ -isystem "$headers" $clang_flags \
        -isystem "$wasi_include" -c "$guests/cpp/hello-cpp/hello.cpp" -o "$work/hello.o"
    "$clang" $clang_flags -mexec-model=reactor "$wasi_lib/crt1-reactor.o" "$work/hello.o" \
        -L"$(dirname "$(find /usr/lib -path '*wasm32-wasi*' -name libc++.a | head -n 1)")" -L"$wasi_lib" \
        -lc++ -lc++abi -lc "$clang_builtins" -o "$work/core.wasm"
    http_component "$work/core.wasm" "$1" proxy
}

build_all hello-cpp
