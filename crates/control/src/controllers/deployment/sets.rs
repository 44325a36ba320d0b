//! The ReplicaSets of a Deployment: which is that of its template, which are older, and how large each is.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;

use super::surge_max;
use super::template;
use crate::controllers::pods::{self, number};
use crate::known::REPLICA_SET;
use crate::plan::Write;
use crate::snapshot::is_deleted;

/// Annotation of Deployments and their sets: the count of templates that there were.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";

/// Annotation of a set: revisions that it had before it was gone back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// Annotation of a set: how many pods its Deployment wanted when the set was last scaled.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

/// Annotation of a set: how many there might be at most at that time.
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that stay with the Deployment or the set.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// Longest list of former revisions, in bytes, as in Kubernetes.
const HISTORY_BYTES_MAX: usize = 2000;

/// A ReplicaSet that may be changed.
pub(super) struct Set {
    stored: Option<Arc<Value>>,
    /// As it shall be.
    pub(super) object: Value,
    /// Whether it does not exist yet.
    pub(super) is_fresh: bool,
}

/// All of a Deployment, the old ones by age.
pub(super) struct Sets {
    pub(super) new: Option<Set>,
    pub(super) old: Vec<Set>,
}

impl Sets {
    /// The oldest set of the Deployment's template is its newest set, whatever was made later.
    pub(super) fn of(deployment: &Value, mut sets: Vec<Arc<Value>>) -> Self {
        sets.sort_by_cached_key(|set| (pods::created(set), object::name(set).to_owned()));
        let is_new =
            |set: &Arc<Value>| template::same(&set["spec"]["template"], &deployment["spec"]["template"]);
        let new = sets.iter().position(is_new).map(|at| Set::stored(sets.remove(at)));
        Self { new, old: sets.into_iter().map(Set::stored).collect() }
    }

    /// Old ones and the newest.
    pub(super) fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    /// How many pods all sets want together.
    pub(super) fn total(&self) -> i64 {
        self.all().map(Set::replicas).sum()
    }

    /// How many pods of all sets are available.
    pub(super) fn available(&self) -> i64 {
        self.all().map(Set::available).sum()
    }

    /// The size that the newest set, which has `has` pods, may have now.
    pub(super) fn room_for_newest(&self, deployment: &Value, has: i64) -> i64 {
        let wanted = number(&deployment["spec"]["replicas"]);
        if deployment["spec"]["strategy"]["type"] == "Recreate" {
            return wanted;
        }
        let room = wanted + surge_max(deployment) - self.total();
        if room <= 0 { has } else { has + room.min(wanted - has) }
    }
}

impl Set {
    pub(super) fn new(object: Value) -> Self {
        Self { stored: None, object, is_fresh: true }
    }

    fn stored(object: Arc<Value>) -> Self {
        Self { object: Value::clone(&object), stored: Some(object), is_fresh: false }
    }

    pub(super) fn name(&self) -> &str {
        object::name(&self.object)
    }

    pub(super) fn created(&self) -> (Moment, &str) {
        (pods::created(&self.object), self.name())
    }

    /// How many pods it wants.
    pub(super) fn replicas(&self) -> i64 {
        number(&self.object["spec"]["replicas"])
    }

    /// How many pods it was seen to have.
    pub(super) fn status_replicas(&self) -> i64 {
        number(&self.object["status"]["replicas"])
    }

    /// How many pods count as available. Of more than it wants the excess is about to go.
    pub(super) fn available(&self) -> i64 {
        number(&self.object["status"]["availableReplicas"]).min(self.replicas())
    }

    /// Whether its status was counted for what it wants now. Until then what it says is about another size: pods
    /// that it counts may be gone.
    pub(super) fn has_seen(&self) -> bool {
        number(&self.object["metadata"]["generation"]) <= number(&self.object["status"]["observedGeneration"])
    }

    pub(super) fn revision(&self) -> i64 {
        self.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// How many pods its Deployment wanted when it was last scaled.
    pub(super) fn wanted_before(&self) -> Option<i64> {
        self.annotation(DESIRED)?.parse().ok()
    }

    /// How many pods there might be at most when it was last scaled.
    pub(super) fn most_before(&self) -> Option<i64> {
        self.annotation(MAX)?.parse().ok()
    }

    /// Whether it has no pods, wants none, and has seen that it wants none.
    pub(super) fn is_idle(&self) -> bool {
        self.status_replicas() == 0 && self.replicas() == 0 && self.has_seen() && !is_deleted(&self.object)
    }

    /// Notes what its Deployment wants, and allows at most.
    pub(super) fn note_sizes(&mut self, wanted: i64, most: i64) {
        self.set_annotation(DESIRED, &wanted.to_string());
        self.set_annotation(MAX, &most.to_string());
    }

    /// Copies annotations of the Deployment, and counts a new revision.
    pub(super) fn annotate(&mut self, deployment: &Value, revision: i64, exists: bool) {
        let given = deployment["metadata"]["annotations"].as_object();
        for (key, value) in given.into_iter().flatten().filter(|(key, _)| !OWN.contains(&key.as_str())) {
            self.set_annotation(key, value.as_str().unwrap_or_default());
        }
        let before = self.annotation(REVISION).map(str::to_owned);
        if self.revision() < revision {
            self.set_annotation(REVISION, &revision.to_string());
            if let Some(before) = before.filter(|_| exists) {
                self.remember(&before);
            }
        }
    }

    /// Adds a former revision, and drops the oldest where there is no room.
    fn remember(&mut self, revision: &str) {
        let known = self.annotation(REVISION_HISTORY).unwrap_or_default().to_owned();
        let mut history: Vec<&str> = known.split(',').filter(|one| !one.is_empty()).collect();
        history.push(revision);
        while history.len() > 1 && history.iter().map(|one| one.len() + 1).sum::<usize>() > HISTORY_BYTES_MAX
        {
            history.remove(0);
        }
        self.set_annotation(REVISION_HISTORY, &history.join(","));
    }

    /// What to write; nothing where it is as it was.
    pub(super) fn write(&self) -> Option<Write> {
        match &self.stored {
            None => Some(Write::create(&REPLICA_SET, self.object.clone())),
            Some(stored) if **stored == self.object => None,
            Some(_) => Some(Write::update(&REPLICA_SET, self.object.clone())),
        }
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        object::annotation(&self.object, key)
    }

    fn set_annotation(&mut self, key: &str, value: &str) {
        let annotations = object::child_mut(object::metadata_mut(&mut self.object), "annotations");
        if annotations.get(key).and_then(Value::as_str) != Some(value) {
            annotations.insert(key.to_owned(), json!(value));
        }
    }
}
