//! Events end by themselves, an hour after they were written: through leases, each for many of them.

use std::sync::Arc;
use std::time::Duration;

use shoal_api::Status;
use shoal_store::{LeaseId, Store};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an event lasts at least, as in Kubernetes.
pub(crate) const EVENT_LIFE: Duration = Duration::from_secs(60 * 60);
/// How long a lease takes new events; so much longer than [`EVENT_LIFE`] does an event last at most.
const LEASE_OPEN: Duration = Duration::from_secs(60);
/// Events of one lease at most: they are all deleted in one revision when it ends.
const LEASE_EVENTS_MAX: usize = 1000;

/// The lease that new events get.
#[derive(Default)]
pub struct EventLeases(Mutex<Option<Open>>);

struct Open {
    id: LeaseId,
    since: Instant,
    events: usize,
}

impl EventLeases {
    /// A lease for one more event.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn current(&self, store: &Arc<dyn Store>) -> Result<LeaseId, Status> {
        let mut open = self.0.lock().await;
        if let Some(lease) = open.as_mut()
            && lease.since.elapsed() < LEASE_OPEN
            && lease.events < LEASE_EVENTS_MAX
        {
            lease.events += 1;
            return Ok(lease.id);
        }
        let lease = store.lease_grant(EVENT_LIFE + LEASE_OPEN).await.map_err(crate::objects::status)?;
        *open = Some(Open { id: lease.id, since: Instant::now(), events: 1 });
        Ok(lease.id)
    }
}
