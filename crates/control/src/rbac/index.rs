//! Roles and bindings, found by whom they concern.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use shoal_api::object;

use super::{Attributes, Decision, Rule, User, service_account_name, split_service_account_name};

/// Roles and bindings in memory, indexed by subject: what a request costs does not grow with bindings of others.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Rules of each role, by namespace (empty for ClusterRoles) and name.
    roles: HashMap<(String, String), Arc<[Rule]>>,
    /// By namespace (empty for ClusterRoleBindings) and name.
    bindings: HashMap<(String, String), Binding>,
    /// For each subject: namespace (empty for ClusterRoleBindings) to names of bindings.
    by_subject: HashMap<Subject, BTreeMap<String, BTreeSet<String>>>,
}

/// The rules that a user has in a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// Those that were found.
    pub rules: Vec<Rule>,
    /// Roles that bindings name and that do not exist, as sentences.
    pub errors: Vec<String>,
}

/// Whom a binding names: a ServiceAccount is a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Clone, Debug)]
struct Binding {
    role_kind: String,
    role_name: String,
    /// Each subject, and how messages describe it.
    subjects: Vec<(Subject, String)>,
}

/// The path to a binding.
struct Found<'a> {
    namespace: &'a str,
    name: &'a str,
    binding: &'a Binding,
}

impl Rules {
    /// Takes a role or binding that was created or changed.
    pub fn apply(&mut self, object: &Value) {
        self.remove(object);
        let key = key(object);
        if is_role(object) {
            self.roles.insert(key, Rule::list(object).into());
            return;
        }
        let binding = Binding::new(object);
        for (subject, _) in &binding.subjects {
            let names = self.by_subject.entry(subject.clone()).or_default();
            names.entry(key.0.clone()).or_default().insert(key.1.clone());
        }
        self.bindings.insert(key, binding);
    }

    /// Forgets a role or binding.
    pub fn remove(&mut self, object: &Value) {
        let key = key(object);
        if is_role(object) {
            self.roles.remove(&key);
            return;
        }
        let Some(binding) = self.bindings.remove(&key) else { return };
        for (subject, _) in &binding.subjects {
            let Some(namespaces) = self.by_subject.get_mut(subject) else { continue };
            if let Some(names) = namespaces.get_mut(&key.0) {
                names.remove(&key.1);
                if names.is_empty() {
                    namespaces.remove(&key.0);
                }
            }
            if namespaces.is_empty() {
                self.by_subject.remove(subject);
            }
        }
    }

    /// Whether a rule allows the request, and by which binding.
    pub fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        let mut errors = Vec::new();
        for found in self.bindings_of(user, attributes.namespace) {
            match self.rules_of(&found) {
                Ok(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                    return Decision::allow(format!("RBAC: allowed by {}", found.description(user)));
                }
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
        let reason = if errors.is_empty() { String::new() } else { format!("RBAC: {}", joined(&errors)) };
        Decision::refuse(reason)
    }

    /// All rules that the user has: those that hold everywhere, and those of the namespace unless it is empty.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Resolved {
        let mut resolved = Resolved::default();
        for found in self.bindings_of(user, namespace) {
            match self.rules_of(&found) {
                Ok(rules) => resolved.rules.extend(rules.iter().cloned()),
                Err(error) => resolved.errors.push(error),
            }
        }
        resolved
    }

    /// The rules of the role that a binding in `namespace` names.
    ///
    /// # Errors
    /// When there is no such role, with its kind and name.
    pub fn rules_of_role(&self, kind: &str, name: &str, namespace: &str) -> Result<Arc<[Rule]>, String> {
        let namespace = match kind {
            "Role" => namespace,
            "ClusterRole" => "",
            _ => return Err(format!("unsupported role reference kind: {kind:?}")),
        };
        let found = self.roles.get(&(namespace.to_string(), name.to_string())).cloned();
        found.ok_or_else(|| format!("{}.{} {name:?} not found", kind.to_lowercase(), super::GROUP))
    }

    fn rules_of(&self, found: &Found<'_>) -> Result<Arc<[Rule]>, String> {
        self.rules_of_role(&found.binding.role_kind, &found.binding.role_name, found.namespace)
    }

