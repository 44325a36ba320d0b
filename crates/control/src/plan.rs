//! The frame of control loops: a controller looks at the world and says what to write; a driver writes it.
//!
//! A controller takes no input but the world. What wakes it carries no data: keys are coalesced, may come twice or
//! late, and after a restart each object is planned for once more. So a plan that was carried out half is completed
//! by the next one.
//!
//! What a driver promises:
//! - it plans for one key of one controller at a time, on a snapshot that holds all it wrote for this key before;
//! - it carries out writes in their order and stops at the first that fails, unless nothing depends on that one (see
//!   [`Write::holds_up`]); neighbours that make or delete objects of one kind, or bind pods, it may carry out at the
//!   same time (see [`Write::goes_with`]);
//! - after a conflict, a missing object or one that exists already it plans again; after any other failure it
//!   asks [`Controller::failed`] once, and plans again later and later.

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status, object};

use crate::snapshot::{Snapshot, api_version};

/// Most writes of one plan that are carried out at the same time: as many as the store puts into one commit, so that each
/// sync of the disk carries a whole one. More than this would only keep others waiting.
pub const WRITES_AT_ONCE: usize = 256;

/// A control loop.
pub trait Controller: Send + Sync {
    /// Who it is, in events and in the log: `namespace-controller`.
    fn name(&self) -> &'static str;

    /// Who is named as the writer of its fields: the process that runs this loop in Kubernetes.
    fn manager(&self) -> &'static str {
        "kube-controller-manager"
    }

    /// Who tells what it has to tell: the `source.component` of its events.
    fn component(&self) -> &'static str {
        self.name()
    }

    /// What wakes it.
    fn interests(&self) -> Vec<Interest>;

    /// What to plan for when the process starts, beside the objects that there are.
    fn initial(&self) -> Vec<Key> {
        Vec::new()
    }

    /// What to do for `key` now. The object of the key may be gone, and often there is nothing to do.
    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan;

    /// What to write after writes of a plan failed for another reason than a conflict; mostly nothing.
    fn failed(&self, _world: &dyn Snapshot, _key: &Key, _now: Moment, _failures: &[Status]) -> Plan {
        Plan::default()
    }
}

/// What is planned for: an object, which may be gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: GroupVersionKind,
    /// Empty for what lives in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Objects whose changes wake a controller.
#[derive(Clone)]
pub struct Interest {
    /// Which objects.
    pub of: Watched,
    /// Whether an object can wake anything. Most cannot, which is seen without parsing them.
    pub concerns: Concerns,
    /// The keys that an object wakes. Of a changed object it is asked twice: as it was and as it is.
    pub keys: Keys,
}

/// The keys that an object wakes.
pub type Keys = fn(&dyn Snapshot, &GroupVersionKind, &Value) -> Vec<Key>;

/// Whether an object of a kind can wake anything.
pub type Concerns = fn(&dyn Snapshot, &GroupVersionKind, &Glance<'_>) -> bool;

/// What is seen of an object before it is parsed.
#[derive(Clone, Copy, Debug)]
pub struct Glance<'a> {
    /// Empty for what lives in none.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Whether it still exists, perhaps changed.
    pub is_there: bool,
    /// As JSON without spaces.
    pub text: &'a [u8],
}

/// Which objects are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Those of one kind.
    Kind(GroupVersionKind),
    /// Those of every kind, custom resources among them.
    Every,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub writes: Vec<Write>,
    /// When to plan again although nothing changes.
    pub requeue_at: Option<Moment>,
    /// What to tell people once all is written.
    pub events: Vec<Event>,
    /// What to tell people as soon as the write at this place is done; `{name}` stands for the name of its object,
    /// which the server may have chosen.
    pub told: Vec<(usize, Event)>,
}

