//! Of several servers on one store, one runs the controllers: the one that holds the Lease `shoal-controllers` in
//! `kube-system`, as controllers of Kubernetes elect their leaders.
//!
//! Whoever holds it renews it. One that ends gives it back, and another takes it at once; one that breaks off is followed
//! after the Lease's time, by the clock of whoever waits: clocks of different machines are never compared.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use shoal_api::{GroupVersionKind, Status};
use shoal_base::drain::Drain;
use shoal_control::known::LEASE;
use shoal_control::plan::Controller;
use shoal_control::snapshot::Snapshot as _;
use shoal_store::{Expect, Revision, Transaction, Write};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::api::Api;
use crate::changes::{Kinds, News};
use crate::{driver, stored};

const NAMESPACE: &str = "kube-system";
/// The name of the Lease.
pub(crate) const NAME: &str = "shoal-controllers";
const TABLE: &str = "/registry/coordination.k8s.io/leases/";

/// For how long a Lease that nobody renews is respected, as by the controllers of Kubernetes.
const HOLD: Duration = Duration::from_secs(15);
/// Whoever has not renewed for so long stops working, even while the store does not answer: well before anybody else begins.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Between renewals.
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// Between looks at a Lease of someone else, when nothing is heard of it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// For one look or renewal.
const STEP_TIME: Duration = Duration::from_secs(3);

/// Runs controllers until the drain begins, while this server is the one to.
pub(crate) async fn run(api: Arc<Api>, controllers: Vec<Arc<dyn Controller>>) {
    if !api.objects.store().is_shared() {
        let mut work = begin(&api, &controllers);
        while let Some(ended) = work.join_next().await {
            tell(ended);
        }
        return;
    }
    let mut candidate = Candidate::new(api.clone());
    while candidate.wait().await {
        tracing::info!(identity = candidate.identity, "this server runs the controllers now");
        let mut work = begin(&api, &controllers);
        let (drain, renewed) = (api.drain.clone(), candidate.renewed);
        hold(&drain, &mut work, renewed, &mut candidate).await;
        api.leads.store(false, Ordering::Relaxed);
        if api.drain.has_begun() {
            // What they are at is finished before anybody else begins.
            while let Some(ended) = work.join_next().await {
                tell(ended);
            }
            candidate.give_back().await;
            return;
        }
        work.shutdown().await;
        tracing::warn!("the lease of the controllers was lost: they have stopped here");
    }
}

fn begin(api: &Arc<Api>, controllers: &[Arc<dyn Controller>]) -> JoinSet<()> {
    api.leads.store(true, Ordering::Relaxed);
    let mut work = JoinSet::new();
    for controller in controllers {
        work.spawn(driver::run(api.clone(), controller.clone()));
    }
    work
}

fn tell(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a controller has failed");
    }
}

/// A server that would run the controllers.
struct Candidate {
    api: Arc<Api>,
    /// `HOST_UUID`, another one each time that a server starts.
    identity: String,
    /// The Lease of someone else, and since when it is as it is.
    seen: Option<(Revision, Instant)>,
    /// When the Lease was last asked for with success: nobody else takes its time as over before this and [`HOLD`].
    renewed: Instant,
}

/// What came of a wish to renew the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// It is ours, since it was asked for at this time.
    Since(Instant),
    /// Somebody else has it.
    Lost,
    /// Nobody knows.
    Failed,
}

/// Whoever can renew a Lease.
trait Renew {
    /// Renews it, if it is still theirs.
    fn renew(&mut self) -> impl Future<Output = Renewal> + Send;
}

/// Renews the Lease until somebody else has it, that has failed for too long, or the drain begins. `renewed`: when it was
/// asked for with success.
async fn hold(drain: &Drain, work: &mut JoinSet<()>, renewed: Instant, lease: &mut impl Renew) {
    let (mut ends, mut next) = (renewed + GIVE_UP, Instant::now() + RENEW_EVERY);
    while Instant::now() < ends {
        tokio::select! {
            () = sleep_until(next.min(ends)) => {}
            () = drain.begun() => return,
            Some(ended) = work.join_next() => {
                tell(ended);
                continue;
            }
        }
        match timeout_at(ends, lease.renew()).await {
            Ok(Renewal::Since(asked)) => ends = asked + GIVE_UP,
            Ok(Renewal::Failed) => {}
            Ok(Renewal::Lost) | Err(_) => return,
        }
        next = Instant::now() + RENEW_EVERY;
    }
}

