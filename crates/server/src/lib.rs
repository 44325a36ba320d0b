//! The API server: who asks, what they may do, what was done, and what is kept secret on the disk.

pub mod audit;
pub mod auth;
pub mod pki;
pub mod seal;

mod files;
mod random;
