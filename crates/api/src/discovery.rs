//! What a server tells about its resources: the documents of `/api`, `/apis` and below, as Kubernetes 1.32 writes
//! them. Each is a function of the resources that are served, in whichever order they are given.

use serde_json::{Value, json};

use crate::GroupVersion;
use crate::resources::{Resource, Subresource, Verb, compare_versions};

/// Which of the two trees of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `/api`: the core group.
    Core,
    /// `/apis`: all groups that have a name.
    Named,
}

/// Which form of the aggregated document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`.
    V2,
    /// The same with `v=v2beta1`.
    V2Beta1,
}

/// The aggregated document: every resource of a tree at once (`APIGroupDiscoveryList`).
pub fn aggregated(resources: &[Resource], root: Root, form: Form) -> Value {
    let version = match form {
        Form::V2 => "apidiscovery.k8s.io/v2",
        Form::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
    };
    let items: Vec<Value> = groups(resources, root).iter().map(aggregated_group).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": version, "metadata": {}, "items": items})
}

/// `/api`: the versions of the core group (`APIVersions`). `server_address` is `host:port`, where clients reach us.
pub fn api_versions(resources: &[Resource], server_address: &str) -> Value {
    let groups = groups(resources, Root::Core);
    let versions: Vec<&str> =
        groups.iter().flat_map(|group| group.versions()).map(|version| version.version.as_str()).collect();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`: all groups that have a name (`APIGroupList`).
pub fn group_list(resources: &[Resource]) -> Value {
    let groups: Vec<Value> = groups(resources, Root::Named).iter().map(described_group).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`: one group (`APIGroup`); none when it has no resource.
pub fn group(resources: &[Resource], name: &str) -> Option<Value> {
    let groups = groups(resources, Root::Named);
    let mut described = described_group(groups.iter().find(|group| group.name == name)?);
    described["kind"] = "APIGroup".into();
    described["apiVersion"] = "v1".into();
    Some(described)
}

/// `/api/VERSION` and `/apis/GROUP/VERSION`: the resources of one version (`APIResourceList`); none when it has none.
pub fn resource_list(resources: &[Resource], group_version: &GroupVersion) -> Option<Value> {
    let groups = groups(resources, if group_version.group.is_empty() { Root::Core } else { Root::Named });
    let group = groups.iter().find(|group| group.name == group_version.group)?;
    let listed: Vec<Value> = group.of_version(group_version).flat_map(listed_resource).collect();
    if listed.is_empty() {
        return None;
    }
    let mut list =
        json!({"kind": "APIResourceList", "groupVersion": group_version.to_string(), "resources": listed});
    // The oldest document of all never had the field, and still has not.
    if !group_version.group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

/// A group and its resources, by version and name.
struct Group<'a> {
    name: &'a str,
    resources: Vec<&'a Resource>,
}

impl<'a> Group<'a> {
    /// Its versions, the preferred one first.
    fn versions(&self) -> Vec<&'a GroupVersion> {
        let mut versions: Vec<&GroupVersion> =
            self.resources.iter().map(|resource| &resource.group_version).collect();
        versions.dedup();
        versions
    }

    fn of_version(&self, group_version: &GroupVersion) -> impl Iterator<Item = &'a Resource> {
        self.resources.iter().copied().filter(move |resource| resource.group_version == *group_version)
    }

    fn priority(&self) -> i32 {
        self.resources.iter().map(|resource| resource.priority.group).max().unwrap_or_default()
    }
}

/// The groups of a tree: by priority, then by name.
fn groups(resources: &[Resource], root: Root) -> Vec<Group<'_>> {
    let wanted = |resource: &&Resource| resource.group_version.group.is_empty() == (root == Root::Core);
    let mut sorted: Vec<&Resource> = resources.iter().filter(wanted).collect();
    sorted.sort_by(|left, right| {
        let (left_version, right_version) = (&left.group_version, &right.group_version);
        left_version
            .group
            .cmp(&right_version.group)
            .then(right.priority.version.cmp(&left.priority.version))
            .then_with(|| compare_versions(&left_version.version, &right_version.version))
            .then_with(|| left.plural.cmp(&right.plural))
    });
    let same_group =
        |left: &&Resource, right: &&Resource| left.group_version.group == right.group_version.group;
    let mut groups: Vec<Group<'_>> = sorted
        .chunk_by(same_group)
        .map(|chunk| Group { name: &chunk[0].group_version.group, resources: chunk.to_vec() })
        .collect();
    groups.sort_by_key(|group| -group.priority());
    groups
}

fn described_group(group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions()
        .into_iter()
        .map(|version| json!({"groupVersion": version.to_string(), "version": version.version}))
        .collect();
    json!({"name": group.name, "preferredVersion": versions[0], "versions": versions})
}

fn listed_resource(resource: &Resource) -> Vec<Value> {
    let mut listed = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": names(&resource.verbs),
    });
    add_names(&mut listed, resource);
    if !resource.storage_hash.is_empty() {
        listed["storageVersionHash"] = resource.storage_hash.as_str().into();
    }
    let subresources =
        resource.subresources.iter().map(|subresource| listed_subresource(resource, subresource));
    std::iter::once(listed).chain(subresources).collect()
}

