//! Simple paths into an object: `.spec.replicas`, `.metadata.labels['a.b/c']`.
//!
//! These are those JSONPaths that subresources and `selectableFields` take: fields only, no lists.

use serde_json::{Map, Value};

/// A path of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// Reads a path; none when it has another form.
    pub fn new(path: &str) -> Option<Self> {
        let mut names = Vec::new();
        let mut rest = path;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("['").or_else(|| rest.strip_prefix(".['")) {
                let (name, after) = after.split_once("']")?;
                names.push(name.to_string());
                rest = after;
                continue;
            }
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = &after[..end];
            let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-/".contains(c));
            if name.is_empty() || !is_plain {
                return None;
            }
            names.push(name.to_string());
            rest = &after[end..];
        }
        (!names.is_empty()).then_some(Self(names))
    }

    /// Its names, outermost first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The value there.
    pub fn get<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(object, |at, name| at.get(name))
    }

    /// Puts a value there; objects on the way are made. Fails when something on the way is no object.
    ///
    /// # Errors
    /// A sentence that names what is in the way.
    pub fn set(&self, object: &mut Value, value: Value) -> Result<(), String> {
        let (last, above) = self.0.split_last().ok_or("the path is empty")?;
        let mut at = object;
        for name in above {
            let fields =
                at.as_object_mut().ok_or_else(|| format!("the value above {name:?} is no object"))?;
            at = fields.entry(name.as_str()).or_insert_with(|| Value::Object(Map::new()));
        }
        let fields = at.as_object_mut().ok_or_else(|| format!("the value above {last:?} is no object"))?;
        fields.insert(last.clone(), value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_read_and_write() {
        let mut object = json!({"metadata": {"labels": {"a.b/c": "x"}}});
        let label = FieldPath::new(".metadata.labels['a.b/c']").expect("a path");
        assert_eq!(label.get(&object), Some(&json!("x")));
        let replicas = FieldPath::new(".spec.replicas").expect("a path");
        replicas.set(&mut object, json!(3)).expect("there is room");
        assert_eq!(object["spec"], json!({"replicas": 3}));
        let wrong = FieldPath::new(".spec.replicas.deeper").expect("a path");
        assert!(wrong.set(&mut object, json!(1)).is_err());
        for bad in ["", "spec", ".spec[0]", ".spec..a", ".spec[*].a", ".['a"] {
            assert_eq!(FieldPath::new(bad), None, "{bad}");
        }
    }
}
