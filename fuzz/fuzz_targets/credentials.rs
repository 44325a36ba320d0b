//! Files of docker login and Secrets like them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::node::credentials(bytes));
