//! Runs controllers: looks what they plan for an object, and writes it.
//!
//! One task for each controller. It plans for one key at a time, on a world that holds all it wrote before. Its writes
//! are tasks of their own, so that every core works on them while the disk has those before. What people are told goes
//! its own way beside and after, so that no plan waits for it.

mod flight;
mod recorder;

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status};
use shoal_base::backoff::Backoff;
use shoal_control::plan::{Controller, Event, Interest, Key, Plan, Watched, is_stale};
use shoal_control::snapshot::Snapshot;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::recorder::Told;
use crate::api::Api;
use crate::changes::{Change, Kinds, News};
use crate::execute::Executor;
use crate::metrics::Metrics;
use crate::world::{Entry, View};

/// Before the first repetition after a failure; twice that before the second, and so on.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Wait for a time that had passed when a plan with nothing to write asked for it: one that does so each time would take
/// a core for itself.
const REQUEUE_MIN: Duration = Duration::from_millis(10);
/// Longest wait for a time that a plan asked for; then it is asked again.
const REQUEUE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Between repetitions at most.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Keys that wait to be planned for.
#[derive(Default)]
struct Queue {
    ready: BTreeSet<Key>,
    later: BTreeSet<(Instant, Key)>,
    /// When each key in `later` is due; a key is there once.
    due: HashMap<Key, Instant>,
    failures: HashMap<Key, Backoff>,
}

/// Runs one controller until the drain begins.
pub(crate) async fn run(api: Arc<Api>, controller: Arc<dyn Controller>) {
    let (events, told) = mpsc::channel(recorder::EVENTS_QUEUED_MAX);
    let (rests, resting) = watch::channel(true);
    let teller = Executor::new(api.clone(), controller.name(), controller.manager());
    let mut recording = JoinSet::new();
    recording.spawn(recorder::run(api.clone(), teller.telling_as(controller.component()), told, resting));
    work(api, controller, events, rests).await;
    recording.join_all().await;
}

