#!/usr/bin/env bash
# Builds the WAT guests: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
all="hello-wat hostile-table cli-wat"
start "$@"
need_wasm_tools

build_hello_wat() {
    wasm-tools parse "$guests/wat/hello-wat/hello.wat" -o "$work/core.wasm"
    http_component "$work/core.wasm" "$1"
}

build_hostile_table() {
    wasm-tools parse "$guests/wat/hostile-table/table.wat" -o "$work/core.wasm"
    http_component "$work/core.wasm" "$1"
}

build_cli_wat() {
    wasm-tools parse "$guests/wat/cli-wat/cli.wat" -o "$1"
}

toolchain="$(wasm-tools --version | cut -d" " -f1,2)"
build_all
