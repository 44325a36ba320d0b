//! The language held against what real servers were recorded to say, and against itself.

mod decode;
mod documents;
mod golden;
mod openapi;
mod ownership;
mod proto;
mod seeds;
