//! Nobody grants more than they hold: checks of roles and bindings that are written.

use serde_json::Value;
use shoal_api::Status;
use shoal_api::object;
use shoal_api::status::Resource;

use super::rule::{compacted, quoted};
use super::{Attributes, Authorizer, GROUP, MASTERS, Rule, User, covers};

/// Checks whatever is written: roles and bindings as below, everything else passes. For the last step before an object
/// is committed, after defaults and webhooks.
///
/// # Errors
/// As [`check_role`] and [`check_binding`].
pub fn check(authorizer: &Authorizer, user: &User, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    match new["kind"].as_str().unwrap_or_default() {
        "Role" | "ClusterRole" if is_ours(new) => check_role(authorizer, user, new, old),
        "RoleBinding" | "ClusterRoleBinding" if is_ours(new) => check_binding(authorizer, user, new, old),
        _ => Ok(()),
    }
}

/// Checks a Role or ClusterRole before it is written; `old` is what stands there now.
///
/// # Errors
/// 403 when it grants what the user does not hold.
pub fn check_role(
    authorizer: &Authorizer,
    user: &User,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let (resource, namespace, name) = subject(new, &[("Role", "roles"), ("ClusterRole", "clusterroles")]);
    let escalate = Attributes {
        verb: "escalate",
        group: GROUP,
        version: "v1",
        resource,
        namespace,
        name,
        ..Attributes::default()
    };
    if user.is_in(MASTERS) || authorizer.authorize(user, &escalate).allowed || changes_nothing(new, old) {
        return Ok(());
    }
    let refuse = |message: &str| Status::forbidden(Resource { group: GROUP, name: resource }, name, message);
    confirm(authorizer, user, namespace, &Rule::list(new)).map_err(|message| refuse(&message))?;
    let is_aggregated = |role: &Value| role["aggregationRule"].is_object();
    if is_aggregated(new) || old.is_some_and(is_aggregated) {
        // An aggregated role can gather anything.
        confirm(authorizer, user, namespace, &everything())
            .map_err(|_| refuse("must have cluster-admin privileges to use the aggregationRule"))?;
    }
    Ok(())
}

/// Checks a RoleBinding or ClusterRoleBinding before it is written; `old` is what stands there now.
///
/// # Errors
/// 403 when its role grants what the user does not hold and may not bind; 404 when there is no such role.
pub fn check_binding(
    authorizer: &Authorizer,
    user: &User,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let kinds = [("RoleBinding", "rolebindings"), ("ClusterRoleBinding", "clusterrolebindings")];
    let (resource, namespace, name) = subject(new, &kinds);
    let role = |field: &str| new["roleRef"][field].as_str().unwrap_or_default();
    let (kind, role_name) = (role("kind"), role("name"));
    let roles = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
    let bind = Attributes {
        verb: "bind",
        group: GROUP,
        version: "v1",
        resource: roles,
        namespace,
        name: role_name,
        ..Attributes::default()
    };
    if user.is_in(MASTERS) || changes_nothing(new, old) || authorizer.authorize(user, &bind).allowed {
        return Ok(());
    }
    let rules = authorizer.rules.rules_of_role(kind, role_name, namespace);
    let missing =
        |_| Status::not_found(Resource { group: GROUP, name: &roles[..roles.len() - 1] }, role_name);
    confirm(authorizer, user, namespace, &rules.map_err(missing)?)
        .map_err(|message| Status::forbidden(Resource { group: GROUP, name: resource }, name, &message))
}

/// Whether the user holds all of the rules in the namespace.
///
/// # Errors
/// With a sentence that names who asks and what is missing.
pub fn confirm(authorizer: &Authorizer, user: &User, namespace: &str, wanted: &[Rule]) -> Result<(), String> {
    let held = authorizer.rules.rules_for(user, namespace);
    let Err(missing) = covers(&held.rules, wanted) else { return Ok(()) };
    let mut lines: Vec<String> = compacted(missing).iter().map(ToString::to_string).collect();
    lines.sort();
    lines.dedup();
    let mut message = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lines.join("\n")
    );
    if !held.errors.is_empty() {
        message.push_str(&format!("; resolution errors: [{}]", super::index::joined(&held.errors)));
    }
    Err(message)
}

/// Whether a kind is of the group of roles: other groups may have kinds of the same name.
fn is_ours(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.split('/').next() == Some(GROUP))
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_string()];
    [
        Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), urls: all(), ..Rule::default() },
    ]
}

/// Resource, namespace and name of what is written.
fn subject<'a>(object: &'a Value, kinds: &[(&str, &'static str); 2]) -> (&'static str, &'a str, &'a str) {
    let is_cluster = object["kind"] == kinds[1].0;
    let namespace = if is_cluster { "" } else { object::namespace(object) };
    (kinds[usize::from(is_cluster)].1, namespace, object::name(object))
}

/// Whether nothing changes but what the garbage collector writes: it need not hold what a role grants.
fn changes_nothing(new: &Value, old: Option<&Value>) -> bool {
    let stripped = |object: &Value| {
        let mut object = object.clone();
        if object["metadata"].is_object() {
            let metadata = object::metadata_mut(&mut object);
            ["ownerReferences", "finalizers", "managedFields"]
                .iter()
                .for_each(|field| drop(metadata.remove(*field)));
        }
        object
    };
    old.is_some_and(|old| stripped(new) == stripped(old))
}
