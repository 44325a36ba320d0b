//! The patches, and who owns what after them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::api::patch(bytes));
