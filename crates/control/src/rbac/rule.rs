//! One rule of a role, what it allows, and whether rules cover others.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{Attributes, texts};

/// One rule of a role: any of its verbs on any of its resources, or on any of its paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `get`; `*` is every verb.
    pub verbs: Vec<String>,
    /// `apps`; `*` is every group, empty text the core group.
    pub groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`; `*` is everything.
    pub resources: Vec<String>,
    /// Names that it is limited to; none for every name.
    pub names: Vec<String>,
    /// `/healthz`, `/openapi/*`, `*`.
    pub urls: Vec<String>,
}

impl Rule {
    /// From an item of `rules`.
    pub fn from_value(value: &Value) -> Self {
        Self {
            verbs: texts(&value["verbs"]),
            groups: texts(&value["apiGroups"]),
            resources: texts(&value["resources"]),
            names: texts(&value["resourceNames"]),
            urls: texts(&value["nonResourceURLs"]),
        }
    }

    /// From `rules` of a role.
    pub fn list(role: &Value) -> Vec<Self> {
        role["rules"].as_array().into_iter().flatten().map(Self::from_value).collect()
    }

    /// As an item of `rules`; what is empty is left out.
    pub fn to_value(&self) -> Value {
        let mut value = Map::new();
        for (_, field, list) in self.fields().into_iter().filter(|(_, _, list)| !list.is_empty()) {
            value.insert(field.into(), json!(list));
        }
        value.entry("verbs").or_insert_with(|| json!([]));
        Value::Object(value)
    }

    /// Whether it allows the request.
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, attributes.verb) {
            return false;
        }
        match attributes.path {
            Some(path) => self.urls.iter().any(|url| url_covers(url, path)),
            None => {
                has_or_all(&self.groups, attributes.group)
                    && self.allows_resource(attributes.resource, attributes.subresource)
                    && (self.names.is_empty() || has(&self.names, attributes.name))
            }
        }
    }

    fn allows_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|allowed| match allowed.split_once('/') {
            _ if allowed == "*" => true,
            None => subresource.is_empty() && allowed == resource,
            Some((of, what)) => {
                !subresource.is_empty() && what == subresource && (of == "*" || of == resource)
            }
        })
    }

    /// Its fields as Go names them, in Go's order, and as JSON does.
    fn fields(&self) -> [(&'static str, &'static str, &[String]); 5] {
        [
            ("APIGroups", "apiGroups", &self.groups),
            ("Resources", "resources", &self.resources),
            ("NonResourceURLs", "nonResourceURLs", &self.urls),
            ("ResourceNames", "resourceNames", &self.names),
            ("Verbs", "verbs", &self.verbs),
        ]
    }

    /// Rules of one verb and one resource or path each, which together say the same.
    fn broken_down(&self) -> Vec<Self> {
        let one = |text: &String| vec![text.clone()];
        let names: Vec<Vec<String>> =
            if self.names.is_empty() { vec![Vec::new()] } else { self.names.iter().map(one).collect() };
        let mut parts = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    parts.extend(names.iter().map(|names| Self {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        names: names.clone(),
                        urls: Vec::new(),
                    }));
                }
            }
        }
        for url in &self.urls {
            let of = |verb| Self { verbs: one(verb), urls: one(url), ..Self::default() };
            parts.extend(self.verbs.iter().map(of));
        }
        parts
    }

    /// Whether it allows all that one part of another rule allows.
    fn covers_part(&self, part: &Self) -> bool {
        let names = self.names.is_empty() || (!part.names.is_empty() && has_every(&self.names, &part.names));
        names
            && (has(&self.verbs, "*") || has_every(&self.verbs, &part.verbs))
            && (has(&self.groups, "*") || has_every(&self.groups, &part.groups))
            && part.resources.iter().all(|resource| self.covers_resource(resource))
            && part.urls.iter().all(|url| self.urls.iter().any(|own| url_covers(own, url)))
    }

    fn covers_resource(&self, resource: &str) -> bool {
        let any = |subresource| format!("*/{subresource}");
        has_or_all(&self.resources, resource)
            || resource
                .split_once('/')
                .is_some_and(|(_, subresource)| has(&self.resources, &any(subresource)))
    }
}

/// As Go prints it in a refusal: `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields().into_iter().filter(|(_, _, list)| !list.is_empty());
        let shown: Vec<String> = fields.map(|(name, _, list)| format!("{name}:{}", quoted(list))).collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

/// A list as Go prints it: `["a" "b"]`.
pub(super) fn quoted(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// Whether `held` allow all that `wanted` do; else the parts that are missing, each of one verb and one resource or
/// path.
///
/// # Errors
/// With the parts that are missing.
pub fn covers(held: &[Rule], wanted: &[Rule]) -> Result<(), Vec<Rule>> {
    let parts = wanted.iter().flat_map(Rule::broken_down);
    let missing: Vec<Rule> = parts.filter(|part| !held.iter().any(|rule| rule.covers_part(part))).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// Parts of the same group and resource as one rule each.
pub(super) fn compacted(parts: Vec<Rule>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for part in parts {
        let is_simple = part.urls.is_empty();
        let same = |rule: &&mut Rule| {
            rule.groups == part.groups && rule.resources == part.resources && rule.names == part.names
        };
        match rules.iter_mut().find(same).filter(|_| is_simple) {
            Some(rule) => rule.verbs.extend(part.verbs),
            None => rules.push(part),
        }
    }
    rules
}

/// Whether a path of a rule stands for `path`, which may end with `*` itself.
fn url_covers(url: &str, path: &str) -> bool {
    url == "*"
        || url == path
        || url.strip_suffix('*').is_some_and(|_| path.starts_with(url.trim_end_matches('*')))
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|one| one == text)
}

fn has_or_all(list: &[String], text: &str) -> bool {
    list.iter().any(|one| one == "*" || one == text)
}

fn has_every(list: &[String], texts: &[String]) -> bool {
    texts.iter().all(|text| has(list, text))
}
