//! Containers of a pod.

use serde_json::Value;
use shoal_api::field::Path;

use super::{environment, probes, security, volumes};
use crate::kinds::faults::Faults;
use crate::kinds::look::{given, int, list, number, text};
use crate::kinds::{resources, words};

/// Protocols of ports.
pub(crate) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Fields that a debugging container cannot have.
const NOT_EPHEMERAL: [&str; 6] =
    ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"];

/// All containers of a specification.
pub(super) fn validate(spec: &Value, volumes: &[&Value], path: &Path, faults: &mut Faults) {
    let grace = int(spec, "terminationGracePeriodSeconds");
    regular(spec, volumes, grace, &path.child("containers"), faults);
    starting(spec, volumes, grace, &path.child("initContainers"), faults);
    debugging(spec, volumes, &path.child("ephemeralContainers"), faults);
}

fn regular(spec: &Value, volumes: &[&Value], grace: Option<i64>, path: &Path, faults: &mut Faults) {
    let containers = list(spec, "containers");
    if containers.is_empty() {
        faults.required(path, "");
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        common(container, volumes, &path, faults);
        let name = text(container, "name");
        if names.contains(&name) {
            faults.duplicate(&path.child("name"), name);
        }
        names.push(name);
        probes::validate(container, grace, &path, faults);
        if given(container, "restartPolicy") {
            faults.forbidden(&path.child("restartPolicy"), "may not be set for non-init containers");
        }
    }
    host_ports(containers, path, faults);
}

fn starting(spec: &Value, volumes: &[&Value], grace: Option<i64>, path: &Path, faults: &mut Faults) {
    let mut names: Vec<&str> = list(spec, "containers").iter().map(|one| text(one, "name")).collect();
    for (index, container) in list(spec, "initContainers").iter().enumerate() {
        let at = path.index(index);
        common(container, volumes, &at, faults);
        let policy = text(container, "restartPolicy");
        if given(container, "restartPolicy") {
            faults.one_of(&at.child("restartPolicy"), policy, &["Always"]);
        }
        let name = text(container, "name");
        if names.contains(&name) {
            faults.duplicate(&at.child("name"), name);
        } else if !name.is_empty() {
            names.push(name);
        }
        host_ports(std::slice::from_ref(container), path, faults);
        if policy == "Always" {
            probes::validate(container, grace, &at, faults);
        } else {
            probes::forbid(container, &at, faults);
        }
    }
}

fn debugging(spec: &Value, volumes: &[&Value], path: &Path, faults: &mut Faults) {
    let others = list(spec, "containers").iter().chain(list(spec, "initContainers"));
    let others: Vec<&str> = others.map(|one| text(one, "name")).collect();
    let mut names = others.clone();
    for (index, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = path.index(index);
        common(container, volumes, &path, faults);
        padded_image(container, &path, faults);
        let name = text(container, "name");
        if names.contains(&name) {
            faults.duplicate(&path.child("name"), name);
        }
        names.push(name);
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(&target) {
            faults.not_found(&path.child("targetContainerName"), target);
        }
        let message = "cannot be set for an Ephemeral Container";
        for field in NOT_EPHEMERAL {
            if !crate::kinds::look::same(&container[field], &Value::Null) {
                faults.forbidden(&path.child(field), message);
            }
        }
        for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !text(mount, field).is_empty() {
                    faults.forbidden(&path.child("volumeMounts").index(index).child(field), message);
                }
            }
        }
    }
}

/// What holds for containers of every sort.
fn common(container: &Value, volumes: &[&Value], path: &Path, faults: &mut Faults) {
    match text(container, "name") {
        "" => faults.required(&path.child("name"), ""),
        name => faults.words(&path.child("name"), name, words::dns_label(name)),
    }
    if text(container, "image").is_empty() {
        faults.required(&path.child("image"), "");
    }
    let policy = text(container, "terminationMessagePolicy");
    let policies = ["File", "FallbackToLogsOnError"];
    faults.chosen(&path.child("terminationMessagePolicy"), policy, &policies);
    ports(container, &path.child("ports"), faults);
    environment::variables(container, &path.child("env"), faults);
    environment::sources(container, &path.child("envFrom"), faults);
    volumes::mounts(container, volumes, &path.child("volumeMounts"), faults);
    volumes::devices(container, volumes, &path.child("volumeDevices"), faults);
    let policy = text(container, "imagePullPolicy");
    faults.chosen(&path.child("imagePullPolicy"), policy, &["Always", "IfNotPresent", "Never"]);
    resources::requirements(&container["resources"], &path.child("resources"), faults);
    security::container(&container["securityContext"], &path.child("securityContext"), faults);
}

fn ports(container: &Value, path: &Path, faults: &mut Faults) {
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let messages = words::port_name(name);
            if !messages.is_empty() {
                faults.words(&path.child("name"), name, messages);
            } else if names.contains(&name) {
                faults.duplicate(&path.child("name"), name);
            } else {
                names.push(name);
            }
        }
        match number(port, "containerPort") {
            0 => faults.required(&path.child("containerPort"), ""),
            number => faults.numbers(&path.child("containerPort"), number, words::port_number(number)),
        }
        let host = number(port, "hostPort");
        if host != 0 {
            faults.numbers(&path.child("hostPort"), host, words::port_number(host));
        }
        faults.chosen(&path.child("protocol"), text(port, "protocol"), &PROTOCOLS);
    }
}

fn host_ports(containers: &[Value], path: &Path, faults: &mut Faults) {
    let mut taken: Vec<String> = Vec::new();
    for (at, container) in containers.iter().enumerate() {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let host = number(port, "hostPort");
            if host == 0 {
                continue;
            }
            let key = format!("{}/{}/{host}", text(port, "protocol"), text(port, "hostIP"));
            if taken.contains(&key) {
                let path = path.index(at).child("ports").index(index).child("hostPort");
                faults.duplicate(&path, key);
            } else {
                taken.push(key);
            }
        }
    }
}

/// Pods, unlike templates, must name their images exactly.
pub(super) fn padded_image(container: &Value, path: &Path, faults: &mut Faults) {
    let image = text(container, "image");
    if image.trim() != image {
        faults.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}
