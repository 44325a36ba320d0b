#!/usr/bin/env bash
# Builds the Zig guest: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
all="hello-zig"
start "$@"
need_wasm_tools
zig="$(command -v zig || command -v python-zig || true)"
[ -n "$zig" ] || missing zig "PyPI: pip install ziglang==0.17.1"

build_hello_zig() {
    # The caches go to the scratch directory: nothing is left in the checkout.
    (cd "$work" && ZIG_LOCAL_CACHE_DIR="$work/cache" nice -n 10 "$zig" build-exe -target wasm32-freestanding \
        -O ReleaseSmall -fstrip -fno-entry -rdynamic --stack 8192 -femit-bin=core.wasm "$guests/zig/hello-zig/hello.zig")
    http_component "$work/core.wasm" "$1"
}

toolchain="zig $("$zig" version)"
build_all
