//! What people type: sizes and durations.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-base")]

use shoal_base::units::{Bytes, parse_duration, show_duration};

/// What is understood is shown in a form that means the same; what is not gets an error that can be shown.
pub fn units(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Bytes>() {
        Ok(size) => assert_eq!(size.to_string().parse(), Ok(size), "{text:?}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match parse_duration(text) {
        Ok(time) => assert_eq!(parse_duration(&show_duration(time)), Ok(time), "{text:?}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
