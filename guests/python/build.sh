#!/usr/bin/env bash
# Builds the Python guest: build.sh OUT [NAME…]. See ../common.sh for the contract.
# It takes about 20 CPU seconds; the component holds the interpreter and has 18 MB.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
all="hello-python"
start "$@"
need componentize-py "PyPI: pip install componentize-py==0.25.1"

build_hello_python() {
    http_world "$work/wit" 0.2.12
    cp "$guests/python/hello-python/app.py" "$work/app.py"
    (cd "$work" && nice -n 10 componentize-py -d wit -w http componentize app -o component.wasm)
    mv "$work/component.wasm" "$1"
}

toolchain="$(componentize-py --version)"
build_all
