//! Events, under the core name; those of `events.k8s.io` are the same with other names for the fields.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{number, same, text};
use super::words;

/// Most characters of who reports, and of what was done.
const WORDS_MAX: usize = 128;

/// Most bytes of a note.
const NOTE_BYTES_MAX: usize = 1024;

/// Fields of an event that stay, as `events.k8s.io/v1` names them and as core does.
const FIXED: [(&str, &str); 8] = [
    ("reportingController", "reportingComponent"),
    ("reportingInstance", "reportingInstance"),
    ("action", "action"),
    ("reason", "reason"),
    ("regarding", "involvedObject"),
    ("related", "related"),
    ("type", "type"),
    ("eventTime", "eventTime"),
];

/// An event that is made.
pub(super) fn validate(event: &Value, faults: &mut Faults) {
    let namespace = text(&event["metadata"], "namespace");
    let object = text(&event["involvedObject"], "namespace");
    let path = Path::new("involvedObject.namespace");
    let fits = if object.is_empty() { matches!(namespace, "" | "default") } else { object == namespace };
    if !fits {
        faults.invalid(&path, object, "does not match event.namespace");
    }
    if !same(&event["eventTime"], &Value::Null) {
        modern(event, "involvedObject", faults);
    }
}

/// An event of `events.k8s.io/v1` that is made.
pub(super) fn validate_modern(event: &Value, faults: &mut Faults) {
    if same(&event["eventTime"], &Value::Null) {
        faults.required(&Path::new("eventTime"), "");
    }
    let times =
        [("deprecatedFirstTimestamp", "firstTimestamp"), ("deprecatedLastTimestamp", "lastTimestamp")];
    for (field, core) in times {
        if !same(&event[field], &Value::Null) {
            faults.invalid(&Path::new(core), event[field].clone(), "needs to be unset");
        }
    }
    if number(event, "deprecatedCount") != 0 {
        faults.invalid(&Path::new("count"), number(event, "deprecatedCount"), "needs to be unset");
    }
    modern(event, "regarding", faults);
}

fn modern(event: &Value, regarding: &str, faults: &mut Faults) {
    let controller = if regarding == "regarding" {
        text(event, "reportingController")
    } else {
        text(event, "reportingComponent")
    };
    let path = Path::new("reportingController");
    if controller.is_empty() {
        faults.required(&path, "");
    }
    faults.words(&path, controller, words::qualified_name(controller));
    for field in ["reportingInstance", "action", "reason"] {
        let value = text(event, field);
        let path = Path::new(field);
        if value.is_empty() {
            faults.required(&path, "");
        }
        if value.len() > WORDS_MAX {
            faults.invalid(&path, "", &format!("can have at most {WORDS_MAX} characters"));
        }
    }
    let note = if regarding == "regarding" { text(event, "note") } else { text(event, "message") };
    if note.len() > NOTE_BYTES_MAX {
        let message = format!("can have at most {NOTE_BYTES_MAX} bytes");
        faults.invalid(&Path::new("message"), "", &message);
    }
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        faults.invalid(&Path::new("type"), kind, &format!("has invalid value: {kind}"));
    }
}

/// A modern event that is changed: only its series and note may be.
pub(super) fn validate_modern_update(new: &Value, old: &Value, faults: &mut Faults) {
    for (modern, core) in FIXED {
        faults.immutable(&Path::new(core), &new[modern], &old[modern]);
    }
}
