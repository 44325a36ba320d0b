//! What registries say an image is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::node::manifest(bytes));