/// Plans and writes. `rests`: whether nothing waits to be planned for.
async fn work(
    api: Arc<Api>,
    controller: Arc<dyn Controller>,
    events: mpsc::Sender<Told>,
    rests: watch::Sender<bool>,
) {
    let interests = controller.interests();
    let mut changes = api.world.changes(kinds(&interests));
    let writer = Executor::new(api.clone(), controller.name(), controller.manager());
    let hands = Hands { api: api.clone(), writer: Arc::new(writer), events };
    let mut queue = Queue::default();
    let ears = Ears { name: controller.name(), metrics: &api.metrics, interests: &interests };
    let hear = |news: News, queue: &mut Queue| match news {
        News::Changed(batch) => ears.wake(&api.world.view(), &batch, queue),
        News::Missed => {
            ears.wake_all(&api.world.view(), queue);
            queue.ready.extend(
                ears.guarded(|| "what is there at the start".into(), || controller.initial())
                    .unwrap_or_default(),
            );
        }
    };
    hear(News::Missed, &mut queue);
    while !api.drain.has_begun() {
        let due = queue.take(Instant::now());
        rests.send_if_modified(|rests| std::mem::replace(rests, due.is_none()) != due.is_none());
        if let Some(key) = due {
            let outcome = caught(&api, controller.as_ref(), &hands, &key).await;
            queue.settle(&key, &outcome, api.timestamp().as_microsecond());
            // What changed meanwhile is taken in without waiting.
            while let Some(news) = changes.try_next() {
                hear(news, &mut queue);
            }
            continue;
        }
        let next = queue.later.first().map(|(at, _)| *at);
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

/// What a plan is carried out with.
struct Hands {
    api: Arc<Api>,
    writer: Arc<Executor>,
    events: mpsc::Sender<Told>,
}

impl Hands {
    /// Tells people something. Where more is told than can be written, it is lost: objects have the truth.
    fn tell(&self, event: Event) {
        if let Err(lost) = self.events.try_send(Told::now(&self.api, event)) {
            tracing::debug!(%lost, "an event is lost");
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
    /// All was written, if there was anything; the key is due again at this time, if at all.
    Done { requeue_at: Option<Moment>, has_written: bool },
    /// The world is not as it was when the plan was made.
    Stale,
    /// Something failed.
    Failed,
}

/// The same as [`step`]: a controller that fails at one key goes on with the others.
async fn caught(api: &Api, controller: &dyn Controller, hands: &Hands, key: &Key) -> Outcome {
    // What a plan left half done is what the store holds: the next plan looks at it anew.
    match AssertUnwindSafe(step(api, controller, hands, key)).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_) => {
            api.metrics.panicked(controller.name());
            tracing::error!(controller = controller.name(), object = %shown(key), "a plan has panicked: it is made again later, please report it");
            catch_up(api).await;
            Outcome::Failed
        }
    }
}

/// Plans for one key and writes the plan.
async fn step(api: &Api, controller: &dyn Controller, hands: &Hands, key: &Key) -> Outcome {
    let now = api.moment();
    let plan = controller.plan(&api.world.view(), key, now);
    let (requeue_at, has_written) = (plan.requeue_at, !plan.writes.is_empty());
    match carry_out(api, hands, plan).await {
        Ok(()) => Outcome::Done { requeue_at, has_written },
        Err(status) if is_stale(&status) => {
            catch_up(api).await;
            Outcome::Stale
        }
        Err(status) => {
            tracing::warn!(controller = controller.name(), object = %shown(key), error = %status, "a plan could not be carried out");
            // What was written before the failure must be seen, or it would be written again.
            catch_up(api).await;
            let plan = controller.failed(&api.world.view(), key, now, &[status]);
            if let Err(status) = carry_out(api, hands, plan).await
                && !is_stale(&status)
            {
                tracing::warn!(controller = controller.name(), object = %shown(key), error = %status, "nor could the failure be written down");
            }
            Outcome::Failed
        }
    }
}

async fn carry_out(api: &Api, hands: &Hands, mut plan: Plan) -> Result<(), Status> {
    let has_writes = !plan.writes.is_empty();
    let events = std::mem::take(&mut plan.events);
    flight::write(hands, plan.into_groups()).await?;
    events.into_iter().for_each(|event| hands.tell(event));
    if has_writes {
        catch_up(api).await;
    }
    Ok(())
}

/// Waits until the world holds everything that is written by now.
async fn catch_up(api: &Api) {
    // A plan that is made without it is made again.
    if let Err(status) = api.settle().await {
        tracing::debug!(error = %status, "the world lags behind the store");
    }
}

fn shown(key: &Key) -> String {
    format!("{} {}/{}", key.kind.group_kind(), key.namespace, key.name)
}

/// What a controller listens with.
struct Ears<'c> {
    name: &'static str,
    metrics: &'c Metrics,
    interests: &'c [Interest],
}

impl Ears<'_> {
    /// Wakes the keys of everything that there is.
    fn wake_all(&self, view: &View<'_>, queue: &mut Queue) {
        for interest in self.interests {
            let kinds = match &interest.of {
                Watched::Kind(kind) => vec![kind.clone()],
                Watched::Every => view.resources().into_iter().map(|resource| resource.kind).collect(),
            };
            for kind in kinds {
                for entry in view.entries(&kind) {
                    self.wake_by(view, &[interest], &kind, (entry, true), queue);
                }
            }
        }
    }

    /// Wakes the keys of what changed.
    fn wake(&self, view: &View<'_>, changes: &[Change], queue: &mut Queue) {
        // Mostly one after the other are of one kind.
        for changes in changes.chunk_by(|one, next| one.table == next.table) {
            let Some(served) = view.served(&changes[0].table) else { continue };
            let kind = &served.resource.storage;
            let meant: Vec<&Interest> =
                self.interests.iter().filter(|interest| interest.watches(kind)).collect();
            if meant.is_empty() {
                continue;
            }
            for change in changes {
                if let Some(was) = &change.was {
                    let is_there = change.is.as_ref().is_some_and(|is| is.is_same_object(was));
                    self.wake_by(view, &meant, kind, (was, is_there), queue);
                }
                if let Some(is) = &change.is {
                    self.wake_by(view, &meant, kind, (is, true), queue);
                }
            }
        }
    }

    /// Wakes the keys of one object, of which is said whether it still exists. It is parsed only if it can wake any. The
    /// interests are those that watch its kind.
    fn wake_by(
        &self,
        view: &View<'_>,
        interests: &[&Interest],
        kind: &GroupVersionKind,
        (entry, is_there): (&Entry, bool),
        queue: &mut Queue,
    ) {
        let Some(text) = view.text(entry) else { return };
        let Some(glance) = entry.glance(&text, is_there) else { return };
        for interest in interests {
            let keys = || {
                let is_meant = (interest.concerns)(view, kind, &glance);
                let object = is_meant.then(|| view.value(entry)).flatten();
                object.map(|object| (interest.keys)(view, kind, &object))
            };
            let object = || format!("{} {}/{}", kind.group_kind(), glance.namespace, glance.name);
            queue.ready.extend(self.guarded(object, keys).flatten().unwrap_or_default());
        }
    }

    /// The same as `work`: one object that cannot be understood wakes nothing, and holds up no other.
    fn guarded<T>(&self, object: impl FnOnce() -> String, work: impl FnOnce() -> T) -> Option<T> {
        // What is asked only reads, and what it leaves half done is its own.
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.metrics.panicked(self.name);
            tracing::error!(controller = self.name, object = %object(), "whether an object wakes anything has panicked: it is asked again when the object changes, please report it");
        }
        done.ok()
    }
}

