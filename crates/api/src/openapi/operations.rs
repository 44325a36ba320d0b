//! What can be done on which path, for both versions of OpenAPI.

use super::definitions::{list_name, name};
use super::parameters::{self, Parameter};
use super::{Served, path};
use crate::resources::{Resource, Subresource, Verb};
use crate::{GroupVersion, GroupVersionKind, proto};

/// The types that operations are about.
pub(super) fn types<'a>(operations: &'a [Operation]) -> impl Iterator<Item = String> + 'a {
    operations.iter().flat_map(|operation| {
        let body = operation.body.as_ref().map(|(_, name)| name.clone());
        // What a kind is may be asked for although no path takes or gives it.
        body.into_iter().chain(operation.answer.clone()).chain([name(&operation.kind)])
    })
}

/// One method of one path.
pub(super) struct Operation {
    pub(super) path: String,
    /// `get`.
    pub(super) method: &'static str,
    /// `x-kubernetes-action`.
    pub(super) action: &'static str,
    /// `patchAppsV1NamespacedDeployment`.
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) description: String,
    pub(super) kind: GroupVersionKind,
    pub(super) parameters: &'static [Parameter],
    /// Media types and the definition of the body.
    pub(super) body: Option<(&'static [&'static str], String)>,
    /// Statuses; the same definition for all.
    pub(super) statuses: &'static [(&'static str, &'static str)],
    /// None for text.
    pub(super) answer: Option<String>,
    /// What answers can be.
    pub(super) media: &'static [&'static str],
}

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

const OK: &[(&str, &str)] = &[("200", "OK")];
const OK_OR_CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const OK_OR_ACCEPTED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];
const ANY_SUCCESS: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];

const ANYTHING: &[&str] = &["*/*"];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const PATCHES_OF_CUSTOM: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
const JSON_AND_PROTOBUF: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const JSON: &[&str] = &["application/json", "application/yaml"];
const TEXT: &[&str] =
    &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// All operations of some resources.
pub(super) fn of(served: &Served<'_>, resources: &[&Resource]) -> Vec<Operation> {
    let mut found = Vec::new();
    for resource in resources {
        collection(served, resource, &mut found);
        object(resource, &mut found);
        resource.subresources.iter().for_each(|sub| subresource(resource, sub, &mut found));
    }
    found
}

/// What differs from verb to verb.
struct Form {
    method: &'static str,
    action: &'static str,
    parameters: &'static [Parameter],
    body: Option<(&'static [&'static str], String)>,
    statuses: &'static [(&'static str, &'static str)],
    answer: String,
}

fn form(verb: Verb, of: &str, resource: &Resource) -> Form {
    let patches = if resource.custom { PATCHES_OF_CUSTOM } else { PATCHES };
    let (method, action, parameters, body, statuses, answer) = match verb {
        Verb::Get => ("get", "get", &[][..], None, OK, of),
        Verb::List | Verb::Watch => ("get", "list", parameters::LIST, None, OK, of),
        Verb::Create => ("post", "post", parameters::WRITE, Some((ANYTHING, of)), ANY_SUCCESS, of),
        Verb::Update => ("put", "put", parameters::WRITE, Some((ANYTHING, of)), OK_OR_CREATED, of),
        Verb::Patch => ("patch", "patch", parameters::PATCH, Some((patches, PATCH)), OK_OR_CREATED, of),
        Verb::Delete => {
            ("delete", "delete", parameters::DELETE, Some((ANYTHING, DELETE_OPTIONS)), OK_OR_ACCEPTED, STATUS)
        }
        Verb::DeleteCollection => (
            "delete",
            "deletecollection",
            parameters::DELETE_COLLECTION,
            Some((ANYTHING, DELETE_OPTIONS)),
            OK,
            STATUS,
        ),
    };
    let body = body.map(|(media, name)| (media, name.to_owned()));
    Form { method, action, parameters, body, statuses, answer: answer.into() }
}

impl Form {
    fn on(
        self,
        path: String,
        kind: GroupVersionKind,
        resource: &Resource,
        id: String,
        description: String,
    ) -> Operation {
        let has_protobuf = proto::has_kind(&kind);
        Operation {
            path,
            method: self.method,
            action: self.action,
            id,
            tag: tag(&resource.group_version),
            description,
            kind,
            parameters: self.parameters,
            body: self.body,
            statuses: self.statuses,
            answer: Some(self.answer),
            media: if has_protobuf { JSON_AND_PROTOBUF } else { JSON },
        }
    }
}

