//! Whether the rules of a schema can be used, and what they may cost.

use serde_json::Value;
use shoal_api::field::{Error, Path, Reason};

use crate::cel::{COST_MAX, Sizes};
use crate::custom::go;
use crate::custom::rules::{self, RuleError};
use crate::custom::structural::{Rule, Structural};

/// What all rules of a schema may cost together (`StaticEstimatedCRDCostLimit` of Kubernetes).
pub(super) const SCHEMA_COST_MAX: u64 = 100_000_000;

/// How many of the dearest rules are named when all together cost too much.
const DEAREST_SHOWN: usize = 4;

/// What is wrong with the rules of a schema.
pub(super) fn check(schema: &Value, structural: &Structural, path: &Path) -> Vec<Error> {
    if !structural.has_rules() {
        return misplaced(schema, path);
    }
    let visible = rules::visible(structural, true);
    let mut walk = Walk { errors: misplaced(schema, path), total: 0, dearest: Vec::new() };
    walk.node(&visible, &Place { path: path.clone(), times: Some(1), uncorrelatable: None });
    let Walk { mut errors, total, mut dearest } = walk;
    if total > SCHEMA_COST_MAX {
        dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, path) in dearest.iter().take(DEAREST_SHOWN) {
            let detail =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(Error::forbidden(path, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(Error::forbidden(path, &too_dear(what, total, SCHEMA_COST_MAX)));
    }
    errors
}

struct Walk {
    errors: Vec<Error>,
    total: u64,
    /// What each rule may cost, and where it stands.
    dearest: Vec<(u64, Path)>,
}

/// Where a schema stands.
struct Place {
    path: Path,
    /// How often a value of it may stand in an object; none where only the size of the request limits it.
    times: Option<u64>,
    /// The list above whose items cannot be told apart.
    uncorrelatable: Option<Path>,
}

impl Walk {
    fn node(&mut self, schema: &Structural, place: &Place) {
        for (index, rule) in schema.rules.iter().enumerate() {
            self.rule(rule, schema, place, &place.path.child("x-kubernetes-validations").index(index));
        }
        for (name, below) in &schema.properties {
            let path = place.path.child("properties").key(name);
            self.node(
                below,
                &Place { path, times: place.times, uncorrelatable: place.uncorrelatable.clone() },
            );
        }
        if let Some(below) = schema.additional_schema() {
            let times = times(place, schema.limits.max_properties);
            let path = place.path.child("additionalProperties");
            self.node(below, &Place { path, times, uncorrelatable: place.uncorrelatable.clone() });
        }
        if let Some(below) = &schema.items {
            let times = times(place, schema.limits.max_items);
            let path = place.path.child("items");
            let lost = (schema.list_type != "map").then(|| path.clone());
            let uncorrelatable = place.uncorrelatable.clone().or(lost);
            self.node(below, &Place { path, times, uncorrelatable });
        }
    }

    fn rule(&mut self, rule: &Rule, schema: &Structural, place: &Place, path: &Path) {
        self.errors.extend(words(rule, path));
        let compiled = match rules::compile(rule, schema) {
            Ok(compiled) => compiled,
            Err(RuleError::Empty) => {
                return self.errors.push(Error::required(&path.child("rule"), "rule is not specified"));
            }
            Err(RuleError::Rule(detail)) => {
                return self.errors.push(wrong(rule, &path.child("rule"), &detail));
            }
            Err(RuleError::Message(detail)) => {
                return self.errors.push(wrong(rule, &path.child("messageExpression"), &detail));
            }
        };
        let times = place.times.unwrap_or_else(|| Sizes::in_request(schema));
        for (estimate, field, what) in [
            (compiled.estimate, "rule", "estimated rule cost"),
            (compiled.message_estimate, "messageExpression", "estimated messageExpression cost"),
        ] {
            let cost = estimate.cost.saturating_mul(times);
            if cost > COST_MAX {
                self.errors.push(Error::forbidden(&path.child(field), &too_dear(what, cost, COST_MAX)));
            }
            self.total = self.total.saturating_add(cost);
            if cost > 0 {
                self.dearest.push((cost, path.child(field)));
            }
        }
        if let Some(list) = place.uncorrelatable.as_ref().filter(|_| compiled.uses_old) {
            let detail =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
            self.errors.push(Error::invalid(&path.child("rule"), &rule.rule.clone().into(), &detail));
        }
        if let Some(optional) = rule.optional_old_self.filter(|_| !compiled.uses_old) {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.push(Error::invalid(&path.child("optionalOldSelf"), &optional.into(), detail));
        }
    }
}

fn times(place: &Place, max: Option<u64>) -> Option<u64> {
    Some(place.times?.saturating_mul(max?))
}

/// What is wrong with a rule but for its expressions.
fn words(rule: &Rule, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    let message = rule.message.trim();
    if !rule.message.is_empty() && message.is_empty() {
        let detail = "message must be non-empty if specified";
        errors.push(Error::invalid(&path.child("message"), &rule.message.clone().into(), detail));
    } else if message.contains(['\n', '\r']) {
        let detail = "message must not contain line breaks";
        errors.push(Error::invalid(&path.child("message"), &rule.message.clone().into(), detail));
    } else if rule.rule.trim().contains(['\n', '\r']) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(Error::required(&path.child("message"), detail));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(Error::required(&path.child("messageExpression"), detail));
    }
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    if !rule.reason.is_empty() && !REASONS.contains(&rule.reason.as_str()) {
        errors.push(Error::not_supported(&path.child("reason"), &rule.reason.clone().into(), &REASONS));
    }
    if !rule.field_path.is_empty() && crate::custom::paths::FieldPath::new(rule.field_path.trim()).is_none() {
        let detail = "fieldPath must be a valid path";
        errors.push(Error::invalid(&path.child("fieldPath"), &rule.field_path.clone().into(), detail));
    }
    errors
}

/// Rules inside `allOf` and its kin are not run, so they are refused.
fn misplaced(schema: &Value, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    for field in ["allOf", "anyOf", "oneOf"] {
        for (index, nested) in schema[field].as_array().into_iter().flatten().enumerate() {
            if nested["x-kubernetes-validations"].as_array().is_some_and(|rules| !rules.is_empty()) {
                let path = path.child(field).index(index).child("x-kubernetes-validations");
                errors.push(Error::forbidden(&path, "must be empty to be structural"));
            }
        }
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        errors.extend(misplaced(below, &path.child("properties").key(name)));
    }
    for field in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(field) {
            errors.extend(misplaced(below, &path.child(field)));
        }
    }
    errors
}

/// An error that shows the rule as Go shows it.
fn wrong(rule: &Rule, path: &Path, detail: &str) -> Error {
    let text = |text: &str| go::quoted(text);
    // Go shows where a pointer points; nobody can tell one address from another.
    let pointer =
        |ty: &str, set: bool| if set { format!("({ty})(0xc000000000)") } else { format!("({ty})(nil)") };
    let shown = format!(
        "apiextensions.ValidationRule{{Rule:{}, Message:{}, MessageExpression:{}, Reason:{}, FieldPath:{}, OptionalOldSelf:{}}}",
        text(&rule.rule),
        text(&rule.message),
        text(&rule.message_expression),
        pointer("*apiextensions.FieldValueErrorReason", !rule.reason.is_empty()),
        text(&rule.field_path),
        pointer("*bool", rule.optional_old_self.is_some()),
    );
    Error {
        reason: Reason::Invalid,
        path: path.clone(),
        message: format!("Invalid value: {shown}: {detail}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a factor for people")]
fn too_dear(what: &str, cost: u64, max: u64) -> String {
    let factor = cost as f64 / max as f64;
    let factor = match factor {
        factor if factor > 100.0 => "more than 100x".into(),
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
