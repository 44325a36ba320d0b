//! What the embedded engine knows without asking the disk: the current objects, the latest history, the leases, and
//! who waits for what.

mod index;
mod leases;
mod ring;
mod state;
mod wakes;

pub(crate) use index::{Body, Found};
pub(crate) use leases::Leases;
pub(crate) use ring::Commit;
pub(crate) use state::State;
pub(crate) use wakes::{Registration, Wakes};
