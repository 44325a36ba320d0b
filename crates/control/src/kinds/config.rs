//! Config maps and secrets.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::look::{annotation, child, entries, flag, given, remove, same, set, set_empty, text};
use super::{meta, words};

/// Most bytes of all values of a config map or secret: what fits comfortably into one object.
pub(crate) const BYTES_MAX: usize = 1024 * 1024;

const SEALED: &str = "field is immutable when `immutable` is set";

/// A secret: its type, and texts that become data.
pub(super) fn default_secret(secret: &mut Value) {
    set_empty(secret, "type", "Opaque");
    let texts: Vec<(String, String)> = entries(secret, "stringData")
        .map(|(key, value)| (key.to_owned(), words::base64(value.as_str().unwrap_or_default().as_bytes())))
        .collect();
    remove(secret, "stringData");
    if texts.is_empty() {
        return;
    }
    if let Some(data) = child(secret, "data") {
        for (key, value) in texts {
            set(data, &key, value);
        }
    }
}

/// A config map that is made.
pub(super) fn validate_config_map(map: &Value, faults: &mut Faults) {
    let mut bytes = 0;
    for (key, value) in entries(map, "data") {
        let path = Path::new("data").key(key);
        faults.words(&path, key, words::config_key(key));
        if given(&map["binaryData"], key) {
            faults.invalid(&path, key, "duplicate of key present in binaryData");
        }
        bytes += value.as_str().unwrap_or_default().len();
    }
    for (key, value) in entries(map, "binaryData") {
        faults.words(&Path::new("binaryData").key(key), key, words::config_key(key));
        bytes += decoded_bytes(value);
    }
    if bytes > BYTES_MAX {
        faults.too_long(&Path::new(""), BYTES_MAX);
    }
}

/// A config map that is changed.
pub(super) fn validate_config_map_update(new: &Value, old: &Value, faults: &mut Faults) {
    sealed(new, old, &["data", "binaryData"], faults);
    meta::validate(new, true, meta::Names::Subdomain, &Path::new("metadata"), faults);
    validate_config_map(new, faults);
}

/// A secret that is made.
pub(super) fn validate_secret(secret: &Value, faults: &mut Faults) {
    let path = Path::new("data");
    let mut bytes = 0;
    for (key, value) in entries(secret, "data") {
        faults.words(&path.key(key), key, words::config_key(key));
        bytes += decoded_bytes(value);
    }
    if bytes > BYTES_MAX {
        faults.too_long(&path, BYTES_MAX);
    }
    by_type(secret, &path, faults);
}

fn by_type(secret: &Value, path: &Path, faults: &mut Faults) {
    let data = &secret["data"];
    let mut need = |key: &str| {
        if !given(data, key) {
            faults.required(&path.key(key), "");
        }
    };
    match text(secret, "type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if annotation(secret, key).unwrap_or_default().is_empty() {
                faults.required(&Path::new("metadata.annotations").key(key), "");
            }
        }
        "kubernetes.io/dockercfg" => json_in(data, ".dockercfg", path, faults),
        "kubernetes.io/dockerconfigjson" => json_in(data, ".dockerconfigjson", path, faults),
        "kubernetes.io/basic-auth" if !given(data, "username") && !given(data, "password") => {
            need("username");
            need("password");
        }
        "kubernetes.io/ssh-auth" if text(data, "ssh-privatekey").is_empty() => {
            faults.required(&path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            need("tls.crt");
            need("tls.key");
        }
        _ => {}
    }
}

fn json_in(data: &Value, key: &str, path: &Path, faults: &mut Faults) {
    if !given(data, key) {
        faults.required(&path.key(key), "");
        return;
    }
    let content = words::bytes(&data[key]).unwrap_or_default();
    let why = match serde_json::from_slice::<Value>(&content) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(other) => format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            name_of(&other)
        ),
        Err(_) if content.is_empty() => "unexpected end of JSON input".into(),
        Err(error) if error.is_eof() => "unexpected end of JSON input".into(),
        Err(_) => {
            let first = content.iter().copied().find(|byte| !byte.is_ascii_whitespace()).unwrap_or(b' ');
            format!("invalid character '{}' looking for beginning of value", char::from(first))
        }
    };
    faults.invalid(&path.key(key), "<secret contents redacted>", &why);
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        _ => "number",
    }
}

/// A secret that is changed.
pub(super) fn validate_secret_update(new: &Value, old: &Value, faults: &mut Faults) {
    faults.immutable(&Path::new("type"), &new["type"], &old["type"]);
    sealed(new, old, &["data"], faults);
    meta::validate(new, true, meta::Names::Subdomain, &Path::new("metadata"), faults);
    validate_secret(new, faults);
}

fn sealed(new: &Value, old: &Value, fields: &[&str], faults: &mut Faults) {
    if !flag(old, "immutable") {
        return;
    }
    if !flag(new, "immutable") {
        faults.forbidden(&Path::new("immutable"), SEALED);
    }
    for field in fields.iter().filter(|field| !same(&new[**field], &old[**field])) {
        faults.forbidden(&Path::new(field), SEALED);
    }
}

/// Bytes behind base64, without decoding it.
fn decoded_bytes(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_of_a_secret_become_data() {
        let mut secret = json!({"data": {"a": "AA=="}, "stringData": {"a": "w", "b": "x"}});
        default_secret(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "dw==", "b": "eA=="}}));
    }

    #[test]
    fn a_config_map_may_be_a_mebibyte_and_not_a_byte_more() {
        for (bytes, wrong) in [(BYTES_MAX, 0), (BYTES_MAX + 1, 1)] {
            let mut faults = Faults::default();
            validate_config_map(&json!({"data": {"a": "x".repeat(bytes)}}), &mut faults);
            assert_eq!(faults.count(), wrong, "{bytes}");
        }
    }
}
