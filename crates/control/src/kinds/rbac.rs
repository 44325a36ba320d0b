//! Roles and their bindings.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{given, items, list, set_empty, text};
use super::{golang, selector, words};

/// The group of roles, users and groups.
const GROUP: &str = "rbac.authorization.k8s.io";

/// A binding: of this group, as are its users and groups.
pub(super) fn default_binding(binding: &mut Value) {
    if let Some(reference) = binding.get_mut("roleRef").filter(|reference| reference.is_object()) {
        set_empty(reference, "apiGroup", GROUP);
    }
    for subject in items(binding, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set_empty(subject, "apiGroup", GROUP);
        }
    }
}

/// A role of a namespace.
pub(super) fn validate_role(role: &Value, faults: &mut Faults) {
    rules(role, true, faults);
}

/// A role of the cluster.
pub(super) fn validate_cluster_role(role: &Value, faults: &mut Faults) {
    rules(role, false, faults);
    if !given(role, "aggregationRule") {
        return;
    }
    let path = Path::new("aggregationRule.clusterRoleSelectors");
    let selectors = list(&role["aggregationRule"], "clusterRoleSelectors");
    if selectors.is_empty() {
        let message = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        faults.required(&path, message);
    }
    for (index, one) in selectors.iter().enumerate() {
        selector::validate(one, &path.index(index), faults);
    }
}

fn rules(role: &Value, namespaced: bool, faults: &mut Faults) {
    for (index, rule) in list(role, "rules").iter().enumerate() {
        let path = Path::new("rules").index(index);
        if list(rule, "verbs").is_empty() {
            faults.required(&path.child("verbs"), "verbs must contain at least one value");
        }
        let urls = path.child("nonResourceURLs");
        let shown = golang::strings(&rule["nonResourceURLs"]);
        if !list(rule, "nonResourceURLs").is_empty() {
            if namespaced {
                let message = "namespaced rules cannot apply to non-resource URLs";
                faults.invalid_shown(&urls, &shown, message);
            }
            let resources = ["apiGroups", "resources", "resourceNames"];
            if resources.iter().any(|field| !list(rule, field).is_empty()) {
                let message = "rules cannot apply to both regular resources and non-resource URLs";
                faults.invalid_shown(&urls, &shown, message);
            }
            continue;
        }
        if list(rule, "apiGroups").is_empty() {
            let message = "resource rules must supply at least one api group";
            faults.required(&path.child("apiGroups"), message);
        }
        if list(rule, "resources").is_empty() {
            let message = "resource rules must supply at least one resource";
            faults.required(&path.child("resources"), message);
        }
    }
}

/// A binding in a namespace.
pub(super) fn validate_binding(binding: &Value, faults: &mut Faults) {
    reference(binding, &["Role", "ClusterRole"], faults);
    subjects(binding, true, faults);
}

/// A binding of the cluster.
pub(super) fn validate_cluster_binding(binding: &Value, faults: &mut Faults) {
    reference(binding, &["ClusterRole"], faults);
    subjects(binding, false, faults);
}

fn reference(binding: &Value, kinds: &[&str], faults: &mut Faults) {
    let (reference, path) = (&binding["roleRef"], Path::new("roleRef"));
    faults.one_of(&path.child("apiGroup"), text(reference, "apiGroup"), &[GROUP]);
    faults.one_of(&path.child("kind"), text(reference, "kind"), kinds);
    let name = text(reference, "name");
    if name.is_empty() {
        faults.required(&path.child("name"), "");
    } else {
        faults.words(&path.child("name"), name, words::path_segment(name, false));
    }
}

fn subjects(binding: &Value, namespaced: bool, faults: &mut Faults) {
    for (index, subject) in list(binding, "subjects").iter().enumerate() {
        let path = Path::new("subjects").index(index);
        let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
        if name.is_empty() {
            faults.required(&path.child("name"), "");
        }
        match text(subject, "kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    faults.words(&path.child("name"), name, words::dns_subdomain(name));
                }
                faults.one_of(&path.child("apiGroup"), group, &[""]);
                if !namespaced && text(subject, "namespace").is_empty() {
                    faults.required(&path.child("namespace"), "");
                }
            }
            "User" | "Group" => faults.one_of(&path.child("apiGroup"), group, &[GROUP]),
            other => {
                faults.not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"]);
            }
        }
    }
}

/// What a binding gives never changes: who has it does.
pub(super) fn role_stays(new: &Value, old: &Value, faults: &mut Faults) {
    let (after, before) = (&new["roleRef"], &old["roleRef"]);
    let differs = ["apiGroup", "kind", "name"].iter().any(|field| text(after, field) != text(before, field));
    if differs {
        let (group, kind, name) = (text(after, "apiGroup"), text(after, "kind"), text(after, "name"));
        let shown = format!("rbac.RoleRef{{APIGroup:{group:?}, Kind:{kind:?}, Name:{name:?}}}");
        faults.invalid_shown(&Path::new("roleRef"), &shown, "cannot change roleRef");
    }
}
