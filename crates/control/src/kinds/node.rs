//! Nodes: what they have, and what of them can change.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{entries, given, list, set, set_missing, text, texts};
use super::pod::scheduling;
use super::{amount, golang, resources, words};

/// A node gives all that it has, and its one range of addresses is also the first of its ranges.
pub(super) fn default(node: &mut Value) {
    if let Some(status) = node.get_mut("status") {
        for field in ["capacity", "allocatable"] {
            if let Some(amounts) = status.get_mut(field) {
                amount::round(amounts);
            }
        }
        if given(status, "capacity") {
            let capacity = status["capacity"].clone();
            set_missing(status, "allocatable", capacity);
        }
    }
    if let Some(spec) = node.get_mut("spec") {
        let (one, all) = (spec["podCIDR"].clone(), spec["podCIDRs"].clone());
        match (one.is_null(), all.get(0)) {
            (false, None) => set(spec, "podCIDRs", json!([one])),
            (true, Some(first)) => set(spec, "podCIDR", first.clone()),
            _ => {}
        }
    }
}

/// A node that is made.
pub(super) fn validate(node: &Value, faults: &mut Faults) {
    scheduling::taints(list(&node["spec"], "taints"), &Path::new("metadata.taints"), faults);
    amounts(node, faults);
    let ranges = texts(&node["spec"], "podCIDRs");
    let path = Path::new("spec.podCIDRs");
    for (index, range) in ranges.iter().enumerate() {
        faults.words(&path.index(index), range, words::cidr(range));
    }
    let families: Vec<bool> =
        ranges.iter().filter_map(|range| words::parse_cidr(range)).map(|(ip, _)| ip.is_ipv6()).collect();
    if ranges.len() > 1 {
        let dual = families.contains(&true) && families.contains(&false);
        if !dual || ranges.len() > 2 {
            let shown = golang::strings(&node["spec"]["podCIDRs"]);
            faults.invalid_shown(&path, &shown, "may specify no more than one CIDR for each IP family");
        }
        for (index, range) in ranges.iter().enumerate().filter(|(index, one)| ranges[..*index].contains(*one))
        {
            faults.duplicate(&path.index(index), *range);
        }
    }
}

fn amounts(node: &Value, faults: &mut Faults) {
    for field in ["capacity", "allocatable"] {
        for (name, value) in entries(&node["status"], field) {
            let path = Path::new("status").child(field).child(name);
            resources::amount(name, value, &path, faults);
        }
    }
}

/// A node that is changed.
pub(super) fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    amounts(new, faults);
    let addresses = list(&new["status"], "addresses");
    for (index, address) in
        addresses.iter().enumerate().filter(|(index, one)| addresses[..*index].contains(one))
    {
        let (kind, ip) = (text(address, "type"), text(address, "address"));
        let mut error =
            shoal_api::field::Error::duplicate(&Path::new("status.addresses").index(index), &Value::Null);
        error.message = format!("Duplicate value: core.NodeAddress{{Type:{kind:?}, Address:{ip:?}}}");
        faults.push(error);
    }
    let (after, before) = (&new["spec"], &old["spec"]);
    let ranges = texts(before, "podCIDRs");
    if !ranges.is_empty() && texts(after, "podCIDRs") != ranges {
        let message = "node updates may not change podCIDR except from \"\" to valid";
        faults.forbidden(&Path::new("spec.podCIDRs"), message);
    }
    let provider = text(before, "providerID");
    if !provider.is_empty() && text(after, "providerID") != provider {
        let message = "node updates may not change providerID except from \"\" to valid";
        faults.forbidden(&Path::new("spec.providerID"), message);
    }
    scheduling::taints(list(after, "taints"), &Path::new("metadata.taints"), faults);
    if text(after, "externalID") != text(before, "externalID") {
        faults.forbidden(&Path::new("spec.externalID"), "may not be updated");
    }
}

/// Fields that do nothing any more.
pub(super) fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if given(&new["spec"], "configSource") {
        warnings.push("spec.configSource: the feature is no longer supported".into());
    }
    if !text(&new["spec"], "externalID").is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
    }
    warnings
}