fn collection(served: &Served<'_>, resource: &Resource, found: &mut Vec<Operation>) {
    let kind = resource.group_version_kind();
    let of = name(&kind);
    let (list, _) = list_name(served, &kind);
    let spot = spot(resource);
    let path = collection_path(resource);
    let verb = camel(&resource.group_version);
    let add = |verb: Verb, of: &str, path: &str, id: String, description: String| {
        form(verb, of, resource).on(path.into(), kind.clone(), resource, id, description)
    };
    let name = &resource.kind;
    if resource.can(Verb::List) {
        let watched = if resource.can(Verb::Watch) { "list or watch" } else { "list" };
        let description = format!("{watched} objects of kind {name}");
        found.push(add(Verb::List, &list, &path, format!("list{verb}{spot}{name}"), description.clone()));
        if resource.namespaced {
            let everywhere = format!("{}/{}", self::path(&resource.group_version), resource.plural);
            let id = format!("list{verb}{name}ForAllNamespaces");
            found.push(add(Verb::List, &list, &everywhere, id, description));
        }
    }
    if resource.can(Verb::Create) {
        let description = format!("create {}", one(name));
        found.push(add(Verb::Create, &of, &path, format!("create{verb}{spot}{name}"), description));
    }
    if resource.can(Verb::DeleteCollection) {
        let id = format!("delete{verb}Collection{spot}{name}");
        found.push(add(Verb::DeleteCollection, &of, &path, id, format!("delete collection of {name}")));
    }
}

fn object(resource: &Resource, found: &mut Vec<Operation>) {
    let kind = resource.group_version_kind();
    let of = name(&kind);
    let path = format!("{}/{{name}}", collection_path(resource));
    let (gv, spot, name) = (camel(&resource.group_version), spot(resource), &resource.kind);
    let verbs = [
        (Verb::Get, "read", format!("read the specified {name}")),
        (Verb::Update, "replace", format!("replace the specified {name}")),
        (Verb::Delete, "delete", format!("delete {}", one(name))),
        (Verb::Patch, "patch", format!("partially update the specified {name}")),
    ];
    for (verb, word, description) in verbs.into_iter().filter(|(verb, ..)| resource.can(*verb)) {
        let id = format!("{word}{gv}{spot}{name}");
        found.push(form(verb, &of, resource).on(path.clone(), kind.clone(), resource, id, description));
    }
}

fn subresource(resource: &Resource, sub: &Subresource, found: &mut Vec<Operation>) {
    let path = format!("{}/{{name}}/{}", collection_path(resource), sub.name);
    let (gv, spot, parent) = (camel(&resource.group_version), spot(resource), &resource.kind);
    let part = capital(&sub.name);
    let of = name(&sub.kind);
    let is_connection = sub.kind.kind.ends_with("Options");
    for verb in &sub.verbs {
        let mut operation = {
            let (word, description) = match verb {
                Verb::Get => ("read", format!("read {} of the specified {parent}", sub.name)),
                Verb::Update => ("replace", format!("replace {} of the specified {parent}", sub.name)),
                Verb::Patch => ("patch", format!("partially update {} of the specified {parent}", sub.name)),
                Verb::Create => ("create", format!("create {} of a {parent}", sub.name)),
                Verb::Delete => ("delete", format!("delete {} of a {parent}", sub.name)),
                Verb::List | Verb::Watch | Verb::DeleteCollection => continue,
            };
            let id = format!("{word}{gv}{spot}{parent}{part}");
            form(*verb, &of, resource).on(path.clone(), sub.kind.clone(), resource, id, description)
        };
        if is_connection {
            let id = format!("{gv}{}{spot}{parent}{part}", capital(operation.method));
            connect(&mut operation, &id, &sub.name, parent);
        } else if sub.name == "log" {
            (operation.answer, operation.media) = (None, TEXT);
        }
        found.push(operation);
    }
}

/// Makes an operation one that carries a stream.
fn connect(operation: &mut Operation, id: &str, sub: &str, parent: &str) {
    operation.action = "connect";
    operation.id = format!("connect{id}");
    operation.description =
        format!("connect {} requests to {sub} of {parent}", operation.method.to_uppercase());
    (operation.parameters, operation.body, operation.answer) = (&[], None, None);
    (operation.statuses, operation.media) = (OK, ANYTHING);
}

fn collection_path(resource: &Resource) -> String {
    let namespace = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("{}{namespace}/{}", path(&resource.group_version), resource.plural)
}

/// `a Pod`, `an Ingress`, `Endpoints`.
fn one(kind: &str) -> String {
    match kind.chars().next() {
        _ if kind == "Endpoints" => kind.into(),
        Some('A' | 'E' | 'I' | 'O' | 'U') => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

fn spot(resource: &Resource) -> &'static str {
    if resource.namespaced { "Namespaced" } else { "" }
}

/// `AppsV1`, `RbacAuthorizationV1`, `CoreV1`.
fn camel(group_version: &GroupVersion) -> String {
    let words: String = group_words(group_version).iter().map(|word| capital(word)).collect();
    format!("{words}{}", capital(&group_version.version))
}

/// `apps_v1`, `rbacAuthorization_v1`, `core_v1`.
fn tag(group_version: &GroupVersion) -> String {
    let words = group_words(group_version);
    let (first, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
    let rest: String = rest.iter().map(|word| capital(word)).collect();
    format!("{first}{rest}_{}", group_version.version)
}

fn group_words(group_version: &GroupVersion) -> Vec<&str> {
    match group_version.group.as_str() {
        "" => vec!["core"],
        group => group.strip_suffix(".k8s.io").unwrap_or(group).split('.').collect(),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), letters.as_str()))
}
