//! Connections that wait for their next request.
//!
//! A connection is driven by a task of one runtime, and is used again only there. Each is kept for at most half
//! a minute unused; every kept connection looks after the age of all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::destination::Destination;

/// Servers close idle connections after 5 seconds (nginx: 75); waiting longer finds mostly closed ones.
const AGE_MAX: Duration = Duration::from_secs(30);

/// A burst to one destination may open more; these many stay.
const PER_PLACE_MAX: usize = 8;

/// Of one workload, over all runtimes: each holds a socket and some 20 KiB.
const ALL_MAX: usize = 64;

/// Where a connection leads, and the runtime that drives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) runtime: runtime::Id,
    pub(super) destination: Destination,
}

/// The kept connections of a workload.
#[derive(Default)]
pub(super) struct Idle(Mutex<HashMap<Place, Vec<Kept>>>);

struct Kept {
    connection: Connection,
    since: Instant,
}

impl Idle {
    /// A connection to this place; one that many can use stays kept as well.
    pub(super) fn take(&self, place: &Place) -> Option<Connection> {
        let mut places = self.lock();
        let kept = places.get_mut(place)?;
        kept.retain(Kept::is_usable);
        let last = kept.pop();
        if let Some(Kept { connection, .. }) = &last
            && let Some(shared) = connection.share()
        {
            kept.push(Kept { connection: shared, since: Instant::now() });
        }
        if kept.is_empty() {
            places.remove(place);
        }
        last.map(|kept| kept.connection)
    }

    /// Keeps a connection unless there are enough. Of those that many can use, one for each place.
    pub(super) fn park(&self, place: Place, connection: Connection) {
        let mut places = self.lock();
        let all: usize = places.values().map(Vec::len).sum();
        let kept = places.entry(place).or_default();
        kept.retain(Kept::is_usable);
        let shared = matches!(connection, Connection::Two { .. });
        if shared && kept.iter().any(|kept| matches!(kept.connection, Connection::Two { .. })) {
            return;
        }
        if kept.len() < PER_PLACE_MAX && all < ALL_MAX && !connection.is_closed() {
            kept.push(Kept { connection, since: Instant::now() });
        }
    }

    /// Ends, again and again, what was kept too long; never returns while the connections are in use.
    pub(super) async fn reap(idle: Weak<Self>) {
        loop {
            sleep(AGE_MAX).await;
            let Some(idle) = idle.upgrade() else { return std::future::pending().await };
            idle.lock().retain(|_, kept| {
                kept.retain(Kept::is_usable);
                !kept.is_empty()
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Vec<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn is_usable(&self) -> bool {
        !self.connection.is_closed() && self.since.elapsed() < AGE_MAX
    }
}

/// The hold of a response on its connection: given back when the body has ended, ended when it is dropped
/// before.
pub(super) struct Lease {
    idle: Weak<Idle>,
    place: Place,
    connection: Connection,
}

impl Lease {
    pub(super) fn new(idle: &Arc<Idle>, place: Place, connection: Connection) -> Self {
        Self { idle: Arc::downgrade(idle), place, connection }
    }

    /// The body has ended: others may use the connection.
    pub(super) fn give_back(self) {
        if let Some(idle) = self.idle.upgrade()
            && matches!(self.connection, Connection::One { .. })
        {
            idle.park(self.place, self.connection);
        }
    }
}
