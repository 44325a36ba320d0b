//! One controller, what it knows of the world, and what it has to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status, object};
use shoal_control::plan::{Controller, Glance, Key, Plan, after, is_stale};
use shoal_control::snapshot::{Resource, Snapshot};
use shoal_control::world::Changed;

use crate::cluster::Api;
use crate::fault::{Chance, Faults};

/// Plans of one controller in one step: more than it needs, and few enough that others come between.
const PLANS_PER_STEP_MAX: usize = 8;

/// Longest wait after failures, in seconds.
const BACKOFF_SECONDS_MAX: i64 = 16;

/// Objects at one moment.
pub(crate) type Objects = BTreeMap<Key, Arc<Value>>;

/// The objects as somebody has seen them.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) objects: Arc<Objects>,
    pub(crate) resources: Arc<Vec<Resource>>,
}

/// What changed, and the world after it.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) changes: Arc<Vec<Changed>>,
    pub(crate) after: Arc<Objects>,
    pub(crate) revision: u64,
}

/// A controller at work.
pub(crate) struct Keeper {
    controller: Box<dyn Controller>,
    view: View,
    seen: u64,
    /// What is on its way: when it arrives, and the changes; none: everything is read anew.
    mail: Vec<(Moment, Option<Batch>)>,
    ready: BTreeSet<Key>,
    later: BTreeMap<Key, Moment>,
    failures: BTreeMap<Key, u32>,
}

impl Keeper {
    pub(crate) fn new(controller: Box<dyn Controller>, view: View) -> Self {
        let ready = controller.initial().into_iter().collect();
        let (later, failures) = (BTreeMap::new(), BTreeMap::new());
        Self { controller, view, seen: 0, mail: Vec::new(), ready, later, failures }
    }

    /// Sends a batch on its way.
    pub(crate) fn post(&mut self, batch: &Batch, now: Moment, faults: Faults, chance: &mut Chance) {
        let soon = |chance: &mut Chance| after(now, i64::try_from(1 + chance.below(8)).unwrap_or(1));
        if chance.hits(faults.lost) {
            self.mail.push((soon(chance), None));
            return;
        }
        let at = if chance.hits(faults.late) { soon(chance) } else { now };
        self.mail.push((at, Some(batch.clone())));
        if chance.hits(faults.repeated) {
            self.mail.push((soon(chance), Some(batch.clone())));
        }
    }