fn listed_subresource(resource: &Resource, subresource: &Subresource) -> Value {
    let mut listed = json!({
        "name": format!("{}/{}", resource.plural, subresource.name),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": subresource.kind.kind,
        "verbs": names(&subresource.verbs),
    });
    let group_version = subresource.kind.group_version();
    if group_version != resource.group_version {
        listed["group"] = group_version.group.into();
        listed["version"] = group_version.version.into();
    }
    listed
}

fn aggregated_group(group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions()
        .into_iter()
        .map(|version| {
            let resources: Vec<Value> = group.of_version(version).map(aggregated_resource).collect();
            json!({"version": version.version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.name.is_empty() {
        metadata["name"] = group.name.into();
    }
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let mut described = json!({
        "resource": resource.plural,
        "responseKind": response_kind(resource, &resource.group_version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": names(&resource.verbs),
    });
    add_names(&mut described, resource);
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|subresource| {
            let group_version = subresource.kind.group_version();
            json!({
                "subresource": subresource.name,
                "responseKind": response_kind(resource, &group_version, &subresource.kind.kind),
                "verbs": names(&subresource.verbs),
            })
        })
        .collect();
    if !subresources.is_empty() {
        described["subresources"] = subresources.into();
    }
    described
}

/// Built-in resources leave out the group and version of a kind that are their own; custom resources say them.
fn response_kind(resource: &Resource, group_version: &GroupVersion, kind: &str) -> Value {
    let own = !resource.custom && *group_version == resource.group_version;
    let (group, version) =
        if own { ("", "") } else { (group_version.group.as_str(), group_version.version.as_str()) };
    json!({"group": group, "version": version, "kind": kind})
}

fn add_names(described: &mut Value, resource: &Resource) {
    for (field, names) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !names.is_empty() {
            described[field] = json!(names);
        }
    }
}

fn names(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use crate::resources::{BUILT_IN, of_definition};

    fn of_kubernetes() -> Vec<Resource> {
        let ours = ["shoal.dev", "metrics.k8s.io"];
        BUILT_IN.iter().filter(|one| !ours.contains(&one.group_version.group.as_str())).cloned().collect()
    }

    #[test]
    fn documents_are_those_of_a_real_server() {
        let resources = of_kubernetes();
        let mut documents = vec![
            ("legacy-api.json".into(), api_versions(&resources, "127.0.0.1:6443")),
            ("legacy-apis.json".into(), group_list(&resources)),
        ];
        for (form, name) in [(Form::V2, "v2"), (Form::V2Beta1, "v2beta1")] {
            documents.push((format!("aggregated-api-{name}.json"), aggregated(&resources, Root::Core, form)));
            documents
                .push((format!("aggregated-apis-{name}.json"), aggregated(&resources, Root::Named, form)));
        }
        for resource in &resources {
            let list = resource_list(&resources, &resource.group_version).expect("has resources");
            let name = match resource.group_version.group.as_str() {
                "" => "legacy-api_v1.json".into(),
                group => format!("legacy-apis_{group}_{}.json", resource.group_version.version),
            };
            documents.push((name, list));
        }
        for (name, document) in documents {
            let Some(recorded) = golden::document(&format!("kube-openapi/discovery/{name}")) else { return };
            assert_eq!(document, recorded, "{name}");
        }
    }

    #[test]
    fn groups_stand_by_priority_and_versions_by_theirs() {
        let list = group_list(&BUILT_IN);
        let names: Vec<&str> = list["groups"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|group| group["preferredVersion"]["groupVersion"].as_str())
            .collect();
        assert_eq!(names[..3], ["apiregistration.k8s.io/v1", "apps/v1", "events.k8s.io/v1"]);
        assert_eq!(names[names.len() - 2..], ["shoal.dev/v1", "metrics.k8s.io/v1beta1"]);
        let autoscaling = group(&BUILT_IN, "autoscaling").expect("a group");
        assert_eq!(
            autoscaling,
            json!({
                "kind": "APIGroup", "apiVersion": "v1", "name": "autoscaling",
                "versions": [
                    {"groupVersion": "autoscaling/v2", "version": "v2"},
                    {"groupVersion": "autoscaling/v1", "version": "v1"},
                ],
                "preferredVersion": {"groupVersion": "autoscaling/v2", "version": "v2"},
            })
        );
        assert_eq!(group(&BUILT_IN, ""), None);
        assert_eq!(resource_list(&BUILT_IN, &GroupVersion::new("apps", "v1beta1")), None);
    }

    #[test]
    fn custom_resources_say_their_group() {
        let resources = of_definition(&json!({
            "spec": {"group": "example.com", "scope": "Cluster", "versions": [
                {"name": "v1beta1", "served": true, "storage": true},
                {"name": "v1", "served": true, "storage": false, "subresources": {"status": {}}},
            ]},
            "status": {"acceptedNames": {"plural": "widgets", "singular": "widget", "kind": "Widget"}},
        }));
        let verbs = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
        let own = json!({"group": "example.com", "version": "v1", "kind": "Widget"});
        let document = aggregated(&resources, Root::Named, Form::V2);
        assert_eq!(document["items"][0]["versions"][0]["version"], "v1");
        assert_eq!(
            document["items"][0]["versions"][0]["resources"][0],
            json!({
                "resource": "widgets", "responseKind": own, "scope": "Cluster", "singularResource": "widget",
                "verbs": verbs,
                "subresources": [
                    {"subresource": "status", "responseKind": own, "verbs": ["get", "patch", "update"]},
                ],
            })
        );
    }
}
