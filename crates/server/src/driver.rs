//! Runs controllers: looks what they plan for an object, and writes it.
//!
//! One task for each controller. It plans for one key at a time, on a world that holds all it wrote before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status};
use shoal_control::plan::{Controller, Interest, Key, Plan, Watched};
use shoal_control::snapshot::Snapshot;
use tokio::time::{Instant, sleep_until};

use crate::api::Api;
use crate::changes::{Change, Kinds, News};
use crate::execute::Executor;
use crate::world::{Entry, View};

/// Before the first repetition after a failure; twice that before the second, and so on.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Between repetitions at most.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Keys that wait to be planned for.
#[derive(Default)]
struct Queue {
    ready: BTreeSet<Key>,
    later: BTreeMap<(Instant, Key), ()>,
    failures: HashMap<Key, u32>,
}

/// Runs one controller until the drain begins.
pub(crate) async fn run(api: Arc<Api>, controller: Box<dyn Controller>) {
    let interests = controller.interests();
    let mut changes = api.world.changes(kinds(&interests));
    let executor = Executor::new(api.clone(), controller.name());
    let mut queue = Queue::default();
    let hear = |news: News, queue: &mut Queue| match news {
        News::Changed(batch) => wake(&api.world.view(), &interests, &batch, queue),
        News::Missed => {
            wake_all(&api.world.view(), &interests, queue);
            queue.ready.extend(controller.initial());
        }
    };
    hear(News::Missed, &mut queue);
    while !api.drain.has_begun() {
        if let Some(key) = queue.take(Instant::now()) {
            let outcome = step(&api, controller.as_ref(), &executor, &key).await;
            queue.settle(key, &outcome);
            // What changed meanwhile is taken in without waiting.
            while let Some(news) = changes.try_next() {
                hear(news, &mut queue);
            }
            continue;
        }
        let next = queue.later.keys().next().map(|(at, _)| *at);
        tokio::select! {
            news = changes.next() => match news {
                Some(news) => hear(news, &mut queue),
                None => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            () = api.drain.begun() => return,
        }
    }
}

/// Of which kinds a controller hears.
fn kinds(interests: &[Interest]) -> Kinds {
    let mut kinds = Vec::new();
    for interest in interests {
        match &interest.of {
            Watched::Kind(kind) => kinds.push(kind.clone()),
            Watched::Every => return Kinds::Every,
        }
    }
    Kinds::Some(kinds)
}

/// How planning for a key ended.
enum Outcome {
    /// All was written; the key is due again at this time, if at all.
    Done(Option<Moment>),
    /// The world is not as it was when the plan was made.
    Stale,
    /// Something failed.
    Failed,
}

/// Plans for one key and writes the plan.
async fn step(api: &Api, controller: &dyn Controller, executor: &Executor, key: &Key) -> Outcome {
    let now = api.moment();
    let plan = controller.plan(&api.world.view(), key, now);
    let requeue_at = plan.requeue_at;
    match carry_out(api, executor, plan).await {
        Ok(()) => Outcome::Done(requeue_at),
        Err(status) if is_stale(&status) => {
            catch_up(api).await;
            Outcome::Stale
        }
        Err(status) => {
            tracing::warn!(controller = controller.name(), object = %shown(key), error = %status, "a plan could not be carried out");
            let plan = controller.failed(&api.world.view(), key, now, &[status]);
            if let Err(status) = carry_out(api, executor, plan).await
                && !is_stale(&status)
            {
                tracing::warn!(controller = controller.name(), object = %shown(key), error = %status, "nor could the failure be written down");
            }
            Outcome::Failed
        }
    }
}

async fn carry_out(api: &Api, executor: &Executor, plan: Plan) -> Result<(), Status> {
    let writes = !plan.writes.is_empty();
    for write in plan.writes {
        executor.write(write).await?;
    }
    for event in &plan.events {
        executor.tell(event).await?;
    }
    if writes {
        catch_up(api).await;
    }
    Ok(())
}

/// Waits until the world holds everything that is written by now.
async fn catch_up(api: &Api) {
    if let Ok(revision) = api.objects.store().progress().await {
        tokio::select! {
            () = api.world.reached(revision) => {}
            () = api.drain.begun() => {}
        }
    }
}

fn is_stale(status: &Status) -> bool {
    ["Conflict", "NotFound", "AlreadyExists"].contains(&status.reason)
}

fn shown(key: &Key) -> String {
    format!("{} {}/{}", key.kind.group_kind(), key.namespace, key.name)
}

/// Wakes the keys of everything that there is.
fn wake_all(view: &View<'_>, interests: &[Interest], queue: &mut Queue) {
    for interest in interests {
        let kinds = match &interest.of {
            Watched::Kind(kind) => vec![kind.clone()],
            Watched::Every => view.resources().into_iter().map(|resource| resource.kind).collect(),
        };
        for kind in kinds {
            for entry in view.entries(&kind) {
                wake_by(view, std::slice::from_ref(interest), &kind, (entry, true), queue);
            }
        }
    }
}

/// Wakes the keys of what changed.
fn wake(view: &View<'_>, interests: &[Interest], changes: &[Change], queue: &mut Queue) {
    for change in changes {
        let Some(served) = view.served(&change.table) else { continue };
        let kind = &served.resource.storage;
        if let Some(was) = &change.was {
            let is_there = change.is.as_ref().is_some_and(|is| is.is_same_object(was));
            wake_by(view, interests, kind, (was, is_there), queue);
        }
        if let Some(is) = &change.is {
            wake_by(view, interests, kind, (is, true), queue);
        }
    }
}

/// Wakes the keys of one object, of which is said whether it still exists. It is parsed only if it can wake any.
fn wake_by(
    view: &View<'_>,
    interests: &[Interest],
    kind: &GroupVersionKind,
    (entry, is_there): (&Entry, bool),
    queue: &mut Queue,
) {
    let mut meant = interests.iter().filter(|interest| interest.watches(kind)).peekable();
    if meant.peek().is_none() {
        return;
    }
    let Some(stored) = view.stored(entry) else { return };
    let Some(glance) = view.glance(&stored, is_there) else { return };
    for interest in meant.filter(|interest| (interest.concerns)(view, kind, &glance)) {
        if let Some(object) = view.value(entry) {
            queue.ready.extend((interest.keys)(view, kind, &object));
        }
    }
}

impl Queue {
    /// The next key that is due.
    fn take(&mut self, now: Instant) -> Option<Key> {
        while let Some(((at, key), ())) = self.later.first_key_value().map(|(due, ())| (due.clone(), ())) {
            if at > now {
                break;
            }
            self.later.remove(&(at, key.clone()));
            self.ready.insert(key);
        }
        self.ready.pop_first()
    }

    fn settle(&mut self, key: Key, outcome: &Outcome) {
        match outcome {
            Outcome::Done(requeue_at) => {
                self.failures.remove(&key);
                if let Some(at) = requeue_at {
                    self.later.insert((instant(*at), key), ());
                }
            }
            Outcome::Stale | Outcome::Failed => {
                let failures = self.failures.entry(key.clone()).or_default();
                let wait = BACKOFF_MIN.saturating_mul(1 << (*failures).min(13)).min(BACKOFF_MAX);
                *failures += 1;
                self.later.insert((Instant::now() + wait, key), ());
            }
        }
    }
}

/// When a time comes, on the clock of the runtime.
fn instant(at: Moment) -> Instant {
    let wait = at.seconds().saturating_sub(Timestamp::now().as_second());
    Instant::now() + Duration::from_secs(u64::try_from(wait).unwrap_or(0))
}