    /// Takes in what has arrived, then plans and writes.
    pub(crate) fn work(&mut self, api: &mut Api<'_>) {
        self.read_mail(api);
        let due: Vec<Key> =
            self.later.iter().filter(|(_, at)| **at <= api.now()).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.later.remove(&key);
            self.ready.insert(key);
        }
        for _ in 0..PLANS_PER_STEP_MAX {
            // The order of keys is nobody's promise.
            let at = api.chance.index(self.ready.len());
            let Some(key) = self.ready.iter().nth(at).cloned() else { return };
            self.ready.remove(&key);
            self.plan(&key, api);
        }
    }

    fn read_mail(&mut self, api: &Api<'_>) {
        let now = api.now();
        let mut arrived: Vec<(Moment, Option<Batch>)> = Vec::new();
        let mut waiting = Vec::new();
        for mail in std::mem::take(&mut self.mail) {
            if mail.0 <= now { arrived.push(mail) } else { waiting.push(mail) }
        }
        self.mail = waiting;
        for (_, batch) in arrived {
            match batch {
                Some(batch) => self.take_in(&batch),
                None => self.read_anew(api),
            }
        }
    }

    /// A watch never goes back: an old batch wakes, and what is known stays as new as it is.
    fn take_in(&mut self, batch: &Batch) {
        if batch.revision > self.seen {
            self.seen = batch.revision;
            self.view.objects = batch.after.clone();
        }
        for (kind, was, is) in batch.changes.iter() {
            let now = batch.after.get(&Key::of(kind, is));
            let is_there = now.is_some_and(|now| object::uid(now) == object::uid(is));
            if let Some(was) = was {
                self.wake(kind, was, is_there);
            }
            // Of an object that is gone only how it was is heard.
            if is_there {
                self.wake(kind, is, true);
            }
        }
    }

    fn read_anew(&mut self, api: &Api<'_>) {
        self.catch_up(api);
        let all: Vec<(GroupVersionKind, Arc<Value>)> =
            self.view.objects.iter().map(|(key, object)| (key.kind.clone(), object.clone())).collect();
        for (kind, object) in all {
            self.wake(&kind, &object, true);
        }
        self.ready.extend(self.controller.initial());
    }

    fn catch_up(&mut self, api: &Api<'_>) {
        self.view.objects = api.snapshot();
        self.seen = api.revision();
    }

    fn wake(&mut self, kind: &GroupVersionKind, object: &Value, is_there: bool) {
        let interests = self.controller.interests();
        let mut meant = interests.iter().filter(|interest| interest.watches(kind)).peekable();
        if meant.peek().is_none() {
            return;
        }
        let text = object.to_string();
        let (namespace, name) = (object::namespace(object), object::name(object));
        let glance = Glance { namespace, name, is_there, text: text.as_bytes() };
        for interest in meant.filter(|interest| (interest.concerns)(&self.view, kind, &glance)) {
            self.ready.extend((interest.keys)(&self.view, kind, object));
        }
    }

    fn plan(&mut self, key: &Key, api: &mut Api<'_>) {
        let plan = self.controller.plan(&self.view, key, api.now());
        let requeue = plan.requeue_at;
        let wrote = !plan.writes.is_empty();
        let outcome = carry_out(self.controller.name(), plan, api);
        if wrote {
            self.catch_up(api);
        }
        if let Err(status) = &outcome
            && !is_stale(status)
        {
            let plan = self.controller.failed(&self.view, key, api.now(), std::slice::from_ref(status));
            let wrote = !plan.writes.is_empty();
            // A failure that cannot be written down is planned for again like any other.
            if carry_out(self.controller.name(), plan, api).is_ok() && wrote {
                self.catch_up(api);
            }
        }
        self.later.remove(key);
        match outcome {
            Ok(()) => {
                self.failures.remove(key);
                if let Some(at) = requeue {
                    self.later.insert(key.clone(), at);
                }
            }
            Err(_) => {
                let failures = self.failures.entry(key.clone()).or_default();
                let wait = (1i64 << (*failures).min(4)).min(BACKOFF_SECONDS_MAX);
                *failures += 1;
                self.later.insert(key.clone(), after(api.now(), wait));
            }
        }
    }
}

/// Carries out writes in groups: those that do not need each other are on their way at the same time, and arrive in
/// any order. The first failure is given back; what comes after its group is not done, unless it holds nothing up.
fn carry_out(name: &'static str, plan: Plan, api: &mut Api<'_>) -> Result<(), Status> {
    let mut outcome = Ok(());
    for mut group in plan.into_groups() {
        let holds_up = group.holds_up();
        let mut done = Ok(());
        while !group.writes.is_empty() {
            let write = group.writes.swap_remove(api.chance.index(group.writes.len()));
            done = done.and(api.write(name, write).map(|_| ()));
        }
        if done.is_err() && holds_up {
            return done;
        }
        outcome = outcome.and(done);
    }
    outcome
}

impl Snapshot for View {
    fn get(&self, kind: &GroupVersionKind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.get(&Key::new(kind, namespace, name)).cloned()
    }

    fn list(&self, kind: &GroupVersionKind, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let from = Key::new(kind, namespace.unwrap_or_default(), "");
        let of_kind = self.objects.range(from..).take_while(|(key, _)| {
            key.kind == *kind && namespace.is_none_or(|wanted| key.namespace == wanted)
        });
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    fn owned_by(&self, uid: &str) -> Vec<(GroupVersionKind, Arc<Value>)> {
        let owned = |object: &Value| object::owners(object).any(|owner| owner["uid"] == uid);
        let found = self.objects.iter().filter(|(_, object)| owned(object));
        found.map(|(key, object)| (key.kind.clone(), object.clone())).collect()
    }

    fn resources(&self) -> Vec<Resource> {
        self.resources.to_vec()
    }
}
