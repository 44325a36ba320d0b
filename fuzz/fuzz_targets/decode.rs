//! Objects as JSON and YAML.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::api::decode(bytes));
