#!/usr/bin/env bash
# Builds the Rust guests: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"
here="$guests/rust"
all="$(cd "$here" && ls -d -- */Cargo.toml | sed 's,/.*,,' | grep -v '^support$') cli-p2"
start "$@"
need_wasm_tools
need cargo "rustup.rs"
rustc="${GUEST_RUSTC:-/usr/bin/rustc}"
sysroot="$("$here/sysroot.sh")" || exit $?
linker="$(rust_lld)" || missing "rust-lld" "it comes with a rustup toolchain"
toolchain="$("$rustc" --version)"
export RUSTC="$rustc" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$here/target}"

# Paths do not reach the components: the same sources give the same bytes on every machine.
flags="--sysroot $sysroot -Clinker=$linker --remap-path-prefix=$here=/guests $(remap_registry)"

# compile NAME TARGET PROFILE MORE-FLAGS
compile() {
    RUSTFLAGS="$flags $4" nice -n 10 \
        cargo build --quiet --locked --profile "$3" --manifest-path "$here/Cargo.toml" -p "$1" --target "$2"
}

# component NAME FILE [PROFILE]: compiles a library that carries its own interface description, and wraps it.
component() {
    local profile="${3:-release}"
    compile "$1" wasm32-unknown-unknown "$profile" ""
    wasm-tools component new "$CARGO_TARGET_DIR/wasm32-unknown-unknown/$profile/${1//-/_}.wasm" -o "$2"
}

# A core module with a preview 1 main, linked with Debian's wasi-libc.
build_cli() {
    local libc=/usr/lib/wasm32-wasi
    compile cli wasm32-wasip1 release "-Clink-self-contained=no -Lnative=$libc -Clink-arg=$libc/crt1-command.o"
    cp "$CARGO_TARGET_DIR/wasm32-wasip1/release/cli.wasm" "$1"
}

# The same program as a component, through the adapter from preview 1 to WASI 0.2.
build_cli_p2() {
    build_cli "$work/cli.wasm"
    wasm-tools component new "$work/cli.wasm" --adapt "wasi_snapshot_preview1=$(adapter command)" -o "$1"
}

# Functions keep their names where traps are the purpose.
build_hostile() {
    component hostile "$1" named
}

build_hostile_p3() {
    component hostile-p3 "$1" named
}

for name in $all; do
    function="build_${name//-/_}"
    declare -F "$function" > /dev/null || eval "$function() { component $name \"\$1\"; }"
done
build_all
