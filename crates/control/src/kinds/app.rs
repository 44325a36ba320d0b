//! Apps. What is wrong with one is refused when it is written, in its own words, and not found by what it is expanded into.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{entries, int, list, text};
use super::meta::{self, Names};
use super::{cron_job, ingress, words};

/// An App that is made.
pub(super) fn validate(app: &Value, faults: &mut Faults) {
    specification(&app["spec"], &Path::new("spec"), faults);
}

/// An App that is changed.
pub(super) fn validate_update(new: &Value, _old: &Value, faults: &mut Faults) {
    meta::validate(new, true, Names::Label1035, &Path::new("metadata"), faults);
    specification(&new["spec"], &Path::new("spec"), faults);
}

fn specification(spec: &Value, path: &Path, faults: &mut Faults) {
    let (component, at) = (text(spec, "component"), path.child("component"));
    if component.is_empty() {
        faults.required(&at, "");
    } else if component.trim() != component {
        faults.invalid(&at, component, "must not have leading or trailing whitespace");
    }
    faults.not_negative(&path.child("replicas"), int(spec, "replicas"));
    if let Some(port) = int(spec, "port").filter(|port| !(1..=65535).contains(port)) {
        faults.invalid(&path.child("port"), port, &words::in_range(1, 65535));
    }
    for (name, _) in entries(spec, "env") {
        faults.words(&path.child("env"), name, words::env_name(name));
    }
    for (index, one) in list(spec, "routes").iter().enumerate() {
        route(one, &path.child("routes").index(index), faults);
    }
    scale(&spec["scale"], &path.child("scale"), faults);
    let schedule = text(spec, "schedule");
    if !schedule.is_empty()
        && let Err(message) = cron_job::check_schedule(schedule)
    {
        faults.invalid(&path.child("schedule"), schedule, &message);
    }
}

fn route(route: &Value, path: &Path, faults: &mut Faults) {
    let (host, target, secret) = (text(route, "host"), text(route, "path"), text(route, "tlsSecretName"));
    if words::parse_ip(host).is_some() {
        faults.invalid(&path.child("host"), host, "must be a DNS name, not an IP address");
    } else if !host.is_empty() {
        ingress::host(host, &path.child("host"), faults);
    }
    if !target.is_empty() {
        ingress::absolute(target, &path.child("path"), faults);
    }
    if !secret.is_empty() {
        faults.words(&path.child("tlsSecretName"), secret, Names::Subdomain.check(secret, false));
    }
}

fn scale(scale: &Value, path: &Path, faults: &mut Faults) {
    let (least, most) = (int(scale, "min"), int(scale, "max"));
    faults.not_negative(&path.child("min"), least);
    faults.not_negative(&path.child("max"), most);
    if let (Some(least), Some(most)) = (least, most)
        && most < least
    {
        faults.invalid(&path.child("max"), most, "must be greater than or equal to `min`");
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn check(spec: &Value) -> String {
        let mut faults = Faults::default();
        validate(&json!({"metadata": {"name": "shop"}, "spec": spec}), &mut faults);
        faults.into_errors().iter().map(|error| format!("{error}\n")).collect()
    }

    #[test]
    fn what_is_wrong_is_said_of_its_field() {
        let whole = json!({
            "component": "shop.example/shop:1", "replicas": 0, "port": 65535, "env": {"A": "b"}, "schedule": "*/5 * * * *",
            "routes": [{}, {"host": "*.shop.example", "path": "/a", "tlsSecretName": "shop-tls"}],
            "scale": {"min": 0, "max": 0},
        });
        assert_eq!(check(&whole), "");
        assert_eq!(check(&json!({"component": "/shop.wasm"})), "");
        expect![[r#"
            spec.component: Required value
        "#]]
        .assert_eq(&check(&json!({})));
        let wrong = json!({
            "component": " x", "replicas": -1, "port": 65536, "env": {"A=B": "x"}, "schedule": "often",
            "routes": [{"host": "Shop", "path": "a", "tlsSecretName": "_"}, {"host": "192.0.2.1", "path": "/a/../b"}],
            "scale": {"min": 3, "max": 1},
        });
        expect![[r#"
            spec.component: Invalid value: " x": must not have leading or trailing whitespace
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.port: Invalid value: 65536: must be between 1 and 65535, inclusive
            spec.env: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.routes[0].host: Invalid value: "Shop": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.routes[0].path: Invalid value: "a": must be an absolute path
            spec.routes[0].tlsSecretName: Invalid value: "_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.routes[1].host: Invalid value: "192.0.2.1": must be a DNS name, not an IP address
            spec.routes[1].path: Invalid value: "/a/../b": must not contain '/../'
            spec.scale.max: Invalid value: 1: must be greater than or equal to `min`
            spec.schedule: Invalid value: "often": expected exactly 5 fields, found 1: [often]
        "#]].assert_eq(&check(&wrong));
    }
}
