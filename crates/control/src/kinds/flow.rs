//! Flow schemas and priority levels.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{child, given, int, list, number, set_empty, set_missing, text};
use super::words;

/// Last in the order of schemas.
const PRECEDENCE_MAX: i64 = 10_000;

/// Most queues of a level: more would only cost memory.
const QUEUES_MAX: i64 = 10_000_000;

/// A flow schema.
pub(super) fn default_schema(schema: &mut Value) {
    if let Some(spec) = child(schema, "spec") {
        set_empty(spec, "matchingPrecedence", 1000);
    }
}

/// A priority level.
pub(super) fn default_level(level: &mut Value) {
    let Some(spec) = child(level, "spec") else { return };
    let kind = text(spec, "type").to_owned();
    if kind == "Exempt" {
        if let Some(exempt) = child(spec, "exempt") {
            set_missing(exempt, "nominalConcurrencyShares", 0);
            set_missing(exempt, "lendablePercent", 0);
        }
        return;
    }
    let Some(limited) = spec.get_mut("limited").filter(|limited| limited.is_object()) else { return };
    set_missing(limited, "nominalConcurrencyShares", 30);
    set_missing(limited, "lendablePercent", 0);
    if let Some(response) = child(limited, "limitResponse") {
        set_empty(response, "type", "Reject");
        let queues = text(response, "type") == "Queue";
        if queues && let Some(queuing) = child(response, "queuing") {
            set_empty(queuing, "queues", 64);
            set_empty(queuing, "handSize", 8);
            set_empty(queuing, "queueLengthLimit", 50);
        }
    }
}

/// A flow schema that is made or changed.
pub(super) fn validate_schema(schema: &Value, faults: &mut Faults) {
    let (spec, path) = (&schema["spec"], Path::new("spec"));
    let precedence = number(spec, "matchingPrecedence");
    let at = path.child("matchingPrecedence");
    if precedence <= 0 {
        faults.invalid(&at, precedence, "must be a positive value");
    }
    if precedence > PRECEDENCE_MAX {
        faults.invalid(&at, precedence, &format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence == 1 && text(&schema["metadata"], "name") != "exempt" {
        let message = "only the schema named 'exempt' may have matchingPrecedence 1";
        faults.invalid(&at, precedence, message);
    }
    if given(spec, "distinguisherMethod") {
        let kind = text(&spec["distinguisherMethod"], "type");
        let at = path.child("distinguisherMethod").child("type");
        faults.one_of(&at, kind, &["ByNamespace", "ByUser"]);
    }
    let level = text(&spec["priorityLevelConfiguration"], "name");
    let at = path.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        faults.required(&at, "must reference a priority level");
    } else {
        faults.words(&at, level, words::dns_subdomain(level));
    }
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        let path = path.child("rules").index(index);
        self::rule(rule, &path, faults);
    }
}

fn rule(rule: &Value, path: &Path, faults: &mut Faults) {
    if list(rule, "subjects").is_empty() {
        faults.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (index, subject) in list(rule, "subjects").iter().enumerate() {
        let path = path.child("subjects").index(index);
        let (kind, field) = (text(subject, "kind"), text(subject, "kind"));
        let field = match field {
            "User" => "user",
            "Group" => "group",
            "ServiceAccount" => "serviceAccount",
            _ => {
                faults.not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
                continue;
            }
        };
        if !given(subject, field) {
            let message = format!("{field} is required when subject kind is '{kind}'");
            faults.required(&path.child(field), &message);
        } else if text(&subject[field], "name").is_empty() {
            faults.required(&path.child(field).child("name"), "");
        }
    }
    if list(rule, "resourceRules").is_empty() && list(rule, "nonResourceRules").is_empty() {
        let message = "at least one of resourceRules and nonResourceRules has to be non-empty";
        faults.required(path, message);
    }
    for (index, resource) in list(rule, "resourceRules").iter().enumerate() {
        let path = path.child("resourceRules").index(index);
        for (field, message) in [
            ("verbs", "verbs must contain at least one value"),
            ("apiGroups", "resource rules must supply at least one api group"),
            ("resources", "resource rules must supply at least one resource"),
        ] {
            if list(resource, field).is_empty() {
                faults.required(&path.child(field), message);
            }
        }
        let cluster = resource["clusterScope"] == json!(true);
        if list(resource, "namespaces").is_empty() && !cluster {
            let message = "resource rules that are not cluster scoped must supply at least one namespace";
            faults.required(&path.child("namespaces"), message);
        }
    }
}

/// A priority level that is made or changed.
pub(super) fn validate_level(level: &Value, faults: &mut Faults) {
    let (spec, path) = (&level["spec"], Path::new("spec"));
    match text(spec, "type") {
        "Exempt" => {
            if given(spec, "limited") {
                let message = "must be nil if the type is not Limited";
                faults.forbidden(&path.child("limited"), message);
            }
        }
        "Limited" => {
            if given(spec, "exempt") {
                let message = "must be nil if the type is Limited";
                faults.forbidden(&path.child("exempt"), message);
            }
            if given(spec, "limited") {
                limited(&spec["limited"], &path.child("limited"), faults);
            } else {
                let message = "must not be empty when type is Limited";
                faults.required(&path.child("limited"), message);
            }
        }
        other => faults.not_supported(&path.child("type"), other, &["Exempt", "Limited"]),
    }
}

fn limited(limited: &Value, path: &Path, faults: &mut Faults) {
    if let Some(shares) = int(limited, "nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let path = path.child("nominalConcurrencyShares");
        faults.invalid(&path, shares, "must be a non-negative integer");
    }
    for field in ["lendablePercent", "borrowingLimitPercent"] {
        let percent = number(limited, field);
        if percent < 0 || (field == "lendablePercent" && percent > 100) {
            let message = if field == "lendablePercent" {
                "must be between 0 and 100, inclusive"
            } else {
                "if specified, must be a non-negative integer"
            };
            faults.invalid(&path.child(field), percent, message);
        }
    }
    let (response, path) = (&limited["limitResponse"], path.child("limitResponse"));
    let queuing = &response["queuing"];
    let at = path.child("queuing");
    match text(response, "type") {
        "Reject" if !queuing.is_null() => {
            faults.forbidden(&at, "must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if queuing.is_null() => {
            faults.required(&at, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => queues(queuing, &at, faults),
        other => faults.not_supported(&path.child("type"), other, &["Queue", "Reject"]),
    }
}

fn queues(queuing: &Value, path: &Path, faults: &mut Faults) {
    let (queues, hand) = (number(queuing, "queues"), number(queuing, "handSize"));
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if number(queuing, field) <= 0 {
            faults.invalid(&path.child(field), number(queuing, field), "must be positive");
        }
    }
    if queues > QUEUES_MAX {
        let message = format!("must not be greater than {QUEUES_MAX}");
        faults.invalid(&path.child("queues"), queues, &message);
    }
    if hand > queues {
        let message = format!("should not be greater than queues ({queues})");
        faults.invalid(&path.child("handSize"), hand, &message);
    }
}
