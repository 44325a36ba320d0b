//! Reviews: questions about who somebody is, and what somebody may do.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{child, given, list, number, set_missing, text};

/// Shortest life of a token that can be asked for, in seconds.
const TOKEN_SECONDS_MIN: i64 = 600;

/// Longest life of a token that can be asked for, in seconds.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// A token lives an hour, unless something is said.
pub(super) fn default_token(request: &mut Value) {
    if let Some(spec) = child(request, "spec") {
        set_missing(spec, "expirationSeconds", 3600);
    }
}

/// A question about an access of somebody.
pub(super) fn validate_access(review: &Value, faults: &mut Faults) {
    let (spec, path) = (&review["spec"], Path::new("spec"));
    one_of_two(spec, &path, faults);
    if text(spec, "user").is_empty() && list(spec, "groups").is_empty() {
        faults.invalid(&path.child("user"), "", "at least one of user or group must be specified");
    }
}

/// A question about an access of somebody in one namespace.
pub(super) fn validate_local_access(review: &Value, faults: &mut Faults) {
    validate_access(review, faults);
    let (spec, meta) = (&review["spec"], &review["metadata"]);
    if given(spec, "nonResourceAttributes") {
        let message = "disallowed on this kind of request";
        faults.invalid(
            &Path::new("spec.nonResourceAttributes"),
            spec["nonResourceAttributes"].clone(),
            message,
        );
    }
    let asked = text(&spec["resourceAttributes"], "namespace");
    if asked != text(meta, "namespace") {
        let message = "must match metadata.namespace";
        faults.invalid(&Path::new("spec.resourceAttributes.namespace"), asked, message);
    }
}

/// A question about an access of one's own.
pub(super) fn validate_own_access(review: &Value, faults: &mut Faults) {
    one_of_two(&review["spec"], &Path::new("spec"), faults);
}

fn one_of_two(spec: &Value, path: &Path, faults: &mut Faults) {
    let (resource, other) = (given(spec, "resourceAttributes"), given(spec, "nonResourceAttributes"));
    if resource && other {
        let message = "cannot be specified in combination with resourceAttributes";
        let shown = spec["nonResourceAttributes"].clone();
        faults.invalid(&path.child("nonResourceAttributes"), shown, message);
    }
    if !resource && !other {
        let message = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        faults.invalid(&path.child("resourceAttributes"), "null", message);
    }
}

/// A request for a token.
pub(super) fn validate_token(request: &Value, faults: &mut Faults) {
    let seconds = number(&request["spec"], "expirationSeconds");
    let path = Path::new("spec.expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        faults.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        faults.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
}
