//! What is asked, and the answer.

use shoal_api::Status;
use shoal_api::status::Resource;

use super::User;

/// What a request wants to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; others such as `bind`,
    /// `escalate` and `impersonate`; the lower-case HTTP method where `path` is set.
    pub verb: &'a str,
    /// `apps`; empty for the core group.
    pub group: &'a str,
    /// `v1`.
    pub version: &'a str,
    /// `deployments`.
    pub resource: &'a str,
    /// `status`; empty when it is the object itself.
    pub subresource: &'a str,
    /// Empty for what has no namespace, and for all namespaces.
    pub namespace: &'a str,
    /// Name of the object; empty for a list, and for `create`.
    pub name: &'a str,
    /// The path of a request that concerns no resource; none for one that does.
    pub path: Option<&'a str>,
    /// The fields that a selector demands to be equal to a value: `("spec.nodeName", "edge-1")`.
    pub fields: &'a [(&'a str, &'a str)],
}

/// Whether it may be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// It may.
    pub allowed: bool,
    /// Why, in the words of Kubernetes; empty when there is nothing to say.
    pub reason: String,
}

impl<'a> Attributes<'a> {
    /// A request for a resource in the core group or another.
    pub fn resource(
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> Self {
        Self { verb, group, resource, namespace, name, ..Self::default() }
    }

    /// A request for a path.
    pub fn path(verb: &'a str, path: &'a str) -> Self {
        Self { verb, path: Some(path), ..Self::default() }
    }

    /// `deployments/scale`, `pods`.
    pub fn qualified_resource(&self) -> String {
        match self.subresource {
            "" => self.resource.into(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

impl Decision {
    /// It may be done.
    pub fn allow(reason: String) -> Self {
        Self { allowed: true, reason }
    }

    /// Nothing allows it.
    pub fn refuse(reason: impl Into<String>) -> Self {
        Self { allowed: false, reason: reason.into() }
    }
}

/// The answer to a request that may not be: 403.
pub fn forbidden(user: &User, attributes: &Attributes<'_>, reason: &str) -> Status {
    let mut message = refusal(user, attributes);
    for (character, escaped) in [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;")] {
        message = message.replace(character, escaped);
    }
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    let resource = Resource { group: attributes.group, name: attributes.resource };
    Status::forbidden(resource, attributes.name, &message)
}

fn refusal(user: &User, attributes: &Attributes<'_>) -> String {
    let (name, verb) = (&user.name, attributes.verb);
    if let Some(path) = attributes.path {
        return format!("User {name:?} cannot {verb} path {path:?}");
    }
    let what = format!("resource {:?} in API group {:?}", attributes.qualified_resource(), attributes.group);
    match attributes.namespace {
        "" => format!("User {name:?} cannot {verb} {what} at the cluster scope"),
        namespace => format!("User {name:?} cannot {verb} {what} in the namespace {namespace:?}"),
    }
}
