//! Tests of the host through its public face.

mod hostile;
mod machine;
mod serving;
mod world;
