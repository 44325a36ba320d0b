//! Schemas of users' kinds, and objects of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::control::crd(bytes));
