//! Directories and stores as typed.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::runtime::grants(bytes));
