//! Paths into an object, and what is wrong there, in the words of Kubernetes.

use std::fmt;

use serde_json::Value;

/// Where in an object: `spec.containers[0].name`, `metadata.labels[app.kubernetes.io/name]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What sort of mistake it is.
    pub reason: Reason,
    /// Where.
    pub path: Path,
    /// `Invalid value: "x": must be …`: all but the path.
    pub message: String,
}

/// What sort of mistake; its name is the `reason` of a cause in a `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Something must be there.
    Required,
    /// The value cannot be.
    Invalid,
    /// The value is none of those that can be.
    NotSupported,
    /// The field must not be set, or not be changed.
    Forbidden,
    /// The same value stands twice.
    Duplicate,
    /// What the value names does not exist.
    NotFound,
    /// A value of another type.
    TypeInvalid,
    /// Too many bytes.
    TooLong,
    /// Too many items.
    TooMany,
}

impl Path {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Begins at a field.
    pub fn new(field: &str) -> Self {
        Self(field.into())
    }

    /// A field below.
    #[must_use]
    pub fn child(&self, field: &str) -> Self {
        if self.0.is_empty() { Self::new(field) } else { Self(format!("{}.{field}", self.0)) }
    }

    /// An item of a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A value of a map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

impl Error {
    /// `Required value: detail`.
    pub fn required(path: &Path, detail: &str) -> Self {
        Self::new(Reason::Required, path, with_detail("Required value".into(), detail))
    }

    /// `Invalid value: value: detail`.
    pub fn invalid(path: &Path, value: &Value, detail: &str) -> Self {
        Self::new(Reason::Invalid, path, with_detail(format!("Invalid value: {}", shown(value)), detail))
    }

    /// `Unsupported value: value: supported values: …`.
    pub fn not_supported(path: &Path, value: &Value, supported: &[&str]) -> Self {
        let mut message = format!("Unsupported value: {}", shown(value));
        if !supported.is_empty() {
            let quoted: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
            message.push_str(&format!(": supported values: {}", quoted.join(", ")));
        }
        Self::new(Reason::NotSupported, path, message)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(path: &Path, detail: &str) -> Self {
        Self::new(Reason::Forbidden, path, with_detail("Forbidden".into(), detail))
    }

    /// `Duplicate value: value`.
    pub fn duplicate(path: &Path, value: &Value) -> Self {
        Self::new(Reason::Duplicate, path, format!("Duplicate value: {}", shown(value)))
    }

    /// `Not found: value`.
    pub fn not_found(path: &Path, value: &Value) -> Self {
        Self::new(Reason::NotFound, path, format!("Not found: {}", shown(value)))
    }

    /// `Invalid value: "type": detail`, for a value of another type.
    pub fn type_invalid(path: &Path, value: &Value, detail: &str) -> Self {
        Self::new(Reason::TypeInvalid, path, with_detail(format!("Invalid value: {}", shown(value)), detail))
    }

    /// `Too long: may not be more than max bytes`.
    pub fn too_long(path: &Path, max: usize) -> Self {
        Self::new(Reason::TooLong, path, format!("Too long: may not be more than {max} bytes"))
    }

    /// `Too many: count: must have at most max items`.
    pub fn too_many(path: &Path, count: usize, max: usize) -> Self {
        Self::new(Reason::TooMany, path, format!("Too many: {count}: must have at most {max} items"))
    }

    fn new(reason: Reason, path: &Path, message: String) -> Self {
        Self { reason, path: path.clone(), message }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl Reason {
    /// The `reason` of a cause in a `Status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotFound => "FieldValueNotFound",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
        }
    }
}

fn with_detail(message: String, detail: &str) -> String {
    if detail.is_empty() { message } else { format!("{message}: {detail}") }
}

/// A value as messages show it: text in quotes, `null` for what is absent, objects as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mistakes_read_as_those_of_kubernetes() {
        let name = Path::new("spec").child("containers").index(0).child("name");
        let shown = [
            Error::required(&name, ""),
            Error::invalid(&name, &json!("A"), "must be lower case"),
            Error::not_supported(&name, &json!("x"), &["a", "b"]),
            Error::duplicate(&Path::new("metadata").child("labels").key("a/b"), &json!(1)),
            Error::too_many(&name, 3, 2),
        ]
        .map(|error| error.to_string());
        assert_eq!(
            shown,
            [
                "spec.containers[0].name: Required value",
                "spec.containers[0].name: Invalid value: \"A\": must be lower case",
                "spec.containers[0].name: Unsupported value: \"x\": supported values: \"a\", \"b\"",
                "metadata.labels[a/b]: Duplicate value: 1",
                "spec.containers[0].name: Too many: 3: must have at most 2 items",
            ]
        );
    }
}
