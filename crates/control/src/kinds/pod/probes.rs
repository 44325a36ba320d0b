//! Probes and lifecycle hooks of a container.

use serde_json::Value;
use shoal_api::field::Path;

use crate::kinds::faults::Faults;
use crate::kinds::look::{given, int, list, number, text};
use crate::kinds::words;

/// The ways to reach into a container, in the order in which they are looked at.
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Probes and hooks of a container that may have them.
pub(super) fn validate(container: &Value, grace: Option<i64>, path: &Path, faults: &mut Faults) {
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        if !handler.is_null() {
            self::handler(handler, grace, &path.child("lifecycle").child(hook), faults);
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if given(container, kind) {
            probe(kind, &container[kind], grace, &path.child(kind), faults);
        }
    }
}

/// A container that starts others: it may have none of them.
pub(super) fn forbid(container: &Value, path: &Path, faults: &mut Faults) {
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if given(container, field) {
            let message = "may not be set for init containers without restartPolicy=Always";
            faults.forbidden(&path.child(field), message);
        }
    }
}

fn probe(kind: &str, probe: &Value, grace: Option<i64>, path: &Path, faults: &mut Faults) {
    handler(probe, grace, path, faults);
    let fields =
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    for field in fields {
        faults.not_negative(&path.child(field), int(probe, field));
    }
    let own_grace = int(probe, "terminationGracePeriodSeconds");
    if let Some(seconds) = own_grace.filter(|seconds| *seconds <= 0) {
        faults.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
    if kind == "readinessProbe" {
        if let Some(seconds) = own_grace {
            let message = "must not be set for readinessProbes";
            faults.invalid(&path.child("terminationGracePeriodSeconds"), seconds, message);
        }
    } else if number(probe, "successThreshold") != 1 {
        faults.invalid(&path.child("successThreshold"), number(probe, "successThreshold"), "must be 1");
    }
}

fn handler(handler: &Value, grace: Option<i64>, path: &Path, faults: &mut Faults) {
    let mut found = 0;
    for kind in HANDLERS.iter().filter(|kind| given(handler, kind)) {
        found += 1;
        let path = path.child(kind);
        if found > 1 {
            faults.forbidden(&path, "may not specify more than 1 handler type");
            continue;
        }
        let action = &handler[*kind];
        match *kind {
            "exec" if list(action, "command").is_empty() => faults.required(&path.child("command"), ""),
            "httpGet" => http_get(action, &path, faults),
            "tcpSocket" | "grpc" => port(&action["port"], &path.child("port"), faults),
            "sleep" => sleep(action, grace, &path, faults),
            _ => {}
        }
    }
    if found == 0 {
        faults.required(path, "must specify a handler type");
    }
}

fn http_get(action: &Value, path: &Path, faults: &mut Faults) {
    if text(action, "path").is_empty() {
        faults.required(&path.child("path"), "");
    }
    port(&action["port"], &path.child("port"), faults);
    faults.one_of(&path.child("scheme"), text(action, "scheme"), &["HTTP", "HTTPS"]);
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        faults.words(&path.child("httpHeaders"), name, words::http_header_name(name));
    }
}

fn sleep(action: &Value, grace: Option<i64>, path: &Path, faults: &mut Faults) {
    let seconds = number(action, "seconds");
    if let Some(grace) = grace.filter(|grace| seconds <= 0 || seconds > *grace) {
        let message = format!(
            "must be greater than 0 and less than terminationGracePeriodSeconds ({grace}). Enable \
             AllowPodLifecycleSleepActionZeroValue feature gate for zero sleep."
        );
        faults.invalid(path, seconds, &message);
    }
}

/// A port by its number or its name.
pub(crate) fn port(value: &Value, path: &Path, faults: &mut Faults) {
    match value.as_str() {
        Some(name) => faults.words(path, name, words::port_name(name)),
        None => {
            let number = value.as_i64().unwrap_or_default();
            faults.numbers(path, number, words::port_number(number));
        }
    }
}
