#!/usr/bin/env bash
# Builds the C++ guest: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
all="hello-cpp"
start "$@"
need_wasm_tools
need_clang
library="$(find /usr/lib -path '*wasm32-wasi*' -name libc++.a 2> /dev/null | head -n 1)"
headers="$(find /usr/lib /usr/include -path '*wasm32-wasi/c++/v1/string' 2> /dev/null | head -n 1)"
[ -n "$library" ] && [ -n "$headers" ] || missing "libc++ for wasm32" "Debian: apt-get install libc++-14-dev-wasm32"

build_hello_cpp() {
    "$clang" -x c++ -std=c++20 -fno-exceptions -fno-rtti -nostdinc++ -isystem "$(dirname "$headers")" $clang_flags \
        -isystem "$wasi_include" -c "$guests/cpp/hello-cpp/hello.cpp" -o "$work/hello.o"
    # A reactor: the host calls `handle`; the constructors of the library run before that.
    "$linker" -s --entry=_initialize "$wasi_lib/crt1-reactor.o" "$work/hello.o" -L"$(dirname "$library")" -L"$wasi_lib" \
        -lc++ -lc++abi -lc "$clang_builtins" -o "$work/core.wasm"
    http_component "$work/core.wasm" "$1" proxy
}

toolchain="$("$clang" --version | head -n 1 | sed "s/^Debian //")"
build_all
