//! A world in memory: objects, controllers that plan for them, and a clock that only moves when told.
//!
//! For tests: it writes what controllers plan, as the server would, until nothing is left to do, and tells what
//! happened line by line. Versions, identities and generated names are counted, so that the same story always
//! reads the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::resources::BUILT_IN;
use shoal_api::status::Resource as Named;
use shoal_api::time::Moment;
use shoal_api::{GroupVersion, GroupVersionKind, Status, object};

use crate::plan::{Controller, Event, Glance, Key, Plan, Propagation, Write, after};
use crate::snapshot::{Resource, Snapshot, api_version, is_deleted, stored};

/// Most plans until nothing is left to do; more than this is a controller that never settles.
const PLANS_MAX: usize = 10_000;

/// When every story begins.
const BEGINNING: &str = "2026-01-01T00:00:00Z";

/// An object that was written: its kind, as it was, and as it is or was last.
pub type Changed = (GroupVersionKind, Option<Arc<Value>>, Arc<Value>);

/// Objects, controllers and a clock.
pub struct World {
    objects: BTreeMap<Key, Arc<Value>>,
    resources: Vec<Resource>,
    controllers: Vec<Box<dyn Controller>>,
    awake: BTreeSet<(usize, Key)>,
    timers: BTreeMap<(usize, Key), Moment>,
    defaults: bool,
    graceful: bool,
    changes: Option<Vec<Changed>>,
    refused: BTreeMap<(bool, GroupVersionKind), Status>,
    revision: u64,
    now: Moment,
    story: Vec<String>,
}

impl World {
    /// A world without objects.
    pub fn new(controllers: Vec<Box<dyn Controller>>) -> Self {
        let initial = |at: usize| controllers[at].initial().into_iter().map(move |key| (at, key));
        Self {
            awake: (0..controllers.len()).flat_map(initial).collect(),
            objects: BTreeMap::new(),
            resources: stored(BUILT_IN.iter()),
            controllers,
            timers: BTreeMap::new(),
            defaults: false,
            graceful: false,
            changes: None,
            refused: BTreeMap::new(),
            revision: 0,
            now: BEGINNING.parse().expect("it is a time"),
            story: Vec::new(),
        }
    }

    /// From now on what new objects leave out is filled in, as the server does it.
    #[must_use]
    pub fn with_defaults(mut self) -> Self {
        self.defaults = true;
        self
    }

    /// From now on pods that have a node stay until it lets them go, by a deletion that does not wait.
    #[must_use]
    pub fn with_grace(mut self) -> Self {
        self.graceful = true;
        self
    }

    /// From now on what is written is noted for [`World::take_changes`].
    #[must_use]
    pub fn with_changes(mut self) -> Self {
        self.changes = Some(Vec::new());
        self
    }

    /// What was written since this was last asked.
    pub fn take_changes(&mut self) -> Vec<Changed> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// All objects.
    pub fn objects(&self) -> &BTreeMap<Key, Arc<Value>> {
        &self.objects
    }

    /// The time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Adds a resource, as a custom resource definition does.
    ///
    /// # Panics
    /// When `api_version` is none.
    pub fn add_resource(&mut self, api_version: &str, kind: &str, plural: &str, namespaced: bool) {
        let version: GroupVersion = api_version.parse().expect("it is an apiVersion");
        self.resources.push(Resource { kind: version.kind(kind), plural: plural.into(), namespaced });
    }

    /// From now on objects of a kind cannot be deleted.
    pub fn refuse_to_delete(&mut self, kind: &GroupVersionKind, status: Status) {
        self.refused.insert((false, kind.clone()), status);
    }

    /// From now on objects of a kind cannot be made.
    pub fn refuse_to_create(&mut self, kind: &GroupVersionKind, status: Status) {
        self.refused.insert((true, kind.clone()), status);
    }

    /// From now on nothing is refused.
    pub fn allow_all(&mut self) {
        self.refused.clear();
    }

