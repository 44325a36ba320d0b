//! From what an object says it is to where objects of its kind are.

use http::Method;
use serde_json::Value;

use crate::resource::escaped;
use crate::{Client, Error, Resource};

impl Client {
    /// Where the objects of a kind are; none: this API has no such kind.
    ///
    /// # Errors
    /// As every request.
    pub async fn find(&self, api_version: &str, kind: &str) -> Result<Option<Resource>, Error> {
        let found = self.exchange(Method::GET, &path(api_version), "", None).await;
        let known = match found {
            Ok(known) => known,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(resource(&known, api_version, kind))
    }
}

fn path(api_version: &str) -> String {
    match api_version.split_once('/') {
        None => format!("/api/{}", escaped(api_version)),
        Some((group, version)) => format!("/apis/{}/{}", escaped(group), escaped(version)),
    }
}

/// The kind in an `APIResourceList`; subresources have a slash in their names.
fn resource(known: &Value, api_version: &str, kind: &str) -> Option<Resource> {
    let all = known["resources"].as_array().into_iter().flatten();
    let mut own =
        all.filter(|one| one["kind"] == kind && one["name"].as_str().is_some_and(|name| !name.contains('/')));
    let found = own.next()?;
    Some(Resource {
        api_version: api_version.to_owned().into(),
        kind: kind.to_owned().into(),
        plural: found["name"].as_str()?.to_owned().into(),
        is_namespaced: found["namespaced"].as_bool().unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_told_from_their_parts() {
        let known = json!({"resources": [
            {"name": "deployments/scale", "kind": "Scale", "namespaced": true},
            {"name": "deployments/status", "kind": "Deployment", "namespaced": true},
            {"name": "deployments", "kind": "Deployment", "namespaced": true},
            {"name": "classes", "kind": "Class"},
        ]});
        let plural = |kind: &str| {
            resource(&known, "apps/v1", kind).map(|found| (found.plural.to_string(), found.is_namespaced))
        };
        assert_eq!(plural("Deployment"), Some(("deployments".into(), true)));
        assert_eq!(plural("Class"), Some(("classes".into(), false)));
        assert_eq!(plural("Scale"), None);
        assert_eq!(resource(&json!([]), "v1", "Pod"), None);
    }

    #[test]
    fn a_version_leads_nowhere_else() {
        assert_eq!(path("v1"), "/api/v1");
        assert_eq!(path("apps/v1"), "/apis/apps/v1");
        assert_eq!(path("x?/a/b"), "/apis/x%3F/a%2Fb");
    }
}
