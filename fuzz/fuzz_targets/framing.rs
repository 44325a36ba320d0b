//! The witness of HTTP/1 framing.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::edge::framing(bytes));
