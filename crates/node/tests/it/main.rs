//! The agent against an API in memory and a runtime without guests.

mod lifecycle;
mod logs;
mod offline;
mod volumes;
mod world;
