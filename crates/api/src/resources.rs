//! What can be asked for: each resource, its names, verbs and subresources.
//!
//! [`BUILT_IN`] is read from `resources.txt`; [`of_definition`] gives those of a custom resource definition. Both are
//! the same to whoever serves, lists or describes them.

use std::cmp::Ordering;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{GroupVersion, GroupVersionKind};

mod parse;

/// The resources that every server has, by the priority of their groups and versions, then by name.
pub static BUILT_IN: LazyLock<Vec<Resource>> =
    LazyLock::new(|| parse::parse(include_str!("resources.txt")).expect("a test reads the same text"));

/// One resource in one version: `deployments` of `apps/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `apps/v1`.
    pub group_version: GroupVersion,
    /// `Deployment`.
    pub kind: String,
    /// `DeploymentList`.
    pub list_kind: String,
    /// `deployments`, as in paths.
    pub plural: String,
    /// `deployment`; empty where there is none.
    pub singular: String,
    /// `deploy`.
    pub short_names: Vec<String>,
    /// `all`.
    pub categories: Vec<String>,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// What can be done with it, in the order in which discovery says it.
    pub verbs: Vec<Verb>,
    /// In the order in which discovery says them.
    pub subresources: Vec<Subresource>,
    /// Whether `metadata.generation` counts the changes of its objects.
    pub generation: bool,
    /// What its objects are stored as, in whichever version they are asked for.
    pub storage: GroupVersionKind,
    /// What discovery calls the hash of the storage version; empty where nothing is stored.
    pub storage_hash: String,
    /// Where its group and its version stand among others.
    pub priority: Priority,
    /// Whether a custom resource definition made it.
    pub custom: bool,
}

/// A part of an object with verbs of its own: `status`, `scale`, `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, as in paths.
    pub name: String,
    /// What is read and written there: the kind itself, or another, as `autoscaling/v1` `Scale`.
    pub kind: GroupVersionKind,
    /// What can be done with it.
    pub verbs: Vec<Verb>,
}

/// What can be done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `POST` on the collection.
    Create,
    /// `DELETE` of one.
    Delete,
    /// `DELETE` of the collection.
    DeleteCollection,
    /// `GET` of one.
    Get,
    /// `GET` of the collection.
    List,
    /// `PATCH` of one.
    Patch,
    /// `PUT` of one.
    Update,
    /// `GET` of the collection with `watch=true`.
    Watch,
}

/// Where a group stands among groups and a version within its group: the larger first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// `groupPriorityMinimum` of its `APIService`.
    pub group: i32,
    /// `versionPriority` of its `APIService`.
    pub version: i32,
}

/// Where custom resources stand.
pub const CUSTOM_PRIORITY: Priority = Priority { group: 1000, version: 100 };

/// The verbs of a custom resource, in the order in which Kubernetes says them.
pub const CUSTOM_VERBS: [Verb; 8] = [
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Create,
    Verb::Update,
    Verb::Watch,
];

impl Resource {
    /// `apps/v1, Kind=Deployment`.
    pub fn group_version_kind(&self) -> GroupVersionKind {
        self.group_version.kind(&self.kind)
    }

    /// `deployments.apps`; `pods`.
    pub fn qualified(&self) -> String {
        match self.group_version.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// A subresource by its name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether `status` is a part of its own, which writes of the object leave alone.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether it has the verb.
    pub fn can(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }
}

impl Verb {
    /// All, in the order in which discovery says them.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];

    /// As discovery and RBAC say it: `deletecollection`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

/// The built-in resource of this group, version and plural name.
pub fn built_in(group_version: &GroupVersion, plural: &str) -> Option<&'static Resource> {
    BUILT_IN.iter().find(|resource| resource.plural == plural && resource.group_version == *group_version)
}

/// The built-in resource whose objects are of this kind.
pub fn built_in_kind(kind: &GroupVersionKind) -> Option<&'static Resource> {
    BUILT_IN.iter().find(|resource| {
        resource.kind == kind.kind
            && resource.group_version.group == kind.group
            && resource.group_version.version == kind.version
    })
}

