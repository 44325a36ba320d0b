//! Whole connections to a running edge.
#![no_main]

use std::sync::OnceLock;

use shoal_fuzz::edge::Http;

/// One edge for all inputs: what one of them breaks, the next one finds broken.
static EDGE: OnceLock<Http> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| EDGE.get_or_init(Http::start).check(bytes));
