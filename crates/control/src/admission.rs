//! Admission: what a request may change and must obey because of other objects. Runs after defaulting and before
//! validation (the changing steps), and after validation (the steps that only refuse).
//!
//! Objects have been decoded by the schema of their kind: what is an object there is one here, or absent.
//!
//! Each step is one file with functions of the types [`Mutate`] and [`Validate`]. [`mutate`] and [`validate`] run the steps in the order
//! of kube-apiserver. Two things stand apart, because their effects must be committed together with the object:
//! [`quota::charge`] and the addresses of [`allocate`].

mod certificates;
mod default_classes;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod owner_references;
mod pod_security;
mod priority;
pub(crate) mod protection;
pub mod quota;
mod resize;
mod runtime_class;
mod service_account;
mod taints;
mod tolerations;

use serde_json::Value;
use shoal_api::status::Resource;
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status, object};

use crate::access::{Authorize, User};
use crate::snapshot::Snapshot;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// Something is done through it: `exec`, `proxy`.
    Connect,
}

/// A request, without the objects it carries.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    /// Kind of the object that the request carries; for a subresource that of its body: `Eviction`.
    pub kind: &'a GroupVersionKind,
    /// Group of the resource; empty for the core group.
    pub group: &'a str,
    /// `pods`.
    pub resource: &'a str,
    /// `status`; empty for the resource itself.
    pub subresource: &'a str,
    /// Empty for what lives in none.
    pub namespace: &'a str,
    /// Name in the path; empty when an object is made.
    pub name: &'a str,
    /// What is done.
    pub operation: Operation,
    /// Who asks.
    pub user: &'a User,
    /// Who may do what.
    pub authorizer: &'a dyn Authorize,
    /// Whether nothing will be kept.
    pub dry_run: bool,
    /// Chance for the names that are made; another one for each request.
    pub seed: u64,
    /// The time.
    pub now: Moment,
}

/// A step that may change `object` or refuse; returns warnings for the user. For a deletion `object` is null and `old`
/// what is deleted.
pub type Mutate = fn(
    &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status>;

/// A step that only refuses; otherwise as [`Mutate`].
pub type Validate = fn(
    &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status>;

/// Steps that change objects, in the order of kube-apiserver.
pub const MUTATING: &[(&str, Mutate)] = &[
    ("NamespaceLifecycle", namespace_lifecycle::admit),
    ("LimitRanger", limit_ranger::mutate),
    ("ServiceAccount", service_account::mutate),
    ("NodeRestriction", node_restriction::admit),
    ("TaintNodesByCondition", taints::mutate),
    ("Priority", priority::mutate),
    ("DefaultTolerationSeconds", tolerations::mutate),
    ("DefaultStorageClass", default_classes::storage),
    ("StorageObjectInUseProtection", protection::mutate),
    ("RuntimeClass", runtime_class::mutate),
    ("DefaultIngressClass", default_classes::ingress),
    // Kubernetes does this where the kind is stored.
    ("CertificateRequester", certificates::requester),
];

/// Steps that only refuse, in the order of kube-apiserver.
pub const VALIDATING: &[(&str, Validate)] = &[
    ("LimitRanger", limit_ranger::validate),
    ("ServiceAccount", service_account::validate),
    ("PodSecurity", pod_security::validate),
    ("Priority", priority::validate),
    ("PersistentVolumeClaimResize", resize::validate),
    ("RuntimeClass", runtime_class::validate),
    ("CertificateApproval", certificates::approval),
    ("CertificateSigning", certificates::signing),
    ("CertificateSubjectRestriction", certificates::subject),
];

/// A step that kube-apiserver has and does not run unless told to: who makes an object an owner must be able to
/// delete it.
pub const OWNER_REFERENCES_PERMISSION_ENFORCEMENT: (&str, Validate) =
    ("OwnerReferencesPermissionEnforcement", owner_references::validate);

/// Runs the changing steps. Returns warnings for the user.
///
/// # Errors
/// With the answer to the request, when a step refuses it.
pub fn mutate(
    attributes: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let mut warnings = Vec::new();
    for (_, step) in MUTATING {
        warnings.extend(step(attributes, object, old, world)?);
    }
    Ok(warnings)
}

/// Runs the steps that only refuse. Returns warnings for the user.
///
/// # Errors
/// With the answer to the request, when a step refuses it.
pub fn validate(
    attributes: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    let mut warnings = Vec::new();
    for (_, step) in VALIDATING {
        warnings.extend(step(attributes, object, old, world)?);
    }
    Ok(warnings)
}

impl Attributes<'_> {
    /// Whether the request concerns objects of a resource themselves, in one of these ways.
    pub fn is(&self, group: &str, resource: &str, operations: &[Operation]) -> bool {
        self.is_part(group, resource, "", operations)
    }

    /// Whether the request concerns a subresource, in one of these ways.
    pub fn is_part(&self, group: &str, resource: &str, part: &str, operations: &[Operation]) -> bool {
        (self.group, self.resource, self.subresource) == (group, resource, part)
            && operations.contains(&self.operation)
    }

    /// 403: `pods "web" is forbidden: message`. Names the object as well as it can be named before it has a name.
    pub fn forbidden(&self, object: &Value, message: &str) -> Status {
        let stem = object["metadata"]["generateName"].as_str().unwrap_or_default();
        let names = [self.name, object::name(object), stem, "Unknown"];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        Status::forbidden(Resource { group: self.group, name: self.resource }, name, message)
    }
}

/// Several complaints as one, as Go joins errors: one stands alone, more stand in brackets, each once.
fn joined(mut complaints: Vec<String>) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    complaints.retain(|complaint| seen.insert(complaint.clone()));
    match complaints.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        more => Some(format!("[{}]", more.join(", "))),
    }
}

/// The items of a list field; none where it is absent, which it stays.
fn items_mut<'a>(parent: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    parent.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// A list field of an object, made when it is absent.
fn list_mut<'a>(parent: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    if !parent[field].is_array() {
        parent[field] = Value::Array(Vec::new());
    }
    parent[field].as_array_mut().expect("it was made a list")
}
