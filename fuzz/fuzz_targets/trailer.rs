//! Trailers of `.cwasm` files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::host::trailer(bytes));
