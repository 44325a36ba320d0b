//! Answers of etcd.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::store::etcd(bytes));
