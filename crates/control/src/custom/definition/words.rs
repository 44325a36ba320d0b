//! Who may use groups of the community.

use serde_json::Value;
use shoal_api::object;

/// The annotation that says who has approved of a group of the community.
pub(super) const APPROVED_ANNOTATION: &str = "api-approved.kubernetes.io";

/// Whether a definition may use its group.
pub(super) enum Approval {
    /// The group is nobody's.
    NotNeeded,
    /// It needs a word, and has none.
    Missing,
    /// Approved at this address.
    Approved(String),
    /// Knowingly not approved.
    Bypassed(String),
    /// The word says neither.
    Unreadable(String),
}

impl Approval {
    /// The condition that shows it.
    pub(super) fn condition(&self) -> Option<(bool, &'static str, String)> {
        Some(match self {
            Self::NotNeeded => return None,
            Self::Missing => (false, "MissingAnnotation", missing()),
            Self::Approved(url) => (true, "ApprovedAnnotation", format!("approved in {url}")),
            Self::Bypassed(reason) => (false, "UnapprovedAnnotation", format!("not approved: {reason:?}")),
            Self::Unreadable(_) => (false, "InvalidAnnotation", unreadable()),
        })
    }
}

/// Reads the annotation.
pub(super) fn approval(definition: &Value) -> Approval {
    let group = definition["spec"]["group"].as_str().unwrap_or_default();
    let is_of = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if !is_of("k8s.io") && !is_of("kubernetes.io") {
        return Approval::NotNeeded;
    }
    let word = object::annotation(definition, APPROVED_ANNOTATION).unwrap_or_default();
    let address = word.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    match word {
        "" => Approval::Missing,
        word if word.starts_with("unapproved") => Approval::Bypassed(word.into()),
        word if address => Approval::Approved(word.into()),
        word => Approval::Unreadable(word.into()),
    }
}

/// What is said when the annotation is missing.
pub(super) fn missing() -> String {
    format!(
        "protected groups must have approval annotation {APPROVED_ANNOTATION:?}, see https://github.com/kubernetes/enhancements/pull/1111"
    )
}

/// What is said when the annotation says neither.
pub(super) fn unreadable() -> String {
    format!(
        "protected groups must have approval annotation {APPROVED_ANNOTATION:?} with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
    )
}
