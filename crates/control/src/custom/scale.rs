//! The subresource `scale` of a custom resource: `autoscaling/v1` Scale, read from and written to its paths.

use serde_json::{Value, json};
use shoal_api::field::{Error, Path};
use shoal_api::object;

use super::paths::FieldPath;

/// Where a custom resource keeps what a Scale shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// `specReplicasPath`.
    pub spec_replicas: FieldPath,
    /// `statusReplicasPath`.
    pub status_replicas: FieldPath,
    /// `labelSelectorPath`.
    pub label_selector: Option<FieldPath>,
}

impl ScalePaths {
    /// From `subresources` of a version; none when it has no scale.
    pub fn new(subresources: &Value) -> Option<Self> {
        let path = |field: &str| FieldPath::new(subresources["scale"][field].as_str()?);
        Some(Self {
            spec_replicas: path("specReplicasPath")?,
            status_replicas: path("statusReplicasPath")?,
            label_selector: path("labelSelectorPath"),
        })
    }

    /// The Scale of an object.
    ///
    /// # Errors
    /// A sentence, when the object has no replicas in its spec.
    pub fn get(&self, object: &Value) -> Result<Value, String> {
        let replicas = self.spec_replicas.get(object).filter(|value| !value.is_null());
        let replicas = replicas.ok_or_else(|| {
            let path = self.spec_replicas.names().collect::<Vec<_>>().join(".");
            format!("the spec replicas field \".{path}\" does not exist")
        })?;
        let status = self.status_replicas.get(object).and_then(Value::as_i64).unwrap_or(0);
        let mut scale = json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {},
            "spec": {}, "status": {"replicas": status},
        });
        for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = object["metadata"].get(field) {
                scale["metadata"][field] = value.clone();
            }
        }
        // A count of zero is left out, as in Go.
        if let Some(count) = replicas.as_i64().filter(|count| *count != 0) {
            scale["spec"]["replicas"] = count.into();
        }
        let selector = self.label_selector.as_ref().and_then(|path| path.get(object)).and_then(Value::as_str);
        if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
            scale["status"]["selector"] = selector.into();
        }
        Ok(scale)
    }

    /// Writes the replicas of a Scale, and its resource version, into the object.
    ///
    /// # Errors
    /// A sentence, when the object has something else where they belong.
    pub fn set(&self, object: &mut Value, scale: &Value) -> Result<(), String> {
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        self.spec_replicas.set(object, replicas.into())?;
        let version = object::resource_version(scale);
        if !version.is_empty() {
            let version = version.to_string();
            object::metadata_mut(object).insert("resourceVersion".into(), version.into());
        }
        Ok(())
    }

    /// What is wrong with the counts of an object.
    pub fn validate(&self, object: &Value) -> Vec<Error> {
        let check = |path: &FieldPath, name: &Path| {
            let value = path.get(object)?;
            let count = value.as_i64()?;
            if count < 0 {
                return Some(Error::invalid(name, value, "should be a non-negative integer"));
            }
            let detail = format!("should be less than or equal to {}", i32::MAX);
            (count > i64::from(i32::MAX)).then(|| Error::invalid(name, value, &detail))
        };
        let path = |path: &FieldPath| Path::new(&format!(".{}", path.names().collect::<Vec<_>>().join(".")));
        [&self.spec_replicas, &self.status_replicas]
            .into_iter()
            .filter_map(|one| check(one, &path(one)))
            .collect()
    }
}

/// What is wrong with a Scale that a client sent.
pub fn validate(scale: &Value) -> Vec<Error> {
    let replicas = &scale["spec"]["replicas"];
    let path = Path::new("spec").child("replicas");
    match replicas.as_i64() {
        Some(count) if count < 0 => {
            vec![Error::invalid(&path, replicas, "must be greater than or equal to 0")]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_read_and_written() {
        let subresources = json!({"scale": {
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }});
        let paths = ScalePaths::new(&subresources).expect("a scale");
        let mut widget = json!({
            "metadata": {"name": "w1", "namespace": "default", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
            "spec": {"replicas": 4}, "status": {"selector": "app=w1"},
        });
        assert_eq!(
            paths.get(&widget),
            Ok(json!({
                "kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": {"name": "w1", "namespace": "default", "uid": "u", "resourceVersion": "7"},
                "spec": {"replicas": 4}, "status": {"replicas": 0, "selector": "app=w1"},
            }))
        );
        paths
            .set(&mut widget, &json!({"metadata": {"resourceVersion": "8"}, "spec": {"replicas": 5}}))
            .expect("written");
        assert_eq!((&widget["spec"]["replicas"], object::resource_version(&widget)), (&json!(5), "8"));
        assert_eq!(
            paths.get(&json!({"metadata": {}})),
            Err("the spec replicas field \".spec.replicas\" does not exist".into())
        );
        assert_eq!(
            paths.validate(&json!({"spec": {"replicas": -1}}))[0].to_string(),
            ".spec.replicas: Invalid value: -1: should be a non-negative integer"
        );
        assert_eq!(ScalePaths::new(&json!({"status": {}})), None);
    }
}
