//! JSON patches (RFC 6902), with the leniency of the library that kube-apiserver uses: an index may count from the end
//! (`-1`), a missing `value` is `null`, and what stands before the first `/` of a path is passed over.

use serde_json::Value;

use super::{PatchError, go_kind};

/// Operations in one patch, as kube-apiserver allows.
pub const OPERATIONS_MAX: usize = 10_000;

/// Bytes that all `copy` operations of a patch may add: the size of the largest request. Each copy may double the
/// document.
pub const COPIED_BYTES_MAX: usize = 3 << 20;

/// How deep a patch may nest what it adds: as deep as a document that is read.
pub const DEPTH_MAX: usize = 128;

/// One operation.
struct Operation<'p> {
    name: &'p str,
    path: Option<&'p str>,
    from: Option<&'p str>,
    value: &'p Value,
}

/// Changes a document, operation by operation. After an error the document is changed in part.
///
/// # Errors
/// When the patch is no list of operations, has too many, or one cannot be done.
pub fn apply(document: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let operations = read(patch)?;
    if operations.len() > OPERATIONS_MAX {
        let count = operations.len();
        let words =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
        return Err(PatchError::TooLarge(words));
    }
    let mut copied_bytes = 0;
    for operation in operations {
        operation.run(document, &mut copied_bytes)?;
    }
    Ok(())
}

/// Fields that no operation has, as strict validation tells them.
pub fn unknown_fields(patch: &Value) -> Vec<String> {
    let operations = patch.as_array().into_iter().flatten().enumerate();
    let unknown = |(at, operation): (usize, &Value)| -> Vec<String> {
        let fields = operation.as_object().into_iter().flat_map(|fields| fields.keys());
        let unknown = fields.filter(|field| !["op", "path", "from", "value"].contains(&field.as_str()));
        unknown.map(|field| format!("json patch unknown field \"[{at}].{field}\"")).collect()
    };
    operations.flat_map(unknown).collect()
}

fn read(patch: &Value) -> Result<Vec<Operation<'_>>, PatchError> {
    let wrong = |value: &Value, ty: &str| {
        let kind = go_kind(value);
        PatchError::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {kind} into Go value of type {ty}"
        ))
    };
    let list = match patch {
        Value::Null => &[][..],
        Value::Array(list) => list.as_slice(),
        other => return Err(wrong(other, "[]handlers.jsonPatchOp")),
    };
    let operation = |value: &'_ Value| {
        value.is_object().then_some(()).ok_or_else(|| wrong(value, "handlers.jsonPatchOp"))
    };
    list.iter().try_for_each(operation)?;
    let text = |value: &'_ Value| !value.is_null() && !value.is_string();
    for value in list.iter().flat_map(|one| ["op", "path", "from"].map(|field| &one[field])) {
        if text(value) {
            return Err(wrong(value, "string"));
        }
    }
    let operation = |one| {
        let one: &Value = one;
        let name = one["op"].as_str().unwrap_or("unknown");
        Operation { name, path: one["path"].as_str(), from: one["from"].as_str(), value: &one["value"] }
    };
    Ok(list.iter().map(operation).collect())
}

