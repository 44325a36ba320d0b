//! The language held against what real servers were recorded to say, and against itself.

mod decode;
mod golden;
mod proto;
mod seeds;
