//! How values are written in cells.

use serde_json::Value;

use crate::object;
use crate::quantity::Quantity;
use crate::selector::label::Selector;
use crate::time::Moment;

/// What is not known.
pub(super) const UNKNOWN: &str = "<unknown>";
/// What is not there.
pub(super) const NONE: &str = "<none>";
/// What was left open.
pub(super) const UNSET: &str = "<unset>";

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// How long ago an RFC 3339 timestamp is: `5d3h`. `<unknown>` when there is none or it is no timestamp.
pub fn since(timestamp: &Value, now_seconds: i64) -> String {
    seconds(timestamp).map_or_else(|| UNKNOWN.into(), |then| human_duration(now_seconds.saturating_sub(then)))
}

/// Seconds as people say them, in at most two units: `119s`, `2m`, `9m59s`, `3h5m`, `47h`, `5d3h`, `2y11d`.
/// `<invalid>` for what is to come.
pub fn human_duration(seconds: i64) -> String {
    let pair = |large: i64, large_unit: &str, rest: i64, small_unit: &str| match rest {
        0 => format!("{large}{large_unit}"),
        rest => format!("{large}{large_unit}{rest}{small_unit}"),
    };
    match seconds {
        // Clocks differ: one second ahead is now.
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => pair(seconds / HOUR, "h", seconds / MINUTE % 60, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => pair(seconds / DAY, "d", seconds / HOUR % 24, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => pair(seconds / YEAR, "y", seconds / DAY % 365, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// An RFC 3339 timestamp in whole seconds since 1970.
pub(super) fn seconds(timestamp: &Value) -> Option<i64> {
    timestamp.as_str()?.parse::<Moment>().ok().map(Moment::seconds)
}

/// How old an object is.
pub(super) fn age(object: &Value, now: i64) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// The name of an object.
pub(super) fn name(object: &Value) -> Value {
    object::name(object).into()
}

/// Text; empty where there is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text, or something else where there is none.
pub(super) fn text_or<'a>(value: &'a Value, otherwise: &'a str) -> &'a str {
    match text(value) {
        "" => otherwise,
        text => text,
    }
}

/// A whole number; 0 where there is none.
pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The items of a list; none where there is no list.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How many items a list or a map has.
pub(super) fn count(value: &Value) -> usize {
    value.as_object().map_or_else(|| items(value).len(), serde_json::Map::len)
}

/// The condition of a type.
pub(super) fn condition<'a>(conditions: &'a Value, ty: &str) -> Option<&'a Value> {
    items(conditions).iter().find(|condition| condition["type"] == ty)
}

/// Whether the condition of a type is true.
pub(super) fn is_true(conditions: &Value, ty: &str) -> bool {
    condition(conditions, ty).is_some_and(|condition| condition["status"] == "True")
}

/// An amount, in the one way in which it is written. What is absent is nothing: 0.
pub(super) fn amount(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return "0".into(),
    };
    Quantity::canonical(&text).unwrap_or(text)
}

/// A map of labels: `a=1,b=2`; `<none>` when it is empty.
pub(super) fn labels(map: &Value) -> String {
    let pairs: Vec<String> =
        map.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    if pairs.is_empty() { NONE.into() } else { pairs.join(",") }
}

/// A `LabelSelector` as requests write it: `a=1,b in (x,y),!c`; none when it is not valid.
pub(super) fn label_selector(selector: &Value) -> Option<String> {
    Selector::from_object(selector).ok().map(|selector| selector.to_string())
}

/// A `LabelSelector`, with a word for one that is empty and for one that is not valid.
pub(super) fn label_selector_or_none(selector: &Value) -> String {
    match label_selector(selector) {
        None => "<error>".into(),
        Some(text) if text.is_empty() => NONE.into(),
        Some(text) => text,
    }
}

/// The names of containers, and their images.
pub(super) fn containers(containers: &Value) -> [Value; 2] {
    ["name", "image"].map(|field| {
        let all: Vec<&str> = items(containers).iter().map(|container| text(&container[field])).collect();
        all.join(",").into()
    })
}

/// The first of many things and how many more there are: `a,b,c + 2 more...`.
pub(super) fn shortened(shown: &[String], separator: &str, total: usize, shown_max: usize) -> String {
    let mut all = shown.join(separator);
    if total > shown_max {
        all.push_str(&format!(" + {} more...", total - shown_max));
    }
    all
}

/// `True`, `False`, or `<unset>`.
pub(super) fn yes_or_no(value: &Value) -> &'static str {
    match value.as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => UNSET,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_read_as_those_of_kubernetes() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (28_799, "7h59m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (183_600, "2d3h"),
            (691_199, "7d23h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (64_022_400, "2y11d"),
            (252_287_999, "7y364d"),
            (252_288_000, "8y"),
            (i64::MAX, "292471208677y"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(human_duration(seconds), shown, "{seconds}");
        }
        assert_eq!(since(&json!("1970-01-01T00:00:05Z"), 10), "5s");
        assert_eq!(since(&json!("1970-01-01T00:00:05.999999Z"), 10), "5s");
        assert_eq!(since(&Value::Null, 10), "<unknown>");
        assert_eq!(since(&json!("yesterday"), 10), "<unknown>");
    }

    #[test]
    fn what_is_not_right_is_said() {
        let wrong = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
        let right =
            json!({"matchLabels": {"b": "2"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]});
        assert_eq!(label_selector_or_none(&wrong), "<error>");
        assert_eq!(label_selector_or_none(&right), "a,b=2");
        assert_eq!(label_selector_or_none(&Value::Null), "<none>");
        let amounts = [json!("0.5"), json!(2), json!("10%"), Value::Null];
        assert_eq!(amounts.map(|value| amount(&value)), ["500m", "2", "10%", "0"]);
    }
}
