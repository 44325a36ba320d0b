//! Ingresses and their classes.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{annotation, given, list, number, set_empty, text, texts};
use super::meta::Names;
use super::words;

/// Most characters of a controller's name.
const CONTROLLER_CHARACTERS_MAX: usize = 250;

/// The annotation that named a class before there was a field.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";

const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];

/// What no path has in it.
const NOT_IN_PATHS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];

/// What no path ends in.
const NOT_AT_END: [&str; 2] = ["/..", "/."];

/// An ingress that is made.
pub(super) fn validate(ingress: &Value, faults: &mut Faults) {
    specification(&ingress["spec"], &Path::new("spec"), faults);
    let class = ingress["spec"]["ingressClassName"].as_str();
    if let (Some(old), Some(class)) = (annotation(ingress, OLD_CLASS), class)
        && old != class
    {
        let path = Path::new("annotations").child(OLD_CLASS);
        faults.invalid(&path, old, "must match `ingressClassName` when both are specified");
    }
}

/// An ingress that is changed.
pub(super) fn validate_update(new: &Value, _old: &Value, faults: &mut Faults) {
    super::meta::validate(new, true, Names::Subdomain, &Path::new("metadata"), faults);
    specification(&new["spec"], &Path::new("spec"), faults);
}

fn specification(spec: &Value, path: &Path, faults: &mut Faults) {
    let rules = list(spec, "rules");
    if rules.is_empty() && !given(spec, "defaultBackend") {
        let message = "either `defaultBackend` or `rules` must be specified";
        faults.invalid_shown(path, "[]networking.IngressRule(nil)", message);
    }
    if given(spec, "defaultBackend") {
        backend(&spec["defaultBackend"], &path.child("defaultBackend"), faults);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.child("rules").index(index);
        let name = text(rule, "host");
        if !name.is_empty() {
            if words::parse_ip(name).is_some() {
                faults.invalid(&path.child("host"), name, "must be a DNS name, not an IP address");
            }
            host(name, &path.child("host"), faults);
        }
        if given(rule, "http") {
            paths(&rule["http"], &path.child("http").child("paths"), faults);
        }
    }
    for (index, tls) in list(spec, "tls").iter().enumerate() {
        let path = path.child("tls").index(index);
        for (index, name) in texts(tls, "hosts").iter().enumerate() {
            host(name, &path.child("hosts").index(index), faults);
        }
        let secret = text(tls, "secretName");
        if !secret.is_empty() {
            faults.words(&path.child("secretName"), secret, Names::Subdomain.check(secret, false));
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        faults.words(&path.child("ingressClassName"), class, Names::Subdomain.check(class, false));
    }
}

pub(super) fn host(name: &str, path: &Path, faults: &mut Faults) {
    let messages =
        if name.contains('*') { words::wildcard_subdomain(name) } else { words::dns_subdomain(name) };
    faults.words(path, name, messages);
}

fn paths(http: &Value, path: &Path, faults: &mut Faults) {
    let paths = list(http, "paths");
    if paths.is_empty() {
        faults.required(path, "");
    }
    for (index, one) in paths.iter().enumerate() {
        let path = path.index(index);
        one_path(one, &path, faults);
        backend(&one["backend"], &path.child("backend"), faults);
    }
}

fn one_path(one: &Value, path: &Path, faults: &mut Faults) {
    let (kind, target) = (text(one, "pathType"), text(one, "path"));
    let at = path.child("path");
    match kind {
        _ if !given(one, "pathType") => {
            faults.required(&path.child("pathType"), "pathType must be specified");
        }
        "Exact" | "Prefix" => absolute(target, &at, faults),
        "ImplementationSpecific" => {
            if !target.is_empty() && !target.starts_with('/') {
                faults.invalid(&at, target, "must be an absolute path");
            }
        }
        other => faults.not_supported(&path.child("pathType"), other, &PATH_TYPES),
    }
}

/// A path that begins at the top and goes one way.
pub(super) fn absolute(target: &str, at: &Path, faults: &mut Faults) {
    if !target.starts_with('/') {
        faults.invalid(at, target, "must be an absolute path");
    }
    for part in NOT_IN_PATHS.iter().filter(|part| target.contains(**part)) {
        faults.invalid(at, target, &format!("must not contain '{part}'"));
    }
    for end in NOT_AT_END.iter().filter(|end| target.ends_with(**end)) {
        faults.invalid(at, target, &format!("cannot end with '{end}'"));
    }
}

fn backend(backend: &Value, path: &Path, faults: &mut Faults) {
    let (resource, service) = (&backend["resource"], &backend["service"]);
    match (resource.is_null(), service.is_null()) {
        (false, false) => faults.invalid(path, "", "cannot set both resource and service backends"),
        (false, true) => typed_reference(resource, &path.child("resource"), faults),
        (true, false) => self::service(service, path, faults),
        (true, true) => faults.invalid(path, "", "resource or service backend is required"),
    }
}

fn typed_reference(reference: &Value, path: &Path, faults: &mut Faults) {
    if let Some(group) = reference["apiGroup"].as_str() {
        faults.words(&path.child("apiGroup"), group, words::dns_subdomain(group));
    }
    for field in ["kind", "name"] {
        let value = text(reference, field);
        if value.is_empty() {
            faults.required(&path.child(field), &format!("{field} is required"));
        } else {
            faults.words(&path.child(field), value, words::path_segment(value, false));
        }
    }
}

fn service(service: &Value, path: &Path, faults: &mut Faults) {
    let name = text(service, "name");
    let at = path.child("service");
    if name.is_empty() {
        faults.required(&at.child("name"), "");
    } else {
        faults.words(&at.child("name"), name, words::dns1035_label(name));
    }
    let (port, number) = (text(&service["port"], "name"), number(&service["port"], "number"));
    match (port.is_empty(), number) {
        (false, number) if number != 0 => {
            faults.invalid(path, "", "cannot set both port name & port number");
        }
        (false, _) => faults.words(&at.child("port").child("name"), port, words::port_name(port)),
        (true, 0) => faults.required(path, "port name or number is required"),
        (true, number) => {
            faults.numbers(&at.child("port").child("number"), number, words::port_number(number));
        }
    }
}

/// The old way to name a class.
pub(super) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_none() && annotation(new, OLD_CLASS).is_some() {
        return vec![format!(
            "annotation {OLD_CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"
        )];
    }
    Vec::new()
}

