//! LimitRanges: what containers need when they do not say, and how much anything may need.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::quantity::Quantity;
use shoal_api::{Status, object};

use super::{Attributes, Operation, items_mut, joined};
use crate::known::LIMIT_RANGE;
use crate::quota::pod_amounts;
use crate::snapshot::{Snapshot, items, text};
use crate::words::{Amounts, amount_of, amounts};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) fn mutate(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    if !attributes.is("", "pods", &[Operation::Create]) {
        return Ok(Vec::new());
    }
    for range in world.list(&LIMIT_RANGE, Some(attributes.namespace)) {
        let set = fill_pod(pod, &range);
        if !set.is_empty() {
            let message = format!("LimitRanger plugin set: {}", set.join("; "));
            let metadata = object::metadata_mut(pod);
            object::child_mut(metadata, "annotations").insert(ANNOTATION.into(), json!(message));
        }
    }
    Ok(Vec::new())
}

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: &Value,
    _: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<String>, Status> {
    use Operation::{Create, Update};
    let pod = attributes.is("", "pods", &[Create]) || attributes.is_part("", "pods", "resize", &[Update]);
    let claim = attributes.is("", "persistentvolumeclaims", &[Create, Update]);
    if !pod && !claim {
        return Ok(Vec::new());
    }
    let ranges: Vec<Arc<Value>> = world.list(&LIMIT_RANGE, Some(attributes.namespace));
    for limit in ranges.iter().flat_map(|range| items(&range["spec"]["limits"])) {
        let complaints = if claim { of_claim(object, limit) } else { of_pod(object, limit) };
        if let Some(message) = joined(complaints) {
            return Err(attributes.forbidden(object, &message));
        }
    }
    Ok(Vec::new())
}

/// Fills in what containers leave out; tells what, as the annotation shows it.
fn fill_pod(pod: &mut Value, range: &Value) -> Vec<String> {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for limit in items(&range["spec"]["limits"]).filter(|limit| limit["type"] == "Container") {
        requests.extend(amounts(&limit["defaultRequest"]));
        limits.extend(amounts(&limit["default"]));
    }
    let mut set = Vec::new();
    for (field, kind) in [("containers", "container"), ("initContainers", "init container")] {
        for container in items_mut(&mut pod["spec"], field) {
            let named = format!("{kind} {}", text(&container["name"]));
            let limited = fill(container, "limits", &limits);
            let requested = fill(container, "requests", &requests);
            for (names, what) in [(requested, "request"), (limited, "limit")] {
                if !names.is_empty() {
                    set.push(format!("{} {what} for {named}", names.join(", ")));
                }
            }
        }
    }
    set
}

fn fill(container: &mut Value, field: &str, defaults: &Amounts) -> Vec<String> {
    let missing: Vec<_> =
        defaults.iter().filter(|(name, _)| container["resources"][field][name.as_str()].is_null()).collect();
    for (name, amount) in &missing {
        container["resources"][field][name.as_str()] = json!(amount.to_string());
    }
    missing.into_iter().map(|(name, _)| name.clone()).collect()
}

fn of_pod(pod: &Value, limit: &Value) -> Vec<String> {
    let kind = text(&limit["type"]);
    let spec = &pod["spec"];
    match kind {
        "Container" => items(&spec["containers"])
            .chain(items(&spec["initContainers"]))
            .flat_map(|container| {
                let amounts = |field: &str| amounts(&container["resources"][field]);
                complaints(limit, kind, &amounts("requests"), &amounts("limits"))
            })
            .collect(),
        "Pod" => complaints(limit, kind, &pod_amounts(pod, "requests"), &pod_amounts(pod, "limits")),
        _ => Vec::new(),
    }
}

fn complaints(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, least) in amounts(&limit["min"]) {
        let said = Said { name: &name, kind, request: requests.get(&name), limit: limits.get(&name) };
        complaints.extend(said.at_least(least));
    }
    for (name, most) in amounts(&limit["max"]) {
        let said = Said { name: &name, kind, request: requests.get(&name), limit: limits.get(&name) };
        complaints.extend(said.at_most(most));
    }
    for (name, most) in amounts(&limit["maxLimitRequestRatio"]) {
        let said = Said { name: &name, kind, request: requests.get(&name), limit: limits.get(&name) };
        complaints.extend(said.in_ratio(most));
    }
    complaints
}

fn of_claim(claim: &Value, limit: &Value) -> Vec<String> {
    let kind = text(&limit["type"]);
    if kind != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let requested = |name: &str| amount_of(&claim["spec"]["resources"]["requests"][name]);
    let mut complaints = Vec::new();
    for (name, least) in amounts(&limit["min"]) {
        let request = requested(&name);
        let said = Said { name: &name, kind, request: request.as_ref(), limit: None };
        complaints.extend(said.at_least(least));
    }
    for (name, most) in amounts(&limit["max"]) {
        match requested(&name) {
            None => complaints
                .push(format!("maximum {name} usage per {kind} is {most}.  No request is specified")),
            Some(request) if request > most => complaints
                .push(format!("maximum {name} usage per {kind} is {most}, but request is {request}")),
            Some(_) => {}
        }
    }
    complaints
}

/// What something says about one resource.
struct Said<'a> {
    name: &'a str,
    kind: &'a str,
    request: Option<&'a Quantity>,
    limit: Option<&'a Quantity>,
}

impl Said<'_> {
    fn at_least(&self, least: Quantity) -> Option<String> {
        let bound = format!("minimum {} usage per {} is {least}", self.name, self.kind);
        match (self.request, self.limit) {
            (None, _) => Some(format!("{bound}.  No request is specified")),
            (Some(request), _) if *request < least => Some(format!("{bound}, but request is {request}")),
            (_, Some(limit)) if *limit < least => Some(format!("{bound}, but limit is {limit}")),
            _ => None,
        }
    }

    fn at_most(&self, most: Quantity) -> Option<String> {
        let bound = format!("maximum {} usage per {} is {most}", self.name, self.kind);
        match (self.limit, self.request) {
            (None, _) => Some(format!("{bound}.  No limit is specified")),
            (Some(limit), _) if *limit > most => Some(format!("{bound}, but limit is {limit}")),
            (_, Some(request)) if *request > most => Some(format!("{bound}, but request is {request}")),
            _ => None,
        }
    }

    fn in_ratio(&self, most: Quantity) -> Option<String> {
        let bound = format!("{} max limit to request ratio per {} is {most}", self.name, self.kind);
        let something = |amount: Option<&Quantity>| amount.copied().filter(|amount| !amount.is_zero());
        let Some(request) = something(self.request) else {
            return Some(format!("{bound}, but no request is specified or request is 0"));
        };
        let Some(limit) = something(self.limit) else {
            return Some(format!("{bound}, but no limit is specified or limit is 0"));
        };
        let ratio = limit.as_f64() / request.as_f64();
        (ratio > most.as_f64()).then(|| format!("{bound}, but provided ratio is {ratio:.6}"))
    }
}
