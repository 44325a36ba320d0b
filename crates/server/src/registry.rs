//! Which resources are served, and what is needed to serve each of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use shoal_api::resources::{self, Resource, Verb};
use shoal_api::selector::field;
use shoal_api::{GroupVersion, GroupVersionKind, Node, schema, status};
use shoal_control::{kinds, snapshot};

use crate::custom::Custom;

/// All resources that are served at one moment. Replaced as a whole when a custom resource comes or goes.
#[derive(Clone, Default)]
pub struct Registry {
    by_path: HashMap<(String, String, String), Arc<Served>>,
    by_kind: HashMap<GroupVersionKind, Arc<Served>>,
    by_table: BTreeMap<String, Arc<Served>>,
    /// In the order of discovery.
    all: Vec<Arc<Served>>,
}

/// One resource in one version.
pub struct Served {
    /// Its names, verbs and subresources.
    pub resource: Resource,
    /// Where its objects lie, up to the namespace.
    prefix: String,
    /// What a custom resource's definition says; none for built-in kinds.
    pub custom: Option<Arc<Custom>>,
    built_in: Option<Node<'static>>,
}

impl Registry {
    /// The built-in resources.
    pub fn built_in() -> Self {
        let mut registry = Self::default();
        for resource in resources::BUILT_IN.iter() {
            registry.add(Served::built_in(resource.clone()));
        }
        registry
    }

    /// Adds a resource, in place of one at the same path.
    pub fn add(&mut self, served: Served) {
        let served = Arc::new(served);
        let path = served.path();
        if let Some(old) = self.by_path.insert(path, served.clone()) {
            self.all.retain(|one| !Arc::ptr_eq(one, &old));
        }
        if served.is_stored() {
            self.by_kind.insert(served.kind(), served.clone());
            if !served.is_converted() {
                self.by_table.insert(served.prefix.clone(), served.clone());
            }
        }
        self.all.push(served);
    }

    /// A resource by its path.
    pub fn get(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Served>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), resource.to_owned()))
    }

    /// All of them, in the order of discovery.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.all.iter()
    }

    /// The resource whose objects are of this kind.
    pub fn of_kind(&self, kind: &GroupVersionKind) -> Option<&Arc<Served>> {
        self.by_kind.get(kind)
    }

    /// The resource whose objects lie in a table of the store, in the version that they are stored in.
    pub fn of_table(&self, table: &str) -> Option<&Arc<Served>> {
        self.by_table.get(table)
    }

    /// Every resource whose objects are stored, each once.
    pub fn stored(&self) -> Vec<snapshot::Resource> {
        let of = |served: &Arc<Served>| snapshot::Resource {
            kind: served.resource.storage.clone(),
            plural: served.resource.plural.clone(),
            namespaced: served.resource.namespaced,
        };
        self.by_table.values().map(of).collect()
    }
}

impl Served {
    fn built_in(resource: Resource) -> Self {
        let prefix = prefix(&resource.storage.group, &resource.plural);
        let built_in = schema::builtin::kind(&resource.group_version_kind());
        Self { resource, prefix, custom: None, built_in }
    }

    /// A custom resource in one of its versions.
    pub fn custom(resource: Resource, custom: Arc<Custom>) -> Self {
        let prefix = prefix(&resource.storage.group, &resource.plural);
        Self { resource, prefix, custom: Some(custom), built_in: None }
    }