    /// Writes an object as a user does: makes or replaces it. Controllers do not run yet.
    ///
    /// # Panics
    /// When `object` has no kind.
    pub fn apply(&mut self, mut object: Value) {
        let kind = kind_of(&object);
        let key = Key::of(&kind, &object);
        match self.objects.get(&key).cloned() {
            None => {
                self.create(&kind, object).expect("there is none of this name");
            }
            Some(old) => {
                for field in ["uid", "creationTimestamp", "deletionTimestamp"] {
                    if let Some(value) = old["metadata"].get(field) {
                        object["metadata"][field] = value.clone();
                    }
                }
                self.store(&key, object);
            }
        }
    }

    /// Deletes an object as a user does.
    ///
    /// # Panics
    /// When there is none.
    pub fn delete(&mut self, kind: &GroupVersionKind, namespace: &str, name: &str, how: Option<Propagation>) {
        self.remove(&Key::new(kind, namespace, name), how).expect("the object exists");
    }

    /// Changes an object in place, past the server.
    ///
    /// # Panics
    /// When there is none.
    pub fn change(
        &mut self,
        kind: &GroupVersionKind,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) {
        let key = Key::new(kind, namespace, name);
        let mut object = Value::clone(self.objects.get(&key).expect("the object exists"));
        change(&mut object);
        self.store(&key, object);
    }

    /// Lets controllers work until nothing is left to do; tells what they did.
    ///
    /// # Panics
    /// When they do not settle.
    pub fn settle(&mut self) -> String {
        for _ in 0..PLANS_MAX {
            let Some((at, key)) = self.awake.pop_first() else { return self.take_story() };
            self.work(at, &key);
        }
        // Only a controller with a mistake gets here, and only in a test.
        panic!("controllers do not settle:\n{}", self.take_story());
    }

