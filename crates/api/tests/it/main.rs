//! The language held against what real servers were recorded to say, and against itself.

mod apply;
mod decode;
mod documents;
mod golden;
mod openapi;
mod ownership;
mod properties;
mod proto;
mod scale;
mod seeds;
