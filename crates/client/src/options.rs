//! How a verb is meant.

use form_urlencoded::Serializer;
use serde_json::{Value, json};

/// Which objects are wanted; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// A label selector; empty selects all.
    pub labels: String,
    /// A field selector; empty selects all.
    pub fields: String,
}

impl Select {
    /// The object of this name.
    pub fn named(name: &str) -> Self {
        Self { fields: format!("metadata.name={name}"), ..Self::default() }
    }

    /// Those for which a field selector holds.
    pub fn fields(fields: impl Into<String>) -> Self {
        Self { fields: fields.into(), ..Self::default() }
    }

    /// Those for which a label selector holds.
    pub fn labels(labels: impl Into<String>) -> Self {
        Self { labels: labels.into(), ..Self::default() }
    }

    pub(crate) fn write(&self, query: &mut Serializer<'_, String>) {
        for (name, text) in [("labelSelector", &self.labels), ("fieldSelector", &self.fields)] {
            if !text.is_empty() {
                query.append_pair(name, text);
            }
        }
    }
}

/// A change of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 7386: fields replace, null removes.
    Merge(Value),
    /// As `kubectl` patches: lists are merged by their keys.
    Strategic(Value),
    /// RFC 6902: operations.
    Json(Value),
    /// Server-side apply: the object as `manager` wants it.
    Apply {
        /// With `apiVersion`, `kind` and name.
        object: Value,
        /// Who owns the fields.
        manager: String,
        /// Whether fields of others are taken over.
        force: bool,
    },
}

impl Patch {
    pub(crate) fn media_type(&self) -> &'static str {
        match self {
            Self::Merge(_) => "application/merge-patch+json",
            Self::Strategic(_) => "application/strategic-merge-patch+json",
            Self::Json(_) => "application/json-patch+json",
            Self::Apply { .. } => "application/apply-patch+yaml",
        }
    }

    pub(crate) fn body(&self) -> &Value {
        match self {
            Self::Merge(value) | Self::Strategic(value) | Self::Json(value) => value,
            Self::Apply { object, .. } => object,
        }
    }
}

/// How an object is deleted; the default leaves it to the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Seconds that it has to end; 0: at once.
    pub grace_seconds: Option<u32>,
    /// Only the object of this identity; empty: whichever has the name.
    pub uid: String,
    /// `Background`, `Foreground` or `Orphan`; empty: what the kind does.
    pub propagation: &'static str,
}

impl Deletion {
    /// At once, and only the object of this identity: how a node says that a pod is gone.
    pub fn confirmed(uid: &str) -> Self {
        Self { grace_seconds: Some(0), uid: uid.into(), propagation: "" }
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(seconds) = self.grace_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        if !self.uid.is_empty() {
            body["preconditions"] = json!({"uid": self.uid});
        }
        if !self.propagation.is_empty() {
            body["propagationPolicy"] = json!(self.propagation);
        }
        body
    }
}