impl Operation<'_> {
    fn run(&self, document: &mut Value, copied_bytes: &mut usize) -> Result<(), PatchError> {
        let path = self.path.ok_or_else(|| inapplicable("operation missing path field".into()))?;
        match self.name {
            "add" => self.add(document, path, self.value.clone()),
            "remove" => self.remove(document, path).map(drop),
            "replace" => {
                let (container, key) = self.container(document, path)?;
                if get(container, &key).is_none() {
                    return Err(inapplicable(format!(
                        "replace operation does not apply: doc is missing key: {path}: missing value"
                    )));
                }
                within_depth(path, self.value)?;
                set(container, &key, self.value.clone());
                Ok(())
            }
            "move" => {
                let value = self.remove(document, self.from()?)?;
                self.add(document, path, value)
            }
            "copy" => {
                let from = self.from()?;
                let (container, key) = self.container(document, from)?;
                let value = get(container, &key).cloned().unwrap_or_default();
                *copied_bytes += size(&value);
                if *copied_bytes > COPIED_BYTES_MAX {
                    return Err(inapplicable(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {copied_bytes}, \
                         exceeding the limit {COPIED_BYTES_MAX}"
                    )));
                }
                self.add(document, path, value)
            }
            "test" => {
                let (container, key) = self.container(document, path)?;
                if get(container, &key).unwrap_or(&Value::Null) == self.value {
                    return Ok(());
                }
                Err(inapplicable(format!("testing value {path} failed: test failed")))
            }
            other => Err(inapplicable(format!("Unexpected kind: {other}"))),
        }
    }

    fn from(&self) -> Result<&str, PatchError> {
        self.from.ok_or_else(|| inapplicable("operation, missing from field: missing value".into()))
    }

    /// What the last part of a path stands in, and that part.
    fn container<'d>(
        &self,
        document: &'d mut Value,
        path: &str,
    ) -> Result<(&'d mut Value, String), PatchError> {
        let missing = || {
            let name = self.name;
            inapplicable(format!(
                "{name} operation does not apply: doc is missing path: \"{path}\": missing value"
            ))
        };
        let mut parts: Vec<String> = path.split('/').skip(1).map(unescape).collect();
        let key = parts.pop().ok_or_else(missing)?;
        let mut container = document;
        for part in parts {
            container = get_mut(container, &part).ok_or_else(missing)?;
        }
        if container.is_object() || container.is_array() { Ok((container, key)) } else { Err(missing()) }
    }

    fn add(&self, document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
        within_depth(path, &value)?;
        let (container, key) = self.container(document, path)?;
        let Value::Array(items) = container else {
            set(container, &key, value);
            return Ok(());
        };
        let at = if key == "-" { Some(items.len()) } else { index(&key, items.len() + 1) };
        let at = at.ok_or_else(|| {
            inapplicable(format!("Unable to access invalid index: {key}: invalid index referenced"))
        })?;
        items.insert(at, value);
        Ok(())
    }

    fn remove(&self, document: &mut Value, path: &str) -> Result<Value, PatchError> {
        let (container, key) = self.container(document, path)?;
        let removed = match container {
            Value::Array(items) => index(&key, items.len()).map(|at| items.remove(at)),
            Value::Object(fields) => fields.remove(&key),
            _ => None,
        };
        removed.ok_or_else(|| inapplicable(format!("Unable to remove nonexistent key: {key}: missing value")))
    }
}

fn inapplicable(words: String) -> PatchError {
    PatchError::Inapplicable(words)
}

/// `~1` is a slash, `~0` a tilde.
fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// A place in a list of so many items; a negative one counts from the end.
fn index(key: &str, length: usize) -> Option<usize> {
    let at: i64 = key.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let at = if at < 0 { at + length } else { at };
    usize::try_from(at).ok().filter(|_| at < length)
}

fn get<'d>(container: &'d Value, key: &str) -> Option<&'d Value> {
    match container {
        Value::Array(items) => items.get(index(key, items.len())?),
        Value::Object(fields) => fields.get(key),
        _ => None,
    }
}

fn get_mut<'d>(container: &'d mut Value, key: &str) -> Option<&'d mut Value> {
    match container {
        Value::Array(items) => {
            let at = index(key, items.len())?;
            items.get_mut(at)
        }
        Value::Object(fields) => fields.get_mut(key),
        _ => None,
    }
}

/// Sets a field, or an item that is there.
fn set(container: &mut Value, key: &str, value: Value) {
    match container {
        Value::Object(fields) => drop(fields.insert(key.into(), value)),
        container => {
            if let Some(place) = get_mut(container, key) {
                *place = value;
            }
        }
    }
}

fn within_depth(path: &str, value: &Value) -> Result<(), PatchError> {
    let depth = path.matches('/').count();
    if depth <= DEPTH_MAX && fits(value, DEPTH_MAX - depth) {
        return Ok(());
    }
    Err(inapplicable(format!("{path}: more than {DEPTH_MAX} levels of nesting")))
}

/// Whether a value nests at most so many levels.
fn fits(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| fits(item, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|value| fits(value, levels - 1)),
        _ => true,
    }
}