    /// What its objects look like; none for kinds without a schema.
    pub fn node(&self) -> Option<Node<'_>> {
        self.custom.as_ref().map(|custom| custom.node()).or(self.built_in)
    }

    /// The kind of its objects, in this version.
    pub fn kind(&self) -> GroupVersionKind {
        self.resource.group_version_kind()
    }

    /// The fields that its objects can be selected by.
    pub fn fields(&self) -> field::Fields {
        match &self.custom {
            Some(custom) => field::Fields::custom(self.resource.namespaced, custom.selectable_fields()),
            None => field::Fields::of(&self.kind().group_kind()),
        }
    }

    /// The fields that a write through a part of the object does not change, and does not own.
    pub fn resets(&self, subresource: &str) -> &'static [&'static [&'static str]] {
        match subresource {
            "" if self.resource.has_status() => &[&["status"]],
            "status" if self.custom.is_some() => &[&["spec"], &["metadata"]],
            "status" => &[&["spec"]],
            _ => &[],
        }
    }

    /// What clients are warned of; none: it is not deprecated.
    pub fn deprecation(&self) -> Option<&str> {
        match &self.custom {
            Some(custom) => custom.deprecation(),
            None if self.is_core("componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
            None => None,
        }
    }

    /// As messages name it.
    pub fn named(&self) -> status::Resource<'_> {
        status::Resource { group: &self.resource.group_version.group, name: &self.resource.plural }
    }

    /// Whether it has objects at all: reviews are only asked.
    pub fn is_stored(&self) -> bool {
        self.resource.can(Verb::Get)
    }

    /// Whether objects are stored in another version than this one.
    pub fn is_converted(&self) -> bool {
        self.resource.storage != self.kind()
    }

    /// An object as it is stored, in the version that it is asked for.
    pub fn from_storage(&self, object: &Value) -> Value {
        match &self.custom {
            Some(custom) => custom.converted(object, &self.resource.group_version),
            None => kinds::convert(object, &self.resource.group_version),
        }
    }

    /// An object as it is asked for, in the version that is stored.
    pub fn to_storage(&self, object: &Value) -> Value {
        let version = self.resource.storage.group_version();
        match &self.custom {
            Some(custom) => custom.converted(object, &version),
            None => kinds::convert(object, &version),
        }
    }

    /// The key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> Bytes {
        let mut key = self.prefix(namespace);
        key.extend_from_slice(name.as_bytes());
        key.into()
    }

    /// What the keys of all objects begin with, or of those of one namespace.
    pub fn prefix(&self, namespace: &str) -> Vec<u8> {
        let mut prefix = self.prefix.clone();
        if self.resource.namespaced && !namespace.is_empty() {
            prefix.push_str(namespace);
            prefix.push('/');
        }
        prefix.into_bytes()
    }

    /// Namespace (empty: none) and name of the object at a key of this resource.
    pub fn place<'k>(&self, key: &'k [u8]) -> Option<(&'k str, &'k str)> {
        let rest = std::str::from_utf8(key.strip_prefix(self.prefix.as_bytes())?).ok()?;
        if self.resource.namespaced { rest.split_once('/') } else { Some(("", rest)) }
    }

    /// Whether it is this built-in resource of the core group.
    pub fn is_core(&self, plural: &str) -> bool {
        self.resource.group_version.group.is_empty() && self.resource.plural == plural
    }

    fn path(&self) -> (String, String, String) {
        let GroupVersion { group, version } = &self.resource.group_version;
        (group.clone(), version.clone(), self.resource.plural.clone())
    }
}

/// Where objects of a resource lie. `core` is no group, so it can stand for the core group.
fn prefix(group: &str, plural: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    format!("/registry/{group}/{plural}/")
}

/// Whether an object says that it is of a kind; what it leaves out is filled in.
///
/// # Errors
/// The sentence of Kubernetes for an object of another kind or version.
pub fn claim(object: &mut Value, kind: &GroupVersionKind) -> Result<(), shoal_api::Status> {
    use shoal_api::Status;
    let version = kind.group_version().to_string();
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (found_version, found_kind) = (text("apiVersion"), text("kind"));
    if !found_version.is_empty() && found_version != version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({found_version}) does not match the expected API version ({version})"
        )));
    }
    if !found_kind.is_empty() && found_kind != kind.kind {
        return Err(Status::bad_request(format!(
            "the kind in the data ({found_kind}) does not match the expected kind ({})",
            kind.kind
        )));
    }
    object["apiVersion"] = version.into();
    object["kind"] = kind.kind.clone().into();
    Ok(())
}
