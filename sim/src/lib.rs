//! A cluster in one thread: the control plane's plans on a store in memory, and nodes that only say that they run
//! pods. A seed decides everything that chance decides, so each run can be had again.
//!
//! Time goes by in steps of a second. In each, messages arrive, every controller carries out a few plans, and every
//! node acts, in an order that the seed decides.

pub mod chaos;
pub mod check;
pub mod cluster;
pub mod fault;
mod keeper;
mod node;
pub mod story;
