//! Sets of fields, and the form in which objects carry them (`FieldsV1`).

use std::fmt;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    kind: Kind,
    /// A field's name; for the others what stands behind the colon in `FieldsV1`: canonical JSON, or a number.
    text: Box<str>,
}

/// In the order in which steps are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Field,
    Key,
    Value,
    Index,
}

/// Fields of an object. A set is a tree: each step has those below it, and whether the path up to it is in the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Whether this very path is in the set.
    member: bool,
    /// Sorted, none empty.
    children: Vec<(Element, Set)>,
}

/// Why a value is no set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SetError(String);

impl Element {
    /// A field, by its name.
    pub fn field(name: &str) -> Self {
        Self { kind: Kind::Field, text: name.into() }
    }

    /// An item of a list, by the fields that tell it apart.
    pub fn key(fields: Map<String, Value>) -> Self {
        Self { kind: Kind::Key, text: Value::Object(fields).to_string().into() }
    }

    /// An item of a list, by its value.
    pub fn value(value: &Value) -> Self {
        Self { kind: Kind::Value, text: value.to_string().into() }
    }

    /// The name, when this is a field.
    pub fn name(&self) -> Option<&str> {
        (self.kind == Kind::Field).then_some(&*self.text)
    }

    /// `f:name`, `k:{"name":"c"}`, `v:"x"`, `i:0`.
    pub fn encode(&self) -> String {
        let letter = match self.kind {
            Kind::Field => 'f',
            Kind::Key => 'k',
            Kind::Value => 'v',
            Kind::Index => 'i',
        };
        format!("{letter}:{}", self.text)
    }

    fn decode(text: &str) -> Result<Self, SetError> {
        let wrong = |why: &str| SetError(format!("parsing path element {text:?}: {why}"));
        let (letter, rest) = text.split_once(':').ok_or_else(|| wrong("missing colon"))?;
        let json = || serde_json::from_str::<Value>(rest).map_err(|error| wrong(&error.to_string()));
        match letter {
            "f" => Ok(Self::field(rest)),
            "k" => match json()? {
                Value::Object(fields) => Ok(Self::key(fields)),
                _ => Err(wrong("a key is an object")),
            },
            "v" => Ok(Self::value(&json()?)),
            "i" => {
                let index: u64 = rest.parse().map_err(|_| wrong("an index is a number"))?;
                Ok(Self { kind: Kind::Index, text: index.to_string().into() })
            }
            _ => Err(wrong("unknown kind of element")),
        }
    }
}

/// As paths show it: `.name`, `[name="c"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Field => write!(f, ".{}", self.text),
            Kind::Index => write!(f, "[{}]", self.text),
            Kind::Value => write!(f, "[={}]", self.text),
            Kind::Key => {
                let fields: Map<String, Value> = serde_json::from_str(&self.text).unwrap_or_default();
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", fields.join(","))
            }
        }
    }
}