/// Addresses of a load balancer in front of an ingress.
pub(super) fn validate_status(new: &Value, _old: &Value, faults: &mut Faults) {
    let path = Path::new("status.loadBalancer.ingress");
    for (index, point) in list(&new["status"]["loadBalancer"], "ingress").iter().enumerate() {
        let (ip, host) = (text(point, "ip"), text(point, "hostname"));
        let path = path.index(index);
        if !ip.is_empty() {
            faults.words(&path.child("ip"), ip, words::ip(ip));
        }
        if !host.is_empty() {
            faults.words(&path.child("hostname"), host, words::dns_subdomain(host));
            if words::parse_ip(host).is_some() {
                let message = "must be a DNS name, not an IP address";
                faults.invalid(&path.child("hostname"), host, message);
            }
        }
    }
}

/// A class: its parameters are of the whole cluster.
pub(super) fn default_class(class: &mut Value) {
    let parameters = class.get_mut("spec").and_then(|spec| spec.get_mut("parameters"));
    if let Some(parameters) = parameters.filter(|parameters| parameters.is_object()) {
        set_empty(parameters, "scope", "Cluster");
    }
}

/// A class that is made.
pub(super) fn validate_class(class: &Value, faults: &mut Faults) {
    let (spec, path) = (&class["spec"], Path::new("spec"));
    let controller = text(spec, "controller");
    let at = path.child("controller");
    if controller.len() > CONTROLLER_CHARACTERS_MAX {
        faults.too_long(&at, CONTROLLER_CHARACTERS_MAX);
    }
    if controller.is_empty() {
        faults.required(&at, "");
    } else {
        faults.words(&at, controller, words::domain_prefixed_path(controller));
    }
    let parameters = &spec["parameters"];
    if parameters.is_null() {
        return;
    }
    let path = path.child("parameters");
    typed_reference(parameters, &path, faults);
    let (scope, namespace) = (text(parameters, "scope"), text(parameters, "namespace"));
    match scope {
        "" => faults.required(&path.child("scope"), ""),
        "Namespace" if namespace.is_empty() => {
            let message = "`parameters.scope` is set to 'Namespace'";
            faults.required(&path.child("namespace"), message);
        }
        "Cluster" if !namespace.is_empty() => {
            let message = "`parameters.scope` is set to 'Cluster'";
            faults.forbidden(&path.child("namespace"), message);
        }
        "Namespace" => faults.words(&path.child("namespace"), namespace, words::dns_label(namespace)),
        "Cluster" => {}
        other => faults.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

/// A class that is changed: not who runs it.
pub(super) fn validate_class_update(new: &Value, old: &Value, faults: &mut Faults) {
    let path = Path::new("spec.controller");
    faults.immutable(&path, &new["spec"]["controller"], &old["spec"]["controller"]);
    super::meta::validate(new, false, Names::Subdomain, &Path::new("metadata"), faults);
    validate_class(new, faults);
}
