//! Tests of the host through its public face.

mod cache;
mod machine;
