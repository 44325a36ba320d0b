//! Admission: webhooks, policies and their bindings.

use serde_json::{Map, Value};
use shoal_api::field::{Error, Path};

use super::faults::Faults;
use super::look::{child, given, int, items, list, number, set_missing, text, texts};
use super::{selector, words};
use crate::policy;

/// Longest wait for a webhook, in seconds.
const TIMEOUT_SECONDS_MAX: i64 = 30;

/// Most conditions of a webhook.
const CONDITIONS_MAX: usize = 64;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// Webhooks that only say yes or no.
pub(super) fn default_validating(configuration: &mut Value) {
    items(configuration, "webhooks").for_each(default_webhook);
}

/// Webhooks that may change what they see: once.
pub(super) fn default_mutating(configuration: &mut Value) {
    for webhook in items(configuration, "webhooks") {
        default_webhook(webhook);
        set_missing(webhook, "reinvocationPolicy", "Never");
    }
}

fn default_webhook(webhook: &mut Value) {
    set_missing(webhook, "failurePolicy", "Fail");
    set_missing(webhook, "matchPolicy", "Equivalent");
    set_missing(webhook, "namespaceSelector", Map::new());
    set_missing(webhook, "objectSelector", Map::new());
    set_missing(webhook, "timeoutSeconds", 10);
    let service = webhook.get_mut("clientConfig").and_then(|config| config.get_mut("service"));
    if let Some(service) = service.filter(|service| service.is_object()) {
        set_missing(service, "port", 443);
    }
    for rule in items(webhook, "rules") {
        set_missing(rule, "scope", "*");
    }
}

/// A policy: fails closed, and is about whatever is equivalent to what it names.
pub(super) fn default_policy(policy: &mut Value) {
    let Some(spec) = child(policy, "spec") else { return };
    set_missing(spec, "failurePolicy", "Fail");
    if let Some(constraints) = spec.get_mut("matchConstraints") {
        default_match(constraints);
    }
}

/// A binding of a policy.
pub(super) fn default_binding(binding: &mut Value) {
    let Some(spec) = child(binding, "spec") else { return };
    if let Some(resources) = spec.get_mut("matchResources") {
        default_match(resources);
    }
}

fn default_match(resources: &mut Value) {
    if !resources.is_object() {
        return;
    }
    set_missing(resources, "matchPolicy", "Equivalent");
    set_missing(resources, "namespaceSelector", Map::new());
    set_missing(resources, "objectSelector", Map::new());
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in items(resources, field) {
            set_missing(rule, "scope", "*");
        }
    }
}

/// Webhooks that are made or changed.
pub(super) fn validate(configuration: &Value, faults: &mut Faults) {
    let mut names: Vec<&str> = Vec::new();
    for (index, webhook) in list(configuration, "webhooks").iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        self::webhook(webhook, &path, faults);
        let name = text(webhook, "name");
        if names.contains(&name) {
            faults.duplicate(&path.child("name"), name);
        }
        names.push(name);
    }
    expressions(policy::webhook_errors(configuration), faults);
}

fn webhook(webhook: &Value, path: &Path, faults: &mut Faults) {
    let name = text(webhook, "name");
    fully_qualified(name, &path.child("name"), faults);
    for (index, rule) in list(webhook, "rules").iter().enumerate() {
        self::rule(rule, &path.child("rules").index(index), faults);
    }
    choice(webhook, "failurePolicy", &["Fail", "Ignore"], path, faults);
    choice(webhook, "matchPolicy", &["Equivalent", "Exact"], path, faults);
    if given(webhook, "sideEffects") {
        choice(webhook, "sideEffects", &["None", "NoneOnDryRun"], path, faults);
    } else {
        faults.required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun");
    }
    let seconds = number(webhook, "timeoutSeconds");
    if given(webhook, "timeoutSeconds") && !(1..=TIMEOUT_SECONDS_MAX).contains(&seconds) {
        let message = format!("the timeout value must be between 1 and {TIMEOUT_SECONDS_MAX} seconds");
        faults.invalid(&path.child("timeoutSeconds"), seconds, &message);
    }
    selector::validate(&webhook["namespaceSelector"], &path.child("namespaceSelector"), faults);
    selector::validate(&webhook["objectSelector"], &path.child("objectSelector"), faults);
    client(&webhook["clientConfig"], &path.child("clientConfig"), faults);
    versions(webhook, &path.child("admissionReviewVersions"), faults);
    choice(webhook, "reinvocationPolicy", &["IfNeeded", "Never"], path, faults);
    conditions(webhook, &path.child("matchConditions"), faults);
}

