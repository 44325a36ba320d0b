//! Tests of the host through its public face.

mod cache;
mod capabilities;
mod hostile;
mod machine;
mod serving;
mod world;
