#!/usr/bin/env bash
# Builds, once, a Rust sysroot whose standard library targets wasm32, and prints its directory.
#
#   guests/rust/sysroot.sh          build if absent (about 3 CPU minutes), print the directory
#   guests/rust/sysroot.sh --check  print the directory if it is built; otherwise say what is missing, exit 77
#
# Why: rustup's wasm32 standard libraries may be out of reach (an offline or registry-only machine), while
# Debian packages rustc together with its library sources. The sysroot lives outside the checkout, keyed by
# the exact compiler, so that every later guest build takes seconds and needs no unstable flag.
#
# A rustup toolchain that has the wasm32 targets installed is used instead when GUEST_RUSTC names its rustc.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/../common.sh"

rustc="${GUEST_RUSTC:-/usr/bin/rustc}"
targets="wasm32-unknown-unknown wasm32-wasip1"
libc_dir=/usr/lib/wasm32-wasi

need_file "$rustc" "Debian: apt-get install rustc-web rust-web-src (or GUEST_RUSTC=path of a rustc with wasm32 targets)"

compiler_sysroot="$("$rustc" --print sysroot)"
if [ -d "$compiler_sysroot/lib/rustlib/wasm32-unknown-unknown/lib" ] && [ -d "$compiler_sysroot/lib/rustlib/wasm32-wasip1/lib" ]; then
    echo "$compiler_sysroot"
    exit 0
fi

key="$({ "$rustc" -vV; cat "$0"; } | sha256sum | cut -c1-16)"
sysroot="${XDG_CACHE_HOME:-$HOME/.cache}/shoal-guests/rust-sysroot-$key"
if [ -e "$sysroot/complete" ]; then
    echo "$sysroot"
    exit 0
fi

host="$("$rustc" -vV | sed -n 's/^host: //p')"
sources="$compiler_sysroot/lib/rustlib/src/rust/library"
need_file "$sources/Cargo.lock" "Debian: apt-get install rust-web-src"
need_file "$libc_dir/crt1-command.o" "Debian: apt-get install wasi-libc"
need cargo "rustup.rs"
linker="$(rust_lld)" || missing "rust-lld" "it comes with a rustup toolchain: rustup toolchain install stable"
[ "${1:-}" = --check ] && missing "the wasm32 sysroot" "guests/rust/sysroot.sh builds it"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/seed/src"
cat > "$work/seed/Cargo.toml" <<'TOML'
[package]
name = "seed"
version = "0.0.0"
edition = "2024"
[lib]
crate-type = ["rlib"]
[profile.release]
opt-level = "s"
panic = "abort"
[workspace]
TOML
echo '//! Only a reason to build the standard library.' > "$work/seed/src/lib.rs"

partial="$work/sysroot"
for target in $targets; do
    echo "building the standard library for $target" >&2
    # Bitcode is kept for link-time optimisation of the guests. Paths are remapped so that panic messages, and so the guests, do not depend on where this was built.
    RUSTC="$rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/target" \
    RUSTFLAGS="-Cembed-bitcode=yes -Clink-self-contained=no -Clinker=$linker -Lnative=$libc_dir --remap-path-prefix=$sources=/rust/library --remap-path-prefix=$work=/work $(remap_registry)" \
        nice -n 10 cargo build --quiet --release --manifest-path "$work/seed/Cargo.toml" --target "$target" -Zbuild-std=std,panic_abort >&2
    mkdir -p "$partial/lib/rustlib/$target/lib"
    cp "$work/target/$target/release/deps/"*.rlib "$partial/lib/rustlib/$target/lib/"
    rm -f "$partial/lib/rustlib/$target/lib/libseed-"*
done
ln -s "$compiler_sysroot/lib/rustlib/$host" "$partial/lib/rustlib/$host"
touch "$partial/complete"
mkdir -p "$(dirname "$sysroot")"
rm -rf "$sysroot"
mv "$partial" "$sysroot"
echo "$sysroot"
