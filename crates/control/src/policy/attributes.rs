//! A request, as admission sees it.

use serde_json::{Value, json};
use shoal_api::{GroupVersion, GroupVersionKind};

use crate::rbac::User;

/// A request, as admission sees it.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// What is done.
    pub operation: Operation,
    /// The kind of the object.
    pub kind: GroupVersionKind,
    /// Group of the resource; empty for the core group.
    pub group: String,
    /// Version of the resource.
    pub version: String,
    /// Other versions that serve the same objects (`autoscaling/v2` beside `autoscaling/v1`), for rules that name only
    /// these.
    pub equivalents: Vec<GroupVersion>,
    /// `deployments`.
    pub resource: String,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: String,
    /// Name of the object; empty when it is still to be generated.
    pub name: String,
    /// Its namespace; empty for objects without one. That of a Namespace is its own name.
    pub namespace: String,
    /// The object as it shall be; null for a deletion.
    pub object: Value,
    /// The object as it was; null for a creation.
    pub old_object: Value,
    /// Options of the request (`CreateOptions` …); null when there are none.
    pub options: Value,
    /// Whether nothing is stored.
    pub dry_run: bool,
    /// Who asks.
    pub user: User,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    #[default]
    Create,
    /// It is changed.
    Update,
    /// It goes.
    Delete,
    /// A connection to it is opened (`exec`, `proxy`).
    Connect,
}

impl Operation {
    /// As rules and requests write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

impl Attributes {
    /// The version that was asked for.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(&self.group, &self.version)
    }

    /// The resource and its subresource: `pods/status`.
    pub fn path(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    /// As the variable `request` of expressions shows it: an AdmissionRequest without its objects. `meant` is the version
    /// in which the objects are shown, from [`super::Matcher::version`].
    pub fn request(&self, uid: &str, meant: &GroupVersion) -> Value {
        let kind =
            |group: &str, version: &str| json!({"group": group, "version": version, "kind": self.kind.kind});
        let resource = |group: &str, version: &str| json!({"group": group, "version": version, "resource": self.resource});
        let own = (self.group == meant.group && self.version == meant.version)
            .then(|| kind(&self.kind.group, &self.kind.version));
        let mut request = json!({
            "uid": uid, "kind": own.unwrap_or_else(|| kind(&meant.group, &meant.version)),
            "resource": resource(&meant.group, &meant.version),
            "requestKind": kind(&self.kind.group, &self.kind.version),
            "requestResource": resource(&self.group, &self.version),
            "operation": self.operation.name(), "userInfo": self.user.to_value(), "dryRun": self.dry_run,
        });
        for (field, text) in [
            ("subResource", &self.subresource),
            ("requestSubResource", &self.subresource),
            ("name", &self.name),
            ("namespace", &self.namespace),
        ] {
            if !text.is_empty() {
                request[field] = text.as_str().into();
            }
        }
        if !self.options.is_null() {
            request["options"] = self.options.clone();
        }
        request
    }
}
