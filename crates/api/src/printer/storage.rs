//! Volumes and what makes them.

use serde_json::Value;

use super::text::{NONE, UNSET, age, amount, items, name, text, text_or};
use crate::object;

/// `NAME CAPACITY ACCESS-MODES RECLAIM-POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE VOLUMEMODE`.
pub(super) fn volume(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let claim = match &spec["claimRef"] {
        Value::Null => String::new(),
        claim => format!("{}/{}", text(&claim["namespace"]), text(&claim["name"])),
    };
    vec![
        name(object),
        amount(&spec["capacity"]["storage"]).into(),
        access_modes(&spec["accessModes"]).into(),
        text(&spec["persistentVolumeReclaimPolicy"]).into(),
        phase(object).into(),
        claim.into(),
        class_of(object).into(),
        spec["volumeAttributesClassName"].as_str().unwrap_or(UNSET).into(),
        text(&status["reason"]).into(),
        age(object, now),
        spec["volumeMode"].as_str().unwrap_or(UNSET).into(),
    ]
}

/// `NAME STATUS VOLUME CAPACITY ACCESS-MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE VOLUMEMODE`.
pub(super) fn claim(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (capacity, modes) = match text(&spec["volumeName"]) {
        "" => (String::new(), String::new()),
        _ => (amount(&status["capacity"]["storage"]), access_modes(&status["accessModes"])),
    };
    vec![
        name(object),
        phase(object).into(),
        text(&spec["volumeName"]).into(),
        capacity.into(),
        modes.into(),
        class_of(object).into(),
        spec["volumeAttributesClassName"].as_str().unwrap_or(UNSET).into(),
        age(object, now),
        spec["volumeMode"].as_str().unwrap_or(UNSET).into(),
    ]
}

/// `NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE`.
pub(super) fn class(object: &Value, now: i64) -> Vec<Value> {
    let marks =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let default = marks.iter().any(|mark| object::annotation(object, mark) == Some("true"));
    let shown = format!("{}{}", object::name(object), if default { " (default)" } else { "" });
    vec![
        shown.into(),
        text(&object["provisioner"]).into(),
        text_or(&object["reclaimPolicy"], "Delete").into(),
        text_or(&object["volumeBindingMode"], "Immediate").into(),
        (object["allowVolumeExpansion"] == true).into(),
        age(object, now),
    ]
}

/// `NAME ATTACHER PV NODE ATTACHED AGE`.
pub(super) fn attachment(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        text(&spec["attacher"]).into(),
        text(&spec["source"]["persistentVolumeName"]).into(),
        text(&spec["nodeName"]).into(),
        (object["status"]["attached"] == true).into(),
        age(object, now),
    ]
}

/// `NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS REQUIRESREPUBLISH MODES AGE`.
pub(super) fn driver(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let tokens = spec["tokenRequests"].as_array().map(|requests| {
        requests.iter().map(|request| text(&request["audience"])).collect::<Vec<_>>().join(",")
    });
    let modes = items(&spec["volumeLifecycleModes"]).iter().map(text).collect::<Vec<_>>().join(",");
    vec![
        name(object),
        (spec["attachRequired"] != false).into(),
        (spec["podInfoOnMount"] == true).into(),
        (spec["storageCapacity"] == true).into(),
        tokens.unwrap_or_else(|| UNSET.into()).into(),
        (spec["requiresRepublish"] == true).into(),
        if modes.is_empty() { NONE.into() } else { modes.into() },
        age(object, now),
    ]
}

fn phase(object: &Value) -> &str {
    if object::deletion_timestamp(object).is_some() {
        "Terminating"
    } else {
        text(&object["status"]["phase"])
    }
}

/// An annotation named the class before there was a field.
fn class_of(object: &Value) -> &str {
    let annotated = object::annotation(object, "volume.beta.kubernetes.io/storage-class");
    annotated.unwrap_or_else(|| text(&object["spec"]["storageClassName"]))
}

fn access_modes(modes: &Value) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let present = short.iter().filter(|(mode, _)| items(modes).iter().any(|given| given == mode));
    present.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}
