//! Values as Go's `fmt` shows them: the messages of Kubernetes are made with it.

use serde_json::Value;

/// `%v` of a number.
pub fn number(number: f64) -> String {
    if number == 0.0 {
        return if number.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let exponent = format!("{number:e}");
    let (digits, power) = exponent.split_once('e').expect("the exponential form has an exponent");
    let power: i32 = power.parse().expect("an exponent is a number");
    if (-4..6).contains(&power) {
        return format!("{number}");
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

/// A value in an error of a field: text quoted, numbers and truth as they are, the rest as `%#v`.
pub fn value(value: &Value) -> String {
    match value {
        Value::Null => "\"null\"".into(),
        Value::String(text) => quoted(text),
        Value::Number(_) | Value::Bool(_) => plain(value),
        Value::Array(_) | Value::Object(_) => syntax(value),
    }
}

/// `%q` of a text.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", control as u32)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// `%v` of a value: text without quotes, lists as `[a b]`, objects as `map[a:1]`.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(one) if one.is_f64() => number(one.as_f64().unwrap_or_default()),
        Value::Number(one) => one.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// `%#v` of what JSON decodes to.
fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::Bool(_) | Value::Number(_) => plain(value),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}:{}", quoted(key), syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_as_go_shows_them() {
        for (value, expected) in [
            (json!(null), "\"null\""),
            (json!("a\"\n"), r#""a\"\n""#),
            (json!(1_000_000), "1000000"),
            (json!(1.5), "1.5"),
            (json!(1_234_567.5), "1.2345675e+06"),
            (json!(0.00001), "1e-05"),
            (
                json!({"a": [1, "b", null]}),
                r#"map[string]interface {}{"a":[]interface {}{1, "b", interface {}(nil)}}"#,
            ),
        ] {
            assert_eq!(super::value(&value), expected);
        }
        assert_eq!(plain(&json!({"a": ["b", true]})), "map[a:[b true]]");
    }
}
