//! Jobs: their generated selector, and what of them can change.

use serde_json::{Value, json};
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{child, flag, given, int, list, number, same, set, set_empty, set_missing, text};
use super::pod::{defaults, specification};
use super::{golang, meta, selector, words};

/// Most pods of an indexed job at one time: indexes must fit into the status.
const PARALLELISM_MAX: i64 = 100_000;

/// Most rules of a failure policy.
const RULES_MAX: usize = 20;

/// Labels by which a job knows its pods: of this day, and of the days before domains.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// What of a template can change while its job is suspended and has not begun.
const DIRECTIVES: [&str; 4] = ["nodeSelector", "tolerations", "affinity", "schedulingGates"];

/// A job.
pub(super) fn default(job: &mut Value) {
    let Some(spec) = child(job, "spec") else { return };
    default_specification(spec);
    if !given(spec, "completions") && !given(spec, "parallelism") {
        set(spec, "completions", 1);
    }
    set_missing(spec, "parallelism", 1);
    let limit = if given(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    set_missing(spec, "backoffLimit", limit);
    set_missing(spec, "completionMode", "NonIndexed");
    set_missing(spec, "suspend", false);
    set_missing(spec, "manualSelector", false);
    let replacement = if given(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    set_missing(spec, "podReplacementPolicy", replacement);
    failure_conditions(spec);
    label_as_template(job);
}

/// What a job template means; the numbers of a job come later, when the job is made.
pub(super) fn default_specification(spec: &mut Value) {
    defaults::template(spec, "template");
}

fn failure_conditions(spec: &mut Value) {
    let Some(policy) = spec.get_mut("podFailurePolicy") else { return };
    for rule in super::look::items(policy, "rules") {
        for condition in super::look::items(rule, "onPodConditions") {
            set_empty(condition, "status", "True");
        }
    }
}

fn label_as_template(job: &mut Value) {
    let labels = job["spec"]["template"]["metadata"]["labels"].clone();
    if let Some(meta) = child(job, "metadata")
        && !same(&labels, &Value::Null)
        && same(&meta["labels"], &Value::Null)
    {
        set(meta, "labels", labels);
    }
}

/// Makes the selector, and the labels that it selects, from the job's identity. Needs `metadata.uid`.
pub(super) fn prepare_create(job: &mut Value) {
    super::look::remove(job, "status");
    if flag(&job["spec"], "manualSelector") {
        return;
    }
    let uid = text(&job["metadata"], "uid").to_owned();
    let name = text(&job["metadata"], "name").to_owned();
    let Some(spec) = child(job, "spec") else { return };
    let labels = child(spec, "template").and_then(|template| child(template, "metadata"));
    if let Some(labels) = labels.and_then(|meta| child(meta, "labels")) {
        for (keys, value) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
            for key in keys {
                set_missing(labels, key, value.as_str());
            }
        }
    }
    if let Some(labels) = child(spec, "selector").and_then(|selector| child(selector, "matchLabels")) {
        set_missing(labels, UID_LABELS[0], uid);
    }
    label_as_template(job);
}

/// A job that is made.
pub(super) fn validate(job: &Value, faults: &mut Faults) {
    generated_selector(job, faults);
    with_selector(&job["spec"], &Path::new("spec"), faults);
    index_names(job, faults);
}

fn generated_selector(job: &Value, faults: &mut Faults) {
    let spec = &job["spec"];
    if flag(spec, "manualSelector") || spec["selector"].is_null() {
        return;
    }
    let (uid, name) = (text(&job["metadata"], "uid"), text(&job["metadata"], "name"));
    if uid.is_empty() {
        faults.required(&Path::new("metadata.uid"), "");
    }
    let path = Path::new("spec.template.metadata");
    let labels = &spec["template"]["metadata"];
    for at in [1, 0] {
        meta::has_label(labels, &path, UID_LABELS[at], uid, faults);
        meta::has_label(labels, &path, NAME_LABELS[at], name, faults);
    }
    let expected = json!({
        UID_LABELS[0]: uid, UID_LABELS[1]: uid, NAME_LABELS[0]: name, NAME_LABELS[1]: name,
    });
    if !selector::matches(&spec["selector"], &expected) {
        let shown = golang::selector(&spec["selector"]);
        faults.invalid_shown(&Path::new("spec.selector"), &shown, "`selector` not auto-generated");
    }
}

fn with_selector(spec: &Value, path: &Path, faults: &mut Faults) {
    specification(spec, path, faults);
    let at = path.child("selector");
    if spec["selector"].is_null() {
        faults.required(&at, "");
    } else {
        selector::validate(&spec["selector"], &at, faults);
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if !selector::matches(&spec["selector"], labels) {
        let path = path.child("template").child("metadata").child("labels");
        let message = "`selector` does not match template `labels`";
        faults.invalid_shown(&path, &golang::map(labels), message);
    }
}

/// A pod of an indexed job has its index in its host's name.
fn index_names(job: &Value, faults: &mut Faults) {
    let spec = &job["spec"];
    let completions = number(spec, "completions");
    if text(spec, "completionMode") != "Indexed" || completions <= 0 {
        return;
    }
    let name = text(&job["metadata"], "name");
    let host = format!("{name}-{}", completions - 1);
    if !words::dns_label(&host).is_empty() {
        let messages: Vec<String> = words::dns_label(&host);
        let message = format!("will not able to create pod with invalid DNS label: {host}: {}", messages[0]);
        faults.invalid(&Path::new("metadata.name"), name, &message);
    }
}

/// A `JobSpec`, of a job or in a template of one.
fn specification(spec: &Value, path: &Path, faults: &mut Faults) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    for field in counts {
        faults.not_negative(&path.child(field), int(spec, field));
    }
    if given(spec, "maxFailedIndexes") && !given(spec, "backoffLimitPerIndex") {
        faults.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec["managedBy"].as_str() {
        faults.words(&path.child("managedBy"), manager, words::domain_prefixed_path(manager));
    }
    completion_mode(spec, path, faults);
    failure_policy(spec, path, faults);
    success_policy(spec, path, faults);
    let policies = ["Failed", "TerminatingOrFailed"];
    if given(spec, "podReplacementPolicy") {
        let policy = text(spec, "podReplacementPolicy");
        let at = path.child("podReplacementPolicy");
        if given(spec, "podFailurePolicy") {
            faults.one_of(&at, policy, &policies[..1]);
        } else {
            faults.one_of(&at, policy, &policies);
        }
    }
    let template = path.child("template");
    specification::template(&spec["template"], &template, faults);
    let policy = text(&spec["template"]["spec"], "restartPolicy");
    let at = template.child("spec").child("restartPolicy");
    if !matches!(policy, "OnFailure" | "Never") {
        faults.required(&at, "valid values: \"OnFailure\", \"Never\"");
    } else if given(spec, "podFailurePolicy") && policy != "Never" {
        faults.invalid(&at, policy, "only \"Never\" is supported when podFailurePolicy is specified");
    }
}

fn completion_mode(spec: &Value, path: &Path, faults: &mut Faults) {
    let mode = text(spec, "completionMode");
    if given(spec, "completionMode") {
        faults.one_of(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    if mode == "Indexed" {
        if !given(spec, "completions") {
            faults.required(&path.child("completions"), "when completion mode is Indexed");
        }
        let parallelism = number(spec, "parallelism");
        if parallelism > PARALLELISM_MAX {
            let message =
                format!("must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed");
            faults.invalid(&path.child("parallelism"), parallelism, &message);
        }
        return;
    }
    if let Some(limit) = int(spec, "backoffLimitPerIndex") {
        faults.invalid(&path.child("backoffLimitPerIndex"), limit, "requires indexed completion mode");
    }
    if let Some(limit) = int(spec, "maxFailedIndexes") {
        faults.invalid(&path.child("maxFailedIndexes"), limit, "requires indexed completion mode");
    }
    if given(spec, "successPolicy") {
        let shown = spec["successPolicy"].clone();
        faults.invalid(&path.child("successPolicy"), shown, "requires indexed completion mode");
    }
}

fn failure_policy(spec: &Value, path: &Path, faults: &mut Faults) {
    let rules = list(&spec["podFailurePolicy"], "rules");
    let path = path.child("podFailurePolicy").child("rules");
    if rules.len() > RULES_MAX {
        faults.too_many(&path, rules.len(), RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        faults.chosen(&path.child("action"), text(rule, "action"), &actions);
        let (codes, conditions) = (&rule["onExitCodes"], list(rule, "onPodConditions"));
        match (codes.is_null(), conditions.is_empty()) {
            (false, false) => {
                let message = "specifying both OnExitCodes and OnPodConditions is not supported";
                faults.invalid(&path, "null", message);
            }
            (true, true) => {
                let message = "specifying one of OnExitCodes and OnPodConditions is required";
                faults.invalid(&path, "null", message);
            }
            _ => {}
        }
        if !codes.is_null() {
            exit_codes(codes, &path.child("onExitCodes"), faults);
        }
        for (index, condition) in conditions.iter().enumerate() {
            let path = path.child("onPodConditions").index(index);
            let kind = text(condition, "type");
            faults.words(&path.child("type"), kind, words::qualified_name(kind));
            let status = text(condition, "status");
            faults.chosen(&path.child("status"), status, &["False", "True", "Unknown"]);
        }
    }
}

fn success_policy(spec: &Value, path: &Path, faults: &mut Faults) {
    let policy = &spec["successPolicy"];
    if policy.is_null() || text(spec, "completionMode") != "Indexed" {
        return;
    }
    let (rules, path) = (list(policy, "rules"), path.child("successPolicy").child("rules"));
    if rules.is_empty() {
        faults.required(&path, "at least one rules must be specified when the successPolicy is specified");
    } else if rules.len() > RULES_MAX {
        faults.too_many(&path, rules.len(), RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let (count, indexes) = (int(rule, "succeededCount"), rule["succeededIndexes"].as_str());
        if count.is_none() && indexes.is_none() {
            faults.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        if let Some(count) = count {
            let path = path.child("succeededCount");
            faults.not_negative(&path, Some(count));
            let completions = number(spec, "completions");
            if count > completions {
                let message = format!(
                    "must be less than or equal to {completions} (the number of specified completions)"
                );
                faults.invalid(&path, count, &message);
            }
        }
    }
}

fn exit_codes(codes: &Value, path: &Path, faults: &mut Faults) {
    let operator = text(codes, "operator");
    faults.chosen(&path.child("operator"), operator, &["In", "NotIn"]);
    let values = list(codes, "values");
    let path = path.child("values");
    if values.is_empty() {
        faults.invalid(&path, codes["values"].clone(), "at least one value is required");
    }
    let mut seen: Vec<i64> = Vec::new();
    for (index, value) in values.iter().filter_map(Value::as_i64).enumerate() {
        if operator == "In" && value == 0 {
            faults.invalid(&path.index(index), value, "must not be 0 for the In operator");
        }
        if seen.contains(&value) {
            faults.duplicate(&path.index(index), value);
        }
        if seen.last().is_some_and(|last| *last > value) {
            faults.invalid(&path, codes["values"].clone(), "must be ordered");
        }
        seen.push(value);
    }
}

/// A job that is changed.
pub(super) fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    meta::validate(new, true, meta::Names::Subdomain, &Path::new("metadata"), faults);
    validate(new, faults);
    let path = Path::new("spec");
    let (new_spec, old_spec) = (&new["spec"], &old["spec"]);
    // The words of its specification are said twice, as Kubernetes does.
    with_selector(new_spec, &path, faults);
    completions_stay(new_spec, old_spec, &path, faults);
    super::workload::selector_stays(new, old, faults);
    template_stays(new_spec, old, &path.child("template"), faults);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        faults.immutable(&path.child(field), &new_spec[field], &old_spec[field]);
    }
}

fn completions_stay(new: &Value, old: &Value, path: &Path, faults: &mut Faults) {
    let path = path.child("completions");
    let elastic = text(old, "completionMode") == "Indexed" && given(new, "completions");
    if same(&new["completions"], &old["completions"]) {
        return;
    }
    if !elastic {
        faults.immutable(&path, &new["completions"], &old["completions"]);
    } else if new["completions"] != new["parallelism"] {
        let message = "can only be modified in tandem with spec.parallelism";
        faults.invalid(&path, new["completions"].clone(), message);
    }
}

fn template_stays(new: &Value, old: &Value, path: &Path, faults: &mut Faults) {
    let mut munged = new["template"].clone();
    let waiting = flag(&old["spec"], "suspend") && !given(&old["status"], "startTime");
    if waiting {
        let before = &old["spec"]["template"];
        for field in DIRECTIVES {
            if let Some(spec) = child(&mut munged, "spec") {
                set(spec, field, before["spec"][field].clone());
            }
        }
        for field in ["labels", "annotations"] {
            if let Some(meta) = child(&mut munged, "metadata") {
                set(meta, field, before["metadata"][field].clone());
            }
        }
    }
    if !same(&munged, &old["spec"]["template"]) {
        let shown = format!("core.PodTemplateSpec{}", new["template"]);
        faults.invalid_shown(path, &shown, super::faults::IMMUTABLE);
    }
}

/// A cron job's job.
pub(super) fn validate_template(template: &Value, path: &Path, faults: &mut Faults) {
    let spec = &template["spec"];
    let path = path.child("spec");
    specification(spec, &path, faults);
    if !spec["selector"].is_null() {
        let shown = golang::selector(&spec["selector"]);
        faults.invalid_shown(&path.child("selector"), &shown, "`selector` will be auto-generated");
    }
    if flag(spec, "manualSelector") {
        faults.not_supported(&path.child("manualSelector"), true, &["nil", "false"]);
    }
}

/// Counts in a job's status.
pub(super) fn validate_status(new: &Value, _old: &Value, faults: &mut Faults) {
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        faults.not_negative(&Path::new("status").child(field), int(&new["status"], field));
    }
}

/// A name that makes odd hosts, and what the template warns of.
pub(super) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let name = text(&new["metadata"], "name");
    let messages = words::dns_label(name);
    if old.is_none() && !messages.is_empty() {
        let shown: Vec<String> = messages.iter().map(|message| format!("{message:?}")).collect();
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; \
             a DNS label is recommended: [{}]",
            shown.join(" ")
        ));
    }
    warnings.extend(super::workload::warnings(new, old));
    warnings
}