impl Queue {
    /// The next key that is due.
    fn take(&mut self, now: Instant) -> Option<Key> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.later.pop_first() else { break };
            self.due.remove(&key);
            self.ready.insert(key);
        }
        let key = self.ready.pop_first()?;
        // Whatever it was to be looked at for later, the plan says again.
        self.postpone(&key, None);
        Some(key)
    }

    /// `micros` is the time, since 1970.
    fn settle(&mut self, key: &Key, outcome: &Outcome, micros: i64) {
        match outcome {
            Outcome::Done { requeue_at, has_written } => {
                self.failures.remove(key);
                if let Some(at) = requeue_at {
                    let wait = at.micros().saturating_sub(micros);
                    let wait = Duration::from_micros(u64::try_from(wait).unwrap_or(0)).min(REQUEUE_MAX);
                    // Whoever has written part of what is to be done goes on with the rest.
                    let least = if *has_written { Duration::ZERO } else { REQUEUE_MIN };
                    self.postpone(key, Some(Instant::now() + wait.max(least)));
                }
            }
            Outcome::Stale | Outcome::Failed => {
                let backoff = || Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
                let wait = self.failures.entry(key.clone()).or_insert_with(backoff).wait();
                self.postpone(key, Some(Instant::now() + wait));
            }
        }
    }

    /// A key is due at another time, or at none.
    fn postpone(&mut self, key: &Key, at: Option<Instant>) {
        if let Some(before) = self.due.remove(key) {
            self.later.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.due.insert(key.clone(), at);
            self.later.insert((at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::json;
    use shoal_api::object::{name, namespace, resource_version};
    use shoal_base::drain::{Drain, Drained};
    use shoal_control::filing;
    use shoal_control::known::{CONFIG_MAP, POD, SERVICE, SERVICE_ACCOUNT};
    use shoal_control::plan::{Concerns, Keys, Write};
    use shoal_store::sqlite::{Options, SqliteStore};
    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::*;
    use crate::start::{Config, Controllers, Running, start};

    /// For what comes within some milliseconds.
    pub(super) const SOON: Duration = Duration::from_secs(60);
    /// How often the plan for `bad` panics before it goes well.
    const PANICS: u32 = 2;

    /// Plans for ConfigMaps, and tells for which.
    struct Stub {
        name: &'static str,
        concerns: Concerns,
        keys: Keys,
        plans: Box<dyn Fn(&Key) -> Plan + Send + Sync>,
        planned: watch::Sender<Vec<String>>,
    }

    impl Controller for Stub {
        fn name(&self) -> &'static str {
            self.name
        }

        fn interests(&self) -> Vec<Interest> {
            let Self { concerns, keys, .. } = *self;
            vec![Interest { of: Watched::Kind(CONFIG_MAP.clone()), concerns, keys }]
        }

        fn plan(&self, _world: &dyn Snapshot, key: &Key, _now: Moment) -> Plan {
            let plan = (self.plans)(key);
            self.planned.send_modify(|planned| planned.push(key.name.clone()));
            plan
        }
    }

    fn stub(name: &'static str, plans: impl Fn(&Key) -> Plan + Send + Sync + 'static) -> (Stub, Seen) {
        let (planned, seen) = watch::channel(Vec::new());
        let keys: Keys = |_, kind, object| vec![Key::of(kind, object)];
        (Stub { name, concerns: |_, _, _| true, keys, plans: Box::new(plans), planned }, seen)
    }

    pub(super) fn map(name: &str) -> Write {
        Write::create(&CONFIG_MAP, json!({"metadata": {"name": name, "namespace": "default"}}))
    }

    /// For which names was planned.
    type Seen = watch::Receiver<Vec<String>>;

    pub(super) async fn server(dir: &tempfile::TempDir, drain: &Drain) -> Running {
        let store = SqliteStore::open(&Options::new(dir.path().join("store"))).expect("a store");
        let config = Config {
            data: dir.path().to_owned(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            names: Vec::new(),
            issuers: Vec::new(),
            controllers: Controllers::None,
        };
        start(config, Arc::new(store), drain.clone()).await.expect("a server")
    }

    /// A plan that wrote something asks for its key again.
    fn done_until(micros: i64) -> Outcome {
        Outcome::Done { requeue_at: Some(Moment::from_micros(micros)), has_written: true }
    }

    #[test]
    fn a_time_that_has_passed_is_still_waited_for() {
        let (mut queue, key) = (Queue::default(), Key::new(&CONFIG_MAP, "default", "a"));
        let began = Instant::now();
        let idle = Outcome::Done { requeue_at: Some(Moment::from_seconds(1)), has_written: false };
        queue.settle(&key, &idle, 2_000_000);
        assert_eq!(queue.take(began), None);
        assert_eq!(queue.take(Instant::now() + REQUEUE_MIN), Some(key.clone()));
        queue.settle(&key, &done_until(1_000_000), 2_000_000);
        assert_eq!(queue.take(Instant::now()), Some(key), "what is left of a plan goes on at once");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_binding_that_fails_holds_up_nothing_of_its_plan() {
        let (dir, drain) = (tempfile::tempdir().expect("a directory"), Drain::new());
        let running = server(&dir, &drain).await;
        let api = running.api.clone();
        let (binds, mut seen) = stub("binds", |key: &Key| {
            let gone = Key::new(&POD, "default", "gone");
            let bind = Write::Bind { pod: gone, uid: "gone".into(), node: "n1".into() };
            let writes = if key.name == "first" { vec![bind, map("second")] } else { Vec::new() };
            Plan { writes, ..Plan::default() }
        });
        let ran = tokio::spawn(run(api.clone(), Arc::new(binds)));
        Executor::new(api.clone(), "test", "test").write(map("first")).await.expect("written");
        let second = |planned: &Vec<String>| planned.iter().any(|name| name == "second");
        timeout(SOON, seen.wait_for(second)).await.expect("in time").expect("it is made");
        assert_eq!(drain.finish(SOON).await, Drained::Clean);
        ran.await.expect("it ends by itself");
        running.ended().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_plan_that_panics_is_made_again_and_holds_up_no_other() {
        let (dir, drain) = (tempfile::tempdir().expect("a directory"), Drain::new());
        let running = server(&dir, &drain).await;
        let api = running.api.clone();
        let panics = AtomicU32::new(0);
        let (stumbles, mut seen) = stub("stumbles", move |key: &Key| {
            let fails = key.name == "bad" && panics.fetch_add(1, Ordering::SeqCst) < PANICS;
            assert!(!fails, "the test wants it");
            Plan::default()
        });
        let ran = tokio::spawn(run(api.clone(), Arc::new(stumbles)));
        let executor = Executor::new(api.clone(), "test", "test");
        for name in ["bad", "good"] {
            executor.write(map(name)).await.expect("written");
        }
        let both = |planned: &Vec<String>| ["bad", "good"].iter().all(|one| planned.iter().any(|p| p == one));
        timeout(SOON, seen.wait_for(both)).await.expect("in time").expect("it goes on");
        let counted = format!("shoal_controller_panics_total{{controller=\"stumbles\"}} {PANICS}\n");
        assert!(api.metrics.text(&api.fair).contains(&counted));
        assert_eq!(drain.finish(SOON).await, Drained::Clean);
        ran.await.expect("it ends by itself");
        running.ended().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn objects_are_found_by_their_words_as_they_are() {
        let (dir, drain) = (tempfile::tempdir().expect("a directory"), Drain::new());
        let running = server(&dir, &drain).await;
        let api = running.api.clone();
        let executor = Executor::new(api.clone(), "test", "test");
        let pod = |name: &str, labels: serde_json::Value, owners: serde_json::Value| {
            let metadata =
                json!({"name": name, "namespace": "default", "labels": labels, "ownerReferences": owners});
            let spec = json!({"containers": [{"name": "c", "image": "/app.wasm"}]});
            Write::create(&POD, json!({"metadata": metadata, "spec": spec}))
        };
        let owner = json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x", "controller": true}]);
        let service = |name: &str, selector: serde_json::Value| {
            let spec = json!({"selector": selector, "ports": [{"port": 80}]});
            Write::create(&SERVICE, json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}))
        };
        let account = json!({"metadata": {"name": "default", "namespace": "default"}});
        executor.write(Write::create(&SERVICE_ACCOUNT, account)).await.expect("written");
        catch_up(&api).await;
        for write in [
            pod("one", json!({"app": "x", "tier": "web"}), json!([])),
            pod("two", json!({"app": "x", "tier": "db"}), owner),
            pod("three", json!({"app": "x"}), json!([])),
            service("s", json!({"app": "x", "tier": "db"})),
            service("none", json!({})),
        ] {
            executor.write(write).await.expect("written");
        }
        let names = |kind: &GroupVersionKind, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let found = api.world.view().filed(kind, "default", &words);
            found.iter().map(|object| name(object).to_owned()).collect::<Vec<_>>()
        };
        catch_up(&api).await;
        assert_eq!(names(&POD, &["app=x"]), ["one", "three", "two"]);
        assert_eq!(names(&POD, &["app=x", "tier=db"]), ["two"]);
        assert_eq!(names(&POD, &[filing::UNMANAGED]), ["one", "three"]);
        assert_eq!(names(&POD, &[]), ["one", "three", "two"]);
        assert_eq!(names(&SERVICE, &["app=x"]), ["s"]);
        assert!(names(&SERVICE, &["tier=db"]).is_empty() && names(&CONFIG_MAP, &["app=x"]).is_empty());

        let patch = json!({"metadata": {"labels": {"tier": "web", "app": null}}});
        let key = Key::new(&POD, "default", "two");
        executor.write(Write::Patch { key, subresource: "", patch }).await.expect("written");
        let gone = api.world.view().get(&POD, "default", "three").expect("it is there");
        executor.write(Write::delete_unchanged(&POD, &gone, None)).await.expect("deleted");
        catch_up(&api).await;
        assert_eq!(names(&POD, &["app=x"]), ["one"]);
        assert_eq!(names(&POD, &["tier=web"]), ["one", "two"]);
        assert_eq!(names(&POD, &[filing::UNMANAGED]), ["one"]);
        assert_eq!(drain.finish(SOON).await, Drained::Clean);
        running.ended().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn objects_are_counted_and_seen_without_being_read() {
        let (dir, drain) = (tempfile::tempdir().expect("a directory"), Drain::new());
        let running = server(&dir, &drain).await;
        let api = running.api.clone();
        let executor = Executor::new(api.clone(), "test", "test");
        for name in ["first", "second"] {
            executor.write(map(name)).await.expect("written");
        }
        let patch = json!({"data": {"changed": "last"}});
        let change = Write::Patch { key: Key::new(&CONFIG_MAP, "default", "first"), subresource: "", patch };
        executor.write(change).await.expect("written");
        catch_up(&api).await;
        let (listed, seen, count) = {
            let view = api.world.view();
            (view.list(&CONFIG_MAP, None), view.sightings(&CONFIG_MAP), view.count(&CONFIG_MAP))
        };
        assert_eq!((seen.len(), count), (listed.len(), listed.len()));
        for (seen, object) in seen.iter().zip(&listed) {
            assert_eq!((seen.namespace.as_str(), seen.name.as_str()), (namespace(object), name(object)));
            assert_eq!(seen.version.to_string(), resource_version(object));
        }
        let last = seen.iter().max_by_key(|one| one.version).expect("there are some");
        assert_eq!(last.name, "first", "what was changed last is newest");
        assert_eq!(drain.finish(SOON).await, Drained::Clean);
        running.ended().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_object_that_a_controller_cannot_look_at_holds_up_no_other() {
        let (dir, drain) = (tempfile::tempdir().expect("a directory"), Drain::new());
        let running = server(&dir, &drain).await;
        let api = running.api.clone();
        let is_dark: Concerns = |_, _, glance| {
            assert!(glance.name != "dark", "the test wants it");
            true
        };
        let is_bad: Keys = |_, kind, object| {
            assert!(object["metadata"]["name"] != "bad", "the test wants it");
            vec![Key::of(kind, object)]
        };
        let (mut looks, mut seen) = stub("looks", |_| Plan::default());
        (looks.concerns, looks.keys) = (is_dark, is_bad);
        let executor = Executor::new(api.clone(), "test", "test");
        // One is there when the controller begins, the other comes later.
        executor.write(map("bad")).await.expect("written");
        let ran = tokio::spawn(run(api.clone(), Arc::new(looks)));
        for name in ["dark", "good"] {
            executor.write(map(name)).await.expect("written");
        }
        let good = |planned: &Vec<String>| planned.iter().any(|name| name == "good");
        let planned = timeout(SOON, seen.wait_for(good)).await.expect("in time").expect("it goes on").clone();
        assert!(!planned.iter().any(|name| ["bad", "dark"].contains(&name.as_str())), "{planned:?}");
        let text = api.metrics.text(&api.fair);
        let counted =
            text.lines().find(|line| line.starts_with("shoal_controller_panics_total{controller=\"looks\"}"));
        let count = counted.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
        assert!(count.is_some_and(|count| count >= 2), "{text}");
        assert_eq!(drain.finish(SOON).await, Drained::Clean);
        ran.await.expect("it ends by itself");
        running.ended().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_looked_at_is_read_once_and_then_handed_over() {
        let (dir, drain) = (tempfile::tempdir().expect("a directory"), Drain::new());
        let running = server(&dir, &drain).await;
        let api = running.api.clone();
        let executor = Executor::new(api.clone(), "test", "test");
        for name in ["read", "unread"] {
            executor.write(map(name)).await.expect("written");
        }
        catch_up(&api).await;
        api.world.view().get(&CONFIG_MAP, "default", "read").expect("it is there");
        for round in 0..20 {
            for name in ["read", "unread"] {
                let patch = json!({"data": {"round": round.to_string()}});
                let key = Key::new(&CONFIG_MAP, "default", name);
                executor.write(Write::Patch { key, subresource: "", patch }).await.expect("written");
            }
            catch_up(&api).await;
            let view = api.world.view();
            let known = |name: &str| {
                let entry = view.entry(&CONFIG_MAP, "default", name).expect("it is there");
                let stored = entry.stored(&api.objects).expect("it can be read");
                (view.read_before(&stored), stored.lean().expect("JSON"))
            };
            let (read, stored) = known("read");
            assert_eq!(read.as_deref(), Some(&stored), "round {round}");
            assert_eq!((known("unread").0, &stored["data"]["round"]), (None, &json!(round.to_string())));
        }
        assert_eq!(drain.finish(SOON).await, Drained::Clean);
        running.ended().await;
    }

    #[test]
    fn a_key_waits_once_and_not_longer_than_asked() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let key = Key::new(&POD, "demo", "a");
        for micros in [5_000_000, 1_500_000, 3_000_000] {
            queue.settle(&key, &done_until(micros), 1_000_000);
        }
        assert_eq!((queue.later.len(), queue.due.len()), (1, 1));
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.take(now + Duration::from_secs(3)), Some(key.clone()));
        assert_eq!((queue.later.len(), queue.due.len()), (0, 0));
        // What is due at once does not wait for a whole second.
        queue.settle(&key, &done_until(1_000_000), 1_000_000);
        assert_eq!(queue.take(Instant::now()), Some(key));
    }

    #[test]
    fn failures_wait_longer_and_longer_up_to_a_minute() {
        let mut queue = Queue::default();
        let key = Key::new(&POD, "demo", "a");
        let mut waits = Vec::new();
        for _ in 0..15 {
            queue.settle(&key, &Outcome::Failed, 0);
            waits.push(queue.due[&key].saturating_duration_since(Instant::now()));
        }
        assert!(waits[0] <= BACKOFF_MIN && waits[3] > BACKOFF_MIN && waits[14] <= BACKOFF_MAX);
        assert!(waits[14] > BACKOFF_MAX - Duration::from_secs(5));
    }
}
