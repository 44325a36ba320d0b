//! What is wrong with a definition, in the words and the order of kube-apiserver.

use std::collections::BTreeSet;

use serde_json::Value;
use shoal_api::field::{Error, Path, Reason};
use shoal_api::names::{dns1035_label as label_1035, dns1123_subdomain as subdomain};

use super::words::{self, Approval};
use super::{extensions, schema_checks, selectable, versions};
use crate::custom::go;

/// What is wrong with a new definition, all but its metadata, whose rules are those of every object.
pub fn validate_create(definition: &Value) -> Vec<Error> {
    let mut errors = name(definition);
    errors.extend(spec(definition));
    errors.extend(stored_versions(definition));
    errors.extend(approval(definition));
    errors.extend(preserve_unknown(definition));
    errors
}

/// What is wrong with a changed definition. What was wrong before and was not touched is no error.
pub fn validate_update(new: &Value, old: &Value) -> Vec<Error> {
    let spec_path = Path::new("spec");
    let mut errors = Vec::new();
    if new["spec"] != old["spec"] {
        let before = validate_create(old);
        errors.extend(spec(new).into_iter().filter(|error| !before.contains(error)));
    }
    let established = super::conditions::is_established(old);
    let names = ["names"];
    let mut fixed: Vec<(&[&str], &str)> = vec![(&[], "group"), (&names, "plural")];
    if established {
        fixed = vec![(&[], "scope"), (&names, "kind"), (&[], "group"), (&names, "plural")];
    }
    for (above, field) in fixed {
        let (mut new, mut old, mut path) = (&new["spec"], &old["spec"], spec_path.clone());
        for name in above {
            (new, old, path) = (&new[*name], &old[*name], path.child(name));
        }
        if new[field] != old[field] {
            errors.push(Error::invalid(&path.child(field), &new[field], "field is immutable"));
        }
    }
    errors.extend(stored_versions(new));
    if new["spec"]["group"] != old["spec"]["group"]
        || !matches!(words::approval(old), Approval::Missing | Approval::Unreadable(_))
    {
        errors.extend(approval(new));
    }
    if old["spec"]["preserveUnknownFields"] != true {
        errors.extend(preserve_unknown(new));
    }
    errors
}

/// Whether what is the same in all versions is shown where the old API had it.
pub(super) fn is_hoisted(definition: &Value, field: &str) -> bool {
    let mut all = versions(definition).map(|version| version.get(field));
    let first = all.next().flatten();
    first.is_some() && all.all(|other| other == first)
}

fn name(definition: &Value) -> Vec<Error> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let wanted = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    let name = text(&definition["metadata"]["name"]);
    let mut details = if name.is_empty() { Vec::new() } else { subdomain(&name) };
    if name != wanted {
        details.push("must be spec.names.plural+\".\"+spec.group".into());
    }
    let path = Path::new("metadata").child("name");
    details.iter().map(|detail| Error::invalid(&path, &name.clone().into(), detail)).collect()
}

fn spec(definition: &Value) -> Vec<Error> {
    let spec = &definition["spec"];
    let path = Path::new("spec");
    let mut errors = group(spec, &path);
    errors.extend(one_of(&path.child("scope"), &spec["scope"], &["Cluster", "Namespaced"]));
    let list: Vec<&Value> = versions(definition).collect();
    for (index, version) in list.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            let path = path.child("versions").index(index).child("schema").child("openAPIV3Schema");
            errors.push(Error::required(&path, "schemas are required"));
        }
    }
    for (index, version) in list.iter().enumerate() {
        let path = path.child("versions").index(index);
        let details = label_1035(version["name"].as_str().unwrap_or_default());
        if !details.is_empty() {
            errors.push(Error::invalid(&path.child("name"), &version["name"], &details.join(",")));
        }
        errors.extend(one_version(definition, version, index, &path));
    }
    let storage = list.iter().filter(|version| version["storage"] == true).count();
    if storage != 1 {
        errors.push(whole_list(&path, spec, "must have exactly one version marked as storage version"));
    }
    let distinct: BTreeSet<&str> = list.iter().filter_map(|version| version["name"].as_str()).collect();
    if distinct.len() < list.len() {
        errors.push(whole_list(&path, spec, "must contain unique version names"));
    }
    errors.extend(names(&spec["names"], &path.child("names")));
    errors.extend(extensions::conversion(&spec["conversion"], &path.child("conversion")));
    errors
}

