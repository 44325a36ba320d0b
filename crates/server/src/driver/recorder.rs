//! Writes down what controllers tell people. What is told again is counted, not written anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;
use shoal_api::Status;
use shoal_api::time::Moment;
use shoal_control::known::EVENT;
use shoal_control::plan::{Event, Key, Write};
use tokio::sync::mpsc;

use crate::api::Api;
use crate::execute::Executor;

/// Events of one controller that wait to be written; more are lost.
pub(super) const EVENTS_QUEUED_MAX: usize = 4096;
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

/// An event that was written.
#[derive(Clone)]
struct Written {
    key: Key,
    first: Moment,
    count: u64,
}

/// Writes events until nobody tells any more, or the drain begins.
pub(super) async fn run(api: Arc<Api>, executor: Executor, mut told: mpsc::Receiver<Event>) {
    let mut known: HashMap<Said, Written> = HashMap::new();
    let (mut events, mut looked_at) = (Vec::new(), api.moment());
    let mut last_ns = 0;
    while told.recv_many(&mut events, EVENTS_AT_ONCE).await > 0 {
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
        // Several of one kind in one go are counted before they are written.
        let mut counts: BTreeMap<Said, (Event, u64, u64)> = BTreeMap::new();
        for event in events.drain(..) {
            last_ns = next(now, last_ns);
            counts.entry(said(&event)).or_insert((event, 0, last_ns)).1 += 1;
        }
        let (api, executor) = (&api, &executor);
        let writes = counts.into_iter().map(|(said, (event, more, number))| {
            let before = known.get(&said).cloned();
            async move { (said, write(api, executor, &event, (more, number), before).await) }
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

/// The number of an event, in nanoseconds. Events are listed by their names, and told by the second: those of the same second
/// stay in order.
fn next(now: Moment, last_ns: u64) -> u64 {
    u64::try_from(now.micros()).unwrap_or_default().saturating_mul(1000).max(last_ns + 1)
}

fn said(event: &Event) -> Said {
    (event.about["uid"].to_string(), event.warning, event.reason, event.message.clone())
}

/// Makes an event of this number, or counts one that there is so many times `more`.
async fn write(
    api: &Api,
    executor: &Executor,
    event: &Event,
    (more, number): (u64, u64),
    before: Option<Written>,
) -> Result<Written, Status> {
    let now = api.moment();
    if let Some(before) = before {
        let count = before.count + more;
        let patch = json!({"count": count, "lastTimestamp": now.to_time()});
        let write = Write::Patch { key: before.key.clone(), subresource: "", patch };
        if executor.write(write).await.is_ok() {
            return Ok(Written { count, ..before });
        }
        // It has gone meanwhile.
    }
    let suffix = format!("{number:016x}");
    let mut object = event.to_object(executor.component(), &suffix, now);
    object["count"] = json!(more);
    let key = Key::of(&EVENT, &object);
    executor.write(Write::create(&EVENT, object)).await.map(|_| Written { key, first: now, count: more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_moment_have_numbers_in_order() {
        let now = Moment::from_seconds(1_800_000_000);
        let first = next(now, 0);
        let second = next(now, first);
        assert_eq!((first, second), (1_800_000_000_000_000_000, 1_800_000_000_000_000_001));
        assert_eq!(
            next(Moment::from_seconds(1), second),
            second + 1,
            "a clock that goes back changes nothing"
        );
        assert!(next(Moment::from_seconds(1_800_000_001), second) > second + 1);
    }
}
