//! Patterns of outbound destinations, and what they allow.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::runtime::outbound(bytes));
