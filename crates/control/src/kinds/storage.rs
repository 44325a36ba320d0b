//! Classes, drivers and attachments of storage.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::amount::{self, Amount};
use super::faults::{Faults, NEGATIVE};
use super::look::{child, entries, given, int, list, same, set_empty, set_missing, text, texts};
use super::meta::{Names, label_name};
use super::{selector, words};

/// Most parameters of a class.
const PARAMETERS_MAX: usize = 512;

/// Most bytes of all parameters of a class.
const PARAMETER_BYTES_MAX: usize = 256 * 1024;

/// A storage class.
pub(super) fn default_class(class: &mut Value) {
    set_missing(class, "reclaimPolicy", "Delete");
    set_missing(class, "volumeBindingMode", "Immediate");
}

/// A storage class that is made.
pub(super) fn validate_class(class: &Value, faults: &mut Faults) {
    let provisioner = text(class, "provisioner");
    let path = Path::new("provisioner");
    if provisioner.is_empty() {
        faults.required(&path, "");
    } else {
        let lower = provisioner.to_lowercase();
        faults.words(&path, provisioner, words::qualified_name(&lower));
    }
    parameters(class, faults);
    let policy = text(class, "reclaimPolicy");
    if !policy.is_empty() {
        faults.one_of(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    let mode = text(class, "volumeBindingMode");
    faults.chosen(&Path::new("volumeBindingMode"), mode, &["Immediate", "WaitForFirstConsumer"]);
    let path = Path::new("allowedTopologies");
    for (index, term) in list(class, "allowedTopologies").iter().enumerate() {
        let path = path.index(index).child("matchLabelExpressions");
        for (index, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = path.index(index);
            let values = texts(expression, "values");
            if values.is_empty() {
                faults.required(&path.child("values"), "");
            }
            for (index, value) in values.iter().enumerate().filter(|(at, one)| values[..*at].contains(one)) {
                faults.duplicate(&path.child("values").index(index), *value);
            }
            label_name(text(expression, "key"), &path.child("key"), faults);
        }
    }
}

fn parameters(class: &Value, faults: &mut Faults) {
    let path = Path::new("parameters");
    let count = entries(class, "parameters").count();
    if count > PARAMETERS_MAX {
        faults.too_long(&path, PARAMETERS_MAX);
        return;
    }
    let mut bytes = 0;
    for (key, value) in entries(class, "parameters") {
        if key.is_empty() {
            faults.invalid(&path, key, "field can not be empty.");
        }
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > PARAMETER_BYTES_MAX {
        faults.too_long(&path, PARAMETER_BYTES_MAX);
    }
}

/// A storage class that is changed: what volumes were made by stays.
pub(super) fn validate_class_update(new: &Value, old: &Value, faults: &mut Faults) {
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if !same(&new[field], &old[field]) {
            faults.forbidden(&Path::new(field), &format!("updates to {field} are forbidden."));
        }
    }
    let field = "volumeBindingMode";
    faults.immutable(&Path::new(field), &new[field], &old[field]);
}

/// A CSI driver.
pub(super) fn default_driver(driver: &mut Value) {
    let Some(spec) = child(driver, "spec") else { return };
    set_missing(spec, "attachRequired", true);
    set_missing(spec, "podInfoOnMount", false);
    set_missing(spec, "storageCapacity", false);
    set_missing(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if list(spec, "volumeLifecycleModes").is_empty() {
        super::look::set(spec, "volumeLifecycleModes", json!(["Persistent"]));
    }
    set_missing(spec, "requiresRepublish", false);
    set_missing(spec, "seLinuxMount", false);
}

/// A CSI driver that is made.
pub(super) fn validate_driver(driver: &Value, faults: &mut Faults) {
    let path = Path::new("spec");
    let spec = &driver["spec"];
    words::driver_name(text(&driver["metadata"], "name"), &Path::new("metadata.name"), faults);
    for field in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
        if !given(spec, field) {
            faults.required(&path.child(field), "");
        }
    }
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    faults.one_of(&path.child("fsGroupPolicy"), text(spec, "fsGroupPolicy"), &policies);
    let mut audiences: Vec<&str> = Vec::new();
    for (index, request) in list(spec, "tokenRequests").iter().enumerate() {
        let path = path.child("tokenRequests").index(index);
        let audience = text(request, "audience");
        if audiences.contains(&audience) {
            faults.duplicate(&path.child("audience"), audience);
        }
        audiences.push(audience);
        if let Some(seconds) = int(request, "expirationSeconds") {
            let path = path.child("expirationSeconds");
            if seconds < 600 {
                faults.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
            }
            if seconds > 1 << 32 {
                faults.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
            }
        }
    }
    for mode in texts(spec, "volumeLifecycleModes") {
        faults.one_of(&path.child("volumeLifecycleModes"), mode, &["Ephemeral", "Persistent"]);
    }
}

/// A CSI driver that is changed.
pub(super) fn validate_driver_update(new: &Value, old: &Value, faults: &mut Faults) {
    validate_driver(new, faults);
    for field in ["attachRequired", "volumeLifecycleModes"] {
        let path = Path::new("spec").child(field);
        faults.immutable(&path, &new["spec"][field], &old["spec"][field]);
    }
}

/// What drivers a node has.
pub(super) fn validate_csi_node(node: &Value, faults: &mut Faults) {
    let path = Path::new("spec.drivers");
    let mut names: Vec<&str> = Vec::new();
    for (index, driver) in list(&node["spec"], "drivers").iter().enumerate() {
        let path = path.index(index);
        let name = text(driver, "name");
        words::driver_name(name, &path.child("name"), faults);
        if names.contains(&name) {
            faults.duplicate(&path.child("name"), name);
        }
        names.push(name);
        if text(driver, "nodeID").is_empty() {
            faults.required(&path.child("nodeID"), "");
        }
        faults.not_negative(&path.child("allocatable").child("count"), int(&driver["allocatable"], "count"));
        for (index, key) in texts(driver, "topologyKeys").iter().enumerate() {
            faults.words(&path.child("topologyKeys").index(index), key, words::qualified_name(key));
        }
    }
}

/// Drivers of a node that stay must stay as they are.
pub(super) fn validate_csi_node_update(new: &Value, old: &Value, faults: &mut Faults) {
    validate_csi_node(new, faults);
    for before in list(&old["spec"], "drivers") {
        let name = text(before, "name");
        let after =
            list(&new["spec"], "drivers").iter().enumerate().find(|(_, one)| text(one, "name") == name);
        let Some((index, after)) = after else { continue };
        if !same(after, before) {
            let path = Path::new("spec.drivers").index(index);
            faults.invalid(&path, after.clone(), "field is immutable");
        }
    }
}

/// A volume's way to a node.
pub(super) fn validate_attachment(attachment: &Value, faults: &mut Faults) {
    let (spec, path) = (&attachment["spec"], Path::new("spec"));
    words::driver_name(text(spec, "attacher"), &path.child("attacher"), faults);
    let source = &spec["source"];
    let at = path.child("source");
    let (inline, named) = (given(source, "inlineVolumeSpec"), given(source, "persistentVolumeName"));
    if inline == named {
        faults.required(&at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
    } else if named {
        let name = text(source, "persistentVolumeName");
        let at = at.child("persistentVolumeName");
        if name.is_empty() {
            faults.required(&at, "");
        } else {
            faults.words(&at, name, Names::Subdomain.check(name, false));
        }
    }
    let node = text(spec, "nodeName");
    faults.words(&path.child("nodeName"), node, Names::Subdomain.check(node, false));
}

/// An attachment never changes what it attaches.
pub(super) fn validate_attachment_update(new: &Value, old: &Value, faults: &mut Faults) {
    faults.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
}

/// What room a class has somewhere.
pub(super) fn default_capacity(capacity: &mut Value) {
    for field in ["capacity", "maximumVolumeSize"] {
        if let Some(value) = capacity.get_mut(field).filter(|value| !value.is_null()) {
            amount::canonical(value);
        }
    }
    set_empty(capacity, "storageClassName", "");
}

/// Room that is made known.
pub(super) fn validate_capacity(capacity: &Value, faults: &mut Faults) {
    let class = text(capacity, "storageClassName");
    faults.words(&Path::new("storageClassName"), class, Names::Subdomain.check(class, false));
    selector::validate(&capacity["nodeTopology"], &Path::new("nodeTopology"), faults);
    for field in ["capacity", "maximumVolumeSize"] {
        if let Some(amount) = Amount::read(&capacity[field]).filter(|amount| amount.is_negative()) {
            faults.invalid(&Path::new(field), amount.to_string(), NEGATIVE);
        }
    }
}

/// Where, and of what class, stays.
pub(super) fn validate_capacity_update(new: &Value, old: &Value, faults: &mut Faults) {
    for field in ["nodeTopology", "storageClassName"] {
        faults.immutable(&Path::new(field), &new[field], &old[field]);
    }
}