/// One change. Changes of what exists hold only while the object is what it was when the plan was made.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Makes an object.
    Create {
        /// Its kind.
        kind: GroupVersionKind,
        /// The object; with `metadata.generateName` where the server chooses the name.
        object: Value,
    },
    /// Replaces an object; `metadata.resourceVersion` is that of what was read.
    Update {
        /// Its kind.
        kind: GroupVersionKind,
        /// `status`, `finalize`, `approval`; empty for the object itself.
        subresource: &'static str,
        /// The object.
        object: Value,
    },
    /// Changes some fields by a JSON merge patch, which names `metadata.uid` and `metadata.resourceVersion`.
    Patch {
        /// Which object.
        key: Key,
        /// As in `Update`.
        subresource: &'static str,
        /// What changes.
        patch: Value,
    },
    /// Deletes an object.
    Delete {
        /// Which object.
        key: Key,
        /// Only while it has this identity.
        uid: String,
        /// Only while it has this version; none where any will do.
        resource_version: Option<String>,
        /// What becomes of what it owns; none leaves it to the server.
        propagation: Option<Propagation>,
        /// 0 does not wait for the node; none takes the object's own.
        grace_period_seconds: Option<u32>,
    },
    /// Gives a pod its node.
    Bind {
        /// Which pod.
        pod: Key,
        /// Only while it has this identity.
        uid: String,
        /// Name of the node.
        node: String,
    },
    /// Signs an approved CertificateSigningRequest and writes `status.certificate`, or the condition `Failed`.
    Sign {
        /// Which one.
        key: Key,
        /// Only while it has this version.
        resource_version: String,
    },
    /// Fills a Secret of type `kubernetes.io/service-account-token`: `token`, `ca.crt`, `namespace`, and the
    /// annotation with the `uid` of its account.
    MintToken {
        /// Which Secret.
        key: Key,
        /// Only while it has this version.
        resource_version: String,
        /// Identity of the account.
        account_uid: String,
    },
}

/// What becomes of what an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// It is deleted afterwards.
    Background,
    /// It is deleted first.
    Foreground,
    /// It stays, without its owner.
    Orphan,
}

/// Writes that do not need each other, [`WRITES_AT_ONCE`] at most: they may be carried out at the same time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// In the order of the plan.
    pub writes: Vec<Write>,
    /// What to tell people as soon as the write at the same place is done, as in [`Plan::told`].
    pub told: Vec<Vec<Event>>,
}

/// What people are told about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The object: `apiVersion`, `kind`, `namespace`, `name`, `uid`, `resourceVersion`.
    pub about: Value,
    /// Whether something is wrong.
    pub warning: bool,
    /// One word: `FailedCreate`.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Key {
    /// From its parts.
    pub fn new(kind: &GroupVersionKind, namespace: &str, name: &str) -> Self {
        Self { kind: kind.clone(), namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of(kind: &GroupVersionKind, object: &Value) -> Self {
        Self::new(kind, object::namespace(object), object::name(object))
    }
}

impl Interest {
    /// Objects of a kind wake themselves.
    pub fn own(kind: &GroupVersionKind) -> Self {
        Self::of(kind, |_, kind, object| vec![Key::of(kind, object)])
    }

    /// Objects of a kind wake others.
    pub fn of(kind: &GroupVersionKind, keys: Keys) -> Self {
        Self { of: Watched::Kind(kind.clone()), concerns: |_, _, _| true, keys }
    }

    /// Some objects, of any kind, wake something.
    pub fn every(concerns: Concerns, keys: Keys) -> Self {
        Self { of: Watched::Every, concerns, keys }
    }

    /// Only some of them do.
    #[must_use]
    pub fn when(self, concerns: Concerns) -> Self {
        Self { concerns, ..self }
    }

    /// Whether objects of `kind` are among them.
    pub fn watches(&self, kind: &GroupVersionKind) -> bool {
        match &self.of {
            Watched::Kind(watched) => watched == kind,
            Watched::Every => true,
        }
    }
}

impl Glance<'_> {
    /// Whether there is a field of this name in it, at any depth; sometimes true without one, never false with one.
    pub fn has(&self, field: &str) -> bool {
        let quoted = [b"\"", field.as_bytes(), b"\""].concat();
        memchr::memmem::find(self.text, &quoted).is_some()
    }
}

impl Plan {
    /// Nothing but one write.
    pub fn write(write: Write) -> Self {
        Self { writes: vec![write], ..Self::default() }
    }

    /// Adds a write, and what to tell when it is done.
    pub fn write_and_tell(&mut self, write: Write, event: Event) {
        self.told.push((self.writes.len(), event));
        self.writes.push(write);
    }

    /// Asks to be planned again at `time`, or earlier when that was asked before.
    pub fn requeue(&mut self, time: Moment) {
        self.requeue_at = Some(self.requeue_at.map_or(time, |earlier| earlier.min(time)));
    }