impl Set {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Element]) {
        let mut set = self;
        for element in path {
            set = set.entry(element.clone());
        }
        set.member = true;
    }

    /// Whether a path is in it.
    pub fn has(&self, path: &[Element]) -> bool {
        let below = path.iter().try_fold(self, |set, element| set.child(element));
        below.is_some_and(|set| set.member)
    }

    /// The paths in it, sorted, as messages show them: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    /// What is in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.add(other);
        self
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self { member: self.member && other.member, children: Vec::new() };
        pairs(&self.children, &other.children, |element, one, other| {
            let below = one.intersection(other);
            if !below.is_empty() {
                both.children.push((element.clone(), below));
            }
        });
        both
    }

    /// Whether something is in both this set and `encoded`, which is one as `FieldsV1`.
    pub(super) fn touches(&self, encoded: &Value) -> bool {
        let Value::Object(fields) = encoded else { return false };
        self.member && (fields.is_empty() || fields.contains_key("."))
            || self.children.iter().any(|(element, below)| {
                fields.get(&element.encode()).is_some_and(|encoded| below.touches(encoded))
            })
    }

    /// Removes what is in the other too. Paths below one that is in the other stay.
    pub fn difference(&mut self, other: &Self) {
        self.member &= !other.member;
        self.children.retain_mut(|(element, below)| {
            if let Some(other) = other.child(element) {
                below.difference(other);
            }
            !below.is_empty()
        });
    }

    /// Removes what is in the other too, and all below.
    pub fn difference_below(&mut self, other: &Self) {
        self.member &= !other.member;
        self.children.retain_mut(|(element, below)| match other.child(element) {
            Some(other) if other.member => false,
            Some(other) => {
                below.difference_below(other);
                !below.is_empty()
            }
            None => true,
        });
    }

    /// As `FieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.children.is_empty() {
            fields.insert(".".into(), Value::Object(Map::new()));
        }
        for (element, below) in &self.children {
            fields.insert(element.encode(), below.to_value());
        }
        Value::Object(fields)
    }

    /// From `FieldsV1`.
    ///
    /// # Errors
    /// When a step is none.
    pub fn from_value(value: &Value) -> Result<Self, SetError> {
        let mut set = Self::read(value)?;
        // `{}` at the root is the empty set, not the set of the root.
        set.member = false;
        Ok(set)
    }

    fn read(value: &Value) -> Result<Self, SetError> {
        let Value::Object(fields) = value else {
            return Err(SetError(format!("expected an object of path elements, got {value}")));
        };
        let mut set = Self { member: fields.is_empty(), children: Vec::with_capacity(fields.len()) };
        for (key, below) in fields {
            if key == "." {
                set.member = true;
            } else {
                let below = Self::read(below)?;
                set.attach(Element::decode(key)?, below);
            }
        }
        Ok(set)
    }

    pub(super) fn is_member(&self) -> bool {
        self.member
    }

    pub(super) fn set_member(&mut self) {
        self.member = true;
    }

    /// Forgets the root, not what is below.
    pub(super) fn drop_root(&mut self) {
        self.member = false;
    }

    pub(super) fn children(&self) -> impl Iterator<Item = (&Element, &Self)> {
        self.children.iter().map(|(element, below)| (element, below))
    }

    pub(super) fn child(&self, element: &Element) -> Option<&Self> {
        let at = self.children.binary_search_by(|(one, _)| one.cmp(element)).ok()?;
        Some(&self.children[at].1)
    }

    pub(super) fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    pub(super) fn children_mut(&mut self) -> impl Iterator<Item = (&Element, &mut Self)> {
        self.children.iter_mut().map(|(element, below)| (&*element, below))
    }

    /// Forgets what is below, and takes the root.
    pub(super) fn keep_root_only(&mut self) {
        *self = Self { member: true, children: Vec::new() };
    }

    /// Forgets what is below a step, and takes the step itself.
    pub(super) fn keep_member_only(&mut self, element: &Element) {
        self.entry(element.clone()).keep_root_only();
    }

    /// Adds what is below a step; nothing when it is empty.
    pub(super) fn attach(&mut self, element: Element, below: Self) {
        if below.is_empty() {
            return;
        }
        match self.children.last() {
            // What is read from an object comes sorted, most of the time.
            Some((last, _)) if *last >= element => self.entry(element).add(&below),
            _ => self.children.push((element, below)),
        }
    }

    /// Adds what is in the other.
    pub(super) fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (element, below) in &other.children {
            match self.children.binary_search_by(|(one, _)| one.cmp(element)) {
                Ok(at) => self.children[at].1.add(below),
                Err(at) => self.children.insert(at, (element.clone(), below.clone())),
            }
        }
    }

    fn entry(&mut self, element: Element) -> &mut Self {
        let at = match self.children.binary_search_by(|(one, _)| one.cmp(&element)) {
            Ok(at) => at,
            Err(at) => {
                self.children.insert(at, (element, Self::default()));
                at
            }
        };
        &mut self.children[at].1
    }

    /// Those at one level first, then what is below each: the order in which conflicts are told.
    fn collect(&self, path: &str, paths: &mut Vec<String>) {
        let members = self.children.iter().filter(|(_, below)| below.member);
        paths.extend(members.map(|(element, _)| format!("{path}{element}")));
        for (element, below) in &self.children {
            below.collect(&format!("{path}{element}"), paths);
        }
    }
}

