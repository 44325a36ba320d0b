//! The cluster addresses of a service, and their families.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{list, text, texts};
use super::{golang, words};

/// Most addresses of a service: one of each family.
const ADDRESSES_MAX: usize = 2;

const ONCE: &str = "may not change once set";

fn is_headless(spec: &Value) -> bool {
    texts(spec, "clusterIPs") == ["None"]
}

/// Addresses, families and policy for themselves, and against each other.
pub(super) fn validate(spec: &Value, path: &Path, faults: &mut Faults) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let (first, all) = (text(spec, "clusterIP"), texts(spec, "clusterIPs"));
    let at = path.child("clusterIPs");
    let shown = || golang::strings(&spec["clusterIPs"]);
    match (first.is_empty(), all.first()) {
        (false, None) => faults.required(&at, ""),
        (false, Some(address)) if *address != first => {
            faults.invalid_shown(&at, &shown(), "first value must match `clusterIP`");
        }
        (true, Some(_)) => {
            faults.invalid_shown(&at, &shown(), "must be empty when `clusterIP` is not specified");
        }
        _ => {}
    }
    families(spec, path, faults);
    let before = faults.count();
    for (index, address) in all.iter().enumerate() {
        if index == 0 && *address == "None" {
            if all.len() > 1 {
                faults.invalid_shown(&at, &shown(), "'None' must be the first and only value");
            }
            continue;
        }
        faults.words(&at.index(index), address, words::ip(address));
    }
    let valid = faults.count() == before;
    if all.len() > ADDRESSES_MAX {
        faults.invalid_shown(&at, &shown(), "may only hold up to 2 values");
    }
    if !valid {
        return;
    }
    if all.len() > 1 && all.iter().all(|one| words::is_ipv6(one) == words::is_ipv6(all[0])) {
        faults.invalid_shown(&at, &shown(), "may specify no more than one IP for each IP family");
    }
    if is_headless(spec) {
        return;
    }
    for (index, (address, family)) in all.iter().zip(texts(spec, "ipFamilies")).enumerate() {
        if words::is_ipv6(address) != (family == "IPv6") && matches!(family, "IPv4" | "IPv6") {
            let message = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            faults.invalid(&at.index(index), *address, &message);
        }
    }
}

fn families(spec: &Value, path: &Path, faults: &mut Faults) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, family) in texts(spec, "ipFamilies").into_iter().enumerate() {
        let path = path.child("ipFamilies").index(index);
        faults.one_of(&path, family, &["IPv4", "IPv6"]);
        if seen.contains(&family) {
            faults.duplicate(&path, family);
        }
        seen.push(family);
    }
    if let Some(policy) = spec["ipFamilyPolicy"].as_str() {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        faults.one_of(&path.child("ipFamilyPolicy"), policy, &policies);
    }
}

/// The first address and family stay; a second may come and go.
pub(super) fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    if [new, old].iter().any(|spec| text(spec, "type") == "ExternalName") {
        return;
    }
    if !(is_headless(new) && is_headless(old)) {
        of_list(new, old, "clusterIPs", "primary clusterIP can not be unset", "clusterIP", faults);
    }
    if !is_headless(new) && !is_headless(old) {
        of_list(new, old, "ipFamilies", "primary ipFamily can not be unset", "ipFamily", faults);
    }
}

fn of_list(new: &Value, old: &Value, field: &str, unset: &str, what: &str, faults: &mut Faults) {
    let (after, before) = (texts(new, field), texts(old, field));
    let path = Path::new("spec").child(field);
    let shown = if list(new, field).is_empty() {
        golang::list_of(if field == "clusterIPs" { "string" } else { "core.IPFamily" }, &new[field])
    } else {
        golang::strings(&new[field])
    };
    if after.len() == before.len() {
        for (index, _) in before.iter().zip(&after).enumerate().filter(|(_, (old, new))| old != new) {
            let index = if field == "clusterIPs" { index } else { 0 };
            faults.invalid_shown(&path.index(index), &shown, ONCE);
        }
        return;
    }
    if after.is_empty() {
        faults.invalid_shown(&path.index(0), &shown, unset);
    }
    if let (Some(first), Some(earlier)) = (after.first(), before.first())
        && first != earlier
    {
        faults.invalid_shown(&path.index(0), &shown, ONCE);
    }
    if after.len() < before.len() && after.len() == 1 && text(new, "ipFamilyPolicy") != "SingleStack" {
        let message = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        let shown = golang::shown(&new["ipFamilyPolicy"]);
        faults.invalid_shown(&Path::new("spec.ipFamilyPolicy"), &shown, &message);
    }
}
