//! What keeps pods running: deployments and their like, jobs, and what scales or shields them.

use serde_json::Value;

use super::human_duration;
use super::text::{
    NONE, UNKNOWN, UNSET, age, amount, containers, count, is_true, items, label_selector,
    label_selector_or_none, labels, name, number, seconds, shortened, since, text, yes_or_no,
};
use crate::GroupVersion;

/// So many metrics of an autoscaler are shown.
const METRICS_SHOWN_MAX: usize = 2;

/// `NAME CONTAINERS IMAGES POD-LABELS`.
pub(super) fn pod_template(object: &Value) -> Vec<Value> {
    let template = &object["template"];
    let [names, images] = containers(&template["spec"]["containers"]);
    vec![name(object), names, images, labels(&template["metadata"]["labels"]).into()]
}

/// `NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR`.
pub(super) fn replication_controller(object: &Value, now: i64) -> Vec<Value> {
    replicas(object, now, labels(&object["spec"]["selector"]))
}

/// As a replication controller.
pub(super) fn replica_set(object: &Value, now: i64) -> Vec<Value> {
    replicas(object, now, label_selector_or_none(&object["spec"]["selector"]))
}

fn replicas(object: &Value, now: i64, selector: String) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = template_containers(spec);
    vec![
        name(object),
        number(&spec["replicas"]).into(),
        number(&status["replicas"]).into(),
        number(&status["readyReplicas"]).into(),
        age(object, now),
        names,
        images,
        selector.into(),
    ]
}

/// `NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR`.
pub(super) fn deployment(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = template_containers(spec);
    vec![
        name(object),
        ready(object),
        number(&status["updatedReplicas"]).into(),
        number(&status["availableReplicas"]).into(),
        age(object, now),
        names,
        images,
        label_selector(&spec["selector"]).unwrap_or_else(|| "<invalid>".into()).into(),
    ]
}

/// `NAME READY AGE CONTAINERS IMAGES`.
pub(super) fn stateful_set(object: &Value, now: i64) -> Vec<Value> {
    let [names, images] = template_containers(&object["spec"]);
    vec![name(object), ready(object), age(object, now), names, images]
}

/// `NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE-SELECTOR AGE CONTAINERS IMAGES SELECTOR`.
pub(super) fn daemon_set(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = template_containers(spec);
    vec![
        name(object),
        number(&status["desiredNumberScheduled"]).into(),
        number(&status["currentNumberScheduled"]).into(),
        number(&status["numberReady"]).into(),
        number(&status["updatedNumberScheduled"]).into(),
        number(&status["numberAvailable"]).into(),
        labels(&spec["template"]["spec"]["nodeSelector"]).into(),
        age(object, now),
        names,
        images,
        label_selector_or_none(&spec["selector"]).into(),
    ]
}

/// `NAME CONTROLLER REVISION AGE`.
pub(super) fn controller_revision(object: &Value, now: i64) -> Vec<Value> {
    let owners = items(&object["metadata"]["ownerReferences"]);
    let controller = owners.iter().find(|owner| owner["controller"] == true).map(|owner| {
        let group_version = text(&owner["apiVersion"]).parse::<GroupVersion>().unwrap_or_default();
        let kind = group_version.kind(text(&owner["kind"])).group_kind().to_string();
        format!("{}/{}", kind.to_lowercase(), text(&owner["name"]))
    });
    let controller = controller.unwrap_or_else(|| NONE.into());
    vec![name(object), controller.into(), number(&object["revision"]).into(), age(object, now)]
}

/// `NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR`.
pub(super) fn job(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let succeeded = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), number(&spec["parallelism"])) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = seconds(&status["startTime"]).map(|start| {
        let end = seconds(&status["completionTime"]).unwrap_or(now);
        human_duration(end.saturating_sub(start))
    });
    let [names, images] = template_containers(spec);
    vec![
        name(object),
        job_status(object).into(),
        completions.into(),
        duration.unwrap_or_default().into(),
        age(object, now),
        names,
        images,
        label_selector_or_none(&spec["selector"]).into(),
    ]
}

fn job_status(object: &Value) -> &'static str {
    let conditions = &object["status"]["conditions"];
    let deleted = object["metadata"]["deletionTimestamp"].is_string();
    let states = [
        ("Complete", is_true(conditions, "Complete")),
        ("Failed", is_true(conditions, "Failed")),
        ("Terminating", deleted),
        ("Suspended", is_true(conditions, "Suspended")),
        ("FailureTarget", is_true(conditions, "FailureTarget")),
    ];
    states.into_iter().find(|(_, applies)| *applies).map_or("Running", |(state, _)| state)
}