/// Schema, subresources, columns and selectable fields. What all versions share is shown once.
fn one_version(definition: &Value, version: &Value, index: usize, path: &Path) -> Vec<Error> {
    let spec = Path::new("spec");
    let place = |field: &str, hoisted: Path| match is_hoisted(definition, field) {
        true if index > 0 => None,
        true => Some(hoisted),
        false => Some(path.child(field)),
    };
    let mut errors = Vec::new();
    if let Some(path) = place("schema", spec.child("validation")) {
        errors.extend(schema_checks::check(
            &version["schema"]["openAPIV3Schema"],
            &path.child("openAPIV3Schema"),
        ));
    }
    if let Some(path) = place("subresources", spec.child("subresources")) {
        errors.extend(extensions::subresources(&version["subresources"], &path));
    }
    if let Some(path) = place("additionalPrinterColumns", spec.child("additionalPrinterColumns")) {
        errors.extend(extensions::columns(&version["additionalPrinterColumns"], &path));
    }
    if let Some(path) = place("selectableFields", spec.child("selectableFields")) {
        let schema = &version["schema"]["openAPIV3Schema"];
        errors.extend(selectable::check(&version["selectableFields"], schema, &path));
    }
    errors
}

fn whole_list(path: &Path, spec: &Value, detail: &str) -> Error {
    let message = format!("Invalid value: {}: {detail}", go::value(&spec["versions"]));
    Error { reason: Reason::Invalid, path: path.child("versions"), message }
}

fn group(spec: &Value, path: &Path) -> Vec<Error> {
    let path = path.child("group");
    let group = spec["group"].as_str().unwrap_or_default();
    if group.is_empty() {
        return vec![Error::required(&path, "")];
    }
    let details = subdomain(group);
    if !details.is_empty() {
        return vec![Error::invalid(&path, &spec["group"], &details.join(","))];
    }
    if !group.contains('.') {
        return vec![Error::invalid(&path, &spec["group"], "should be a domain with at least one dot")];
    }
    Vec::new()
}

/// One of a few words, which must be there.
pub(super) fn one_of(path: &Path, value: &Value, words: &[&str]) -> Option<Error> {
    match value.as_str().unwrap_or_default() {
        "" => Some(Error::required(path, "")),
        word if words.contains(&word) => None,
        _ => Some(Error::not_supported(path, value, words)),
    }
}

fn names(names: &Value, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    let text = |field: &str| names[field].as_str().unwrap_or_default().to_string();
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(field).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    for field in ["plural", "singular"] {
        let details = label_1035(&text(field));
        if !details.is_empty() {
            errors.push(Error::invalid(&path.child(field), &text(field).into(), &details.join(",")));
        }
    }
    for field in ["kind", "listKind"] {
        let details = label_1035(&text(field).to_lowercase());
        if !details.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", details.join(","));
            errors.push(Error::invalid(&path.child(field), &text(field).into(), &detail));
        }
    }
    let several = |field: &str| -> Vec<Error> {
        let list = names[field].as_array().into_iter().flatten();
        let judged = list
            .enumerate()
            .map(|(index, name)| (index, name, label_1035(name.as_str().unwrap_or_default())));
        judged
            .filter(|(_, _, details)| !details.is_empty())
            .map(|(index, name, details)| {
                Error::invalid(&path.child(field).index(index), name, &details.join(","))
            })
            .collect()
    };
    errors.extend(several("shortNames"));
    if !text("kind").is_empty() && text("kind") == text("listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(Error::invalid(&path.child("listKind"), &names["listKind"], detail));
    }
    errors.extend(several("categories"));
    errors
}

fn stored_versions(definition: &Value) -> Vec<Error> {
    let path = Path::new("status").child("storedVersions");
    let stored: Vec<&str> = definition["status"]["storedVersions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if stored.is_empty() {
        return vec![Error {
            reason: Reason::Invalid,
            path,
            message: "Invalid value: []string{}: must have at least one stored version".into(),
        }];
    }
    let mut errors = Vec::new();
    if let Some(storage) = super::storage_version(definition).filter(|storage| !stored.contains(storage)) {
        let detail = format!("must have the storage version {storage}");
        errors.push(Error::invalid(&path, &storage.into(), &detail));
    }
    for (index, version) in stored.iter().enumerate() {
        if super::version(definition, version).is_none() {
            errors.push(Error::invalid(
                &path.index(index),
                &(*version).into(),
                "must appear in spec.versions",
            ));
        }
    }
    errors
}

fn approval(definition: &Value) -> Option<Error> {
    let path = Path::new("metadata").child("annotations").key(words::APPROVED_ANNOTATION);
    match words::approval(definition) {
        Approval::Missing => Some(Error::required(&path, &words::missing())),
        Approval::Unreadable(word) => Some(Error::invalid(&path, &word.into(), &words::unreadable())),
        _ => None,
    }
}

fn preserve_unknown(definition: &Value) -> Option<Error> {
    let flag = &definition["spec"]["preserveUnknownFields"];
    (flag == true).then(|| {
        let path = Path::new("spec").child("preserveUnknownFields");
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        Error::invalid(&path, flag, detail)
    })
}
