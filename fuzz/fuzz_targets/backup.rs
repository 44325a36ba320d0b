//! Files of a store.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::store::backup(bytes));
