//! Subresources, printer columns and conversion of a definition.

use std::collections::BTreeSet;

use serde_json::Value;
use shoal_api::field::{Error, Path, Reason};
use shoal_api::names::dns1035_label as label_1035;

use super::spec::one_of;
use crate::custom::conversion::REVIEW_VERSIONS;
use crate::custom::go;

pub(super) fn subresources(subresources: &Value, path: &Path) -> Vec<Error> {
    let scale = &subresources["scale"];
    if !scale.is_object() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for (field, above, required) in [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."], true),
        ("labelSelectorPath", &[".status.", ".spec."], false),
    ] {
        let path = path.child(&format!("scale.{field}"));
        let text = scale[field].as_str().unwrap_or_default();
        match text {
            "" if required => errors.push(Error::required(&path, "")),
            "" => {}
            text => match simple_path(text, &path) {
                Some(error) => errors.push(error),
                None if !above.iter().any(|above| text.starts_with(above)) => {
                    let detail = match field {
                        "specReplicasPath" => "should be a json path under .spec",
                        "statusReplicasPath" => "should be a json path under .status",
                        _ => "should be a json path under either .spec or .status",
                    };
                    errors.push(Error::invalid(&path, &text.into(), detail));
                }
                None => {}
            },
        }
    }
    errors
}

pub(super) fn columns(columns: &Value, path: &Path) -> Vec<Error> {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let mut errors = Vec::new();
    for (index, column) in columns.as_array().into_iter().flatten().enumerate() {
        let path = path.index(index);
        let text = |field: &str| column[field].as_str().unwrap_or_default();
        if text("name").is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        match text("type") {
            "" => {
                let detail = format!("must be one of {}", TYPES.join(","));
                errors.push(Error::required(&path.child("type"), &detail));
            }
            ty if !TYPES.contains(&ty) => {
                let detail = format!("must be one of {}", TYPES.join(","));
                errors.push(Error::invalid(&path.child("type"), &column["type"], &detail));
            }
            _ => {}
        }
        if !text("format").is_empty() && !FORMATS.contains(&text("format")) {
            let detail = format!("must be one of {}", FORMATS.join(","));
            errors.push(Error::invalid(&path.child("format"), &column["format"], &detail));
        }
        match text("jsonPath") {
            "" => errors.push(Error::required(&path.child("JSONPath"), "")),
            text => errors.extend(simple_path(text, &path.child("JSONPath"))),
        }
    }
    errors
}

/// What keeps a text from being a path; the rest is found when it is read.
fn simple_path(text: &str, path: &Path) -> Option<Error> {
    let detail = match text.as_bytes() {
        [] => "must not be empty",
        [b'.', ..] => return None,
        _ => "must be a simple json path starting with .",
    };
    Some(Error::invalid(path, &text.into(), detail))
}

pub(super) fn conversion(conversion: &Value, path: &Path) -> Vec<Error> {
    if conversion.is_null() {
        return Vec::new();
    }
    let mut errors: Vec<Error> =
        one_of(&path.child("strategy"), &conversion["strategy"], &["None", "Webhook"]).into_iter().collect();
    let config = &conversion["webhook"]["clientConfig"];
    let versions = &conversion["webhook"]["conversionReviewVersions"];
    let config_path = path.child("webhookClientConfig");
    let versions_path = path.child("conversionReviewVersions");
    if conversion["strategy"] == "Webhook" {
        match config.is_object() {
            false => errors.push(Error::required(&config_path, "required when strategy is set to Webhook")),
            true => errors.extend(client_config(config, &config_path)),
        }
        errors.extend(review_versions(versions, &versions_path));
        return errors;
    }
    let detail = "should not be set when strategy is not set to Webhook";
    if config.is_object() {
        errors.push(Error::forbidden(&config_path, detail));
    }
    if versions.as_array().is_some_and(|list| !list.is_empty()) {
        errors.push(Error::forbidden(&versions_path, detail));
    }
    errors
}

fn client_config(config: &Value, path: &Path) -> Vec<Error> {
    let (url, service) = (&config["url"], &config["service"]);
    match (url.as_str(), service.is_object()) {
        (None, false) => vec![Error::required(path, "exactly one of url or service is required")],
        (Some(_), true) => {
            vec![Error::required(&path.child("url"), "exactly one of url or service is required")]
        }
        (Some(text), false) => web_address(text, &path.child("url")),
        (None, true) => {
            let path = path.child("service");
            let mut errors = Vec::new();
            for (field, detail) in
                [("name", "service name is required"), ("namespace", "service namespace is required")]
            {
                if service[field].as_str().unwrap_or_default().is_empty() {
                    errors.push(Error::required(&path.child(field), detail));
                }
            }
            let port = &service["port"];
            if port.as_i64().is_some_and(|port| !(1..=65535).contains(&port)) {
                let detail = "port is not valid: must be between 1 and 65535, inclusive";
                errors.push(Error::invalid(&path.child("port"), port, detail));
            }
            if let Some(text) = service["path"].as_str().filter(|text| !text.starts_with('/')) {
                errors.push(Error::invalid(&path.child("path"), &text.into(), "must start with a '/'"));
            }
            errors
        }
    }
}

fn web_address(text: &str, path: &Path) -> Vec<Error> {
    let form = "; desired format: https://host[/path]";
    let Some(rest) = text.strip_prefix("https://") else {
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        let detail = format!("'https' is the only allowed URL scheme{form}");
        return vec![Error::invalid(path, &scheme.into(), &detail)];
    };
    let mut errors = Vec::new();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        errors.push(Error::invalid(path, &"".into(), &format!("host must be specified{form}")));
    }
    if host.contains('@') {
        let user = host.split('@').next().unwrap_or_default();
        errors.push(Error::invalid(path, &user.into(), "user information is not permitted in the URL"));
    }
    if let Some((_, query)) = rest.split_once('?') {
        errors.push(Error::invalid(path, &query.into(), "query parameters are not permitted in the URL"));
    }
    if let Some((_, fragment)) = rest.split_once('#') {
        errors.push(Error::invalid(path, &fragment.into(), "fragments are not permitted in the URL"));
    }
    errors
}

fn review_versions(versions: &Value, path: &Path) -> Vec<Error> {
    let list = versions.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = Vec::new();
    let mut known = BTreeSet::new();
    for (index, version) in list.iter().enumerate() {
        let text = version.as_str().unwrap_or_default();
        if !known.insert(text) {
            errors.push(Error::invalid(&path.index(index), version, "duplicate version"));
        }
        errors.extend(
            label_1035(text).iter().map(|detail| Error::invalid(&path.index(index), version, detail)),
        );
    }
    // The older version is understood by upstream's check, though nothing speaks it any more.
    if !list
        .iter()
        .any(|version| REVIEW_VERSIONS.iter().any(|known| version == known) || version == "v1beta1")
    {
        let message =
            format!("Invalid value: {}: must include at least one of v1, v1beta1", go::value(versions));
        errors.push(Error { reason: Reason::Invalid, path: path.clone(), message });
    }
    errors
}
