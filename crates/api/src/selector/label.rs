//! Selectors by labels: `app=web,tier!=cache,env in (a,b),!canary`, and the `LabelSelector` of many kinds.
//!
//! Source: `k8s.io/apimachinery/pkg/labels` and `pkg/apis/meta/v1` of 1.32, mistakes in their words.

mod parse;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::field::{Error, Path, Reason};
use crate::names;

pub use validate::{validate, validate_labels};

/// Requirements that all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    /// Selects nothing, whatever the requirements.
    nothing: bool,
}

/// What one label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`; a missing label is not in any set.
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`
    NotEquals,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`, as whole numbers.
    GreaterThan,
    /// `key<1`, as whole numbers.
    LessThan,
}

/// Why a selector is none, in the words of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl Selector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Reads the text of `?labelSelector=`. An empty one selects everything.
    ///
    /// # Errors
    /// In the words of Kubernetes, when the text is none.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::selector(text)
    }

    /// Reads a `LabelSelector`: one that is absent or `null` selects nothing, an empty one everything.
    ///
    /// # Errors
    /// When an operator, a key or a value is wrong.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            requirements.push(Requirement::new(key, Operator::Equals, [value.into()])?);
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let operator = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{other:?} is not a valid label selector operator")));
                }
            };
            let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let key = expression["key"].as_str().unwrap_or_default();
            requirements.push(Requirement::new(key, operator, values.map(Into::into))?);
        }
        Ok(Self::of(requirements))
    }

    /// Selects what has exactly these labels among others: the `selector` of a Service or ReplicationController. One that
    /// is absent or empty selects nothing.
    pub fn from_map(labels: &Value) -> Self {
        let labels = labels.as_object().into_iter().flatten();
        let requirements: Vec<Requirement> = labels
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::Equals,
                values: BTreeSet::from([value.as_str().unwrap_or_default().into()]),
            })
            .collect();
        if requirements.is_empty() { Self::nothing() } else { Self::of(requirements) }
    }

    /// Whether it selects every object.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it selects no object, whatever its labels.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// What must hold, in the order of the keys.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether an object is selected, by its `metadata.labels`.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.matches_by(|key| labels[key].as_str())
    }

    /// Whether labels are selected that are given as a map.
    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// Whether labels are selected that can be looked up.
    pub fn matches_by<'v>(&self, label: impl Fn(&str) -> Option<&'v str>) -> bool {
        !self.nothing
            && self.requirements.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }

    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|one, other| one.key.cmp(&other.key));
        Self { requirements, nothing: false }
    }
}

impl Requirement {
    /// What one label must be.
    ///
    /// # Errors
    /// When the key or a value cannot be one of a label, or when there are more or fewer values than the operator takes.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, SelectorError> {
        let values: BTreeSet<String> = values.into_iter().collect();
        let mut wrong: Vec<Error> = wrong_key(key, &Path::new("key")).into_iter().collect();
        let path = Path::new("values");
        wrong.extend(operator.wrong_count(&values).map(|words| list_error(&path, &values, words)));
        for (at, value) in values.iter().enumerate() {
            if operator.takes_numbers() && value.parse::<i64>().is_err() {
                let words = "for 'Gt', 'Lt' operators, the value must be an integer";
                wrong.push(Error::invalid(&path.index(at), &value.as_str().into(), words));
            }
        }
        for (at, value) in values.iter().enumerate() {
            let words = names::label_value(value);
            if !words.is_empty() {
                let path = path.index(at).key(key);
                wrong.push(Error::invalid(&path, &value.as_str().into(), &words.join("; ")));
            }
        }
        if wrong.is_empty() { Ok(Self { key: key.into(), operator, values }) } else { Err(aggregate(&wrong)) }
    }

    /// The label.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it is compared with, sorted.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    /// Whether a label, or its absence, is right.
    pub fn matches(&self, label: Option<&str>) -> bool {
        let listed = |label: &str| self.values.contains(label);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => label.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => {
                self.bound().zip(number(label)).is_some_and(|(bound, label)| label > bound)
            }
            Operator::LessThan => self.bound().zip(number(label)).is_some_and(|(bound, label)| label < bound),
        }
    }

    fn bound(&self) -> Option<i64> {
        number(self.values.first().map(String::as_str))
    }
}

