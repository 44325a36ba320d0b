//! What a pod and a pod template mean where they say nothing.

use serde_json::{Map, Value};

use crate::kinds::amount;
use crate::kinds::look::{
    child, entries, flag, given, items, number, remove, set, set_empty, set_missing, text,
};

/// Mode of files in volumes of secrets, config maps and the like: 0644.
const FILE_MODE: i64 = 0o644;

/// How long a projected token lives: an hour.
const TOKEN_SECONDS: i64 = 3600;

/// Lists of containers in a pod.
pub(crate) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// A pod: its specification, and what holds for pods but not for templates.
pub(crate) fn pod(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    specification(spec);
    set_missing(spec, "enableServiceLinks", true);
    let host_network = flag(spec, "hostNetwork");
    for field in ["initContainers", "containers"] {
        for container in items(spec, field) {
            requests_from_limits(container);
            if host_network {
                host_ports(container);
            }
        }
    }
}

/// `template` in a field of `owner`, with its metadata and specification.
pub(crate) fn template(owner: &mut Value, field: &str) {
    let Some(template) = child(owner, field) else { return };
    if let Some(spec) = child(template, "spec") {
        specification(spec);
    }
}

/// A `PodSpec`.
pub(crate) fn specification(spec: &mut Value) {
    for volume in items(spec, "volumes") {
        super::volumes::default(volume);
    }
    for field in CONTAINER_LISTS {
        for container in items(spec, field) {
            self::container(container);
        }
    }
    if let Some(overhead) = spec.get_mut("overhead") {
        amount::round(overhead);
    }
    set_empty(spec, "restartPolicy", "Always");
    set_missing(spec, "terminationGracePeriodSeconds", 30);
    set_empty(spec, "dnsPolicy", "ClusterFirst");
    set_missing(spec, "securityContext", Map::new());
    set_empty(spec, "schedulerName", "default-scheduler");
    service_account(spec);
    dropped(spec);
}

/// The deprecated name of `serviceAccountName` says the same.
pub(crate) fn service_account(spec: &mut Value) {
    let name = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    if !name.is_empty() {
        set(spec, "serviceAccountName", name.as_str());
        set(spec, "serviceAccount", name);
    }
}

/// Fields of features that are off in 1.32 unless they are asked for.
fn dropped(spec: &mut Value) {
    for field in ["resourceClaims", "resources", "hostUsers"] {
        remove(spec, field);
    }
    if let Some(context) = spec.get_mut("securityContext") {
        for field in ["supplementalGroupsPolicy", "seLinuxChangePolicy"] {
            remove(context, field);
        }
    }
    for list in CONTAINER_LISTS {
        for container in items(spec, list) {
            remove(container, "resizePolicy");
            if let Some(context) = container.get_mut("securityContext") {
                remove(context, "procMount");
            }
        }
    }
}

fn container(container: &mut Value) {
    set_missing(container, "resources", Map::new());
    if let Some(resources) = container.get_mut("resources") {
        for list in ["limits", "requests"] {
            if let Some(list) = resources.get_mut(list) {
                amount::round(list);
            }
        }
    }
    set_empty(container, "terminationMessagePath", "/dev/termination-log");
    set_empty(container, "terminationMessagePolicy", "File");
    let policy = pull_policy(text(container, "image"));
    set_empty(container, "imagePullPolicy", policy);
    for port in items(container, "ports") {
        set_empty(port, "protocol", "TCP");
    }
    for variable in items(container, "env") {
        if let Some(from) = variable.get_mut("valueFrom") {
            field_reference(from);
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(field).filter(|probe| probe.is_object()) {
            self::probe(probe);
        }
    }
    for field in ["postStart", "preStop"] {
        let handler = container.get_mut("lifecycle").and_then(|lifecycle| lifecycle.get_mut(field));
        if let Some(handler) = handler {
            http_get(handler);
        }
    }
}

/// `fieldRef` and `resourceFieldRef` below `from`.
pub(super) fn field_reference(from: &mut Value) {
    if let Some(reference) = from.get_mut("fieldRef").filter(|reference| reference.is_object()) {
        set_empty(reference, "apiVersion", "v1");
    }
    if let Some(reference) = from.get_mut("resourceFieldRef").filter(|reference| reference.is_object()) {
        set_missing(reference, "divisor", "0");
    }
}

fn probe(probe: &mut Value) {
    set_empty(probe, "timeoutSeconds", 1);
    set_empty(probe, "periodSeconds", 10);
    set_empty(probe, "successThreshold", 1);
    set_empty(probe, "failureThreshold", 3);
    http_get(probe);
    if let Some(call) = probe.get_mut("grpc").filter(|call| call.is_object()) {
        set_missing(call, "service", "");
    }
}

fn http_get(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet").filter(|get| get.is_object()) {
        set_empty(get, "path", "/");
        set_empty(get, "scheme", "HTTP");
    }
}

/// An image without a tag, or with that of the day, is pulled anew each time.
pub(super) fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.rsplit_once(':') {
        Some((_, "latest")) => "Always",
        None if digest.is_none() => "Always",
        _ => "IfNotPresent",
    }
}

fn requests_from_limits(container: &mut Value) {
    let limits: Vec<(String, Value)> = entries(&container["resources"], "limits")
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    let Some(resources) = container.get_mut("resources") else { return };
    if !given(resources, "limits") {
        return;
    }
    let Some(requests) = child(resources, "requests") else { return };
    for (name, value) in limits {
        set_missing(requests, &name, value);
    }
}

fn host_ports(container: &mut Value) {
    for port in items(container, "ports") {
        let inside = number(port, "containerPort");
        set_empty(port, "hostPort", inside);
    }
}

/// Modes of volumes made of files.
pub(super) fn file_mode(source: &mut Value) {
    set_missing(source, "defaultMode", FILE_MODE);
}

/// A projected token.
pub(super) fn token(source: &mut Value) {
    set_missing(source, "expirationSeconds", TOKEN_SECONDS);
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn images_of_the_day_are_pulled_always() {
        for (image, expected) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0000", "IfNotPresent"),
            ("nginx:latest@sha256:0000", "Always"),
        ] {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }
}
