//! What containers print: files that are rotated, and reading them as `kubectl logs` asks.
//!
//! A line of a file is that of the Container Runtime Interface: time, stream, whether the line ends here, and the text:
//! `2026-11-23T07:00:00.123456789Z stdout F hello`.

pub(crate) mod reading;
pub(crate) mod writing;
