//! `status` of a definition: whether its names are free, and whether it is served.

use serde_json::{Map, Value, json};

use super::words;

/// Names that are taken within a group: those that other definitions, or built-in kinds, have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Plurals, singulars and short names.
    pub resources: Vec<String>,
    /// Kinds and kinds of lists.
    pub kinds: Vec<String>,
}

impl Taken {
    /// What the other definitions of the same group have taken: their accepted names.
    pub fn by<'a>(definition: &Value, all: impl Iterator<Item = &'a Value>) -> Self {
        let mut taken = Self::default();
        for other in all {
            let same_group = other["spec"]["group"] == definition["spec"]["group"];
            if same_group && other["metadata"]["name"] != definition["metadata"]["name"] {
                taken.add(&other["status"]["acceptedNames"]);
            }
        }
        taken
    }

    /// Adds names in the form of `acceptedNames`.
    pub fn add(&mut self, names: &Value) {
        let text = |field: &str| names[field].as_str().filter(|text| !text.is_empty()).map(str::to_string);
        self.resources.extend(["plural", "singular"].into_iter().filter_map(text));
        self.resources.extend(texts(&names["shortNames"]).map(str::to_string));
        self.kinds.extend(["kind", "listKind"].into_iter().filter_map(text));
    }
}

/// The definition with the status that it should have; none when it has it. `now` is RFC 3339, whole seconds.
pub fn plan(definition: &Value, taken: &Taken, now: &str) -> Option<Value> {
    let mut next = definition.clone();
    let (names, conflict) = accept(definition, taken);
    next["status"]["acceptedNames"] = names;
    let accepted = conflict.is_none();
    let (reason, message) = conflict.unwrap_or(("NoConflicts", "no conflicts found".into()));
    set(&mut next, "NamesAccepted", accepted, reason, &message, now);
    if status(definition, "Established") != Some("True") {
        let (reason, message) = match accepted {
            true => ("InitialNamesAccepted", "the initial names have been accepted"),
            false => ("NotAccepted", "not all names are accepted"),
        };
        set(&mut next, "Established", accepted, reason, message, now);
    }
    if let Some((holds, reason, message)) = words::approval(definition).condition() {
        set(&mut next, "KubernetesAPIApprovalPolicyConformant", holds, reason, &message, now);
    }
    (next != *definition).then_some(next)
}

/// Whether a definition is served.
pub fn is_established(definition: &Value) -> bool {
    status(definition, "Established") == Some("True")
}

/// The reason of a condition.
pub fn reason<'a>(definition: &'a Value, ty: &str) -> Option<&'a str> {
    condition(definition, ty)?["reason"].as_str()
}

/// Writes a condition; its time changes with its status only.
pub fn set(definition: &mut Value, ty: &str, holds: bool, reason: &str, message: &str, now: &str) {
    let status = if holds { "True" } else { "False" };
    let old = condition(definition, ty);
    let time = match old {
        Some(old) if old["status"] == status => old["lastTransitionTime"].clone(),
        _ => now.into(),
    };
    let new = json!({
        "type": ty, "status": status, "lastTransitionTime": time, "reason": reason, "message": message,
    });
    if !definition["status"].is_object() {
        definition["status"] = Value::Object(Map::new());
    }
    let conditions = &mut definition["status"]["conditions"];
    match conditions.as_array_mut() {
        Some(list) => match list.iter_mut().find(|one| one["type"] == ty) {
            Some(one) => *one = new,
            None => list.push(new),
        },
        None => *conditions = json!([new]),
    }
}

fn condition<'a>(definition: &'a Value, ty: &str) -> Option<&'a Value> {
    definition["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == ty)
}

fn status<'a>(definition: &'a Value, ty: &str) -> Option<&'a str> {
    condition(definition, ty)?["status"].as_str()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The names that are accepted now, and the last conflict.
fn accept(definition: &Value, taken: &Taken) -> (Value, Option<(&'static str, String)>) {
    let asked = &definition["spec"]["names"];
    let had = &definition["status"]["acceptedNames"];
    let mut accepted = had.as_object().cloned().unwrap_or_default();
    let mut conflict = None;
    let mut single = |field: &str, reason: &'static str, taken: &[String]| {
        let name = asked[field].as_str().unwrap_or_default();
        if had[field].as_str().unwrap_or_default() != name && taken.iter().any(|one| one == name) {
            conflict = Some((reason, format!("{name:?} is already in use")));
        } else if !name.is_empty() {
            accepted.insert(field.into(), name.into());
        }
    };
    single("plural", "PluralConflict", &taken.resources);
    single("singular", "SingularConflict", &taken.resources);
    single("kind", "KindConflict", &taken.kinds);
    single("listKind", "ListKindConflict", &taken.kinds);
    let ours: Vec<&str> = texts(&had["shortNames"]).collect();
    let errors: Vec<String> = texts(&asked["shortNames"])
        .filter(|name| !ours.contains(name) && taken.resources.iter().any(|one| one == name))
        .map(|name| format!("{name:?} is already in use"))
        .collect();
    match errors.as_slice() {
        [] => replace(&mut accepted, asked, "shortNames"),
        [one] => conflict = Some(("ShortNamesConflict", one.clone())),
        several => conflict = Some(("ShortNamesConflict", format!("[{}]", several.join(", ")))),
    }
    replace(&mut accepted, asked, "categories");
    (Value::Object(accepted), conflict)
}

fn replace(names: &mut Map<String, Value>, asked: &Value, field: &str) {
    match asked.get(field).filter(|value| value.as_array().is_some_and(|list| !list.is_empty())) {
        Some(value) => {
            names.insert(field.into(), value.clone());
        }
        None => {
            names.remove(field);
        }
    }
}
