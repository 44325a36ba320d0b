//! Request heads before a guest sees them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::edge::admit(bytes));
