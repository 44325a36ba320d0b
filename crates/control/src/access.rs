//! Who asks, and whether somebody may: what admission and the approval of certificates need of authorization.

use std::collections::BTreeMap;

/// Who sent a request, as authentication found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `jane`; `system:serviceaccount:default:app`.
    pub name: String,
    /// Identity that outlives the name; empty when there is none.
    pub uid: String,
    /// `system:masters`.
    pub groups: Vec<String>,
    /// Whatever else authentication tells.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What somebody would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access<'a> {
    /// `get`, `approve`, …
    pub verb: &'a str,
    /// Group of the resource; empty for the core group.
    pub group: &'a str,
    /// Version of the resource; `*` where it does not matter.
    pub version: &'a str,
    /// `deployments`.
    pub resource: &'a str,
    /// `status`; empty for the resource itself.
    pub subresource: &'a str,
    /// Empty for what lives in none.
    pub namespace: &'a str,
    /// Empty for all.
    pub name: &'a str,
}

/// Decides who may do what.
pub trait Authorize: Send + Sync {
    /// Whether `user` may do `access`.
    fn allows(&self, user: &User, access: &Access<'_>) -> bool;
}

impl User {
    /// Name of the node that asks; none when who asks is no node.
    pub fn node_name(&self) -> Option<&str> {
        let is_node = self.groups.iter().any(|group| group == "system:nodes");
        self.name.strip_prefix("system:node:").filter(|name| is_node && !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_by_name_and_group() {
        let user = |name: &str, group: &str| User {
            name: name.into(),
            groups: vec![group.into()],
            ..User::default()
        };
        assert_eq!(user("system:node:a", "system:nodes").node_name(), Some("a"));
        for (name, group) in [("system:node:a", "x"), ("a", "system:nodes"), ("system:node:", "system:nodes")]
        {
            assert_eq!(user(name, group).node_name(), None, "{name} {group}");
        }
    }
}
