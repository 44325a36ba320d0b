#!/usr/bin/env bash
# Builds the Rust guests: build.sh OUT [NAME…]. See ../common.sh for the contract.
. "$(cd "$(dirname "$0")" && pwd)/../common.sh"

out="$(mkdir -p "$1" && cd "$1" && pwd)"
shift
here="$guests/rust"
all="$(cd "$here" && ls -d */Cargo.toml | sed 's,/.*,,' | grep -v '^support$') cli-p2"
names="${*:-$all}"

need_wasm_tools
need cargo "rustup.rs"
rustc="${GUEST_RUSTC:-/usr/bin/rustc}"
sysroot="$("$here/sysroot.sh")" || exit $?
linker="$(rust_lld)" || missing "rust-lld" "it comes with a rustup toolchain"
export RUSTC="$rustc" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$here/target}"

# Paths do not reach the components: the same sources give the same bytes on every machine.
common="--sysroot $sysroot -Clinker=$linker --remap-path-prefix=$here=/guests $(remap_registry)"
libc=/usr/lib/wasm32-wasi

# A component from a core module that carries its own interface description.
component() {
    wasm-tools component new "$CARGO_TARGET_DIR/wasm32-unknown-unknown/$2/${1//-/_}.wasm" -o "$out/$1.wasm"
}

build() {
    local name="$1"
    case "$name" in
        cli)
            RUSTFLAGS="$common -Clink-self-contained=no -Lnative=$libc -Clink-arg=$libc/crt1-command.o" \
                nice -n 10 cargo build --quiet --locked --release --manifest-path "$here/Cargo.toml" -p cli --target wasm32-wasip1
            cp "$CARGO_TARGET_DIR/wasm32-wasip1/release/cli.wasm" "$out/cli.wasm" ;;
        cli-p2)
            # The same program as a component, through the adapter from preview 1 to WASI 0.2.
            [ -e "$out/cli.wasm" ] || build cli
            wasm-tools component new "$out/cli.wasm" --adapt "wasi_snapshot_preview1=$(adapter command)" -o "$out/cli-p2.wasm" ;;
        *)
            local profile=release
            [ "$name" = hostile ] && profile=named
            RUSTFLAGS="$common" \
                nice -n 10 cargo build --quiet --locked --profile "$profile" --manifest-path "$here/Cargo.toml" -p "$name" --target wasm32-unknown-unknown
            component "$name" "$profile" ;;
    esac
    echo "built $name ($(stat -c %s "$out/$name.wasm") bytes)"
}

for name in $names; do build "$name"; done
