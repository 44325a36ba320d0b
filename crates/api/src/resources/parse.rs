//! Reads the text that lists the built-in resources; its form is described at its top.

use super::{Priority, Resource, Subresource, Verb, storage_hash};
use crate::{GroupVersion, GroupVersionKind};

/// The resources of the text, in its order.
///
/// # Errors
/// A sentence with the line that cannot be read.
pub(super) fn parse(text: &str) -> Result<Vec<Resource>, String> {
    let mut resources: Vec<Resource> = Vec::new();
    let mut section = None;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let read = match line.trim_start() {
            subresource if subresource.starts_with('/') && line.starts_with(' ') => {
                add_subresource(resources.last_mut(), subresource)
            }
            resource if line.starts_with(' ') => {
                parse_resource(section.as_ref(), resource).map(|resource| resources.push(resource))
            }
            group => parse_section(group).map(|read| section = Some(read)),
        };
        read.ok_or_else(|| format!("this line lists no resource: {line}"))?;
    }
    Ok(resources)
}

/// `apps/v1 17800 15`.
fn parse_section(line: &str) -> Option<(GroupVersion, Priority)> {
    let mut words = line.split_whitespace();
    let (group, version) = words.next()?.split_once('/')?;
    let priority = Priority { group: words.next()?.parse().ok()?, version: words.next()?.parse().ok()? };
    Some((GroupVersion::new(group, version), priority))
}

/// `deployments Deployment namespaced short=deploy status`.
fn parse_resource(section: Option<&(GroupVersion, Priority)>, line: &str) -> Option<Resource> {
    let (group_version, priority) = section?;
    let mut words = line.split_whitespace();
    let (plural, kind, scope) = (words.next()?, words.next()?, words.next()?);
    let mut resource = Resource {
        kind: kind.into(),
        list_kind: format!("{kind}List"),
        plural: plural.into(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: scope == "namespaced",
        verbs: Verb::ALL.into(),
        subresources: Vec::new(),
        generation: false,
        storage: group_version.kind(kind),
        storage_hash: String::new(),
        priority: *priority,
        custom: false,
        group_version: group_version.clone(),
    };
    for word in words {
        apply_word(&mut resource, word)?;
    }
    // Only what can be watched is stored; the other resources are answers to a question.
    if resource.can(Verb::Watch) && resource.storage_hash.is_empty() {
        resource.storage_hash = storage_hash(&resource.storage);
    }
    Some(resource)
}

fn apply_word(resource: &mut Resource, word: &str) -> Option<()> {
    let list = |text: &str| text.split(',').map(Into::into).collect();
    match word.split_once('=') {
        Some(("short", names)) => resource.short_names = list(names),
        Some(("category", names)) => resource.categories = list(names),
        Some(("verbs", names)) => resource.verbs = parse_verbs(names)?,
        Some(("singular", name)) => resource.singular = name.into(),
        Some(("storage", kind)) => resource.storage = parse_kind(kind)?,
        Some(("hash", kind)) => resource.storage_hash = storage_hash(&parse_kind(kind)?),
        None if word == "generation" => resource.generation = true,
        None if word == "status" => {
            let kind = resource.group_version_kind();
            insert(resource, word, kind, vec![Verb::Get, Verb::Patch, Verb::Update]);
        }
        None if word == "scale" => {
            let kind = GroupVersionKind::new("autoscaling", "v1", "Scale");
            insert(resource, word, kind, vec![Verb::Get, Verb::Patch, Verb::Update]);
        }
        _ => return None,
    }
    Some(())
}

/// `/log Pod get`.
fn add_subresource(resource: Option<&mut Resource>, line: &str) -> Option<()> {
    let resource = resource?;
    let mut words = line.split_whitespace();
    let (name, kind, verbs) = (words.next()?.strip_prefix('/')?, words.next()?, words.next()?);
    let kind = parse_kind(kind).unwrap_or_else(|| resource.group_version.kind(kind));
    insert(resource, name, kind, parse_verbs(verbs)?);
    Some(())
}

fn insert(resource: &mut Resource, name: &str, kind: GroupVersionKind, verbs: Vec<Verb>) {
    let at = resource.subresources.partition_point(|present| *present.name < *name);
    resource.subresources.insert(at, Subresource { name: name.into(), kind, verbs });
}

/// `policy/v1/Eviction`.
fn parse_kind(text: &str) -> Option<GroupVersionKind> {
    let (group, rest) = text.split_once('/')?;
    let (version, kind) = rest.split_once('/')?;
    Some(GroupVersionKind::new(group, version, kind))
}

fn parse_verbs(text: &str) -> Option<Vec<Verb>> {
    text.split(',').map(|name| Verb::ALL.into_iter().find(|verb| verb.name() == name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        assert!(parse(include_str!("../resources.txt")).is_ok());
        for line in ["  pods Pod", "  pods Pod namespaced", "apps/v1", "    /log Pod get"] {
            assert_eq!(parse(line).expect_err("refused"), format!("this line lists no resource: {line}"));
        }
        let wrong = "/v1 1 1\n  pods Pod namespaced verbs=fly";
        assert_eq!(
            parse(wrong).expect_err("no verb"),
            "this line lists no resource:   pods Pod namespaced verbs=fly"
        );
    }
}
