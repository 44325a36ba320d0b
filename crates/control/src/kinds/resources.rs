//! Resources: their names, their amounts, and requests against limits.

use serde_json::Value;
use shoal_api::field::Path;

use super::amount::Amount;
use super::faults::{Faults, NEGATIVE};
use super::look::{entries, list, text};
use super::words;

/// Resources that a container can have, without a domain.
const OF_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Resources that are counted, not measured.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources that a quota can name, without a domain; huge pages and counted ones aside.
const OF_QUOTAS: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// What checks the name of a resource.
pub(crate) type NameCheck = fn(&str, &Path, &mut Faults);

/// `resources` of a container.
pub(crate) fn requirements(resources: &Value, path: &Path, faults: &mut Faults) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    let mut measured = false;
    let mut huge = false;
    for (name, value) in entries(resources, "limits") {
        amount_of(name, value, &limits.key(name), container_name, faults);
        measured |= matches!(name, "cpu" | "memory");
        huge |= is_huge_page(name);
    }
    for (name, value) in entries(resources, "requests") {
        amount_of(name, value, &requests.key(name), container_name, faults);
        request_against_limit(name, value, resources, &limits, &requests, faults);
        measured |= matches!(name, "cpu" | "memory");
        huge |= is_huge_page(name);
    }
    if huge && !measured {
        faults.forbidden(path, "HugePages require cpu or memory");
    }
    for (index, claim) in list(resources, "claims").iter().enumerate() {
        let path = path.child("claims").index(index);
        match text(claim, "name") {
            "" => faults.required(&path, ""),
            name => faults.push(no_claim(&path, name)),
        }
    }
}

/// Claims of devices need `spec.resourceClaims`, which 1.32 drops unless it is asked for.
fn no_claim(path: &Path, name: &str) -> shoal_api::field::Error {
    let mut error = shoal_api::field::Error::not_found(path, &Value::from(name));
    error.message.push_str(": must be one of the names in pod.spec.resourceClaims which is empty");
    error
}

fn request_against_limit(
    name: &str,
    value: &Value,
    resources: &Value,
    limits: &Path,
    requests: &Path,
    faults: &mut Faults,
) {
    let limit = &resources["limits"][name];
    if limit.is_null() {
        if !may_overcommit(name) {
            faults.required(limits, "Limit must be set for non overcommitable resources");
        }
        return;
    }
    let (Some(request), Some(limit)) = (Amount::read(value), Amount::read(limit)) else { return };
    if request != limit && !may_overcommit(name) {
        let message = format!("must be equal to {name} limit of {limit}");
        faults.invalid(requests, request.to_string(), &message);
    } else if request > limit {
        let message = format!("must be less than or equal to {name} limit of {limit}");
        faults.invalid(requests, request.to_string(), &message);
    }
}

/// Name and amount of one resource.
pub(crate) fn amount_of(name: &str, value: &Value, path: &Path, check: NameCheck, faults: &mut Faults) {
    check(name, path, faults);
    amount(name, value, path, faults);
    if let (Some(amount), Some(page)) = (Amount::read(value), page_size(name))
        && !amount.is_multiple_of(page)
    {
        let message = format!("{amount} is not positive integer multiple of {name}");
        faults.invalid(path, amount.to_string(), &message);
    }
}

/// An amount of a resource: not negative, whole where it is counted.
pub(crate) fn amount(name: &str, value: &Value, path: &Path, faults: &mut Faults) {
    let Some(amount) = Amount::read(value) else { return };
    if amount.is_negative() {
        faults.invalid(path, amount.to_string(), NEGATIVE);
    }
    if is_counted(name) && !amount.is_whole() {
        faults.invalid_shown(path, &Amount::shown(value), "must be an integer");
    }
}

/// The name of a resource of a container.
pub(crate) fn container_name(name: &str, path: &Path, faults: &mut Faults) {
    any_name(name, path, faults);
    if !name.contains('/') {
        if !OF_CONTAINERS.contains(&name) && !is_huge_page(name) {
            faults.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        faults.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// The name of a resource in a quota.
pub(crate) fn quota_name(name: &str, path: &Path, faults: &mut Faults) {
    any_name(name, path, faults);
    if !name.contains('/') && !is_quota_standard(name) {
        faults.invalid(path, name, "must be a standard resource for quota");
    }
}

/// The name of any resource.
pub(crate) fn any_name(name: &str, path: &Path, faults: &mut Faults) {
    let messages = words::qualified_name(name);
    if !messages.is_empty() {
        faults.words(path, name, messages);
    } else if !name.contains('/') && !is_standard(name) {
        faults.invalid(path, name, "must be a standard resource type or fully qualified");
    }
}

/// May a quota name it without a domain?
pub(crate) fn is_quota_standard(name: &str) -> bool {
    OF_QUOTAS.contains(&name) || COUNTED.contains(&name) || is_huge_page(name) || is_huge_page_request(name)
}

/// May more be requested than there is?
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

fn is_standard(name: &str) -> bool {
    name == "storage" || is_quota_standard(name)
}

fn is_counted(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_huge_page_request(name: &str) -> bool {
    name.starts_with("requests.hugepages-")
}

fn page_size(name: &str) -> Option<Amount> {
    Amount::read(&Value::from(name.strip_prefix("hugepages-")?))
}

/// Of Kubernetes itself: without a domain, or with its own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    let prefixed = format!("requests.{name}");
    !is_native(name) && !name.starts_with("requests.") && words::qualified_name(&prefixed).is_empty()
}
