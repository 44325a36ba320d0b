//! Resource quotas and limit ranges.

use std::collections::BTreeSet;

use serde_json::Value;
use shoal_api::field::Path;

use super::amount::{self, Amount};
use super::faults::{Faults, IMMUTABLE};
use super::look::{child, entries, given, items, list, set_missing, text, texts};
use super::{golang, resources, words};

/// What a quota can be limited to.
const SCOPES: [&str; 6] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
];

/// Scopes that exclude each other.
const CONFLICTS: [(&str, &str); 2] = [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];

/// Resources of pods that make sense in a scope of pods that have requests.
const OF_PODS: [&str; 7] =
    ["cpu", "memory", "pods", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// A quota: its amounts in canonical form.
pub(super) fn default_quota(quota: &mut Value) {
    for part in ["spec", "status"] {
        if let Some(hard) = quota.get_mut(part).and_then(|part| part.get_mut("hard")) {
            amount::round(hard);
        }
    }
}

/// A quota that is made.
pub(super) fn validate_quota(quota: &Value, faults: &mut Faults) {
    let (spec, path) = (&quota["spec"], Path::new("spec"));
    hard(spec, &path, "hard", faults);
    scopes(spec, &path.child("scopes"), faults);
    scope_selector(spec, &path.child("scopeSelector").child("matchExpressions"), faults);
}

fn hard(part: &Value, path: &Path, field: &str, faults: &mut Faults) {
    for (name, value) in entries(part, field) {
        let path = path.child(field).key(name);
        resources::quota_name(name, &path, faults);
        resources::amount(name, value, &path, faults);
    }
}

fn scopes(spec: &Value, path: &Path, faults: &mut Faults) {
    let scopes = texts(spec, "scopes");
    let shown = golang::list_of("core.ResourceQuotaScope", &spec["scopes"]);
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            faults.invalid_shown(path, &shown, "unsupported scope");
        }
        for (name, _) in entries(spec, "hard") {
            if resources::is_quota_standard(name) && !fits(scope, name) {
                faults.invalid_shown(path, &shown, "unsupported scope applied to resource");
            }
        }
    }
    conflicts(&scopes, &shown, path, faults);
}

fn conflicts(scopes: &[&str], shown: &str, path: &Path, faults: &mut Faults) {
    for (one, other) in CONFLICTS {
        if scopes.contains(&one) && scopes.contains(&other) {
            faults.invalid_shown(path, shown, "conflicting scopes");
        }
    }
}

fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => {
            OF_PODS.contains(&resource)
                || resource.ends_with("ephemeral-storage")
                || resource.contains("hugepages-")
        }
        _ => true,
    }
}

fn scope_selector(spec: &Value, path: &Path, faults: &mut Faults) {
    let mut names: Vec<&str> = Vec::new();
    for requirement in list(&spec["scopeSelector"], "matchExpressions") {
        let (scope, operator) = (text(requirement, "scopeName"), text(requirement, "operator"));
        let values = texts(requirement, "values");
        if !SCOPES.contains(&scope) {
            faults.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        for (name, _) in entries(spec, "hard") {
            if resources::is_quota_standard(name) && !fits(scope, name) {
                let shown = spec["scopeSelector"].clone();
                faults.invalid(path, shown, "unsupported scope applied to resource");
            }
        }
        if scope != "PriorityClass" && SCOPES.contains(&scope) && operator != "Exists" {
            let message = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                           ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                           ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            faults.invalid(&path.child("operator"), operator, message);
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let message =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                faults.required(&path.child("values"), message);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let message =
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                let shown = golang::strings(&requirement["values"]);
                faults.invalid_shown(&path.child("values"), &shown, message);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => faults.invalid(&path.child("operator"), operator, "not a valid selector operator"),
        }
        names.push(scope);
    }
    let shown = golang::list_of("core.ResourceQuotaScope", &spec["scopes"]);
    conflicts(&names, &shown, path, faults);
}

/// A quota that is changed: its scopes stay.
pub(super) fn validate_quota_update(new: &Value, old: &Value, faults: &mut Faults) {
    validate_quota(new, faults);
    let set = |quota: &Value| -> BTreeSet<String> {
        texts(&quota["spec"], "scopes").into_iter().map(str::to_owned).collect()
    };
    if set(new) != set(old) {
        let shown = golang::list_of("core.ResourceQuotaScope", &new["spec"]["scopes"]);
        faults.invalid_shown(&Path::new("spec.scopes"), &shown, IMMUTABLE);
    }
}

/// What is used of a quota.
pub(super) fn validate_quota_status(new: &Value, _old: &Value, faults: &mut Faults) {
    let path = Path::new("status");
    for field in ["hard", "used"] {
        hard(&new["status"], &path, field, faults);
    }
}

/// Limits that stand for defaults that are not given.
pub(super) fn default_limit_range(range: &mut Value) {
    let Some(spec) = child(range, "spec") else { return };
    for limit in items(spec, "limits") {
        for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            if let Some(amounts) = limit.get_mut(field) {
                amount::round(amounts);
            }
        }
        if text(limit, "type") != "Container" {
            continue;
        }
        fill(limit, "default", "max");
        fill(limit, "defaultRequest", "default");
        fill(limit, "defaultRequest", "min");
    }
}