/// Calls with each step that is in both lists.
fn pairs(one: &[(Element, Set)], other: &[(Element, Set)], mut call: impl FnMut(&Element, &Set, &Set)) {
    let (mut at, mut other_at) = (0, 0);
    while let (Some((element, below)), Some((other_element, other_below))) =
        (one.get(at), other.get(other_at))
    {
        match element.cmp(other_element) {
            std::cmp::Ordering::Less => at += 1,
            std::cmp::Ordering::Greater => other_at += 1,
            std::cmp::Ordering::Equal => {
                call(element, below, other_below);
                (at, other_at) = (at + 1, other_at + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: &Value) -> Set {
        Set::from_value(value).expect("a set")
    }

    #[test]
    fn sets_are_read_and_written() {
        for value in [
            json!({}),
            json!({"f:spec": {"f:replicas": {}}}),
            json!({"f:a": {".": {}, "k:{\"name\":\"c\",\"port\":80}": {".": {}, "f:b": {}}, "v:\"x\"": {}, "i:0": {}}}),
        ] {
            assert_eq!(set(&value).to_value(), value);
        }
        assert_eq!(set(&json!({"k:{\"b\": 1, \"a\":2}": {}})).to_value(), json!({"k:{\"a\":2,\"b\":1}": {}}));
        for value in [
            json!([]),
            json!({"x": {}}),
            json!({"k:1": {}}),
            json!({"i:-1": {}}),
            json!({"z:a": {}}),
            json!({"f:a": 1}),
        ] {
            assert!(Set::from_value(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn paths_are_shown_as_in_conflicts() {
        let fields = set(&json!({
            "f:spec": {".": {}, "f:list": {"k:{\"name\":\"c\",\"port\":80}": {".": {}, "f:b": {}}}, "f:tags": {"v:\"x\"": {}}},
            "f:z": {},
        }));
        assert_eq!(
            fields.paths(),
            [
                ".spec",
                ".z",
                ".spec.list[name=\"c\",port=80]",
                ".spec.list[name=\"c\",port=80].b",
                ".spec.tags[=\"x\"]"
            ]
        );
    }

    #[test]
    fn the_algebra_is_exact() {
        let one = set(&json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
        let other = set(&json!({"f:a": {".": {}, "f:c": {}}, "f:e": {}}));
        let minus = |other: &Set| {
            let mut left = one.clone();
            left.difference(other);
            left.to_value()
        };
        assert_eq!(minus(&other), json!({"f:a": {"f:b": {}}, "f:d": {}}));
        assert_eq!(minus(&set(&json!({"f:a": {}}))), json!({"f:a": {"f:b": {}, "f:c": {}}, "f:d": {}}));
        assert_eq!(minus(&one), json!({}));
        let mut below = one.clone();
        below.difference_below(&set(&json!({"f:a": {}})));
        assert_eq!(below.to_value(), json!({"f:d": {}}));
        assert_eq!(one.intersection(&other).to_value(), json!({"f:a": {".": {}, "f:c": {}}}));
        let both = json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}, "f:e": {}});
        assert_eq!(one.clone().union(&other).to_value(), both);
        let path = [Element::field("a"), Element::field("b")];
        assert!(one.has(&path) && !other.has(&path) && one.has(&path[..1]) && !Set::default().has(&[]));
    }
}