fn choice(holder: &Value, field: &str, allowed: &[&str], path: &Path, faults: &mut Faults) {
    if given(holder, field) {
        faults.one_of(&path.child(field), text(holder, field), allowed);
    }
}

fn fully_qualified(name: &str, path: &Path, faults: &mut Faults) {
    if name.is_empty() {
        faults.required(path, "");
        return;
    }
    let messages = words::dns_subdomain(name);
    if !messages.is_empty() {
        faults.words(path, name, messages);
    } else if name.split('.').count() < 3 {
        faults.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

fn client(config: &Value, path: &Path, faults: &mut Faults) {
    let (url, service) = (given(config, "url"), given(config, "service"));
    if url == service {
        faults.required(path, "exactly one of url or service is required");
        return;
    }
    if url {
        let url = text(config, "url");
        let path = path.child("url");
        let form = "desired format: https://host[/path]";
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let host = rest.split('/').next().unwrap_or_default();
        if scheme != "https" {
            faults.invalid(&path, scheme, &format!("'https' is the only allowed URL scheme; {form}"));
        }
        if host.is_empty() {
            faults.invalid(&path, host, &format!("host must be specified; {form}"));
        }
        if let Some((user, _)) = host.split_once('@') {
            faults.invalid(&path, user, "user information is not permitted in the URL");
        }
        return;
    }
    let (service, path) = (&config["service"], path.child("service"));
    for field in ["name", "namespace"] {
        if text(service, field).is_empty() {
            faults.required(&path.child(field), &format!("service {field} is required"));
        }
    }
    if let Some(port) = int(service, "port").filter(|port| !words::port_number(*port).is_empty()) {
        let message = format!("port is not valid: {}", words::port_number(port).join(""));
        faults.invalid(&path.child("port"), port, &message);
    }
    let target = text(service, "path");
    if !target.is_empty() && !target.starts_with('/') {
        faults.invalid(&path.child("path"), target, "must start with a '/'");
    }
}

fn versions(webhook: &Value, path: &Path, faults: &mut Faults) {
    let versions = texts(webhook, "admissionReviewVersions");
    if versions.is_empty() {
        faults.required(path, "must specify one of v1, v1beta1");
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            faults.invalid(&path.index(index), *version, "duplicate version");
        }
        faults.words(&path.index(index), version, words::dns1035_label(version));
    }
    if !versions.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        let shown = super::golang::strings(&webhook["admissionReviewVersions"]);
        faults.invalid_shown(path, &shown, "must include at least one of v1, v1beta1");
    }
}

fn rule(rule: &Value, path: &Path, faults: &mut Faults) {
    for field in ["apiGroups", "apiVersions", "resources"] {
        let values = texts(rule, field);
        let path = path.child(field);
        if values.is_empty() {
            faults.required(&path, "");
        }
        if values.len() > 1 && values.contains(&"*") && field != "resources" {
            let shown = super::golang::strings(&rule[field]);
            let message = "if '*' is present, must not specify other ".to_owned()
                + if field == "apiGroups" { "API groups" } else { "API versions" };
            faults.invalid_shown(&path, &shown, &message);
        }
        if field != "apiGroups" {
            for (index, _) in values.iter().enumerate().filter(|(_, value)| value.is_empty()) {
                faults.required(&path.index(index), "");
            }
        }
    }
    let operations = texts(rule, "operations");
    let at = path.child("operations");
    if operations.is_empty() {
        faults.required(&at, "");
    }
    if operations.len() > 1 && operations.contains(&"*") {
        let shown = super::golang::list_of("admissionregistration.OperationType", &rule["operations"]);
        faults.invalid_shown(&at, &shown, "if '*' is present, must not specify other operations");
    }
    for (index, operation) in operations.iter().enumerate() {
        faults.one_of(&at.index(index), operation, &OPERATIONS);
    }
    choice(rule, "scope", &["*", "Cluster", "Namespaced"], path, faults);
}

fn conditions(holder: &Value, path: &Path, faults: &mut Faults) {
    let conditions = list(holder, "matchConditions");
    if conditions.len() > CONDITIONS_MAX {
        faults.too_many(path, conditions.len(), CONDITIONS_MAX);
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if text(condition, "expression").trim().is_empty() {
            faults.required(&path.child("expression"), "");
        }
        let name = text(condition, "name");
        if name.is_empty() {
            faults.required(&path.child("name"), "");
        } else {
            faults.words(&path.child("name"), name, words::qualified_name(name));
        }
        if names.contains(&name) {
            faults.duplicate(&path.child("name"), name);
        }
        names.push(name);
    }
}