/// Bytes of a value as JSON, about.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(key, value)| key.len() + 4 + size(value)).sum::<usize>()
        }
        Value::String(text) => text.len() + 2,
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(document: &Value, patch: &Value) -> Result<Value, PatchError> {
        let mut document = document.clone();
        apply(&mut document, patch).map(|()| document)
    }

    #[test]
    fn operations_change_a_document() {
        for (document, patch, expected) in [
            (json!({"a": 1}), json!([{"op": "add", "path": "/b", "value": 2}]), json!({"a": 1, "b": 2})),
            (
                json!({"a": [1, 3]}),
                json!([{"op": "add", "path": "/a/1", "value": 2}]),
                json!({"a": [1, 2, 3]}),
            ),
            (json!({"a": [1]}), json!([{"op": "add", "path": "/a/-", "value": 2}]), json!({"a": [1, 2]})),
            (json!({"a": [1]}), json!([{"op": "add", "path": "/a/-1", "value": 2}]), json!({"a": [1, 2]})),
            (json!({"a": 1}), json!([{"op": "add", "path": "/a"}]), json!({"a": null})),
            (json!({"a": 1, "b": 2}), json!([{"op": "remove", "path": "/a"}]), json!({"b": 2})),
            (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/-1"}]), json!({"a": [1]})),
            (json!({"a": 1}), json!([{"op": "replace", "path": "/a", "value": {}}]), json!({"a": {}})),
            (json!({"a": [1]}), json!([{"op": "replace", "path": "/a/0", "value": 2}]), json!({"a": [2]})),
            (json!({"a": 1}), json!([{"op": "move", "from": "/a", "path": "/b"}]), json!({"b": 1})),
            (json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), json!({"a": 1, "b": 1})),
            (json!({"a/b": 1}), json!([{"op": "replace", "path": "/a~1b", "value": 2}]), json!({"a/b": 2})),
            (json!({"~1": 1}), json!([{"op": "remove", "path": "/~01"}]), json!({})),
            (json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 1}]), json!({"a": 1})),
            (json!({}), json!([{"op": "test", "path": "/a", "value": null}]), json!({})),
            (json!({"a": 1}), json!(null), json!({"a": 1})),
        ] {
            assert_eq!(patched(&document, &patch), Ok(expected), "{document} and {patch}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let document = json!({"a": 1, "l": [1]});
        for (operation, expected) in [
            (json!({"op": "remove", "path": "/b"}), "Unable to remove nonexistent key: b"),
            (
                json!({"op": "replace", "path": "/b", "value": 1}),
                "replace operation does not apply: doc is missing key",
            ),
            (
                json!({"op": "add", "path": "/x/y", "value": 1}),
                "add operation does not apply: doc is missing path",
            ),
            (
                json!({"op": "add", "path": "/a/y", "value": 1}),
                "add operation does not apply: doc is missing path",
            ),
            (json!({"op": "add", "path": "/l/2", "value": 1}), "Unable to access invalid index: 2"),
            (
                json!({"op": "replace", "path": "", "value": 1}),
                "replace operation does not apply: doc is missing path",
            ),
            (json!({"op": "test", "path": "/a", "value": 2}), "testing value /a failed"),
            (json!({"op": "test", "path": "/a", "value": 1.0}), "testing value /a failed"),
            (json!({"op": "copy", "path": "/a"}), "operation, missing from field"),
            (json!({"op": "add"}), "operation missing path field"),
            (json!({"op": "jump", "path": "/a"}), "Unexpected kind: jump"),
        ] {
            let error = patched(&document, &json!([operation])).expect_err("it does not fit");
            assert!(
                matches!(&error, PatchError::Inapplicable(words) if words.starts_with(expected)),
                "{error}"
            );
        }
        for (patch, expected) in [
            (json!({}), "cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
            (json!([1]), "cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
            (json!([{"op": 1}]), "cannot unmarshal number into Go value of type string"),
        ] {
            let expected = PatchError::Malformed(format!("error decoding patch: json: {expected}"));
            assert_eq!(patched(&document, &patch), Err(expected));
        }
        assert_eq!(
            unknown_fields(&json!([{"op": "test"}, {"op": "add", "valu": 1}])),
            ["json patch unknown field \"[1].valu\""]
        );
    }

    #[test]
    fn a_patch_cannot_ask_for_too_much() {
        let operations =
            |count: usize| Value::Array(vec![json!({"op": "test", "path": "/a", "value": 1}); count]);
        assert!(patched(&json!({"a": 1}), &operations(OPERATIONS_MAX)).is_ok());
        assert_eq!(
            patched(&json!({"a": 1}), &operations(OPERATIONS_MAX + 1)),
            Err(PatchError::TooLarge(
                "The allowed maximum operations in a JSON patch is 10000, got 10001".into()
            ))
        );
        let doubling: Vec<Value> =
            (0..40).map(|at| json!({"op": "copy", "from": "/a", "path": format!("/a/{at}")})).collect();
        let error = patched(&json!({"a": {"x": "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"}}), &doubling.into());
        assert!(error.expect_err("too much").to_string().starts_with("Unable to complete the copy"));
        let copies = |bytes: usize| {
            let text = "x".repeat(bytes - 2);
            patched(&json!({"a": text}), &json!([{"op": "copy", "from": "/a", "path": "/b"}]))
        };
        assert!(copies(COPIED_BYTES_MAX).is_ok() && copies(COPIED_BYTES_MAX + 1).is_err());
        let nested = |levels: usize| (0..levels).fold(json!(1), |value, _| json!([value]));
        let add =
            |levels| patched(&json!({}), &json!([{"op": "add", "path": "/a", "value": nested(levels)}]));
        assert!(add(DEPTH_MAX - 1).is_ok() && add(DEPTH_MAX).is_err());
    }
}