    /// Moves the clock, one timer after the other, and lets controllers work; tells what they did.
    pub fn tick(&mut self, seconds: i64) -> String {
        let until = after(self.now, seconds);
        let mut story = self.settle();
        while let Some(next) = self.timers.values().min().copied().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            let due: Vec<_> =
                self.timers.iter().filter(|(_, at)| **at <= self.now).map(|(who, _)| who.clone()).collect();
            for who in due {
                self.timers.remove(&who);
                self.awake.insert(who);
            }
            story.push_str(&self.settle());
        }
        self.now = until;
        story
    }

    /// Objects of a kind, as `kubectl get -o json` would show them, without times, versions and identities.
    pub fn show(&self, kind: &GroupVersionKind) -> String {
        let shown = self.list(kind, None).into_iter().map(|object| {
            let mut object = Value::clone(&object);
            for field in ["uid", "resourceVersion", "creationTimestamp"] {
                object::metadata_mut(&mut object).remove(field);
            }
            let object = object.as_object_mut().expect("objects are JSON objects");
            object.remove("apiVersion");
            object.remove("kind");
            serde_json::to_string(object).expect("it is JSON")
        });
        shown.map(|line| line + "\n").collect()
    }

    fn work(&mut self, at: usize, key: &Key) {
        let controller = &self.controllers[at];
        let (name, plan) = (controller.name(), controller.plan(self, key, self.now));
        let requeue = plan.requeue_at;
        let failures = self.carry_out(name, plan);
        if !failures.is_empty() {
            let plan = self.controllers[at].failed(self, key, self.now, &failures);
            self.carry_out(name, plan);
        }
        self.timers.remove(&(at, key.clone()));
        if let Some(requeue) = requeue.or_else(|| (!failures.is_empty()).then(|| after(self.now, 1))) {
            let later = requeue.max(after(self.now, 1));
            self.timers.insert((at, key.clone()), later);
        }
    }

    fn carry_out(&mut self, name: &str, plan: Plan) -> Vec<Status> {
        for event in plan.events {
            self.tell(name, event);
        }
        let mut failures = Vec::new();
        for (at, write) in plan.writes.into_iter().enumerate() {
            let (told, holds_up) = (told(&write), write.holds_up());
            match self.write(write) {
                Ok(named) => {
                    self.story.push(format!("{name}: {told}"));
                    for (_, event) in plan.told.iter().filter(|(of, _)| *of == at) {
                        self.tell(name, event.clone().named(&named));
                    }
                }
                Err(status) => {
                    self.story.push(format!("{name}: {told}: {status}"));
                    failures.push(status);
                    if holds_up {
                        break;
                    }
                }
            }
        }
        failures
    }

    fn tell(&mut self, name: &str, event: Event) {
        let Event { about, warning, reason, message } = event;
        let kind = if warning { "Warning" } else { "Normal" };
        let about = about["name"].as_str().unwrap_or_default();
        self.story.push(format!("{name}: event {kind} {reason} about {about}: {message}"));
    }

    /// Carries out one write; gives the name of the object.
    ///
    /// # Errors
    /// As the server's: conflicts, objects that are not there or are there already.
    pub fn write(&mut self, write: Write) -> Result<String, Status> {
        match write {
            Write::Create { kind, object } => self.create(&kind, object),
            Write::Bind { pod, uid, node } => {
                self.edit(pod, (Some(&uid), None), |object| object["spec"]["nodeName"] = json!(node))
            }
            Write::Update { kind, object, .. } => {
                let (uid, version) =
                    (object::uid(&object).to_owned(), object::resource_version(&object).to_owned());
                self.edit(Key::of(&kind, &object), (Some(&uid), Some(&version)), |known| *known = object)
            }
            Write::Patch { key, patch, .. } => {
                let (uid, version) =
                    (object::uid(&patch).to_owned(), object::resource_version(&patch).to_owned());
                self.edit(key, (Some(&uid), Some(&version)), |object| merge(object, patch))
            }
            Write::Delete { key, uid, resource_version, propagation, grace_period_seconds } => {
                self.check(&key, (Some(&uid), resource_version.as_deref()))?;
                let at_once = grace_period_seconds == Some(0);
                if let Some(status) = self.refused.get(&(false, key.kind.clone())) {
                    return Err(status.clone());
                }
                self.remove_within(&key, propagation, at_once).map(|()| key.name)
            }
            Write::Sign { key, resource_version } => {
                self.edit(key, (None, Some(&resource_version)), |object| {
                    object["status"]["certificate"] = json!("c2lnbmVk");
                })
            }
            Write::MintToken { key, resource_version, account_uid } => {
                self.edit(key, (None, Some(&resource_version)), |object| {
                    object["metadata"]["annotations"]["kubernetes.io/service-account.uid"] =
                        json!(account_uid);
                    object["data"] = json!({"ca.crt": "Y2E=", "namespace": "bnM=", "token": "dA=="});
                })
            }
        }
    }

    /// Changes an object that is still what was read; gives its name.
    fn edit(
        &mut self,
        key: Key,
        read: (Option<&str>, Option<&str>),
        change: impl FnOnce(&mut Value),
    ) -> Result<String, Status> {
        self.check(&key, read)?;
        let mut object = Value::clone(&self.objects[&key]);
        change(&mut object);
        self.store(&key, object);
        Ok(key.name)
    }

    /// Whether an object is there, with this identity and this version where they are given.
    fn check(&self, key: &Key, (uid, version): (Option<&str>, Option<&str>)) -> Result<(), Status> {
        let named = Named { group: &key.kind.group, name: &key.kind.kind };
        let Some(object) = self.objects.get(key) else { return Err(Status::not_found(named, &key.name)) };
        let is_read = version.is_none_or(|version| version == object::resource_version(object))
            && uid.is_none_or(|uid| uid == object::uid(object));
        if is_read { Ok(()) } else { Err(Status::modified(named, &key.name)) }
    }

    fn create(&mut self, kind: &GroupVersionKind, mut object: Value) -> Result<String, Status> {
        if let Some(status) = self.refused.get(&(true, kind.clone())) {
            return Err(status.clone());
        }
        self.revision += 1;
        let (number, now) = (self.revision, self.now.to_time());
        let metadata = object::metadata_mut(&mut object);
        if let (None, Some(stem)) = (metadata.get("name"), metadata.get("generateName")) {
            let name = format!("{}{number}", stem.as_str().unwrap_or_default());
            metadata.insert("name".into(), json!(name));
        }
        metadata.entry("uid").or_insert_with(|| json!(format!("u{number}")));
        metadata.entry("creationTimestamp").or_insert_with(|| json!(now));
        if counts_generations(kind) {
            metadata.insert("generation".into(), json!(1));
        }
        object["apiVersion"] = json!(api_version(kind));
        object["kind"] = json!(kind.kind);
        let key = Key::of(kind, &object);
        if self.objects.contains_key(&key) {
            let named = Named { group: &kind.group, name: &kind.kind };
            return Err(Status::already_exists(named, &key.name));
        }
        self.store(&key, object);
        Ok(key.name)
    }

    fn remove(&mut self, key: &Key, propagation: Option<Propagation>) -> Result<(), Status> {
        self.remove_within(key, propagation, false)
    }

    fn remove_within(
        &mut self,
        key: &Key,
        propagation: Option<Propagation>,
        at_once: bool,
    ) -> Result<(), Status> {
        self.check(key, (None, None))?;
        let mut object = Value::clone(&self.objects[key]);
        let finalizer = match propagation {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            Some(Propagation::Background) | None => None,
        };
        let mut finalizers: Vec<Value> = object::finalizers(&object).map(|text| json!(text)).collect();
        finalizers.extend(finalizer.filter(|new| !finalizers.contains(&json!(new))).map(|new| json!(new)));
        let now = json!(self.now.to_time());
        let metadata = object::metadata_mut(&mut object);
        metadata.entry("deletionTimestamp").or_insert(now);
        if self.graceful && key.kind == *crate::known::POD {
            metadata.insert("deletionGracePeriodSeconds".into(), json!(if at_once { 0 } else { 30 }));
        }
        if !finalizers.is_empty() {
            metadata.insert("finalizers".into(), json!(finalizers));
        }
        self.store(key, object);
        Ok(())
    }

    /// Stores an object, or removes it where it is being deleted and nobody holds it; wakes who watches.
    fn store(&mut self, key: &Key, mut object: Value) {
        let old = self.objects.get(key).cloned();
        if self.defaults {
            crate::kinds::default(&key.kind, &mut object);
        }
        object::metadata_mut(&mut object).remove("resourceVersion");
        let unversioned = old.as_deref().cloned().map(|mut old| {
            object::metadata_mut(&mut old).remove("resourceVersion");
            old
        });
        if unversioned.as_ref() == Some(&object) {
            return;
        }
        self.revision += 1;
        if let Some(old) = old.as_deref().filter(|_| counts_generations(&key.kind)) {
            let before = old["metadata"]["generation"].as_i64().unwrap_or_default();
            let more = i64::from(old["spec"] != object["spec"] || is_deleted(old) != is_deleted(&object));
            object["metadata"]["generation"] = json!(before + more);
        }
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let held = object::finalizers(&object).next().is_some()
            || object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        let runs = self.graceful
            && object["spec"]["nodeName"].is_string()
            && !matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
            && object["metadata"]["deletionGracePeriodSeconds"] != 0;
        let object = Arc::new(object);
        if is_deleted(&object) && !held && !(runs && key.kind == *crate::known::POD) {
            self.objects.remove(key);
        } else {
            self.objects.insert(key.clone(), Arc::clone(&object));
        }
        self.wake(&key.kind, old.as_deref(), &object);
        if let Some(changes) = &mut self.changes {
            changes.push((key.kind.clone(), old, object));
        }
    }

    fn wake(&mut self, kind: &GroupVersionKind, old: Option<&Value>, new: &Value) {
        let mut woken = BTreeSet::new();
        for (at, controller) in self.controllers.iter().enumerate() {
            for interest in controller.interests().iter().filter(|interest| interest.watches(kind)) {
                for object in old.into_iter().chain([new]) {
                    let key = Key::of(kind, object);
                    let text = object.to_string();
                    let is_there = self.objects.contains_key(&key);
                    let (namespace, name) = (key.namespace.as_str(), key.name.as_str());
                    let glance = Glance { namespace, name, is_there, text: text.as_bytes() };
                    if !(interest.concerns)(self, kind, &glance) {
                        continue;
                    }
                    woken.extend((interest.keys)(self, kind, object).into_iter().map(|key| (at, key)));
                }
            }
        }
        self.awake.extend(woken);
    }

    fn take_story(&mut self) -> String {
        std::mem::take(&mut self.story).into_iter().map(|line| line + "\n").collect()
    }
}

