//! Reviews: objects that ask who somebody is and what they may do, and are never stored.

use serde_json::{Value, json};
use shoal_api::field::{Error, Path};
use shoal_api::{GroupKind, Status, object};

use super::{Attributes, Authorizer, Decision, Rule, User};

const AUTHORIZATION: &str = "authorization.k8s.io";

/// Answers a `SubjectAccessReview`: may somebody else do it?
///
/// # Errors
/// 422 when the review does not say who and what.
pub fn subject_access(authorizer: &Authorizer, review: &Value) -> Result<Value, Status> {
    let mut errors = check_spec(review, true);
    if has_metadata(review, &[]) {
        errors.push(Error::invalid(&Path::new("metadata"), &review["metadata"], "must be empty"));
    }
    answer(authorizer, &User::from_spec(&review["spec"]), review, &errors)
}

/// Answers a `LocalSubjectAccessReview`: may somebody else do it in this namespace?
///
/// # Errors
/// 422 when the review does not say who and what, 400 when it asks about another namespace.
pub fn local_subject_access(
    authorizer: &Authorizer,
    namespace: &str,
    review: &Value,
) -> Result<Value, Status> {
    let mut errors = check_spec(review, true);
    if has_metadata(review, &["namespace"]) {
        let detail = "must be empty except for namespace";
        errors.push(Error::invalid(&Path::new("metadata"), &review["metadata"], detail));
    }
    let spec = &review["spec"];
    let asked = &spec["resourceAttributes"]["namespace"];
    if spec["resourceAttributes"].is_object() && asked.as_str().unwrap_or_default() != namespace {
        let path = Path::new("spec.resourceAttributes.namespace");
        errors.push(Error::invalid(
            &path,
            &json!(asked.as_str().unwrap_or_default()),
            "must match metadata.namespace",
        ));
    }
    if spec["nonResourceAttributes"].is_object() {
        let path = Path::new("spec.nonResourceAttributes");
        let detail = "disallowed on this kind of request";
        errors.push(Error::invalid(&path, &spec["nonResourceAttributes"], detail));
    }
    answer(authorizer, &User::from_spec(spec), review, &errors)
}

/// Answers a `SelfSubjectAccessReview`: may I do it?
///
/// # Errors
/// 422 when the review does not say what.
pub fn self_subject_access(authorizer: &Authorizer, user: &User, review: &Value) -> Result<Value, Status> {
    let mut errors = check_spec(review, false);
    if has_metadata(review, &[]) {
        errors.push(Error::invalid(&Path::new("metadata"), &review["metadata"], "must be empty"));
    }
    answer(authorizer, user, review, &errors)
}

/// Answers a `SelfSubjectRulesReview`: what may I do in this namespace?
///
/// # Errors
/// 400 when the review names no namespace.
pub fn self_subject_rules(authorizer: &Authorizer, user: &User, review: &Value) -> Result<Value, Status> {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let resolved = authorizer.rules.rules_for(user, namespace);
    let mut errors = resolved.errors;
    if user.node_name().is_some() {
        errors.insert(0, "node authorizer does not support user rule resolution".into());
    }
    let is_resource = |rule: &&Rule| !rule.resources.is_empty();
    let is_path = |rule: &&Rule| !rule.urls.is_empty();
    let resource_rule = |rule: &Rule| Rule { urls: Vec::new(), ..rule.clone() }.to_value();
    let path_rule = |rule: &Rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls});
    let mut status = json!({
        "resourceRules": resolved.rules.iter().filter(is_resource).map(resource_rule).collect::<Vec<_>>(),
        "nonResourceRules": resolved.rules.iter().filter(is_path).map(path_rule).collect::<Vec<_>>(),
        "incomplete": user.node_name().is_some(),
    });
    if !errors.is_empty() {
        status["evaluationError"] = json!(super::index::joined(&errors));
    }
    Ok(json!({
        "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1",
        "metadata": {"creationTimestamp": null}, "spec": {}, "status": status,
    }))
}

/// Answers a `SelfSubjectReview`: who am I? `now` is the time, as RFC 3339.
pub fn self_subject(user: &User, now: &str) -> Value {
    json!({
        "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": now}, "status": {"userInfo": user.to_value()},
    })
}

fn answer(authorizer: &Authorizer, user: &User, review: &Value, errors: &[Error]) -> Result<Value, Status> {
    if !errors.is_empty() {
        // The kind is unknown where kube-apiserver checks it, so its name is empty.
        let kind = GroupKind { group: AUTHORIZATION.into(), kind: String::new() };
        return Err(Status::invalid(&kind, "", errors));
    }
    let decision = decide(authorizer, user, &review["spec"]);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = json!(decision.reason);
    }
    let mut answer = review.clone();
    object::metadata_mut(&mut answer).entry("creationTimestamp").or_insert(Value::Null);
    answer["status"] = status;
    Ok(answer)
}

fn decide(authorizer: &Authorizer, user: &User, spec: &Value) -> Decision {
    let resource = &spec["resourceAttributes"];
    if !resource.is_object() {
        let path = &spec["nonResourceAttributes"];
        let text = |field: &str| path[field].as_str().unwrap_or_default();
        return authorizer.authorize(user, &Attributes::path(text("verb"), text("path")));
    }
    let text = |field: &str| resource[field].as_str().unwrap_or_default();
    let fields = equal_fields(&resource["fieldSelector"]);
    let attributes = Attributes {
        verb: text("verb"),
        group: text("group"),
        version: if text("version").is_empty() { "*" } else { text("version") },
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        path: None,
        fields: &fields,
    };
    authorizer.authorize(user, &attributes)
}

/// The fields that must equal one value.
fn equal_fields(selector: &Value) -> Vec<(&str, &str)> {
    let requirements = selector["requirements"].as_array().into_iter().flatten();
    let structured = requirements.filter_map(|requirement| {
        let [value] = requirement["values"].as_array()?.as_slice() else { return None };
        (requirement["operator"] == "In").then_some((requirement["key"].as_str()?, value.as_str()?))
    });
    let raw = selector["rawSelector"].as_str().unwrap_or_default().split(',');
    let raw = raw.filter_map(|term| {
        let (key, value) = term.split_once('=')?;
        (!key.ends_with('!')).then(|| (key, value.strip_prefix('=').unwrap_or(value)))
    });
    structured.chain(raw).collect()
}

fn check_spec(review: &Value, names_user: bool) -> Vec<Error> {
    let (spec, path) = (&review["spec"], Path::new("spec"));
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut errors = Vec::new();
    if resource.is_object() && other.is_object() {
        let detail = "cannot be specified in combination with resourceAttributes";
        errors.push(Error::invalid(&path.child("nonResourceAttributes"), other, detail));
    }
    if !resource.is_object() && !other.is_object() {
        let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(Error::invalid(&path.child("resourceAttributes"), &Value::Null, detail));
    }
    let has_groups = spec["groups"].as_array().is_some_and(|groups| !groups.is_empty());
    if names_user && spec["user"].as_str().unwrap_or_default().is_empty() && !has_groups {
        errors.push(Error::invalid(
            &path.child("user"),
            &json!(""),
            "at least one of user or group must be specified",
        ));
    }
    errors
}

/// Whether a review has metadata of its own, other than some fields and those that servers write.
fn has_metadata(review: &Value, but: &[&str]) -> bool {
    let fields = review["metadata"].as_object().into_iter().flatten();
    let is_given = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    fields
        .into_iter()
        .any(|(key, value)| key != "managedFields" && !but.contains(&key.as_str()) && is_given(value))
}