/// A policy that is made or changed.
pub(super) fn validate_policy(object: &Value, faults: &mut Faults) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    choice(spec, "failurePolicy", &["Fail", "Ignore"], &path, faults);
    if let Some(kind) = spec.get("paramKind").filter(|kind| !kind.is_null()) {
        for field in ["apiVersion", "kind"] {
            if text(kind, field).is_empty() {
                faults.required(&path.child("paramKind").child(field), "");
            }
        }
    }
    let at = path.child("matchConstraints");
    if given(spec, "matchConstraints") {
        resources(&spec["matchConstraints"], true, &at, faults);
    } else {
        faults.required(&at, "");
    }
    conditions(spec, &path.child("matchConditions"), faults);
    let (validations, audits) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && audits.is_empty() {
        let message = "validations or auditAnnotations must contain at least one item";
        faults.required(&path.child("validations"), message);
        faults.required(&path.child("auditAnnotations"), message);
    }
    for (index, validation) in validations.iter().enumerate() {
        let path = path.child("validations").index(index);
        if text(validation, "expression").trim().is_empty() {
            faults.required(&path.child("expression"), "expression is not specified");
        }
        let message = text(validation, "message");
        if given(validation, "message") && message.trim().is_empty() {
            let words = "message must be non-empty if specified";
            faults.invalid(&path.child("message"), message, words);
        } else if message.contains('\n') {
            faults.invalid(&path.child("message"), message, "message must not contain line breaks");
        }
    }
    expressions(policy::policy_errors(object), faults);
}

/// What is wrong with expressions, but for what is said of their fields already.
fn expressions(errors: Vec<Error>, faults: &mut Faults) {
    for error in errors {
        if !faults.names(&error.path) {
            faults.push(error);
        }
    }
}

fn resources(resources: &Value, needs_rules: bool, path: &Path, faults: &mut Faults) {
    choice(resources, "matchPolicy", &["Equivalent", "Exact"], path, faults);
    selector::validate(&resources["namespaceSelector"], &path.child("namespaceSelector"), faults);
    selector::validate(&resources["objectSelector"], &path.child("objectSelector"), faults);
    for field in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in list(resources, field).iter().enumerate() {
            self::rule(rule, &path.child(field).index(index), faults);
        }
    }
    if needs_rules && list(resources, "resourceRules").is_empty() {
        faults.required(&path.child("resourceRules"), "");
    }
}

/// A binding of a policy that is made or changed.
pub(super) fn validate_binding(binding: &Value, faults: &mut Faults) {
    let (spec, path) = (&binding["spec"], Path::new("spec"));
    let policy = text(spec, "policyName");
    if policy.is_empty() {
        faults.required(&path.child("policyName"), "");
    } else {
        faults.words(&path.child("policyName"), policy, words::dns_subdomain(policy));
    }
    let reference = &spec["paramRef"];
    if !reference.is_null() {
        let path = path.child("paramRef");
        match (text(reference, "name").is_empty(), given(reference, "selector")) {
            (true, false) => {
                let message = "one of name or selector must be specified";
                faults.required(&path, message);
            }
            (false, true) => {
                let message = "name and selector are mutually exclusive";
                faults.forbidden(&path.child("name"), message);
            }
            _ => {}
        }
        let action = &reference["parameterNotFoundAction"];
        if action.is_null() {
            faults.required(&path.child("parameterNotFoundAction"), "");
        } else {
            choice(reference, "parameterNotFoundAction", &["Allow", "Deny"], &path, faults);
        }
    }
    if given(spec, "matchResources") {
        resources(&spec["matchResources"], false, &path.child("matchResources"), faults);
    }
    let actions = texts(spec, "validationActions");
    let path = path.child("validationActions");
    if actions.is_empty() {
        faults.required(&path, "");
    }
    for (index, action) in actions.iter().enumerate() {
        let path = path.index(index);
        faults.one_of(&path, action, &["Audit", "Deny", "Warn"]);
        if actions[..index].contains(action) {
            faults.duplicate(&path, *action);
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let message = "must not contain both Deny and Warn (repeating the same validation failure information in \
                       the API response and headers serves no purpose)";
        let shown = super::golang::strings(&spec["validationActions"]);
        faults.invalid_shown(&path, &shown, message);
    }
}