    /// The writes in the order in which they are carried out: one group after the other.
    pub fn into_groups(self) -> Vec<Group> {
        let mut told = self.told.into_iter().peekable();
        let mut groups: Vec<Group> = Vec::new();
        for (at, write) in self.writes.into_iter().enumerate() {
            let open = groups.pop_if(|group| group.has_room_for(&write));
            let mut group = open.unwrap_or_default();
            let events = std::iter::from_fn(|| told.next_if(|(of, _)| *of == at));
            group.told.push(events.map(|(_, event)| event).collect());
            group.writes.push(write);
            groups.push(group);
        }
        groups
    }
}

impl Group {
    /// Whether the groups after it must not be carried out when a write of it failed.
    pub fn holds_up(&self) -> bool {
        self.writes.iter().any(Write::holds_up)
    }

    fn has_room_for(&self, next: &Write) -> bool {
        self.writes.len() < WRITES_AT_ONCE && self.writes.last().is_some_and(|last| last.goes_with(next))
    }
}

impl Write {
    /// Whether this one and its neighbour `next` may be carried out at the same time: neither needs the other.
    pub fn goes_with(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Create { kind, object }, Self::Create { kind: next, object: other }) => {
                kind == next && object::namespace(object) == object::namespace(other)
            }
            (Self::Delete { key, .. }, Self::Delete { key: next, .. }) => key.kind == next.kind,
            (Self::Bind { .. }, Self::Bind { .. }) => true,
            (Self::Patch { key, .. }, Self::Patch { key: next, .. }) => key.kind == next.kind && key != next,
            _ => false,
        }
    }

    /// Whether what comes after it in a plan must not be done when it failed. A pod that gets no node is nobody
    /// else's concern: all others would wait for it.
    pub fn holds_up(&self) -> bool {
        !matches!(self, Self::Bind { .. })
    }

    /// Makes an object.
    pub fn create(kind: &GroupVersionKind, object: Value) -> Self {
        Self::Create { kind: kind.clone(), object }
    }

    /// Replaces an object.
    pub fn update(kind: &GroupVersionKind, object: Value) -> Self {
        Self::Update { kind: kind.clone(), subresource: "", object }
    }

    /// Replaces an object's status.
    pub fn status(kind: &GroupVersionKind, object: Value) -> Self {
        Self::Update { kind: kind.clone(), subresource: "status", object }
    }

    /// Deletes an object, whatever has become of it, as long as it is this one.
    pub fn delete(kind: &GroupVersionKind, object: &Value, propagation: Option<Propagation>) -> Self {
        Self::Delete {
            key: Key::of(kind, object),
            uid: object::uid(object).into(),
            resource_version: None,
            propagation,
            grace_period_seconds: None,
        }
    }

    /// Deletes an object as long as it is what was read.
    pub fn delete_unchanged(
        kind: &GroupVersionKind,
        object: &Value,
        propagation: Option<Propagation>,
    ) -> Self {
        Self::Delete {
            key: Key::of(kind, object),
            uid: object::uid(object).into(),
            resource_version: Some(object::resource_version(object).into()),
            propagation,
            grace_period_seconds: None,
        }
    }

    /// Deletes a pod, or whatever else would end at its own pace, without waiting for that.
    pub fn delete_at_once(kind: &GroupVersionKind, object: &Value) -> Self {
        Self::Delete {
            key: Key::of(kind, object),
            uid: object::uid(object).into(),
            resource_version: None,
            propagation: None,
            grace_period_seconds: Some(0),
        }
    }

    /// Changes some fields of the status by a merge patch; holds as long as the object is what was read.
    pub fn patch_status(kind: &GroupVersionKind, object: &Value, status: &Value) -> Self {
        let patch = json!({"metadata": as_read(object), "status": status});
        Self::Patch { key: Key::of(kind, object), subresource: "status", patch }
    }

    /// Changes some fields of the spec by a merge patch; holds as long as the object is what was read.
    pub fn patch_spec(kind: &GroupVersionKind, object: &Value, spec: &Value) -> Self {
        let patch = json!({"metadata": as_read(object), "spec": spec});
        Self::Patch { key: Key::of(kind, object), subresource: "", patch }
    }

    /// Lets go of an object that a finalizer holds; holds as long as the object is what was read.
    pub fn drop_finalizer(kind: &GroupVersionKind, object: &Value, finalizer: &str) -> Self {
        let kept: Vec<&str> = object::finalizers(object).filter(|held| *held != finalizer).collect();
        Self::patch_metadata(kind, object, json!({"finalizers": kept}))
    }

    /// Changes some fields of `metadata`; holds as long as the object is what was read.
    pub fn patch_metadata(kind: &GroupVersionKind, object: &Value, mut metadata: Value) -> Self {
        for (field, value) in as_read(object).as_object().into_iter().flatten() {
            metadata[field] = value.clone();
        }
        Self::Patch { key: Key::of(kind, object), subresource: "", patch: json!({"metadata": metadata}) }
    }
}

