//! Versioned objects that never lose a write.
//!
//! Everything in Shoal reads and writes objects through one trait, [`Store`]. Two engines implement it and behave
//! alike to the last revision: [`sqlite::SqliteStore`], embedded, for one machine; and [`etcd::EtcdStore`] for
//! many. [`model::Model`] is the reference that both are tested against.
//!
//! What holds in each of them: there is one revision, which each change raises by one; a write that was
//! acknowledged is on the disk; a watch gives every change once, in order, all changes of one revision together.

mod compactor;
mod error;
mod memory;
mod object;
mod trait_store;
mod transaction;
mod watch;

pub mod backup;
pub mod etcd;
pub mod limits;
pub mod metrics;
pub mod model;
pub mod sqlite;

pub use compactor::Compactor;
pub use error::{Error, Result};
pub use object::{Event, Lease, LeaseId, Object, Revision, prefix_end};
pub use trait_store::{Count, Deleted, Got, ListOptions, Page, Put, Status, Store};
pub use transaction::{Change, Committed, Conflict, Expect, Outcome, Transaction, Write};
pub use watch::{Batch, Source, Watch, WatchOptions};
