//! Who owns the replicas, through `scale`.

use serde_json::{Value, json};
use shoal_api::apply::{scale_to_parent, scale_to_subresource};

fn entry(manager: &str, operation: &str, version: &str, fields: &Value, subresource: &str) -> Value {
    let mut entry = json!({
        "manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": fields,
    });
    if !subresource.is_empty() {
        entry["subresource"] = json!(subresource);
    }
    entry
}

#[test]
fn replicas_go_to_whoever_scales() {
    let paths = &[("apps/v1".into(), vec!["spec".into(), "replicas".into()])];
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    let both = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
    let parent = json!([
        entry("a", "Apply", "apps/v1", &both, ""),
        entry("b", "Update", "apps/v1", &json!({"f:spec": {"f:paused": {}}}), ""),
        entry("gone", "Update", "apps/v1beta1", &replicas, ""),
    ]);
    let scale = scale_to_subresource(&parent, paths);
    assert_eq!(scale, json!([entry("a", "Apply", "autoscaling/v1", &replicas, "")]));
    // Nobody has changed them: all stays, but for a version that is not known any more.
    let kept = json!([parent[0], parent[1]]);
    assert_eq!(scale_to_parent(&parent, &scale, "apps/v1", paths), kept);
    let scaled = json!([entry("hpa", "Update", "autoscaling/v1", &replicas, "scale")]);
    assert_eq!(
        scale_to_parent(&parent, &scaled, "apps/v1", paths),
        json!([
            entry("a", "Apply", "apps/v1", &json!({"f:spec": {"f:paused": {}}}), ""),
            parent[1],
            entry("hpa", "Update", "apps/v1", &replicas, "scale"),
        ])
    );
    assert_eq!(scale_to_subresource(&json!(null), paths), json!(null));
}
