//! Selectors by fields: `metadata.name=x,status.phase!=Running`. Each kind names the few fields that it can be selected by.
//!
//! Source: `k8s.io/apimachinery/pkg/fields`, and the field label conversions of each group in 1.32.

use std::fmt;

use serde_json::Value;

use super::label::SelectorError;
use crate::GroupKind;

/// Terms that all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

/// What one field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// `status.phase`.
    pub field: String,
    /// Whether the field must not have the value.
    pub not: bool,
    /// As text; empty is the same as absent.
    pub value: String,
}

/// The fields that objects of a kind can be selected by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Besides `metadata.name`.
    names: Vec<String>,
    /// Whether what is not supported is told with the two fields that are.
    only_metadata: bool,
}

impl Selector {
    /// Reads the text of `?fieldSelector=`. An empty one selects everything.
    ///
    /// # Errors
    /// In the words of Kubernetes, when the text is none.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let (field, not, value) = cut(part).ok_or_else(|| {
                SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'"))
            })?;
            terms.push(Term { field: field.into(), not, value: unescape(value)? });
        }
        Ok(Self { terms })
    }

    /// Selects the one object of this name.
    pub fn named(name: &str) -> Self {
        Self { terms: vec![Term { field: "metadata.name".into(), not: false, value: name.into() }] }
    }

    /// What must hold.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether it selects every object.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a field must have, where only one will do.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| !term.not && term.field == field).map(|term| term.value.as_str())
    }

    /// Checks that a kind can be selected so, and gives the fields their present names (`spec.host` of a Pod is
    /// `spec.nodeName`).
    ///
    /// # Errors
    /// `field label not supported: x`, for the first that it cannot be selected by.
    pub fn for_fields(mut self, fields: &Fields) -> Result<Self, SelectorError> {
        for term in &mut self.terms {
            if term.field == "spec.host" && fields.names.iter().any(|name| name == "spec.nodeName") {
                term.field = "spec.nodeName".into();
            }
            fields.check(&term.field)?;
        }
        Ok(self)
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (value_of(object, &term.field) == term.value) != term.not)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let operator = if term.not { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

impl Fields {
    /// Those of a built-in kind.
    pub fn of(kind: &GroupKind) -> Self {
        let listed = FIELDS.iter().find(|(group, name, _)| *group == kind.group && *name == kind.kind);
        let names = listed.map_or(&["metadata.namespace"][..], |(_, _, names)| names);
        Self { names: names.iter().map(ToString::to_string).collect(), only_metadata: listed.is_none() }
    }

    /// Those of a custom resource: its name, its namespace where it has one, and its `selectableFields` (`.spec.color`).
    pub fn custom<'p>(namespaced: bool, paths: impl IntoIterator<Item = &'p str>) -> Self {
        let namespace = namespaced.then(|| "metadata.namespace".to_string());
        let paths = paths.into_iter().map(|path| path.strip_prefix('.').unwrap_or(path).to_string());
        Self { names: namespace.into_iter().chain(paths).collect(), only_metadata: false }
    }

    fn check(&self, field: &str) -> Result<(), SelectorError> {
        if field == "metadata.name" || self.names.iter().any(|name| name == field) {
            return Ok(());
        }
        Err(SelectorError(if self.only_metadata {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {field}")
        }))
    }
}

/// What kinds can be selected by, besides `metadata.name`.
const FIELDS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "Pod",
        &[
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    ("", "Node", &["spec.unschedulable"]),
    ("", "Namespace", &["status.phase"]),
    ("", "ReplicationController", &["metadata.namespace", "status.replicas"]),
    ("", "Secret", &["metadata.namespace", "type"]),
    ("", "Service", &["metadata.namespace", "spec.clusterIP", "spec.type"]),
    (
        "",
        "Event",
        &[
            "metadata.namespace",
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    (
        "events.k8s.io",
        "Event",
        &[
            "metadata.namespace",
            "reason",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reportingController",
            "type",
        ],
    ),
    ("apps", "ReplicaSet", &["metadata.namespace", "status.replicas"]),
    ("batch", "Job", &["metadata.namespace", "status.successful"]),
    ("certificates.k8s.io", "CertificateSigningRequest", &["spec.signerName"]),
];

/// A field as the text that it is compared as.
fn value_of(object: &Value, field: &str) -> String {
    match field {
        "source" => {
            return text(&object["source"]["component"]).unwrap_or_else(|| at(object, "reportingComponent"));
        }
        "status.podIPs" => {
            let addresses = object["status"]["podIPs"].as_array().into_iter().flatten();
            return addresses.filter_map(|one| one["ip"].as_str()).collect::<Vec<_>>().join(",");
        }
        "status.successful" => return number(&object["status"]["succeeded"]),
        "status.replicas" => return number(&object["status"]["replicas"]),
        "spec.unschedulable" | "spec.hostNetwork" => {
            let boolean = &object["spec"][field.trim_start_matches("spec.")];
            return boolean.as_bool().unwrap_or_default().to_string();
        }
        _ => {}
    }
    at(object, field)
}

fn at(object: &Value, path: &str) -> String {
    text(path.split('.').fold(object, |value, part| &value[part])).unwrap_or_default()
}

/// Scalars only; none for what is empty.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(boolean) => Some(boolean.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn number(value: &Value) -> String {
    value.as_i64().unwrap_or_default().to_string()
}

/// Cuts at commas that no backslash stands before.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut escaped) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        if byte == b',' && !escaped {
            parts.push(&text[begin..at]);
            begin = at + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    parts.push(&text[begin..]);
    parts
}

