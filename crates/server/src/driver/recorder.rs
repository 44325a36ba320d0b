//! Writes down what controllers tell people. What is told again is counted, not written anew.
//!
//! To do comes before to tell: as long as a controller has plans to make and to write, what it tells waits a little.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use shoal_api::Status;
use shoal_api::time::Moment;
use shoal_control::known::EVENT;
use shoal_control::plan::{Event, Key, Write};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::api::Api;
use crate::execute::Executor;

/// Events of one controller that wait to be written; more are lost.
pub(super) const EVENTS_QUEUED_MAX: usize = 8192;
/// Events that wait until their controller rests; past that they are written beside its plans.
const EVENTS_HELD_MAX: usize = EVENTS_QUEUED_MAX * 3 / 4;
/// How long an event waits at most for its controller to rest.
const HELD_MAX: Duration = Duration::from_secs(1);

/// An event, and when it was told.
pub(super) struct Told {
    pub(super) event: Event,
    at: Moment,
    /// The same in nanoseconds.
    number: u64,
    since: Instant,
}
/// Events that are written at the same time.
const EVENTS_AT_ONCE: usize = 64;
/// Events that are remembered, so that one that comes again is counted; as many as Kubernetes remembers.
const EVENTS_REMEMBERED_MAX: usize = 4096;
/// After so many seconds an event is told anew: its object goes after an hour.
const REMEMBERED_SECONDS: i64 = 1800;
/// How often those are forgotten that were told for so long.
const LOOKED_AT_SECONDS: i64 = 60;

