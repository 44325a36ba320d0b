//! A pod, or the template of one, as the checks see it, and the words that they share.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Violation;
use crate::snapshot::{items, text};

/// One rule of the standards: what a pod does that it forbids.
pub(super) type Check = fn(&Subject<'_>) -> Option<Violation>;

/// A pod or its template.
pub(super) struct Subject<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
}

impl<'a> Subject<'a> {
    pub(super) fn new(metadata: &'a Value, spec: &'a Value) -> Self {
        Self { metadata, spec }
    }

    /// All containers: those that begin, those that stay, those that look inside.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .iter()
            .flat_map(move |field| items(&spec[field]))
    }

    /// Names of the containers for which something holds.
    pub(super) fn named(&self, holds: impl Fn(&Value) -> bool) -> Vec<String> {
        self.containers().filter(|one| holds(one)).map(|one| text(&one["name"]).to_string()).collect()
    }

    /// The pod's own security context.
    pub(super) fn context(&self) -> &'a Value {
        &self.spec["securityContext"]
    }

    pub(super) fn is_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }
}

/// A violation, when `broken`.
pub(super) fn when(broken: bool, reason: &str, detail: impl FnOnce() -> String) -> Option<Violation> {
    broken.then(|| Violation { reason: reason.into(), detail: detail() })
}

/// A violation by containers: `container "a" DETAIL`.
pub(super) fn by(names: &[String], reason: &str, detail: &str) -> Option<Violation> {
    when(!names.is_empty(), reason, || format!("{} {detail}", containers(names)))
}

/// A value of a field that may be none but some: which are set, and by whom (`pod`, `container "a"`).
pub(super) struct Bad {
    pub(super) setters: String,
    pub(super) values: BTreeSet<String>,
}

/// Values that are not allowed, in the security context of the pod and of its containers.
pub(super) fn bad_values<'a>(pod: &Subject<'a>, read: impl Fn(&'a Value) -> Option<&'a str>) -> Option<Bad> {
    let mut values = BTreeSet::new();
    let mut setters = Vec::new();
    if let Some(value) = read(pod.context()) {
        values.insert(value.to_string());
        setters.push("pod".to_string());
    }
    let mut names = Vec::new();
    for container in pod.containers() {
        if let Some(value) = read(&container["securityContext"]) {
            values.insert(value.to_string());
            names.push(text(&container["name"]).to_string());
        }
    }
    if !names.is_empty() {
        setters.push(containers(&names));
    }
    (!setters.is_empty()).then(|| Bad { setters: setters.join(" and "), values })
}

/// `container "a"`; `containers "a", "b"`.
pub(super) fn containers(names: &[String]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

pub(super) fn plural<'a>(count: usize, one: &'a str, more: &'a str) -> &'a str {
    if count == 1 { one } else { more }
}

/// `"a", "b"`.
pub(super) fn quoted<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    texts.into_iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
}