impl Operator {
    fn takes_numbers(self) -> bool {
        matches!(self, Self::GreaterThan | Self::LessThan)
    }

    /// What is said when there are more or fewer values than it takes.
    fn wrong_count(self, values: &BTreeSet<String>) -> Option<&'static str> {
        let (right, words) = match self {
            Self::In | Self::NotIn => {
                (!values.is_empty(), "for 'in', 'notin' operators, values set can't be empty")
            }
            Self::Equals | Self::DoubleEquals | Self::NotEquals => {
                (values.len() == 1, "exact-match compatibility requires one single value")
            }
            Self::Exists | Self::DoesNotExist => {
                (values.is_empty(), "values set must be empty for exists and does not exist")
            }
            Self::GreaterThan | Self::LessThan => {
                (values.len() == 1, "for 'Gt', 'Lt' operators, exactly one value is required")
            }
        };
        (!right).then_some(words)
    }
}

/// As it is written in a query.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<&str> = self.values().collect();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

fn number(text: Option<&str>) -> Option<i64> {
    text?.parse().ok()
}

fn wrong_key(key: &str, path: &Path) -> Option<Error> {
    let words = names::qualified(key);
    (!words.is_empty()).then(|| Error::invalid(path, &key.into(), &words.join("; ")))
}

/// Values are shown as Go shows a slice of text.
fn list_error(path: &Path, values: &BTreeSet<String>, words: &str) -> Error {
    let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    let message = format!("Invalid value: []string{{{}}}: {words}", values.join(", "));
    Error { reason: Reason::Invalid, path: path.clone(), message }
}

fn aggregate(wrong: &[Error]) -> SelectorError {
    let list: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    SelectorError(if let [one] = list.as_slice() { one.clone() } else { format!("[{}]", list.join(", ")) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Selector {
        Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn labels_are_selected() {
        let web = json!({"metadata": {"labels": {"app": "web", "n": "5", "in": "x", "empty": ""}}});
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,n=5", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web, api)", true),
            ("app notin (web)", false),
            ("other notin (web)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("n>4", true),
            ("n>5", false),
            ("n<6", true),
            ("app>1", false),
            ("other<1", false),
            ("in in (x)", true),
            ("in=x", true),
            ("empty=", true),
            ("empty in (,)", true),
            ("app=", false),
        ] {
            assert_eq!(parse(text).matches(&web), expected, "{text}");
        }
        assert!(!Selector::nothing().matches(&web) && Selector::everything().matches(&json!({})));
    }

    #[test]
    fn objects_are_selectors_too() {
        let read = |selector: Value| Selector::from_object(&selector).map(|selector| selector.to_string());
        let selector = json!({
            "matchLabels": {"b": "1", "a": "2"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "d", "operator": "NotIn", "values": ["z"]},
                {"key": "e", "operator": "Exists"},
                {"key": "0", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(read(selector).as_deref(), Ok("!0,a=2,b=1,c in (x,y),d notin (z),e"));
        assert!(Selector::from_object(&Value::Null).expect("nothing").is_nothing());
        assert!(Selector::from_object(&json!({})).expect("everything").is_everything());
        assert_eq!(
            read(json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]})),
            Err(SelectorError("\"Gt\" is not a valid label selector operator".into()))
        );
        assert_eq!(
            read(json!({"matchExpressions": [{"key": "a", "operator": "In"}]})),
            Err(SelectorError(
                "values: Invalid value: []string{}: for 'in', 'notin' operators, values set can't be empty"
                    .into()
            ))
        );
        assert!(Selector::from_map(&json!({})).is_nothing());
        assert_eq!(Selector::from_map(&json!({"a": "b"})).to_string(), "a=b");
    }
}
