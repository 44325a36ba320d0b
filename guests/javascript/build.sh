#!/usr/bin/env bash
# Builds the JavaScript guest: build.sh OUT [NAME…]. See ../common.sh for the contract.
# It takes about 35 CPU seconds and 800 MB of memory; the component holds the engine and has 13 MB.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
all="hello-js"
start "$@"
PATH="$guests/javascript/node_modules/.bin:$PATH"
need componentize-js "npm: npm install --prefix guests/javascript; or npm install -g @bytecodealliance/componentize-js@0.23.0"

build_hello_js() {
    # The engine handles fetch events for exactly this version of wasi:http.
    http_world "$work/wit" 0.2.10
    nice -n 10 componentize-js "$guests/javascript/hello-js/hello.js" -w "$work/wit" -n http -o "$1"
}

toolchain="componentize-js $(componentize-js --version 2> /dev/null | tail -n 1)"
build_all