/// `NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST-SCHEDULE AGE CONTAINERS IMAGES SELECTOR`.
pub(super) fn cron_job(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let last = match &status["lastScheduleTime"] {
        Value::Null => NONE.into(),
        time => since(time, now),
    };
    let job = &spec["jobTemplate"]["spec"];
    let [names, images] = template_containers(job);
    vec![
        name(object),
        text(&spec["schedule"]).into(),
        spec["timeZone"].as_str().unwrap_or(NONE).into(),
        yes_or_no(&spec["suspend"]).into(),
        count(&status["active"]).into(),
        last.into(),
        age(object, now),
        names,
        images,
        label_selector_or_none(&job["selector"]).into(),
    ]
}

/// `NAME MIN-AVAILABLE MAX-UNAVAILABLE ALLOWED-DISRUPTIONS AGE`.
pub(super) fn disruption_budget(object: &Value, now: i64) -> Vec<Value> {
    let bound = |field: &str| match &object["spec"][field] {
        Value::Null => "N/A".into(),
        bound => amount(bound),
    };
    vec![
        name(object),
        bound("minAvailable").into(),
        bound("maxUnavailable").into(),
        number(&object["status"]["disruptionsAllowed"]).into(),
        age(object, now),
    ]
}

/// `NAME DESIRED AVAILABLE AGE`.
pub(super) fn scale(object: &Value, now: i64) -> Vec<Value> {
    let (desired, available) = (&object["spec"]["replicas"], &object["status"]["replicas"]);
    vec![name(object), number(desired).into(), number(available).into(), age(object, now)]
}

/// `NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE`, of `autoscaling/v2` and `v1`.
pub(super) fn autoscaler(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let minimum = spec["minReplicas"].as_i64().map_or_else(|| UNSET.into(), |minimum| minimum.to_string());
    vec![
        name(object),
        format!("{}/{}", text(&target["kind"]), text(&target["name"])).into(),
        metrics(spec, status).into(),
        minimum.into(),
        number(&spec["maxReplicas"]).into(),
        number(&status["currentReplicas"]).into(),
        age(object, now),
    ]
}

fn metrics(spec: &Value, status: &Value) -> String {
    if let Some(target) = spec["targetCPUUtilizationPercentage"].as_i64() {
        return format!("cpu: {}/{target}%", percent(&status["currentCPUUtilizationPercentage"], UNKNOWN));
    }
    let metrics = items(&spec["metrics"]);
    if metrics.is_empty() {
        return NONE.into();
    }
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .take(METRICS_SHOWN_MAX)
        .map(|(index, metric)| shown_metric(metric, &status["currentMetrics"][index]))
        .collect();
    shortened(&shown, ", ", metrics.len(), METRICS_SHOWN_MAX)
}

/// `current/target` of one metric.
fn shown_metric(metric: &Value, status: &Value) -> String {
    let field = match text(&metric["type"]) {
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".into(),
    };
    let (target, current) = (&metric[field]["target"], &status[field]["current"]);
    let value_of = |field: &str| match &current[field] {
        Value::Null => UNKNOWN.into(),
        value => amount(value),
    };
    let by_average = !target["averageValue"].is_null();
    match field {
        "external" | "object" if by_average => {
            format!("{}/{} (avg)", value_of("averageValue"), amount(&target["averageValue"]))
        }
        "external" | "object" => format!("{}/{}", value_of("value"), amount(&target["value"])),
        "pods" => format!("{}/{}", value_of("averageValue"), amount(&target["averageValue"])),
        _ => {
            let resource = text(&metric[field]["name"]);
            if by_average {
                let wanted = amount(&target["averageValue"]);
                return format!("{resource}: {}/{wanted}", value_of("averageValue"));
            }
            let wanted = percent(&target["averageUtilization"], "<auto>");
            format!("{resource}: {}/{wanted}", percent(&current["averageUtilization"], UNKNOWN))
        }
    }
}

fn percent(value: &Value, otherwise: &str) -> String {
    value.as_i64().map_or_else(|| otherwise.into(), |percent| format!("{percent}%"))
}

/// `ready/desired`.
fn ready(object: &Value) -> Value {
    let (ready, desired) = (&object["status"]["readyReplicas"], &object["spec"]["replicas"]);
    format!("{}/{}", number(ready), number(desired)).into()
}

fn template_containers(spec: &Value) -> [Value; 2] {
    containers(&spec["template"]["spec"]["containers"])
}
