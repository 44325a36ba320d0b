//! Who may do what, and what else stands between a request and its object.

use serde_json::Value;

use super::human_duration;
use super::text::{NONE, UNSET, age, condition, count, items, name, number, text, text_or};

/// `NAME ROLE AGE USERS GROUPS SERVICEACCOUNTS`.
pub(super) fn binding(object: &Value, now: i64) -> Vec<Value> {
    let role = &object["roleRef"];
    let subjects = |kind: &str| {
        let of_kind = items(&object["subjects"]).iter().filter(|subject| subject["kind"] == kind);
        let named = of_kind.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(&subject["namespace"]), text(&subject["name"])),
            _ => text(&subject["name"]).into(),
        });
        named.collect::<Vec<_>>().join(", ")
    };
    vec![
        name(object),
        format!("{}/{}", text(&role["kind"]), text(&role["name"])).into(),
        age(object, now),
        subjects("User").into(),
        subjects("Group").into(),
        subjects("ServiceAccount").into(),
    ]
}

/// `NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION`.
pub(super) fn signing_request(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let is = |ty: &str| condition(&status["conditions"], ty).is_some();
    let mut state = if is("Denied") {
        "Denied".to_owned()
    } else if is("Approved") {
        "Approved".into()
    } else {
        "Pending".into()
    };
    if is("Failed") {
        state.push_str(",Failed");
    }
    if !text(&status["certificate"]).is_empty() {
        state.push_str(",Issued");
    }
    let duration = spec["expirationSeconds"].as_i64().map_or_else(|| NONE.into(), human_duration);
    vec![
        name(object),
        age(object, now),
        text_or(&spec["signerName"], NONE).into(),
        text(&spec["username"]).into(),
        duration.into(),
        state.into(),
    ]
}

/// `NAME VALIDATIONS PARAMKIND AGE`.
pub(super) fn policy(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let parameters = match &spec["paramKind"] {
        Value::Null => UNSET.into(),
        kind => format!("{}/{}", text(&kind["apiVersion"]), text(&kind["kind"])),
    };
    vec![name(object), count(&spec["validations"]).into(), parameters.into(), age(object, now)]
}

/// `NAME POLICYNAME PARAMREF AGE`.
pub(super) fn policy_binding(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let reference = &spec["paramRef"];
    let parameters = match (text(&reference["name"]), &reference["selector"]) {
        ("", Value::Null) => UNSET.into(),
        ("", selector) => go_selector(selector),
        (referred, _) => format!("{}/{referred}", text_or(&reference["namespace"], "*")),
    };
    vec![name(object), text(&spec["policyName"]).into(), parameters.into(), age(object, now)]
}

/// A selector as Go's generated code writes one, which is what this column shows.
fn go_selector(selector: &Value) -> String {
    let labels: String = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}: {},", text(value)))
        .collect();
    let expressions: String = items(&selector["matchExpressions"])
        .iter()
        .map(|expression| {
            let values = items(&expression["values"]).iter().map(text).collect::<Vec<_>>().join(" ");
            let (key, operator) = (text(&expression["key"]), text(&expression["operator"]));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

/// `NAME PRIORITYLEVEL MATCHINGPRECEDENCE DISTINGUISHERMETHOD AGE MISSINGPL`.
pub(super) fn flow_schema(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let dangling = condition(&object["status"]["conditions"], "Dangling");
    vec![
        name(object),
        text(&spec["priorityLevelConfiguration"]["name"]).into(),
        number(&spec["matchingPrecedence"]).into(),
        text_or(&spec["distinguisherMethod"]["type"], NONE).into(),
        age(object, now),
        dangling.map_or("?", |condition| text(&condition["status"])).into(),
    ]
}

/// `NAME TYPE NOMINALCONCURRENCYSHARES QUEUES HANDSIZE QUEUELENGTHLIMIT AGE`.
pub(super) fn priority_level(object: &Value, now: i64) -> Vec<Value> {
    let limited = &object["spec"]["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    let of = |part: &Value, field: &str| match part {
        Value::Null => Value::from(NONE),
        part => number(&part[field]).into(),
    };
    vec![
        name(object),
        text(&object["spec"]["type"]).into(),
        match &limited["nominalConcurrencyShares"] {
            Value::Null => NONE.into(),
            shares => number(shares).into(),
        },
        of(queuing, "queues"),
        of(queuing, "handSize"),
        of(queuing, "queueLengthLimit"),
        age(object, now),
    ]
}

/// `NAME SERVICE AVAILABLE AGE`.
pub(super) fn api_service(object: &Value, now: i64) -> Vec<Value> {
    let service = match &object["spec"]["service"] {
        Value::Null => "Local".into(),
        service => format!("{}/{}", text(&service["namespace"]), text(&service["name"])),
    };
    let available = condition(&object["status"]["conditions"], "Available").map_or_else(
        || "Unknown".into(),
        |condition| match (text(&condition["status"]), text(&condition["reason"])) {
            ("True", _) => "True".into(),
            (status, "") => status.into(),
            (status, reason) => format!("{status} ({reason})"),
        },
    );
    vec![name(object), service.into(), available.into(), age(object, now)]
}