    /// The bindings that name the user or a group of theirs: first those of the cluster, each by name.
    fn bindings_of<'a>(&'a self, user: &User, namespace: &str) -> Vec<Found<'a>> {
        let groups = user.groups.iter().map(|group| Subject::Group(group.clone()));
        let subjects = std::iter::once(Subject::User(user.name.clone())).chain(groups);
        let concerned: Vec<_> = subjects.filter_map(|subject| self.by_subject.get(&subject)).collect();
        let mut found = Vec::new();
        for namespace in ["", namespace].into_iter().take(if namespace.is_empty() { 1 } else { 2 }) {
            let entries = concerned.iter().filter_map(|of| of.get_key_value(namespace));
            let mut paths: Vec<(&String, &String)> =
                entries.flat_map(|(key, names)| names.iter().map(move |name| (key, name))).collect();
            paths.sort();
            paths.dedup();
            found.extend(paths.into_iter().filter_map(|(namespace, name)| {
                let binding = self.bindings.get(&(namespace.clone(), name.clone()))?;
                Some(Found { namespace, name, binding })
            }));
        }
        found
    }
}

impl Binding {
    fn new(object: &Value) -> Self {
        let namespace = object::namespace(object);
        let role = |field: &str| object["roleRef"][field].as_str().unwrap_or_default().to_string();
        let subjects = object["subjects"].as_array().into_iter().flatten();
        Self {
            role_kind: role("kind"),
            role_name: role("name"),
            subjects: subjects.filter_map(|subject| Subject::new(subject, namespace)).collect(),
        }
    }
}

impl Subject {
    /// The subject and how messages describe it; none when it can be nobody.
    fn new(subject: &Value, binding_namespace: &str) -> Option<(Self, String)> {
        let text = |field: &str| subject[field].as_str().unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        match kind {
            "User" => Some((Self::User(name.into()), format!("{kind} {name:?}"))),
            "Group" => Some((Self::Group(name.into()), format!("{kind} {name:?}"))),
            "ServiceAccount" => {
                let own = text("namespace");
                let namespace = if own.is_empty() { binding_namespace } else { own };
                let user = service_account_name(namespace, name);
                // Without a namespace it is nobody, and so is a name that would read as another account.
                split_service_account_name(&user)?;
                Some((Self::User(user), format!("{kind} {:?}", format!("{name}/{namespace}"))))
            }
            _ => None,
        }
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => *name == user.name,
            Self::Group(name) => user.is_in(name),
        }
    }
}

impl Found<'_> {
    /// `ClusterRoleBinding "b" of ClusterRole "r" to Group "g"`.
    fn description(&self, user: &User) -> String {
        let subject = self.binding.subjects.iter().find(|(subject, _)| subject.is(user));
        let subject = subject.map_or("", |(_, description)| description);
        let (kind, name) = match self.namespace {
            "" => ("ClusterRoleBinding", self.name.to_string()),
            namespace => ("RoleBinding", format!("{}/{namespace}", self.name)),
        };
        let Binding { role_kind, role_name, .. } = self.binding;
        format!("{kind} {name:?} of {role_kind} {role_name:?} to {subject}")
    }
}

/// Errors as Go joins them: one alone, several once each in brackets.
pub(super) fn joined(errors: &[String]) -> String {
    let mut once: Vec<&str> = Vec::new();
    for error in errors {
        if !once.contains(&error.as_str()) {
            once.push(error);
        }
    }
    if let [one] = once.as_slice() { (*one).into() } else { format!("[{}]", once.join(", ")) }
}

fn is_role(object: &Value) -> bool {
    matches!(object["kind"].as_str(), Some("Role" | "ClusterRole"))
}

/// Namespace and name. Kinds without a namespace have none, whatever the object says.
fn key(object: &Value) -> (String, String) {
    let is_cluster = object["kind"].as_str().is_some_and(|kind| kind.starts_with("Cluster"));
    let namespace = if is_cluster { "" } else { object::namespace(object) };
    (namespace.to_string(), object::name(object).to_string())
}
