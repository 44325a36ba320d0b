//! Who asks.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::texts;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const NODE: &str = "system:node:";

/// Whoever makes a request, as authentication has found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// `jane`, `system:serviceaccount:default:bot`, `system:node:edge-1`.
    pub name: String,
    /// Identity that outlives the name; empty when there is none.
    pub uid: String,
    /// Groups, in the order in which they were found.
    pub groups: Vec<String>,
    /// What else is known, by lower-case keys such as `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with a name and groups only.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(ToString::to_string).collect();
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// Whether the user is in the group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|one| one == group)
    }

    /// The name of the node that asks; none when it is no node.
    pub fn node_name(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE)?;
        self.is_in("system:nodes").then_some(name)
    }

    /// As `userInfo` of a review; what is empty is left out.
    pub fn to_value(&self) -> Value {
        let mut info = Map::new();
        if !self.name.is_empty() {
            info.insert("username".into(), json!(self.name));
        }
        if !self.uid.is_empty() {
            info.insert("uid".into(), json!(self.uid));
        }
        if !self.groups.is_empty() {
            info.insert("groups".into(), json!(self.groups));
        }
        if !self.extra.is_empty() {
            info.insert("extra".into(), json!(self.extra));
        }
        Value::Object(info)
    }

    /// From the `spec` of a SubjectAccessReview.
    pub fn from_spec(spec: &Value) -> Self {
        let text = |field: &str| spec[field].as_str().unwrap_or_default().to_string();
        let extra = spec["extra"].as_object().into_iter().flatten();
        Self {
            name: text("user"),
            uid: text("uid"),
            groups: texts(&spec["groups"]),
            extra: extra.map(|(key, values)| (key.to_lowercase(), texts(values))).collect(),
        }
    }
}

/// `system:node:NAME`.
pub fn node_user_name(node: &str) -> String {
    format!("{NODE}{node}")
}

/// `system:serviceaccount:NAMESPACE:NAME`.
pub fn service_account_name(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT}{namespace}:{name}")
}

/// Namespace and name of a ServiceAccount from its user name; none when the user is something else.
pub fn split_service_account_name(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// The groups of every ServiceAccount of a namespace.
pub fn service_account_groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}