/// Field, whether it must not be, value.
fn cut(term: &str) -> Option<(&str, bool, &str)> {
    let operators = [("!=", true), ("==", false), ("=", false)];
    let operator_at = |at: usize| operators.iter().find(|(operator, _)| term[at..].starts_with(operator));
    let (at, (operator, not)) =
        term.char_indices().find_map(|(at, _)| operator_at(at).map(|operator| (at, operator)))?;
    Some((&term[..at], *not, &term[at + operator.len()..]))
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                other => {
                    let sequence: String = [Some('\\'), other].into_iter().flatten().collect();
                    let words = format!("invalid field selector: invalid escape sequence: {sequence}");
                    return Err(SelectorError(words));
                }
            },
            ',' | '=' => {
                let words = format!("invalid field selector: unescaped character in value: {c}");
                return Err(SelectorError(words));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(group: &str, kind: &str) -> GroupKind {
        GroupKind { group: group.into(), kind: kind.into() }
    }

    #[test]
    fn objects_are_selected_by_their_fields() {
        let pod = json!({
            "metadata": {"name": "a", "namespace": "n"},
            "spec": {"nodeName": "x", "hostNetwork": true},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "::1"}]},
        });
        let fields = Fields::of(&kind("", "Pod"));
        for (text, expected) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==b", false),
            ("metadata.name!=b,metadata.namespace=n", true),
            ("status.phase!=Running", false),
            ("spec.host=x", true),
            ("spec.hostNetwork=true", true),
            ("spec.schedulerName=", true),
            ("status.podIPs=10.0.0.1\\,::1", true),
        ] {
            let selector =
                Selector::parse(text).and_then(|selector| selector.for_fields(&fields)).expect(text);
            assert_eq!(selector.matches(&pod), expected, "{text}");
            assert_eq!(Selector::parse(&selector.to_string()).as_ref(), Ok(&selector), "{text}");
        }
        let job = Selector::parse("status.successful=0").expect("valid");
        assert!(
            job.clone()
                .for_fields(&Fields::of(&kind("batch", "Job")))
                .expect("supported")
                .matches(&json!({}))
        );
        let event = json!({"reportingComponent": "c"});
        assert!(Selector::parse("source=c").expect("valid").matches(&event));
        assert_eq!(Selector::named("a,b").to_string(), "metadata.name=a\\,b");
    }

    #[test]
    fn what_cannot_be_selected_by_is_told() {
        let tell = |text: &str, fields: &Fields| {
            let error = Selector::parse(text).and_then(|selector| selector.for_fields(fields));
            error.expect_err(text).to_string()
        };
        let (pod, map) = (Fields::of(&kind("", "Pod")), Fields::of(&kind("", "ConfigMap")));
        let widget = Fields::custom(false, [".spec.color"]);
        assert_eq!(tell("spec.x=1", &pod), "field label not supported: spec.x");
        assert_eq!(
            tell("data=1", &map),
            "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert_eq!(tell("metadata.namespace=a", &widget), "field label not supported: metadata.namespace");
        assert_eq!(tell("a", &pod), "invalid selector: 'a'; can't understand 'a'");
        assert_eq!(tell("a=b=c", &pod), "invalid field selector: unescaped character in value: =");
        assert_eq!(tell("a=\\b", &pod), "invalid field selector: invalid escape sequence: \\b");
        let red = Selector::parse("spec.color=red").and_then(|selector| selector.for_fields(&widget));
        assert!(red.expect("selectable").matches(&json!({"spec": {"color": "red"}})));
    }
}
