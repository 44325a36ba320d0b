//! From one version of a custom resource to another.
//!
//! With the strategy `None` only `apiVersion` changes. With `Webhook` somebody else converts: here is what is sent, and
//! what may come back; sending is the caller's.

use serde_json::{Value, json};
use shoal_api::Status;

/// Versions of `ConversionReview` that are spoken.
pub const REVIEW_VERSIONS: [&str; 1] = ["v1"];

/// Writes `apiVersion`, the conversion with the strategy `None`.
pub fn rewrite(object: &mut Value, api_version: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".into(), api_version.into());
    }
}

/// The body for a conversion webhook; none when no object needs it.
pub fn review(uid: &str, desired_api_version: &str, objects: &[Value]) -> Option<Value> {
    let foreign: Vec<&Value> =
        objects.iter().filter(|object| object["apiVersion"].as_str() != Some(desired_api_version)).collect();
    (!foreign.is_empty()).then(|| {
        json!({
            "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "request": {"uid": uid, "desiredAPIVersion": desired_api_version, "objects": foreign},
        })
    })
}

/// The objects from the answer of a webhook, in their order, with those that needed no conversion between them.
///
/// # Errors
/// A [`Status`] of 500 that says what is wrong with the answer, or what the webhook said.
pub fn accept(
    webhook: &str,
    uid: &str,
    desired_api_version: &str,
    objects: &[Value],
    answer: &Value,
) -> Result<Vec<Value>, Status> {
    let kind = objects.first().map_or("object", |object| object["kind"].as_str().unwrap_or("object"));
    let refuse = |message: String| {
        Status::internal(format!(
            "conversion webhook for {desired_api_version}, Kind={kind} failed: {message}"
        ))
    };
    let response = &answer["response"];
    if answer["kind"] != "ConversionReview" || answer["apiVersion"] != "apiextensions.k8s.io/v1" {
        return Err(refuse(format!(
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {}, Kind={}",
            answer["apiVersion"].as_str().unwrap_or_default(),
            answer["kind"].as_str().unwrap_or_default()
        )));
    }
    if response["uid"].as_str() != Some(uid) {
        return Err(refuse(format!(
            "expected response.uid {uid:?}, got {:?}",
            response["uid"].as_str().unwrap_or_default()
        )));
    }
    if response["result"]["status"] != "Success" {
        let message = response["result"]["message"].as_str().filter(|message| !message.is_empty());
        return Err(refuse(message.unwrap_or("server returned no result").into()));
    }
    let needs = |object: &&Value| object["apiVersion"].as_str() != Some(desired_api_version);
    let sent = objects.iter().filter(needs).count();
    let converted = response["convertedObjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    if converted.len() != sent {
        return Err(refuse(format!("webhook returned {} objects, expected {sent}", converted.len())));
    }
    let mut converted = converted.iter();
    let mut whole = Vec::with_capacity(objects.len());
    for (index, object) in objects.iter().enumerate() {
        if !needs(&object) {
            whole.push(object.clone());
            continue;
        }
        let Some(new) = converted.next() else { return Err(refuse("an object is missing".into())) };
        let new = kept(object, new, desired_api_version).map_err(|message| {
            refuse(format!("invalid converted object at index {index}: {message} ({webhook})"))
        })?;
        whole.push(new);
    }
    Ok(whole)
}

/// A converted object with the metadata it had: a webhook may change labels and annotations only.
fn kept(old: &Value, new: &Value, desired_api_version: &str) -> Result<Value, String> {
    let same = |field: &str| old["metadata"][field] == new["metadata"][field];
    if new["apiVersion"].as_str() != Some(desired_api_version) {
        return Err(format!(
            "invalid groupVersion, received {:?}, expected {desired_api_version:?}",
            new["apiVersion"].as_str().unwrap_or_default()
        ));
    }
    if new["kind"] != old["kind"] {
        return Err(format!("invalid kind, received {}, expected {}", new["kind"], old["kind"]));
    }
    for field in ["name", "namespace", "uid"] {
        if !same(field) {
            return Err(format!(
                "invalid metadata.{field}, received {}, expected {}",
                new["metadata"][field], old["metadata"][field]
            ));
        }
    }
    let mut metadata = old["metadata"].clone();
    for field in ["labels", "annotations"] {
        match (metadata.as_object_mut(), new["metadata"].get(field)) {
            (Some(metadata), Some(value)) if !value.is_null() => {
                metadata.insert(field.into(), value.clone());
            }
            (Some(metadata), _) => {
                metadata.remove(field);
            }
            _ => {}
        }
    }
    let mut new = new.clone();
    new["metadata"] = metadata;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widget(version: &str, label: &str) -> Value {
        json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget",
            "metadata": {"name": "a", "uid": "u", "labels": {"l": label}, "resourceVersion": "3"}})
    }

    #[test]
    fn only_foreign_versions_are_sent_and_put_back_in_place() {
        let objects = [widget("v2", "x"), widget("v1", "x")];
        let review = review("1", "example.com/v2", &objects).expect("one is of another version");
        assert_eq!(review["request"]["objects"], json!([objects[1]]));
        assert_eq!(super::review("1", "example.com/v2", &objects[..1]), None);
        let mut new = widget("v2", "y");
        new["metadata"]["resourceVersion"] = json!("9");
        let answer = |response: Value| json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
        let good = answer(json!({"uid": "1", "result": {"status": "Success"}, "convertedObjects": [new]}));
        let whole = accept("w", "1", "example.com/v2", &objects, &good).expect("converted");
        assert_eq!(whole, [objects[0].clone(), widget("v2", "y")]);
    }

    #[test]
    fn answers_that_cannot_be_are_refused() {
        let objects = [widget("v1", "x")];
        let mut renamed = widget("v2", "x");
        renamed["metadata"]["name"] = json!("b");
        for (response, expected) in [
            (json!({"uid": "2"}), "expected response.uid"),
            (json!({"uid": "1", "result": {"status": "Failure", "message": "no"}}), "failed: no"),
            (json!({"uid": "1", "result": {"status": "Success"}}), "returned 0 objects, expected 1"),
            (
                json!({"uid": "1", "result": {"status": "Success"}, "convertedObjects": [renamed]}),
                "metadata.name",
            ),
            (
                json!({"uid": "1", "result": {"status": "Success"}, "convertedObjects": [widget("v3", "x")]}),
                "groupVersion",
            ),
        ] {
            let answer = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
            let status = accept("w", "1", "example.com/v2", &objects, &answer).expect_err("refused");
            assert!(status.message.contains(expected), "{status}");
        }
    }
}
