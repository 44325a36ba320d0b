//! Whether a request is meant: rules, selectors and conditions.

use serde_json::Value;
use shoal_api::GroupVersion;
use shoal_api::object;
use shoal_api::selector::label::Selector;

use super::attributes::Attributes;
use crate::cel::{Authorizer, Budget, Fault, Program, Root, Val, View};

/// Which requests a policy or a webhook is for.
#[derive(Clone, Copy, Debug)]
pub struct Matcher<'a> {
    /// `rules` of a webhook, `resourceRules` of a policy.
    pub rules: &'a Value,
    /// `excludeResourceRules`; null for webhooks.
    pub excluded: &'a Value,
    /// `namespaceSelector`.
    pub namespace_selector: &'a Value,
    /// `objectSelector`.
    pub object_selector: &'a Value,
    /// Whether the rules mean other versions of the resource as well (`matchPolicy`, which is so by default).
    pub is_equivalent: bool,
}

/// The namespace of a request: the object, none for requests outside any.
pub type NamespaceLabels<'a> = Option<&'a Value>;

impl<'a> Matcher<'a> {
    /// Of a webhook.
    pub fn of_webhook(webhook: &'a Value) -> Self {
        Self {
            rules: &webhook["rules"],
            excluded: &Value::Null,
            namespace_selector: &webhook["namespaceSelector"],
            object_selector: &webhook["objectSelector"],
            is_equivalent: webhook["matchPolicy"] != "Exact",
        }
    }

    /// From `matchConstraints` of a policy, or `matchResources` of a binding.
    pub fn of_resources(resources: &'a Value) -> Self {
        Self {
            rules: &resources["resourceRules"],
            excluded: &resources["excludeResourceRules"],
            namespace_selector: &resources["namespaceSelector"],
            object_selector: &resources["objectSelector"],
            is_equivalent: resources["matchPolicy"] != "Exact",
        }
    }

    /// Whether a request is meant. `namespace` is the Namespace object of the request.
    ///
    /// Without rules every resource is: that is what an absent `matchResources` means.
    pub fn matches(&self, request: &Attributes, namespace: NamespaceLabels<'_>) -> bool {
        self.version(request, namespace).is_some()
    }

    /// The version in which a request is meant: its own, or, when the rules name only another one that the resource
    /// has too, that one; the objects are to be converted to it. None when the request is not meant.
    pub fn version(&self, request: &Attributes, namespace: NamespaceLabels<'_>) -> Option<GroupVersion> {
        let list = |value: &'a Value| value.as_array().map(Vec::as_slice).unwrap_or_default();
        let own = GroupVersion::new(&request.group, &request.version);
        let others = request.equivalents.iter().filter(|_| self.is_equivalent);
        let versions: Vec<&GroupVersion> = std::iter::once(&own).chain(others).collect();
        let named = |rules: &[Value], version: &GroupVersion| {
            rules.iter().any(|rule| rule_matches(rule, request, version))
        };
        if versions.iter().any(|version| named(list(self.excluded), version)) {
            return None;
        }
        let rules = list(self.rules);
        let meant = match rules {
            [] => own.clone(),
            rules => versions.into_iter().find(|version| named(rules, version))?.clone(),
        };
        (self.namespace_matches(request, namespace) && self.object_matches(request)).then_some(meant)
    }

    fn namespace_matches(&self, request: &Attributes, namespace: NamespaceLabels<'_>) -> bool {
        let is_namespace = request.kind.group.is_empty() && request.kind.kind == "Namespace";
        if is_namespace {
            let object = if request.object.is_null() { &request.old_object } else { &request.object };
            return selects(self.namespace_selector, &object["metadata"]["labels"]);
        }
        match (request.namespace.as_str(), namespace) {
            // Objects outside any namespace are always meant.
            ("", _) => true,
            (_, Some(namespace)) => selects(self.namespace_selector, &namespace["metadata"]["labels"]),
            (_, None) => selects(self.namespace_selector, &Value::Null),
        }
    }

    fn object_matches(&self, request: &Attributes) -> bool {
        [&request.object, &request.old_object]
            .into_iter()
            .filter(|object| !object.is_null())
            .any(|object| selects(self.object_selector, &object["metadata"]["labels"]))
            || is_everything(self.object_selector)
    }
}

fn is_everything(selector: &Value) -> bool {
    let empty = |field: &str| match &selector[field] {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    empty("matchLabels") && empty("matchExpressions")
}

/// Whether a LabelSelector selects labels (an object of texts, or null). One that is absent selects everything, one that
/// cannot be read nothing.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return true;
    }
    let read = Selector::from_object(selector);
    read.is_ok_and(|selector| selector.matches_by(|key| labels.get(key).and_then(Value::as_str)))
}

fn rule_matches(rule: &Value, request: &Attributes, version: &GroupVersion) -> bool {
    let texts = |field: &str| rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
    let any = |field: &str, wanted: &str| texts(field).any(|text| text == "*" || text == wanted);
    let resource = || {
        texts("resources").any(|text| {
            let (resource, subresource) = text.split_once('/').unwrap_or((text, ""));
            let resource_holds = resource == "*" || resource == request.resource;
            let subresource_holds = subresource == "*" || subresource == request.subresource;
            resource_holds && subresource_holds
        })
    };
    let scope = || match rule["scope"].as_str() {
        Some("Cluster") => request.namespace.is_empty() || request.kind.kind == "Namespace",
        Some("Namespaced") => !request.namespace.is_empty() && request.kind.kind != "Namespace",
        _ => true,
    };
    let names: Vec<&str> = texts("resourceNames").collect();
    any("operations", request.operation.name())
        && any("apiGroups", &version.group)
        && any("apiVersions", &version.version)
        && resource()
        && scope()
        && (names.is_empty() || names.contains(&request.name.as_str()))
}

/// Whether all `matchConditions` hold; false when one does not.
///
/// # Errors
/// The sentences of those that failed, when none says no.
pub fn conditions_hold(
    conditions: &[(String, Program)],
    request: &Attributes,
    authorizer: Option<&dyn Authorizer>,
    budget: &mut Budget<'_>,
) -> Result<bool, String> {
    let described = request.request("", &request.group_version());
    let mut root = Root { authorizer, ..Root::default() };
    bind(&mut root, request, &described);
    let mut failures = Vec::new();
    for (_, program) in conditions {
        match program.evaluate(&root, budget) {
            Ok(Val::Bool(true)) => {}
            Ok(Val::Bool(false)) => return Ok(false),
            Ok(_) => failures.push(format!("expression '{}' resulted in no boolean", program.source())),
            Err(fault) => failures.push(failed(program, &fault)),
        }
    }
    if failures.is_empty() { Ok(true) } else { Err(failures.join(", ")) }
}

/// Binds what every expression of admission may read.
pub(super) fn bind<'v>(root: &mut Root<'_, 'v>, request: &'v Attributes, described: &'v Value) {
    root.variables.push(("object", Val::json(&request.object, View::Dynamic)));
    root.variables.push(("oldObject", Val::json(&request.old_object, View::Dynamic)));
    root.variables.push(("request", Val::json(described, View::Dynamic)));
}

pub(super) fn failed(program: &Program, fault: &Fault) -> String {
    format!("expression '{}' resulted in error: {fault}", program.source())
}

/// The name of a policy or binding.
pub(super) fn name_of(value: &Value) -> &str {
    object::name(value)
}
