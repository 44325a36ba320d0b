//! Workloads that keep pods running: deployments, replica sets, daemon sets, stateful sets, replication controllers.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{annotation, child, given, int, number, same, set, set_empty, set_missing, text};
use super::pod::{defaults, specification};
use super::{golang, int_or_percent, selector};

pub(super) mod stateful_set;

/// Where `apps/v1` keeps the count of templates that a daemon set has had.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// A deployment.
pub(super) fn default_deployment(deployment: &mut Value) {
    let Some(spec) = child(deployment, "spec") else { return };
    defaults::template(spec, "template");
    set_missing(spec, "replicas", 1);
    let Some(strategy) = child(spec, "strategy") else { return };
    set_empty(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = child(strategy, "rollingUpdate")
    {
        set_missing(rolling, "maxUnavailable", "25%");
        set_missing(rolling, "maxSurge", "25%");
    }
    set_missing(spec, "revisionHistoryLimit", 10);
    set_missing(spec, "progressDeadlineSeconds", 600);
}

/// A replica set.
pub(super) fn default_replica_set(set: &mut Value) {
    let Some(spec) = child(set, "spec") else { return };
    defaults::template(spec, "template");
    set_missing(spec, "replicas", 1);
}

/// A replication controller: selects, and is labelled, as its template is.
pub(super) fn default_replication_controller(controller: &mut Value) {
    let labels = controller["spec"]["template"]["metadata"]["labels"].clone();
    if !labels.is_null() {
        if let Some(meta) = child(controller, "metadata")
            && same(&meta["labels"], &Value::Null)
        {
            set(meta, "labels", labels.clone());
        }
        if let Some(spec) = child(controller, "spec")
            && same(&spec["selector"], &Value::Null)
        {
            set(spec, "selector", labels);
        }
    }
    let Some(spec) = child(controller, "spec") else { return };
    set_missing(spec, "replicas", 1);
    if given(spec, "template") {
        defaults::template(spec, "template");
    }
}

/// A daemon set.
pub(super) fn default_daemon_set(set: &mut Value) {
    let Some(spec) = child(set, "spec") else { return };
    defaults::template(spec, "template");
    let Some(strategy) = child(spec, "updateStrategy") else { return };
    set_empty(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = child(strategy, "rollingUpdate")
    {
        set_missing(rolling, "maxUnavailable", 1);
        set_missing(rolling, "maxSurge", 0);
    }
    set_missing(spec, "revisionHistoryLimit", 10);
}

/// A daemon set counts its templates from 1.
pub(super) fn prepare_create_daemon_set(set: &mut Value) {
    count_templates(set, 1);
}

/// A new template is counted.
pub(super) fn prepare_update_daemon_set(subresource: &str, new: &mut Value, old: &Value) {
    let before = annotation(old, TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(1);
    let changed = subresource.is_empty() && !same(&new["spec"]["template"], &old["spec"]["template"]);
    count_templates(new, if changed { before + 1 } else { before });
}

fn count_templates(set: &mut Value, count: i64) {
    let annotations = child(set, "metadata").and_then(|meta| child(meta, "annotations"));
    if let Some(annotations) = annotations {
        self::set(annotations, TEMPLATE_GENERATION, count.to_string());
    }
}

/// A deployment that is made or changed.
pub(super) fn validate_deployment(deployment: &Value, faults: &mut Faults) {
    let (spec, path) = (&deployment["spec"], Path::new("spec"));
    faults.not_negative(&path.child("replicas"), int(spec, "replicas"));
    own_selector(spec, "empty selector is invalid for deployment", &path, faults);
    replica_template(spec, &path, faults);
    strategy(&spec["strategy"], &path.child("strategy"), faults);
    faults.not_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    faults.not_negative(&path.child("revisionHistoryLimit"), int(spec, "revisionHistoryLimit"));
    if let Some(deadline) = int(spec, "progressDeadlineSeconds") {
        let path = path.child("progressDeadlineSeconds");
        faults.not_negative(&path, Some(deadline));
        if deadline <= number(spec, "minReadySeconds") {
            faults.invalid(&path, deadline, "must be greater than minReadySeconds");
        }
    }
}

/// The template of a replica set, or of a deployment, which makes such sets.
fn replica_template(spec: &Value, path: &Path, faults: &mut Faults) {
    let selector = &spec["selector"];
    if selector::is_usable(selector) {
        let path = path.child("template");
        specification::kept_template(selector, &spec["template"], "ReplicaSet", &path, faults);
    } else {
        let shown = golang::selector(selector);
        faults.invalid_shown(&path.child("selector"), &shown, "invalid label selector");
    }
}

fn own_selector(spec: &Value, when_empty: &str, path: &Path, faults: &mut Faults) {
    let path = path.child("selector");
    let selector = &spec["selector"];
    if selector.is_null() {
        faults.required(&path, "");
        return;
    }
    selector::validate(selector, &path, faults);
    if selector::is_empty(selector) {
        faults.invalid_shown(&path, &golang::selector(selector), when_empty);
    }
}

fn strategy(strategy: &Value, path: &Path, faults: &mut Faults) {
    let rolling = &strategy["rollingUpdate"];
    let at = path.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => {
            faults.forbidden(&at, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.is_null() => {
            faults.required(&at, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => rolling_update(rolling, &at, faults),
        other => {
            let shown = format!(
                "apps.DeploymentStrategy{{Type:{other:?}, RollingUpdate:(*apps.RollingUpdateDeployment)(nil)}}"
            );
            let mut error = shoal_api::field::Error::not_supported(path, &Value::Null, &[]);
            error.message =
                format!("Unsupported value: {shown}: supported values: \"Recreate\", \"RollingUpdate\"");
            faults.push(error);
        }
    }
}

fn rolling_update(rolling: &Value, path: &Path, faults: &mut Faults) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let at = path.child("maxUnavailable");
    int_or_percent::not_negative(unavailable, &at, faults);
    int_or_percent::not_negative(surge, &path.child("maxSurge"), faults);
    if int_or_percent::number(unavailable) == 0 && int_or_percent::number(surge) == 0 {
        let shown = int_or_percent::shown(unavailable);
        faults.invalid_shown(&at, &shown, "may not be 0 when `maxSurge` is 0");
    }
    int_or_percent::not_above_all(unavailable, &at, faults);
}

/// A replica set that is made or changed.
pub(super) fn validate_replica_set(set: &Value, faults: &mut Faults) {
    let (spec, path) = (&set["spec"], Path::new("spec"));
    faults.not_negative(&path.child("replicas"), int(spec, "replicas"));
    faults.not_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    own_selector(spec, "empty selector is invalid for deployment", &path, faults);
    replica_template(spec, &path, faults);
}

/// A replication controller that is made or changed.
pub(super) fn validate_replication_controller(controller: &Value, faults: &mut Faults) {
    let (spec, path) = (&controller["spec"], Path::new("spec"));
    faults.not_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    let labels = &spec["selector"];
    if same(labels, &Value::Null) {
        faults.required(&path.child("selector"), "");
    }
    faults.not_negative(&path.child("replicas"), int(spec, "replicas"));
    let template = path.child("template");
    if spec["template"].is_null() {
        faults.required(&template, "");
        return;
    }
    let selector = json!({"matchLabels": labels});
    let owner = "ReplicationController";
    specification::kept_template(&selector, &spec["template"], owner, &template, faults);
}

/// A daemon set that is made or changed.
pub(super) fn validate_daemon_set(set: &Value, faults: &mut Faults) {
    let (spec, path) = (&set["spec"], Path::new("spec"));
    let selector = &spec["selector"];
    selector::validate(selector, &path.child("selector"), faults);
    let labels = &spec["template"]["metadata"]["labels"];
    if selector::is_usable(selector) && !selector::matches(selector, labels) {
        let path = path.child("template").child("metadata").child("labels");
        let message = "`selector` does not match template `labels`";
        faults.invalid_shown(&path, &golang::map(labels), message);
    }
    if !selector.is_null() && selector::is_empty(selector) {
        let shown = golang::selector(selector);
        faults.invalid_shown(&path.child("selector"), &shown, "empty selector is invalid for daemonset");
    }
    // What must match is said above already.
    let any = json!({});
    let template = path.child("template");
    specification::kept_template(&any, &spec["template"], "DaemonSet", &template, faults);
    faults.not_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    daemon_strategy(&spec["updateStrategy"], &path.child("updateStrategy"), faults);
    faults.not_negative(&path.child("revisionHistoryLimit"), int(spec, "revisionHistoryLimit"));
}

fn daemon_strategy(strategy: &Value, path: &Path, faults: &mut Faults) {
    let kind = text(strategy, "type");
    if kind == "OnDelete" {
        return;
    }
    if kind != "RollingUpdate" {
        faults.not_supported(&path.child("type"), kind, &["RollingUpdate", "OnDelete"]);
        return;
    }
    let rolling = &strategy["rollingUpdate"];
    let path = path.child("rollingUpdate");
    if rolling.is_null() {
        faults.required(&path, "");
        return;
    }
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let (unavailable_path, surge_path) = (path.child("maxUnavailable"), path.child("maxSurge"));
    int_or_percent::not_negative(unavailable, &unavailable_path, faults);
    int_or_percent::not_negative(surge, &surge_path, faults);
    match (int_or_percent::number(unavailable) != 0, int_or_percent::number(surge) != 0) {
        (true, true) => {
            let shown = int_or_percent::shown(surge);
            faults.invalid_shown(&surge_path, &shown, "may not be set when maxUnavailable is non-zero");
        }
        (false, false) => faults.required(&unavailable_path, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
    int_or_percent::not_above_all(unavailable, &unavailable_path, faults);
    int_or_percent::not_above_all(surge, &surge_path, faults);
}

/// Whom a workload selects never changes: those it has would be nobody's.
pub(super) fn selector_stays(new: &Value, old: &Value, faults: &mut Faults) {
    let (new, old) = (&new["spec"]["selector"], &old["spec"]["selector"]);
    if !same(new, old) {
        let path = Path::new("spec.selector");
        faults.invalid_shown(&path, &golang::selector(new), super::faults::IMMUTABLE);
    }
}

/// Counts in the status of a deployment, replica set, or replication controller.
pub(super) fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    let (status, path) = (&new["status"], Path::new("status"));
    let counts = [
        "observedGeneration",
        "replicas",
        "fullyLabeledReplicas",
        "updatedReplicas",
        "currentReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ];
    for field in counts {
        faults.not_negative(&path.child(field), int(status, field));
    }
    faults.not_negative(&path.child("collisionCount"), int(status, "collisionCount"));
    let all = number(status, "replicas");
    let parts =
        ["fullyLabeledReplicas", "updatedReplicas", "currentReplicas", "readyReplicas", "availableReplicas"];
    for field in parts.into_iter().filter(|field| number(status, field) > all) {
        let message = "cannot be greater than status.replicas";
        faults.invalid(&path.child(field), number(status, field), message);
    }
    if number(status, "availableReplicas") > number(status, "readyReplicas") {
        let path = path.child("availableReplicas");
        faults.invalid(&path, number(status, "availableReplicas"), "cannot be greater than readyReplicas");
    }
    collisions_grow(new, old, faults);
}

/// Counts in the status of a daemon set.
pub(super) fn validate_daemon_status(new: &Value, old: &Value, faults: &mut Faults) {
    let (status, path) = (&new["status"], Path::new("status"));
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
    ];
    for field in counts {
        faults.not_negative(&path.child(field), int(status, field));
    }
    collisions_grow(new, old, faults);
}

fn collisions_grow(new: &Value, old: &Value, faults: &mut Faults) {
    let (new, old) = (int(&new["status"], "collisionCount"), int(&old["status"], "collisionCount"));
    if old.is_some() && new.unwrap_or_default() < old.unwrap_or_default() {
        let path = Path::new("status.collisionCount");
        faults.invalid(&path, new.unwrap_or_default(), "cannot be decremented");
    }
}

/// A revision of a workload: its number may change, what it holds may not.
pub(super) fn validate_revision(revision: &Value, faults: &mut Faults) {
    if revision["data"].is_null() {
        faults.required(&Path::new("data"), "data is mandatory");
    }
    faults.not_negative(&Path::new("revision"), int(revision, "revision"));
}

/// A revision that is changed.
pub(super) fn validate_revision_update(new: &Value, old: &Value, faults: &mut Faults) {
    validate_revision(new, faults);
    faults.immutable(&Path::new("data"), &new["data"], &old["data"]);
}

/// A `Scale`: of whatever has replicas.
pub(super) fn validate_scale(scale: &Value, faults: &mut Faults) {
    faults.not_negative(&Path::new("spec.replicas"), int(&scale["spec"], "replicas"));
}

/// A pod template object.
pub(super) fn validate_template(object: &Value, faults: &mut Faults) {
    specification::template(&object["template"], &Path::new("template"), faults);
}

/// Warnings of whatever has a template at `spec.template`.
pub(super) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let template = &new["spec"]["template"];
    if old.is_some_and(|old| same(&old["spec"]["template"], template)) {
        return Vec::new();
    }
    super::pod::warnings::of(template, &Path::new("spec.template"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_template_of_a_daemon_set_is_counted() {
        let mut first = json!({"metadata": {}, "spec": {"template": {"spec": {"containers": []}}}});
        prepare_create_daemon_set(&mut first);
        assert_eq!(annotation(&first, TEMPLATE_GENERATION), Some("1"));
        let mut second = first.clone();
        second["spec"]["template"]["spec"]["nodeName"] = json!("a");
        prepare_update_daemon_set("", &mut second, &first);
        assert_eq!(annotation(&second, TEMPLATE_GENERATION), Some("2"));
        prepare_update_daemon_set("status", &mut second, &first);
        assert_eq!(annotation(&second, TEMPLATE_GENERATION), Some("1"));
    }
}