impl Propagation {
    /// As `DeleteOptions` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

impl Event {
    /// Something is worth telling.
    pub fn normal(kind: &GroupVersionKind, object: &Value, reason: &'static str, message: String) -> Self {
        Self { about: reference(kind, object), warning: false, reason, message }
    }

    /// Something is wrong.
    pub fn warning(kind: &GroupVersionKind, object: &Value, reason: &'static str, message: String) -> Self {
        Self { warning: true, ..Self::normal(kind, object, reason, message) }
    }

    /// The same about what the server has named: `{name}` in the message is this name.
    pub fn named(mut self, name: &str) -> Self {
        self.message = self.message.replace("{name}", name);
        self
    }

    /// The `v1 Event` for it. `component` says it; `suffix` tells it from other events of the object.
    pub fn to_object(&self, component: &str, suffix: &str, now: Moment) -> Value {
        let of_cluster = self.about["namespace"].as_str().unwrap_or_default().is_empty();
        let namespace = if of_cluster { json!("default") } else { self.about["namespace"].clone() };
        let name = self.about["name"].as_str().unwrap_or_default();
        let time = now.to_time();
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("{name}.{suffix}"), "namespace": namespace},
            "involvedObject": self.about, "reason": self.reason, "message": self.message,
            "type": if self.warning { "Warning" } else { "Normal" },
            "source": {"component": component}, "reportingComponent": component, "reportingInstance": "",
            "firstTimestamp": time, "lastTimestamp": time, "eventTime": null, "count": 1,
        })
    }
}

/// Whether a write failed because the world is not as it was when the plan was made: then a new plan is made, and
/// nobody needs to hear of it.
pub fn is_stale(failure: &Status) -> bool {
    ["Conflict", "NotFound", "AlreadyExists"].contains(&failure.reason)
}

/// What a change by a merge patch says of the object that was read.
fn as_read(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]})
}

/// A reference to an object, as events and endpoints carry it.
pub fn reference(kind: &GroupVersionKind, object: &Value) -> Value {
    let mut reference = json!({"kind": kind.kind, "apiVersion": api_version(kind)});
    for field in ["namespace", "name", "uid", "resourceVersion"] {
        if let Some(text) = object["metadata"][field].as_str() {
            reference[field] = json!(text);
        }
    }
    reference
}

/// A time that an object holds; none when it holds none that can be read.
pub fn read_time(value: &Value) -> Option<Moment> {
    value.as_str()?.parse().ok()
}

/// So many seconds later.
pub fn after(time: Moment, seconds: i64) -> Moment {
    Moment::from_micros(time.micros().saturating_add(seconds.saturating_mul(1_000_000)))
}

/// Sets one of `conditions`, keeping `lastTransitionTime` while its status is the same. Says whether anything
/// changed. `condition` has `type`, `status`, `reason` and `message`.
pub fn set_condition(conditions: &mut Vec<Value>, mut condition: Value, now: Moment) -> bool {
    let at = conditions.iter().position(|known| known["type"] == condition["type"]);
    let same = |known: &Value, field: &str| known[field] == condition[field];
    let known = at.map(|at| &conditions[at]);
    if known.is_some_and(|known| {
        ["status", "reason", "message", "observedGeneration"].iter().all(|field| same(known, field))
    }) {
        return false;
    }
    condition["lastTransitionTime"] = match known.filter(|known| same(known, "status")) {
        Some(known) => known["lastTransitionTime"].clone(),
        None => json!(now.to_time()),
    };
    match at {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    true
}
