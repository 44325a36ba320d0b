//! Components that are rewritten so that their instances can be rewound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::host::rewindable(bytes));