fn fill(limit: &mut Value, field: &str, from: &str) {
    let known: Vec<(String, Value)> =
        entries(limit, from).map(|(name, value)| (name.to_owned(), value.clone())).collect();
    if known.is_empty() {
        return;
    }
    if let Some(target) = child(limit, field) {
        for (name, value) in known {
            set_missing(target, &name, value);
        }
    }
}

/// A limit range that is made or changed.
pub(super) fn validate_limit_range(range: &Value, faults: &mut Faults) {
    let path = Path::new("spec.limits");
    let mut kinds: Vec<&str> = Vec::new();
    for (index, limit) in list(&range["spec"], "limits").iter().enumerate() {
        let path = path.index(index);
        let kind = text(limit, "type");
        limit_type(kind, &path.child("type"), faults);
        if kinds.contains(&kind) {
            faults.duplicate(&path.child("type"), kind);
        }
        kinds.push(kind);
        limit_names(limit, kind, &path, faults);
        let fields = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
        let names: BTreeSet<&str> =
            fields.iter().flat_map(|field| entries(limit, field)).map(|(name, _)| name).collect();
        for name in names {
            limit_order(limit, name, &path, faults);
        }
    }
}

fn limit_type(kind: &str, path: &Path, faults: &mut Faults) {
    let messages = words::qualified_name(kind);
    let known = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
    if !messages.is_empty() {
        faults.words(path, kind, messages);
    } else if !kind.contains('/') && !known {
        faults.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
}

fn limit_names(limit: &Value, kind: &str, path: &Path, faults: &mut Faults) {
    let check: resources::NameCheck =
        if matches!(kind, "Pod" | "Container") { resources::container_name } else { resources::any_name };
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let defaults = matches!(field, "default" | "defaultRequest");
        if kind == "Pod" && defaults {
            if given(limit, field) {
                faults.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, _) in entries(limit, field) {
            check(name, &path.child(field).key(name), faults);
        }
        let unlimited = !given(&limit["min"], "storage") && !given(&limit["max"], "storage");
        if field == "defaultRequest" && kind == "PersistentVolumeClaim" && unlimited {
            let message = "either minimum or maximum storage value is required, but neither was provided";
            faults.required(&path.child("limits"), message);
        }
    }
}

/// Least, default request, default and greatest, in this order.
fn limit_order(limit: &Value, name: &str, path: &Path, faults: &mut Faults) {
    let read = |field: &str| Amount::read(&limit[field][name]);
    let (least, most) = (read("min"), read("max"));
    let (default, request) = (read("default"), read("defaultRequest"));
    let mut check =
        |field: &str, low: Option<Amount>, high: Option<Amount>, shown: &str, words: [&str; 2]| {
            let (Some(low), Some(high)) = (low, high) else { return };
            if low > high {
                let message = format!("{} {low} is greater than {} {high}", words[0], words[1]);
                let shown = Amount::shown(&limit[shown][name]);
                faults.invalid_shown(&path.child(field).key(name), &shown, &message);
            }
        };
    check("min", least, most, "min", ["min value", "max value"]);
    check("defaultRequest", least, request, "defaultRequest", ["min value", "default request value"]);
    check("defaultRequest", request, most, "defaultRequest", ["default request value", "max value"]);
    check(
        "defaultRequest",
        request,
        default,
        "defaultRequest",
        ["default request value", "default limit value"],
    );
    check("default", least, default, "min", ["min value", "default value"]);
    check("default", default, most, "max", ["default value", "max value"]);
    let ratio_path = path.child("maxLimitRequestRatio").key(name);
    if let Some(ratio) = read("maxLimitRequestRatio") {
        let shown = Amount::shown(&limit["maxLimitRequestRatio"][name]);
        if ratio.milli() < 1000 {
            faults.invalid_shown(&ratio_path, &shown, &format!("ratio {ratio} is less than 1"));
        }
        if let (Some(least), Some(most)) = (least, most)
            && !least.is_zero()
        {
            ratio_fits(ratio, least, most, &shown, &ratio_path, faults);
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && default != request
        && !resources::may_overcommit(name)
    {
        let shown = Amount::shown(&limit["defaultRequest"][name]);
        let message =
            format!("default value {default} must equal to defaultRequest value {request} in {name}");
        faults.invalid_shown(&path.child("defaultRequest").key(name), &shown, &message);
    }
}

#[expect(clippy::cast_precision_loss, reason = "Kubernetes compares, and prints, floating point")]
fn ratio_fits(ratio: Amount, least: Amount, most: Amount, shown: &str, path: &Path, faults: &mut Faults) {
    let limit = most.milli() as f64 / least.milli() as f64;
    if ratio.milli() as f64 / 1000.0 > limit {
        faults.invalid_shown(path, shown, &format!("ratio {ratio} is greater than max/min = {limit:.6}"));
    }
}