impl Snapshot for World {
    fn get(&self, kind: &GroupVersionKind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.get(&Key::new(kind, namespace, name)).cloned()
    }

    fn list(&self, kind: &GroupVersionKind, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let of_kind = self.objects.range(Key::new(kind, "", "")..).take_while(|(key, _)| key.kind == *kind);
        let wanted = of_kind.filter(|(key, _)| namespace.is_none_or(|wanted| key.namespace == wanted));
        wanted.map(|(_, object)| Arc::clone(object)).collect()
    }

    fn count(&self, kind: &GroupVersionKind) -> usize {
        self.objects.range(Key::new(kind, "", "")..).take_while(|(key, _)| key.kind == *kind).count()
    }

    fn owned_by(&self, uid: &str) -> Vec<(GroupVersionKind, Arc<Value>)> {
        let owned = |object: &Value| object::owners(object).any(|owner| owner["uid"] == uid);
        let found = self.objects.iter().filter(|(_, object)| owned(object));
        found.map(|(key, object)| (key.kind.clone(), Arc::clone(object))).collect()
    }

    fn resources(&self) -> Vec<Resource> {
        self.resources.clone()
    }
}

/// One line for a write.
fn told(write: &Write) -> String {
    let at = |key: &Key| format!("{} {}", key.kind.kind, place(&key.namespace, &key.name));
    match write {
        Write::Create { kind, object } => {
            let stem = object["metadata"]["generateName"].as_str().unwrap_or_default();
            let name = if object::name(object).is_empty() { stem } else { object::name(object) };
            format!("create {} {}", kind.kind, place(object::namespace(object), name))
        }
        Write::Update { kind, subresource, object } => {
            let verb = if subresource.is_empty() { "update" } else { subresource };
            format!("{verb} {}", at(&Key::of(kind, object)))
        }
        Write::Patch { key, patch, .. } => {
            let mut shown = patch.clone();
            for field in ["uid", "resourceVersion"] {
                object::metadata_mut(&mut shown).remove(field);
            }
            format!("patch {} {shown}", at(key))
        }
        Write::Delete { key, propagation, .. } => {
            let how = propagation.map(|how| format!(" {}", how.name())).unwrap_or_default();
            format!("delete {}{how}", at(key))
        }
        Write::Bind { pod, node, .. } => format!("bind {} to {node}", at(pod)),
        Write::Sign { key, .. } => format!("sign {}", at(key)),
        Write::MintToken { key, .. } => format!("mint token {}", at(key)),
    }
}

fn place(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.into() } else { format!("{namespace}/{name}") }
}

/// Whether the server counts how often the spec of such objects changed.
fn counts_generations(kind: &GroupVersionKind) -> bool {
    ["apps", "batch", "shoal.dev"].contains(&kind.group.as_str())
}

fn kind_of(object: &Value) -> GroupVersionKind {
    let version: GroupVersion =
        object["apiVersion"].as_str().and_then(|text| text.parse().ok()).expect("the object has a version");
    version.kind(object["kind"].as_str().expect("the object has a kind"))
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().expect("it was made one");
    for (field, value) in patch {
        if value.is_null() {
            fields.remove(&field);
        } else {
            merge(fields.entry(field).or_insert(Value::Null), value);
        }
    }
}