/// What a candidate makes of a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is ours, or nobody's.
    Free,
    /// It is someone else's, who may still hold it.
    Held,
}

impl Renew for Candidate {
    async fn renew(&mut self) -> Renewal {
        match (self.step().await, self.seen) {
            (true, _) => Renewal::Since(self.renewed),
            (false, Some(_)) => Renewal::Lost,
            (false, None) => Renewal::Failed,
        }
    }
}

impl Candidate {
    fn new(api: Arc<Api>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            api,
            identity: format!("{host}_{}", uuid::Uuid::new_v4()),
            seen: None,
            renewed: Instant::now(),
        }
    }

    /// Waits until this server holds the Lease; false: the drain has begun.
    async fn wait(&mut self) -> bool {
        let mut changes = self.api.world.changes(Kinds::Some(vec![LEASE.clone()]));
        while !self.api.drain.has_begun() {
            if self.step().await {
                return true;
            }
            let next = Instant::now() + LOOK_EVERY;
            loop {
                tokio::select! {
                    () = sleep_until(next) => break,
                    () = self.api.drain.begun() => return false,
                    news = changes.next() => match news {
                        Some(News::Changed(_)) if !self.is_given_back() => {}
                        Some(_) => break,
                        None => return false,
                    },
                }
            }
        }
        false
    }

    /// Takes or renews the Lease, if it is free or ours.
    async fn step(&mut self) -> bool {
        let asked = Instant::now();
        match timeout(STEP_TIME, self.take()).await {
            Ok(Ok(is_ours)) => {
                if is_ours {
                    self.renewed = asked;
                }
                is_ours
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease of the controllers cannot be read or written");
                false
            }
            Err(_) => false,
        }
    }

    async fn take(&mut self) -> Result<bool, Status> {
        let found = self.api.objects.get(&key()).await?;
        let old = found.as_ref().map(|found| found.value()).transpose()?;
        let revision = found.map(|found| found.revision);
        let old_spec = old.as_ref().map_or(&Value::Null, |old| &old["spec"]);
        if self.standing(old_spec, revision) == Standing::Held {
            return Ok(false);
        }
        let now = shoal_api::time::Moment::from_micros(self.api.timestamp().as_microsecond());
        let new = lease(old.as_ref(), &self.identity, HOLD.as_secs(), &now.to_micro_time(), &now.to_time());
        Ok(self.write(&new, revision).await?.is_some())
    }

    /// What a Lease of this revision means; without a revision there is none.
    fn standing(&mut self, spec: &Value, revision: Option<Revision>) -> Standing {
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        let Some(revision) = revision.filter(|_| !holder.is_empty() && holder != self.identity) else {
            self.seen = None;
            return Standing::Free;
        };
        let seconds = spec["leaseDurationSeconds"].as_u64().unwrap_or(HOLD.as_secs());
        match self.seen {
            Some((seen, since)) if seen == revision && since.elapsed() >= Duration::from_secs(seconds) => {
                self.seen = None;
                Standing::Free
            }
            Some((seen, _)) if seen == revision => Standing::Held,
            _ => {
                self.seen = Some((revision, Instant::now()));
                Standing::Held
            }
        }
    }

    /// Lets another server go on at once.
    async fn give_back(&self) {
        let given = async {
            let Some(found) = self.api.objects.get(&key()).await? else { return Ok(()) };
            let mut lease = found.value()?;
            if lease["spec"]["holderIdentity"] == self.identity {
                lease["spec"]["holderIdentity"] = "".into();
                lease["spec"]["leaseDurationSeconds"] = 1.into();
                self.write(&lease, Some(found.revision)).await?;
            }
            Ok::<_, Status>(())
        };
        if !matches!(timeout(STEP_TIME, given).await, Ok(Ok(()))) {
            tracing::warn!(
                "the lease of the controllers could not be given back: others wait until it is over"
            );
        }
    }

    /// Whether the Lease, as it is known here, has no holder.
    fn is_given_back(&self) -> bool {
        let kind = GroupVersionKind::new("coordination.k8s.io", "v1", "Lease");
        let lease = self.api.world.view().get(&kind, NAMESPACE, NAME);
        lease.is_none_or(|lease| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().is_empty())
    }

    /// Past admission: the namespace may be made by the very controllers that wait for the Lease.
    async fn write(&self, lease: &Value, revision: Option<Revision>) -> Result<Option<Revision>, Status> {
        let expect = revision.map_or(Expect::Absent, Expect::At);
        let write = Write::put(key(), stored::encode(lease), expect);
        self.api.objects.transact(Transaction { writes: vec![write] }).await
    }
}

