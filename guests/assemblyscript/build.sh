#!/usr/bin/env bash
# Builds the AssemblyScript guest: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
all="hello-assemblyscript"
start "$@"
need_wasm_tools
PATH="$guests/assemblyscript/node_modules/.bin:$PATH"
need asc "npm: npm install --prefix guests/assemblyscript; or npm install -g assemblyscript@0.28.20"

build_hello_assemblyscript() {
    # Compiled from the scratch directory: an asconfig.json found beside the sources would change the build.
    cp "$guests/assemblyscript/hello-assemblyscript/hello.ts" "$work/hello.ts"
    (cd "$work" && asc hello.ts -Osize --runtime minimal --use abort= -o named.wasm)
    wasm-tools print "$work/named.wasm" |
        sed 's,(export "handle",(export "wasi:http/incoming-handler@0.2.12#handle",' > "$work/core.wat"
    wasm-tools parse "$work/core.wat" -o "$work/core.wasm"
    http_component "$work/core.wasm" "$1"
}

toolchain="asc $(asc --version | sed "s/^Version //")"
build_all
