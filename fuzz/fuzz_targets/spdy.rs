//! What a client says in a forwarded connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::node::spdy(bytes));