fn key() -> Vec<u8> {
    format!("{TABLE}{NAMESPACE}/{NAME}").into_bytes()
}

/// The Lease as its holder writes it; `old` is what there was.
fn lease(old: Option<&Value>, identity: &str, seconds: u64, now: &str, made: &str) -> Value {
    let mut lease = old.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": NAME, "namespace": NAMESPACE, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": made,
            },
        })
    });
    let was = lease["spec"].clone();
    let is_new = was["holderIdentity"] != identity;
    let transitions = was["leaseTransitions"].as_i64().unwrap_or(0) + i64::from(is_new && old.is_some());
    lease["spec"] = json!({
        "holderIdentity": identity, "leaseDurationSeconds": seconds, "renewTime": now,
        "acquireTime": if is_new { now.into() } else { was["acquireTime"].clone() },
        "leaseTransitions": transitions,
    });
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Lease that is renewed as a function says, which hears how often it was asked before.
    struct Asked<R>(u32, R);

    impl<F: Future<Output = Renewal> + Send, R: Fn(u32) -> F + Send> Renew for Asked<R> {
        fn renew(&mut self) -> impl Future<Output = Renewal> + Send {
            self.0 += 1;
            (self.1)(self.0 - 1)
        }
    }

    /// For how long a lease is held that is renewed so.
    async fn held<F: Future<Output = Renewal> + Send>(renew: impl Fn(u32) -> F + Send) -> Duration {
        let begun = Instant::now();
        hold(&Drain::new(), &mut JoinSet::new(), begun, &mut Asked(0, renew)).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_stops_in_time_however_slow_the_store_is() {
        assert_eq!(held(|_| std::future::pending()).await, GIVE_UP, "it never answers");
        for takes in [Duration::ZERO, Duration::from_secs(1), STEP_TIME] {
            let failing = |_| async move {
                tokio::time::sleep(takes).await;
                Renewal::Failed
            };
            assert_eq!(held(failing).await, GIVE_UP, "it fails after {takes:?}");
        }
        assert_eq!(held(|_| async { Renewal::Lost }).await, RENEW_EVERY);
        // Time is counted from the wish: it may have been granted at once, and the answer have come late.
        let takes = Duration::from_secs(1);
        let slow = |before| async move {
            let asked = Instant::now();
            if before == 3 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(takes).await;
            Renewal::Since(asked)
        };
        assert_eq!(held(slow).await, RENEW_EVERY * 3 + takes * 2 + GIVE_UP);
        assert!(GIVE_UP + STEP_TIME < HOLD, "one that is found late is given up before it is over as well");
    }

    #[test]
    fn a_lease_counts_its_holders_and_remembers_since_when() {
        let first = lease(None, "a", 15, "t1", "t0");
        assert_eq!(
            (&first["spec"]["acquireTime"], &first["spec"]["leaseTransitions"]),
            (&json!("t1"), &json!(0))
        );
        let renewed = lease(Some(&first), "a", 15, "t2", "-");
        let spec = &renewed["spec"];
        assert_eq!((&spec["acquireTime"], &spec["renewTime"]), (&json!("t1"), &json!("t2")));
        assert_eq!(renewed["metadata"], first["metadata"]);
        let second = lease(Some(&renewed), "b", 15, "t3", "-");
        let spec = &second["spec"];
        assert_eq!((&spec["acquireTime"], &spec["leaseTransitions"]), (&json!("t3"), &json!(1)));
    }
}
