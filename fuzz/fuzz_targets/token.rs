//! What strangers show to the API server.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::server::token(bytes));
