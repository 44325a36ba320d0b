//! What a pod uses: its containers together, what its runtime needs, and which scopes it is in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shoal_api::object;
use shoal_api::time::Moment;

use crate::plan::{after, read_time};
use crate::snapshot::{items, text};
use crate::words::{Amounts, amounts, whole};

const LIMITED: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];

/// Limits that demand that every container says how much it needs.
const DEMANDING: &[&str] =
    &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Adds what a pod uses beyond its being there: nothing once it is over.
pub(super) fn usage(pod: &Value, now: Moment, usage: &mut Amounts) {
    if is_over(pod, now) {
        return;
    }
    let (requests, limits) = (pod_amounts(pod, "requests"), pod_amounts(pod, "limits"));
    usage.insert("pods".into(), whole(1));
    usage.extend(compute(&requests, &limits));
}

/// The names under which quotas count requests and limits.
pub fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::new();
    for (name, amount) in requests {
        match name.as_str() {
            "cpu" | "memory" | "ephemeral-storage" => {
                usage.insert(name.clone(), *amount);
                usage.insert(format!("requests.{name}"), *amount);
            }
            _ if name.starts_with("hugepages-") => {
                usage.insert(name.clone(), *amount);
                usage.insert(format!("requests.{name}"), *amount);
            }
            _ if name.contains('/') => {
                usage.insert(format!("requests.{name}"), *amount);
            }
            _ => {}
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    usage
}

pub(super) fn is_limited_by(name: &str) -> bool {
    let extended = name.strip_prefix("requests.").is_some_and(|name| name.contains('/'));
    LIMITED.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
        || extended
}

/// Containers that do not say what `limited`, names of limits, demands of them: name of the limit to names of
/// containers.
pub fn missing_compute(pod: &Value, limited: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let demanded: Vec<&String> = limited.iter().filter(|name| DEMANDING.contains(&name.as_str())).collect();
    let mut missing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for container in items(&pod["spec"]["containers"]).chain(items(&pod["spec"]["initContainers"])) {
        let resources = &container["resources"];
        let said = compute(&amounts(&resources["requests"]), &amounts(&resources["limits"]));
        for name in demanded.iter().filter(|name| !said.contains_key(**name)) {
            missing.entry((*name).clone()).or_default().insert(text(&container["name"]).into());
        }
    }
    missing
}

/// What all containers of a pod need together, of `requests` or `limits`: init containers run one after the
/// other, beside those of them that keep running.
pub fn pod_amounts(pod: &Value, field: &str) -> Amounts {
    let of = |container: &Value| amounts(&container["resources"][field]);
    let mut sum = Amounts::new();
    for container in items(&pod["spec"]["containers"]) {
        super::add(&mut sum, of(container));
    }
    let (mut beside, mut most) = (Amounts::new(), Amounts::new());
    for container in items(&pod["spec"]["initContainers"]) {
        let mut at_once = of(container);
        if container["restartPolicy"] == "Always" {
            super::add(&mut sum, at_once.clone());
            super::add(&mut beside, at_once);
            at_once = beside.clone();
        } else {
            super::add(&mut at_once, beside.clone());
        }
        raise(&mut most, at_once);
    }
    raise(&mut sum, most);
    let overhead = amounts(&pod["spec"]["overhead"]);
    // A limit that no container has stays absent.
    let counted = overhead.into_iter().filter(|(name, _)| field == "requests" || sum.contains_key(name));
    let counted: Vec<_> = counted.collect();
    super::add(&mut sum, counted);
    sum
}

fn raise(most: &mut Amounts, amounts: Amounts) {
    for (name, amount) in amounts {
        let known = most.entry(name).or_insert(amount);
        *known = amount.max(*known);
    }
}

/// Whether a pod ended, or should have by now.
fn is_over(pod: &Value, now: Moment) -> bool {
    if matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed") {
        return true;
    }
    let deleted = read_time(&pod["metadata"]["deletionTimestamp"]);
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    deleted.zip(grace).is_some_and(|(deleted, grace)| after(deleted, grace) < now)
}

pub(super) fn is_in_scope(pod: &Value, scope: &str, operator: &str, values: &Value) -> bool {
    let ends = pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        "PriorityClass" => {
            let class = text(&pod["spec"]["priorityClassName"]);
            let named = items(values).any(|value| value == class);
            match operator {
                "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                "In" => named,
                "NotIn" => !named,
                _ => false,
            }
        }
        _ => false,
    }
}

fn is_best_effort(pod: &Value) -> bool {
    let mut all = items(&pod["spec"]["containers"]).chain(items(&pod["spec"]["initContainers"]));
    let says = |container: &Value, field: &str| {
        let said = amounts(&container["resources"][field]);
        ["cpu", "memory"].iter().any(|name| said.get(*name).is_some_and(|amount| !amount.is_zero()))
    };
    !all.any(|container| says(container, "requests") || says(container, "limits"))
}

fn crosses_namespaces(pod: &Value) -> bool {
    let own = object::namespace(pod);
    let crosses = |term: &Value| {
        let elsewhere = items(&term["namespaces"]).any(|namespace| own.is_empty() || namespace != own);
        elsewhere || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = &pod["spec"]["affinity"][kind];
        let required = items(&affinity["requiredDuringSchedulingIgnoredDuringExecution"]);
        let preferred = items(&affinity["preferredDuringSchedulingIgnoredDuringExecution"]);
        required.chain(preferred.map(|term| &term["podAffinityTerm"])).any(crosses)
    })
}
