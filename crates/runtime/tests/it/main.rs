//! Tests of the wall through its public face.

mod seeds;
