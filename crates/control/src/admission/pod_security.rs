//! Pod security standards: what pods of a namespace may not ask for, by the namespace's labels.
//!
//! `enforce` refuses pods, `warn` tells whoever writes a pod or something that makes pods. Every version of the
//! standards is read as the latest one. Who would be audited is not told: there is no place for it in the answer.

mod baseline;
mod restricted;
mod subject;

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::field::{Error, Path};
use shoal_api::{GroupKind, Status, object};

use self::subject::Subject;
use super::{Attributes, Operation};
use crate::known::{NAMESPACE, POD};
use crate::snapshot::{Snapshot, items};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// Most pods that are looked at when a namespace becomes stricter, as in Kubernetes.
pub(super) const PODS_LOOKED_AT_MAX: usize = 3000;

/// What a pod asks for and may not.
struct Violation {
    /// `privileged`.
    reason: String,
    /// `container "c" must not set securityContext.privileged=true`; may be empty.
    detail: String,
}

/// How much is asked of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level and the version of the standards: `baseline:latest`.
struct Policy {
    level: Level,
    shown: String,
}

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    use Operation::{Create, Update};
    if attributes.is("", "namespaces", &[Create, Update]) {
        return namespace(attributes, object, old, world);
    }
    if !matches!(attributes.operation, Create | Update) {
        return Ok(Vec::new());
    }
    let Some(namespace) = world.get(&NAMESPACE, "", attributes.namespace) else { return Ok(Vec::new()) };
    let (warn, enforce) = (Policy::of(&namespace, "warn"), Policy::of(&namespace, "enforce"));
    if is_pod(attributes) {
        if attributes.operation == Update && attributes.subresource.is_empty() && !is_significant(object, old)
        {
            return Ok(Vec::new());
        }
        let violations = violations(enforce.level, &Subject::new(&object["metadata"], &object["spec"]));
        if !violations.is_empty() {
            let message = format!("violates PodSecurity {:?}: {}", enforce.shown, detailed(&violations));
            return Err(attributes.forbidden(object, &message));
        }
        return Ok(warning(&warn, &Subject::new(&object["metadata"], &object["spec"])));
    }
    let template = template(attributes, object);
    Ok(template.map(|one| warning(&warn, &Subject::new(&one["metadata"], &one["spec"]))).unwrap_or_default())
}

fn is_pod(attributes: &Attributes<'_>) -> bool {
    let whole = attributes.subresource.is_empty() || attributes.subresource == "ephemeralcontainers";
    (attributes.group, attributes.resource) == ("", "pods") && whole
}

/// A change that may make a pod worse: other images; all else of a pod that matters cannot be changed.
fn is_significant(new: &Value, old: Option<&Value>) -> bool {
    let images = |pod: &Value| -> Vec<Value> {
        let containers = items(&pod["spec"]["containers"]).chain(items(&pod["spec"]["initContainers"]));
        containers.map(|container| container["image"].clone()).collect()
    };
    let unconfined = |pod: &Value| pod["metadata"]["annotations"].clone();
    old.is_none_or(|old| images(new) != images(old) || unconfined(new) != unconfined(old))
}

