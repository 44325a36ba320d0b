//! ResourceQuotas: a request that would use more than is left is refused.
//!
//! [`charge`] decides and says what the quotas' status becomes. Whoever stores the object commits these statuses in
//! the same transaction, each against the version that was read, and on a conflict asks again: so no two requests
//! ever take the same rest.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shoal_api::Status;
use shoal_api::object;

use super::{Attributes, Operation};
use crate::known::RESOURCE_QUOTA;
use crate::quota::{Used, missing_compute};
use crate::snapshot::Snapshot;
use crate::words::{Amounts, amounts, amounts_value};

/// Charges what a request would use to the quotas of its namespace. Returns those whose status changes, with their
/// new status and the version that was read; none for a dry run.
///
/// # Errors
/// 403 when a quota does not have that much left, or the object does not say how much it needs.
pub fn charge(
    attributes: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    world: &dyn Snapshot,
) -> Result<Vec<Value>, Status> {
    if attributes.namespace.is_empty() || !is_charged(attributes) {
        return Ok(Vec::new());
    }
    let used = Used { group: attributes.group, resource: attributes.resource, object };
    let quotas: Vec<_> = world
        .list(&RESOURCE_QUOTA, Some(attributes.namespace))
        .into_iter()
        .filter(|quota| {
            let limited = amounts(&quota["status"]["hard"]).keys().any(|name| used.is_limited_by(name));
            limited && used.is_in_scope(quota)
        })
        .collect();
    for quota in &quotas {
        check_known(attributes, used, quota)?;
    }
    let delta = delta(attributes, used, old);
    if attributes.operation == Operation::Create {
        let negative: Vec<&str> =
            delta.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name.as_str()).collect();
        if !negative.is_empty() {
            let message = format!("quota usage is negative for resource(s): {}", negative.join(","));
            return Err(attributes.forbidden(object, &message));
        }
    }
    let mut charged = Vec::new();
    for quota in &quotas {
        charged.extend(take(attributes, object, quota, &delta)?);
    }
    Ok(if attributes.dry_run { Vec::new() } else { charged })
}

/// Requests that can use more than before. All others use what the same objects used.
fn is_charged(attributes: &Attributes<'_>) -> bool {
    let (creates, updates) =
        (attributes.operation == Operation::Create, attributes.operation == Operation::Update);
    match (attributes.group, attributes.resource, attributes.subresource) {
        ("", "pods", "resize") => updates,
        ("", "services" | "persistentvolumeclaims", "") => creates || updates,
        (_, _, "") => creates,
        _ => false,
    }
}

/// What is limited must be said by the object, and counted by the quota.
fn check_known(attributes: &Attributes<'_>, used: Used<'_>, quota: &Value) -> Result<(), Status> {
    let name = object::name(quota);
    let hard = amounts(&quota["status"]["hard"]);
    let limited: BTreeSet<String> = hard.into_keys().filter(|name| used.is_limited_by(name)).collect();
    if attributes.group.is_empty() && attributes.resource == "pods" {
        let missing = missing_compute(used.object, &limited);
        let list: Vec<String> = missing
            .iter()
            .map(|(what, who)| format!("{what} for: {}", who.iter().cloned().collect::<Vec<_>>().join(",")))
            .collect();
        if !list.is_empty() {
            let message = format!("failed quota: {name}: must specify {}", list.join("; "));
            return Err(attributes.forbidden(used.object, &message));
        }
    }
    let counted = amounts(&quota["status"]["used"]);
    let unknown: Vec<&str> =
        limited.iter().filter(|name| !counted.contains_key(*name)).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let limited: Vec<&str> = limited.iter().map(String::as_str).collect();
    let message = format!("status unknown for quota: {name}, resources: {}", limited.join(","));
    Err(attributes.forbidden(used.object, &message))
}

/// What the request uses more than before; what does not change is left out.
fn delta(attributes: &Attributes<'_>, used: Used<'_>, old: Option<&Value>) -> Amounts {
    let mut delta = used.usage(attributes.now);
    if let Some(old) = old.filter(|_| attributes.operation == Operation::Update) {
        for (name, before) in (Used { object: old, ..used }).usage(attributes.now) {
            let now = delta.remove(&name).unwrap_or(shoal_api::quantity::Quantity::ZERO);
            delta.insert(name, now.minus(before));
        }
    }
    delta.retain(|_, amount| !amount.is_zero());
    delta
}

/// The quota after `delta` was taken from it; none when it does not change.
fn take(
    attributes: &Attributes<'_>,
    object: &Value,
    quota: &Value,
    delta: &Amounts,
) -> Result<Option<Value>, Status> {
    let (hard, mut used) = (amounts(&quota["status"]["hard"]), amounts(&quota["status"]["used"]));
    let requested: Amounts = delta
        .iter()
        .filter(|(name, _)| hard.contains_key(*name))
        .map(|(name, one)| (name.clone(), *one))
        .collect();
    if requested.is_empty() {
        return Ok(None);
    }
    let before = used.clone();
    crate::quota::add(&mut used, requested.clone());
    let exceeded: BTreeSet<&String> = requested
        .iter()
        .filter(|(name, amount)| amount.sign() > 0 && used[*name] > hard[*name])
        .map(|(name, _)| name)
        .collect();
    if !exceeded.is_empty() {
        let shown = |amounts: &Amounts| -> String {
            let list = amounts.iter().filter(|(name, _)| exceeded.contains(name));
            list.map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
        };
        let message = format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            object::name(quota),
            shown(&requested),
            shown(&before),
            shown(&hard)
        );
        return Err(attributes.forbidden(object, &message));
    }
    let mut quota = quota.clone();
    quota["status"]["used"] = json!(amounts_value(&used));
    Ok(Some(quota))
}
