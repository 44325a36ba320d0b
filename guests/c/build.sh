#!/usr/bin/env bash
# Builds the C guests: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
start "$@"
need_wasm_tools
need_clang

build_hello_c() {
    "$clang" $clang_flags -Wl,--no-entry -Wl,-zstack-size=8192 "$guests/c/hello-c/hello.c" -o "$work/core.wasm"
    http_component "$work/core.wasm" "$1"
}

build_cli_c() {
    "$clang" $clang_flags -isystem "$wasi_include" "$wasi_lib/crt1-command.o" "$guests/c/cli-c/cli.c" \
        -L"$wasi_lib" -lc "$clang_builtins" -o "$1"
}

build_all hello-c cli-c
