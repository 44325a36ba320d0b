//! Objects as protobuf.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::api::proto(bytes));
