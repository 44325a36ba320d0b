//! What controllers and admission see of the world: objects by name, by kind, by owner. Nothing is changed here.

use std::sync::Arc;

use serde_json::Value;
use shoal_api::resources::{self, Verb};
use shoal_api::{GroupVersion, GroupVersionKind, object};

use crate::filing;

/// The objects of one moment.
///
/// What a snapshot holds of one kind is not older than what it holds of another: a pod is never seen without the
/// ReplicaSet that had made it. A driver that keeps one cache for each kind takes them at one revision.
pub trait Snapshot {
    /// One object; `namespace` is empty for what lives in none.
    fn get(&self, kind: &GroupVersionKind, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// Objects of a kind, by namespace and name; those of all namespaces without `namespace`.
    fn list(&self, kind: &GroupVersionKind, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// Objects that have an owner reference with this `uid`, of any kind, in the order of kind, namespace and name.
    fn owned_by(&self, uid: &str) -> Vec<(GroupVersionKind, Arc<Value>)>;

    /// Objects of a kind in a namespace that are filed under each of some words ([`filing::words`]), by name; all of them
    /// when there are no words.
    fn filed(&self, kind: &GroupVersionKind, namespace: &str, words: &[String]) -> Vec<Arc<Value>> {
        let all = self.list(kind, Some(namespace)).into_iter();
        all.filter(|object| {
            let has = filing::words(kind, object);
            words.iter().all(|word| has.contains(word))
        })
        .collect()
    }

    /// Objects of a kind in a namespace that no controller manages: those that one may adopt.
    fn unmanaged(&self, kind: &GroupVersionKind, namespace: &str) -> Vec<Arc<Value>> {
        if filing::is_adopted(kind) {
            return self.filed(kind, namespace, &[filing::UNMANAGED.into()]);
        }
        let all = self.list(kind, Some(namespace)).into_iter();
        all.filter(|object| controller_of(object).is_none()).collect()
    }

    /// Objects of one kind that have an owner reference with this `uid`, by namespace and name.
    fn owned_of(&self, uid: &str, kind: &GroupVersionKind) -> Vec<Arc<Value>> {
        let owned = self.owned_by(uid).into_iter();
        owned.filter(|(found, _)| found == kind).map(|(_, object)| object).collect()
    }

    /// How many objects of a kind there are.
    fn count(&self, kind: &GroupVersionKind) -> usize {
        self.list(kind, None).len()
    }

    /// The objects of a kind as far as they are known without being read, by namespace and name.
    fn sightings(&self, kind: &GroupVersionKind) -> Vec<Sighting> {
        self.list(kind, None).iter().map(|object| Sighting::of(object)).collect()
    }

    /// Every resource whose objects are stored, each once, in the version that [`Snapshot::get`] knows.
    fn resources(&self) -> Vec<Resource>;

    /// What an owner reference or another pair of `apiVersion` and `kind` names; any served version of it.
    fn resource(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let version: GroupVersion = api_version.parse().ok()?;
        let is_it = |found: &Resource| found.kind.group == version.group && found.kind.kind == kind;
        self.resources().into_iter().find(is_it)
    }
}

/// An object that nobody has read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Empty for what lives in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was written last: larger than that of whatever was written before.
    pub version: u64,
}

impl Sighting {
    fn of(object: &Value) -> Self {
        Self {
            namespace: object::namespace(object).into(),
            name: object::name(object).into(),
            version: object::resource_version(object).parse().unwrap_or(0),
        }
    }
}

/// A stored resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// The kind of its objects.
    pub kind: GroupVersionKind,
    /// `deployments`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// Those of all served resources whose objects are stored and can be deleted, each once.
pub fn stored<'a>(served: impl IntoIterator<Item = &'a resources::Resource>) -> Vec<Resource> {
    let own = |one: &&resources::Resource| {
        one.can(Verb::List) && one.can(Verb::Delete) && one.storage == one.group_version_kind()
    };
    let resource = |one: &resources::Resource| Resource {
        kind: one.storage.clone(),
        plural: one.plural.clone(),
        namespaced: one.namespaced,
    };
    served.into_iter().filter(own).map(resource).collect()
}

/// Whether an object is being deleted.
pub fn is_deleted(object: &Value) -> bool {
    object::deletion_timestamp(object).is_some()
}

/// The reference of an object to the controller that manages it.
pub fn controller_of(object: &Value) -> Option<&Value> {
    object::owners(object).find(|owner| owner["controller"] == true)
}

/// Whether each of `selector`, a map of labels, stands in the object's labels. An empty or absent map selects all.
pub fn has_labels(object: &Value, selector: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    selector.as_object().is_none_or(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

/// The items of a list; nothing when it is none.
pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Text of a field; empty when it is absent.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `v1`; `apps/v1`.
pub fn api_version(kind: &GroupVersionKind) -> String {
    kind.group_version().to_string()
}
