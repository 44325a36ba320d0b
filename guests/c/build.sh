#!/usr/bin/env bash
# Builds the C guests: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
all="hello-c cli-c"
start "$@"
need_wasm_tools
need_clang

build_hello_c() {
    "$clang" $clang_flags -c "$guests/c/hello-c/hello.c" -o "$work/hello.o"
    "$linker" -s --no-entry -zstack-size=8192 "$work/hello.o" -o "$work/core.wasm"
    http_component "$work/core.wasm" "$1"
}

build_cli_c() {
    "$clang" $clang_flags -isystem "$wasi_include" -c "$guests/c/cli-c/cli.c" -o "$work/cli.o"
    "$linker" -s "$wasi_lib/crt1-command.o" "$work/cli.o" -L"$wasi_lib" -lc "$clang_builtins" -o "$1"
}

toolchain="$("$clang" --version | head -n 1 | sed "s/^Debian //")"
build_all
