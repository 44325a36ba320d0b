//! Tests of the base through its public face.

mod seeds;