/// The template of what makes pods.
fn template<'a>(attributes: &Attributes<'_>, object: &'a Value) -> Option<&'a Value> {
    if !attributes.subresource.is_empty() {
        return None;
    }
    let template = match (attributes.group, attributes.resource) {
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers") => &object["spec"]["template"],
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") => {
            &object["spec"]["template"]
        }
        ("batch", "jobs") => &object["spec"]["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    template.is_object().then_some(template)
}

impl Policy {
    /// What a namespace says of `enforce` or `warn`. What cannot be read is as strict as can be.
    fn of(namespace: &Value, mode: &str) -> Self {
        let label = |key: String| object::label(namespace, &key).map(String::from);
        let level = match label(format!("{PREFIX}{mode}")).as_deref() {
            None | Some("privileged") => Level::Privileged,
            Some("baseline") => Level::Baseline,
            Some(_) => Level::Restricted,
        };
        let version = label(format!("{PREFIX}{mode}-version")).unwrap_or_else(|| "latest".into());
        Self { level, shown: format!("{}:{version}", level.name()) }
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// All that a pod asks for beyond a level, in the order of Kubernetes.
fn violations(level: Level, pod: &Subject<'_>) -> Vec<Violation> {
    match level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline::CHECKS.iter().filter_map(|(_, check)| check(pod)).collect(),
        Level::Restricted => {
            let of_baseline =
                baseline::CHECKS.iter().filter(|(name, _)| !restricted::REPLACED.contains(name));
            let checks = of_baseline.map(|(_, check)| check).chain(restricted::CHECKS);
            checks.filter_map(|check| check(pod)).collect()
        }
    }
}

fn detailed(violations: &[Violation]) -> String {
    let shown = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.clone(),
        detail => format!("{} ({detail})", violation.reason),
    };
    violations.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn warning(policy: &Policy, pod: &Subject<'_>) -> Vec<String> {
    let violations = violations(policy.level, pod);
    if violations.is_empty() {
        return Vec::new();
    }
    vec![format!("would violate PodSecurity {:?}: {}", policy.shown, detailed(&violations))]
}

/// Labels must be right, and whoever makes a namespace stricter is told which pods already break the rule.
fn namespace(
    attributes: &Attributes<'_>,
    new: &Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let label =
        |object: &Value, key: &str| object::label(object, &format!("{PREFIX}{key}")).map(String::from);
    let before = |key: &str| old.and_then(|old| label(old, key));
    let errors: Vec<Error> = ["enforce", "audit", "warn"]
        .iter()
        .flat_map(|mode| [(*mode).to_string(), format!("{mode}-version")])
        .filter_map(|key| Some((label(new, &key).filter(|now| before(&key).as_ref() != Some(now))?, key)))
        .filter_map(|(value, key)| complaint(&key, &value))
        .collect();
    if !errors.is_empty() {
        let kind = GroupKind { group: String::new(), kind: "Namespace".into() };
        return Err(Status::invalid(&kind, object::name(new), &errors));
    }
    let Some(old) = old.filter(|_| attributes.operation == Operation::Update) else { return Ok(Vec::new()) };
    let (policy, was) = (Policy::of(new, "enforce"), Policy::of(old, "enforce"));
    if policy.level <= was.level {
        return Ok(Vec::new());
    }
    Ok(existing(&policy, object::name(new), &world.list(&POD, Some(object::name(new)))))
}

fn complaint(key: &str, value: &str) -> Option<Error> {
    let path = Path::new("metadata").child("labels").key(&format!("{PREFIX}{key}"));
    let detail = if key.ends_with("-version") {
        let minor = value.strip_prefix("v1.").is_some_and(|minor| minor.parse::<u16>().is_ok());
        (value != "latest" && !minor).then_some("must be \"latest\" or \"v1.x\"")
    } else {
        let known = ["privileged", "baseline", "restricted"].contains(&value);
        (!known).then_some("must be one of privileged, baseline, restricted")
    };
    detail.map(|detail| Error::invalid(&path, &json!(value), detail))
}

/// Warnings about pods that are there; those that break the same rules share a line.
fn existing(policy: &Policy, namespace: &str, pods: &[Arc<Value>]) -> Vec<String> {
    let mut broken: Vec<(String, Vec<&str>)> = Vec::new();
    for pod in pods.iter().take(PODS_LOOKED_AT_MAX) {
        let violations = violations(policy.level, &Subject::new(&pod["metadata"], &pod["spec"]));
        let reasons: Vec<String> = violations.into_iter().map(|violation| violation.reason).collect();
        if reasons.is_empty() {
            continue;
        }
        let reasons = reasons.join(", ");
        match broken.iter_mut().find(|(known, _)| *known == reasons) {
            Some((_, names)) => names.push(object::name(pod)),
            None => broken.push((reasons, vec![object::name(pod)])),
        }
    }
    if broken.is_empty() {
        return Vec::new();
    }
    let line = |(reasons, names): (String, Vec<&str>)| match names.as_slice() {
        [one] => format!("{one}: {reasons}"),
        [one, _] => format!("{one} (and 1 other pod): {reasons}"),
        more => format!("{} (and {} other pods): {reasons}", more[0], more.len() - 1),
    };
    let mut lines: Vec<String> = broken.into_iter().map(line).collect();
    lines.sort();
    let first = format!(
        "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {:?}",
        policy.shown
    );
    std::iter::once(first).chain(lines).collect()
}
