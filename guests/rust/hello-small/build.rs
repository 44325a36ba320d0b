//! Asks the linker for a small stack.

fn main() {
    // 8 KiB instead of 1 MiB: with the arena and the data, memory stays one page of 64 KiB.
    println!("cargo::rustc-link-arg-cdylib=-zstack-size=8192");
    println!("cargo::rerun-if-changed=build.rs");
}