/// What makes two events the same: the object, whether something is wrong, the reason and the message.
type Said = (String, bool, &'static str, String);

/// An event that was told once or more often, and when first and last.
struct Heard {
    event: Event,
    first: Moment,
    last: Moment,
    /// Events are listed by their names, which this number ends, and their times are those of seconds: so those of one
    /// second stay in the order in which they were told.
    number: u64,
    count: u64,
}

/// An event that was written.
#[derive(Clone)]
struct Written {
    key: Key,
    first: Moment,
    count: u64,
}

/// Writes events until nobody tells any more, or the drain begins.
pub(super) async fn run(
    api: Arc<Api>,
    executor: Executor,
    mut told: mpsc::Receiver<Told>,
    mut resting: watch::Receiver<bool>,
) {
    let mut known: HashMap<Said, Written> = HashMap::new();
    let (mut events, mut looked_at) = (Vec::new(), api.moment());
    let mut last_number = 0;
    while told.recv_many(&mut events, EVENTS_AT_ONCE).await > 0 {
        if let Some(oldest) = events.first().filter(|_| told.len() < EVENTS_HELD_MAX) {
            // A controller that has ended rests.
            let _ = timeout_at(oldest.since + HELD_MAX, resting.wait_for(|rests| *rests)).await;
        }
        if api.drain.has_begun() {
            return;
        }
        let now = api.moment();
        if now.seconds() - looked_at.seconds() >= LOOKED_AT_SECONDS {
            looked_at = now;
            known.retain(|_, written| now.seconds() - written.first.seconds() < REMEMBERED_SECONDS);
        }
        if known.len() > EVENTS_REMEMBERED_MAX {
            known.clear();
        }
        let executor = &executor;
        let writes = heard(events.drain(..), &mut last_number).into_iter().map(|(said, heard)| {
            let before = known.get(&said).cloned();
            async move { (said, write(executor, &heard, before).await) }
        });
        let written = join_all(writes.collect::<Vec<_>>()).await;
        for (said, written) in written {
            match written {
                Ok(written) => {
                    known.insert(said, written);
                }
                Err(status) => {
                    known.remove(&said);
                    tracing::debug!(component = executor.component(), error = %status, "an event cannot be written");
                }
            }
        }
    }
}

impl Told {
    /// An event that is told now.
    pub(super) fn now(api: &Api, event: Event) -> Self {
        let now = api.timestamp();
        let number = u64::try_from(now.as_nanosecond()).unwrap_or_default();
        Self { event, at: Moment::from_seconds(now.as_second()), number, since: Instant::now() }
    }
}

/// Several of one kind in one go are counted before they are written.
/// `last_number` is that of the event before.
fn heard(events: impl Iterator<Item = Told>, last_number: &mut u64) -> BTreeMap<Said, Heard> {
    let mut all = BTreeMap::new();
    for Told { event, at, number, .. } in events {
        *last_number = number.max(*last_number + 1);
        let heard = all.entry(said(&event));
        let heard = heard.or_insert(Heard { event, first: at, last: at, number: *last_number, count: 0 });
        heard.last = at;
        heard.count += 1;
    }
    all
}

fn said(event: &Event) -> Said {
    (event.about["uid"].to_string(), event.warning, event.reason, event.message.clone())
}

/// Makes an event of this number, or counts one that there is so many times `more`.
async fn write(executor: &Executor, heard: &Heard, before: Option<Written>) -> Result<Written, Status> {
    let Heard { event, first, last, number, count } = heard;
    if let Some(before) = before {
        let count = before.count + count;
        let patch = json!({"count": count, "lastTimestamp": last.to_time()});
        let write = Write::Patch { key: before.key.clone(), subresource: "", patch };
        if executor.write(write).await.is_ok() {
            return Ok(Written { count, ..before });
        }
        // It has gone meanwhile.
    }
    let suffix = format!("{number:016x}");
    let mut object = event.to_object(executor.component(), &suffix, *first);
    object["lastTimestamp"] = last.to_time().into();
    object["count"] = json!(count);
    let key = Key::of(&EVENT, &object);
    executor.write(Write::create(&EVENT, object)).await.map(|_| Written { key, first: *first, count: *count })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shoal_api::GroupVersionKind;
    use shoal_api::object::{name, resource_version};
    use shoal_base::drain::{Drain, Drained};
    use shoal_control::known::CONFIG_MAP;
    use shoal_control::snapshot::Snapshot as _;
    use tokio::time::timeout;

    use super::super::tests::{SOON, map, server};
    use super::*;

    fn told(api: &Api, about: &str) -> Told {
        let about = json!({"metadata": {"name": about, "namespace": "default", "uid": about}});
        Told::now(api, Event::normal(&CONFIG_MAP, &about, "Told", "something was done".into()))
    }

    #[test]
    fn events_are_numbered_in_order_and_counted() {
        let told = |uid: &str, number: u64| {
            let about = json!({"metadata": {"name": "a", "namespace": "default", "uid": uid}});
            let event = Event::normal(&CONFIG_MAP, &about, "Told", "something was done".into());
            Told { event, at: Moment::from_seconds(1), number, since: Instant::now() }
        };
        let mut last = 7;
        let all = heard([told("a", 9), told("b", 9), told("a", 3), told("c", 20)].into_iter(), &mut last);
        let seen: Vec<_> = all.values().map(|heard| (heard.number, heard.count)).collect();
        // A clock that stands, or goes back, changes nothing.
        assert_eq!((seen, last), (vec![(9, 2), (10, 1), (20, 1)], 20));
    }

    /// The version in which there is an object of a kind whose name begins so.
    async fn version(api: &Api, kind: &GroupVersionKind, begins: &str) -> u64 {
        let found = |object: &Arc<Value>| name(object).starts_with(begins);
        let found = || api.world.view().list(kind, Some("default")).into_iter().find(found);
        loop {
            if let Some(object) = found() {
                return resource_version(&object).parse().expect("a number");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_told_waits_while_something_is_done_and_not_for_ever() {
        let (dir, drain) = (tempfile::tempdir().expect("a directory"), Drain::new());
        let running = server(&dir, &drain).await;
        let api = running.api.clone();
        let executor = || Executor::new(api.clone(), "test", "test");
        let (tell, heard) = mpsc::channel(EVENTS_QUEUED_MAX);
        let (rests, resting) = watch::channel(false);
        let recording = tokio::spawn(run(api.clone(), executor(), heard, resting));
        tell.send(told(&api, "first")).await.expect("somebody listens");
        executor().write(map("done")).await.expect("written");
        let done = timeout(SOON, version(&api, &CONFIG_MAP, "done")).await.expect("in time");
        rests.send_replace(true);
        let first = timeout(SOON, version(&api, &EVENT, "first")).await.expect("in time");
        assert!(first > done, "told in {first}, done in {done}");
        rests.send_replace(false);
        tell.send(told(&api, "second")).await.expect("somebody listens");
        timeout(SOON, version(&api, &EVENT, "second")).await.expect("though nobody rests");
        drop((tell, rests));
        recording.await.expect("it ends by itself");
        assert_eq!(drain.finish(SOON).await, Drained::Clean);
        running.ended().await;
    }
}
