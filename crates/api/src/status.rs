//! The answer to a request that failed, in the words of Kubernetes.

use serde_json::{Value, json};

use crate::GroupKind;
use crate::field;

/// Why a request failed; what a client reads as `kind: Status`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// One word that clients branch on: `NotFound`, `Conflict`.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// What it concerns.
    pub details: Option<Box<Details>>,
    /// Of a list whose revision is gone: what it may be gone on with all the same; mostly empty.
    pub continue_token: String,
}

/// What a failure concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object; empty where there is none.
    pub name: String,
    /// Group of the resource or kind.
    pub group: String,
    /// Resource (`deployments`) or, for invalid objects, kind (`Deployment`).
    pub kind: String,
    /// Identity of the object; empty where it is not known.
    pub uid: String,
    /// What is wrong, one by one.
    pub causes: Vec<Cause>,
    /// When to try again, in seconds; 0 says nothing.
    pub retry_after_seconds: u32,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldManagerConflict`, …
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// The field, as a path; empty where it is none.
    pub field: String,
}

/// A resource as messages name it: `deployments.apps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// `apps`; empty for the core group.
    pub group: &'a str,
    /// `deployments`.
    pub name: &'a str,
}

impl Status {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: String::new() }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: nobody knows who asks.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: `secrets "x" is forbidden: message`.
    pub fn forbidden(resource: Resource<'_>, name: &str, message: &str) -> Self {
        let subject = match (resource.name, name) {
            ("", _) => "forbidden".into(),
            (_, "") => format!("{} is forbidden", resource.qualified()),
            (_, name) => format!("{} {name:?} is forbidden", resource.qualified()),
        };
        let status = Self::new(403, "Forbidden", format!("{subject}: {message}"));
        status.about(name, resource.group, resource.name)
    }

    /// 404: there is no such object.
    pub fn not_found(resource: Resource<'_>, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::new(404, "NotFound", message).about(name, resource.group, resource.name)
    }

    /// 404: there is no such path.
    pub fn no_such_path() -> Self {
        let details = Details::default();
        let mut status = Self::new(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(Box::new(details));
        status
    }

    /// 405: the resource has no such verb.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with_details(Details::default())
    }

    /// 406: none of the media types that the client takes can be made. `accepted` lists those that can.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let accepted = accepted.join(", ");
        let message = format!("only the following media types are accepted: {accepted}");
        Self::new(406, "NotAcceptable", message)
    }

    /// 409: there is one of this name.
    pub fn already_exists(resource: Resource<'_>, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(name, resource.group, resource.name)
    }

    /// 409: `Operation cannot be fulfilled on …: message`.
    pub fn conflict(resource: Resource<'_>, name: &str, message: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {message}", resource.qualified());
        Self::new(409, "Conflict", message).about(name, resource.group, resource.name)
    }

    /// 409: the object has changed since it was read.
    pub fn modified(resource: Resource<'_>, name: &str) -> Self {
        let message =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, message)
    }

    /// 410: the revision asked for is compacted.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413: the request is too large.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 415: the body is of a type that cannot be read. `supported` lists those that can.
    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        let supported = supported.join(", ");
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {supported}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422: fields are wrong.
    pub fn invalid(kind: &GroupKind, name: &str, errors: &[field::Error]) -> Self {
        // Some checks say a thing twice; the sentence names it once, the causes name all.
        let mut list: Vec<String> = Vec::new();
        for text in errors.iter().map(ToString::to_string) {
            if !list.contains(&text) {
                list.push(text);
            }
        }
        let all = if let [one] = list.as_slice() { one.clone() } else { format!("[{}]", list.join(", ")) };
        let causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.reason.name().into(),
                message: error.message.clone(),
                field: error.path.to_string(),
            })
            .collect();
        Self::new(422, "Invalid", format!("{kind} {name:?} is invalid: {all}")).with_details(Details {
            name: name.into(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes,
            ..Details::default()
        })
    }

    /// 429: try again after so many seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let details = Details { retry_after_seconds, ..Details::default() };
        Self::new(429, "TooManyRequests", message).with_details(details)
    }

    /// 500: a mistake of ours.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let text = message.to_string();
        let cause = Cause { message: text.clone(), ..Cause::default() };
        let details = Details { causes: vec![cause], ..Details::default() };
        Self::new(500, "InternalError", format!("Internal error occurred: {text}")).with_details(details)
    }

    /// 503: not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504: it took too long.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// With what it concerns.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// As clients read it.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        if self.reason.is_empty() {
            status.as_object_mut().and_then(|status| status.remove("reason"));
        }
        if !self.continue_token.is_empty() {
            status["metadata"]["continue"] = json!(self.continue_token);
        }
        status
    }

    fn about(self, name: &str, group: &str, kind: &str) -> Self {
        self.with_details(Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            ..Details::default()
        })
    }
}

impl Details {
    /// As clients read it; what is empty is left out.
    pub fn to_value(&self) -> Value {
        let mut value = json!({});
        let texts = [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            value[field] = json!(text);
        }
        if !self.causes.is_empty() {
            value["causes"] = self.causes.iter().map(Cause::to_value).collect();
        }
        if self.retry_after_seconds > 0 {
            value["retryAfterSeconds"] = json!(self.retry_after_seconds);
        }
        value
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut value = json!({});
        let texts = [("reason", &self.reason), ("message", &self.message), ("field", &self.field)];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            value[field] = json!(text);
        }
        value
    }
}

impl Resource<'_> {
    /// `deployments.apps`; `pods`.
    pub fn qualified(self) -> String {
        if self.group.is_empty() { self.name.into() } else { format!("{}.{}", self.name, self.group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Error, Path};

    #[test]
    fn failures_read_as_those_of_kubernetes() {
        let deployments = Resource { group: "apps", name: "deployments" };
        assert_eq!(
            Status::not_found(deployments, "web").to_value(),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound",
                "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404,
            })
        );
        let size = Error::invalid(&Path::new("spec").child("size"), &json!(0), "must be at least 1");
        let widget = GroupKind { group: "example.com".into(), kind: "Widget".into() };
        assert_eq!(
            Status::invalid(&widget, "w1", std::slice::from_ref(&size)).message,
            "Widget.example.com \"w1\" is invalid: spec.size: Invalid value: 0: must be at least 1"
        );
        let name = Error::required(&Path::new("spec").child("name"), "");
        let two = Status::invalid(&widget, "w1", &[size.clone(), name]);
        assert!(two.message.contains("is invalid: [spec.size: "), "{two}");
        let twice = Status::invalid(&widget, "w1", &[size.clone(), size]);
        assert!(twice.message.contains("is invalid: spec.size: "), "{twice}");
        assert_eq!(
            twice.details.map(|details| details.causes.len()),
            Some(2),
            "a sentence once, its causes all"
        );
    }
}