/// The resources of a `CustomResourceDefinition`, one for each version that it serves, by the names that were accepted.
/// None as long as its names are not accepted.
pub fn of_definition(definition: &Value) -> Vec<Resource> {
    let spec = &definition["spec"];
    let names = &definition["status"]["acceptedNames"];
    let (Some(group), Some(plural), Some(kind)) =
        (spec["group"].as_str(), names["plural"].as_str(), names["kind"].as_str())
    else {
        return Vec::new();
    };
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    let stored = versions.iter().find(|version| version["storage"] == true);
    let stored = stored.and_then(|version| version["name"].as_str()).unwrap_or_default();
    let storage = GroupVersionKind::new(group, stored, kind);
    let served = versions.iter().filter(|version| version["served"] == true);
    served
        .filter_map(|version| {
            let group_version = GroupVersion::new(group, version["name"].as_str()?);
            Some(Resource {
                kind: kind.into(),
                list_kind: names["listKind"].as_str().map_or_else(|| format!("{kind}List"), Into::into),
                plural: plural.into(),
                singular: names["singular"].as_str().unwrap_or_default().into(),
                short_names: texts(&names["shortNames"]),
                categories: texts(&names["categories"]),
                namespaced: spec["scope"] == "Namespaced",
                verbs: CUSTOM_VERBS.into(),
                subresources: custom_subresources(&version["subresources"], &group_version.kind(kind)),
                generation: true,
                storage_hash: storage_hash(&storage),
                storage: storage.clone(),
                priority: CUSTOM_PRIORITY,
                custom: true,
                group_version,
            })
        })
        .collect()
}

/// What discovery calls the hash of a storage version: clients compare it to see that a kind is stored otherwise now.
pub fn storage_hash(storage: &GroupVersionKind) -> String {
    /// So many bytes tell the kinds of a cluster apart.
    const HASH_BYTES: usize = 8;
    let named = format!("{}/{}/{}", storage.group, storage.version, storage.kind);
    STANDARD.encode(&Sha256::digest(named)[..HASH_BYTES])
}

/// Which of two versions stands first within a group when their priorities are equal: `v2`, `v1`, `v1beta2`,
/// `v1beta1`, `v1alpha1`, and then what is no such version, by its letters.
pub fn compare_versions(left: &str, right: &str) -> Ordering {
    match (rank(left), rank(right)) {
        (Some(left), Some(right)) => right.cmp(&left),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

/// How stable, which major and which minor version: larger is better. None for what is not named so.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let number = |text: &str| if text.starts_with('0') { None } else { text.parse::<u64>().ok() };
    let rest = version.strip_prefix('v')?;
    for (stability, word) in [(1, "beta"), (0, "alpha")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stability, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

fn custom_subresources(declared: &Value, kind: &GroupVersionKind) -> Vec<Subresource> {
    let scale = GroupVersionKind::new("autoscaling", "v1", "Scale");
    let known = [("status", kind), ("scale", &scale)];
    let present = known.into_iter().filter(|(name, _)| declared[name].is_object());
    present
        .map(|(name, kind)| Subresource {
            name: name.into(),
            kind: kind.clone(),
            verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
        })
        .collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn built_in_resources_are_found_by_name_and_by_kind() {
        let deployments = built_in(&GroupVersion::new("apps", "v1"), "deployments").expect("deployments");
        assert_eq!(deployments.qualified(), "deployments.apps");
        assert_eq!(deployments.list_kind, "DeploymentList");
        assert!(deployments.generation && deployments.has_status() && deployments.can(Verb::Watch));
        let scale = deployments.subresource("scale").expect("scale");
        assert_eq!(scale.kind.to_string(), "autoscaling/v1, Kind=Scale");
        assert_eq!(built_in_kind(&GroupVersionKind::new("", "v1", "Pod")).expect("pods").plural, "pods");
        let events = built_in(&GroupVersion::new("events.k8s.io", "v1"), "events").expect("events");
        assert_eq!(events.storage, GroupVersionKind::new("", "v1", "Event"));
        assert_eq!(built_in(&GroupVersion::new("apps", "v2"), "deployments"), None);
    }

    #[test]
    fn definitions_give_one_resource_for_each_served_version() {
        let mut definition = json!({
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": [
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": {}}},
                {"name": "v1beta1", "served": true, "storage": false},
                {"name": "v1alpha1", "served": false, "storage": false},
            ]},
        });
        assert!(of_definition(&definition).is_empty(), "no name is accepted yet");
        definition["status"] = json!({"acceptedNames": {
            "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
            "shortNames": ["wd"],
        }});
        let resources = of_definition(&definition);
        let shown: Vec<String> =
            resources.iter().map(|one| format!("{} {:?}", one.group_version, one.short_names)).collect();
        assert_eq!(shown, [r#"example.com/v1 ["wd"]"#, r#"example.com/v1beta1 ["wd"]"#]);
        let names: Vec<&str> = resources[0].subresources.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["status", "scale"]);
        assert_eq!(resources[1].subresources, []);
        assert_eq!(resources[1].storage.version, "v1");
    }

    #[test]
    fn versions_stand_in_the_order_of_their_stability() {
        let mut versions =
            ["foo", "v1", "v10", "v2", "v1alpha1", "v3beta1", "v12alpha1", "v1beta2", "bar", "v01"];
        versions.sort_by(|left, right| compare_versions(left, right));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v3beta1", "v1beta2", "v12alpha1", "v1alpha1", "bar", "foo", "v01"]
        );
    }
}
