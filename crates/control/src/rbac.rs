//! Who may do what: roles, bindings, nodes, and the words in which a request is refused.
//!
//! [`Authorizer`] is fed with objects as they change and answers from memory. It asks, in this order: the group
//! `system:masters`, the node authorizer, the rules of roles and bindings. Nothing forbids: what no one allows is
//! refused.

pub mod aggregate;
mod attributes;
pub mod bootstrap;
pub mod escalation;
mod index;
pub mod node;
pub mod review;
mod rule;
#[cfg(test)]
mod tests;
mod user;

pub use attributes::{Attributes, Decision, forbidden};
pub use index::{Resolved, Rules};
pub use node::NodeUses;
pub use rule::{Rule, covers};
pub use user::{
    User, node_user_name, service_account_groups, service_account_name, split_service_account_name,
};

use serde_json::Value;

/// The group of `rbac.authorization.k8s.io`.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// Whoever is in it may do everything, whatever the objects say.
pub const MASTERS: &str = "system:masters";
/// Everyone whom the server knows.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everyone else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of whoever the server does not know.
pub const ANONYMOUS: &str = "system:anonymous";

/// All that decides who may do what, kept up to date by object events.
#[derive(Clone, Debug, Default)]
pub struct Authorizer {
    /// Roles and bindings.
    pub rules: Rules,
    /// What the pods of each node use.
    pub nodes: NodeUses,
}

impl Authorizer {
    /// Takes an object that was created or changed. Kinds that do not matter are passed over.
    pub fn apply(&mut self, object: &Value) {
        match object["kind"].as_str().unwrap_or_default() {
            "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding" => self.rules.apply(object),
            "Pod" | "PersistentVolume" | "VolumeAttachment" => self.nodes.apply(object),
            _ => {}
        }
    }

    /// Forgets an object that was deleted; `object` is its last state.
    pub fn remove(&mut self, object: &Value) {
        match object["kind"].as_str().unwrap_or_default() {
            "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding" => self.rules.remove(object),
            "Pod" | "PersistentVolume" | "VolumeAttachment" => self.nodes.remove(object),
            _ => {}
        }
    }

    /// Whether the user may do it, and why.
    pub fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        if user.is_in(MASTERS) {
            return Decision::allow(String::new());
        }
        let node = self.nodes.authorize(user, attributes);
        if node.allowed {
            return node;
        }
        let mut decision = self.rules.authorize(user, attributes);
        if !decision.allowed && !node.reason.is_empty() {
            let separator = if decision.reason.is_empty() { "" } else { "\n" };
            decision.reason = format!("{}{separator}{}", node.reason, decision.reason);
        }
        decision
    }

    /// [`Self::authorize`] as a result.
    ///
    /// # Errors
    /// With the answer to give, in the words of Kubernetes, when the user may not.
    pub fn require(&self, user: &User, attributes: &Attributes<'_>) -> Result<(), shoal_api::Status> {
        let decision = self.authorize(user, attributes);
        if decision.allowed { Ok(()) } else { Err(forbidden(user, attributes, &decision.reason)) }
    }
}

/// The texts of a list; none where it is absent.
fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect()
}
