//! Which objects are meant: by their labels, or by a few of their fields.

pub mod field;
pub mod label;
