//! JSONPath as Kubernetes reads it: `.spec.size`, `.metadata.labels.app\.kubernetes\.io/name`, `.spec.ports[0].port`,
//! `.status.conditions[?(@.type=="Ready")].status`, `..name`.

use std::cell::Cell;
use std::cmp::Ordering;

use serde_json::Value;

/// Longer paths lead nowhere that a person looks; each `..` may visit the whole object again.
const STEPS_MAX: usize = 64;
/// Only the first value is shown, so this is plenty.
const VALUES_MAX: usize = 1024;
/// Steps taken from one value to another, over all: filters and descents within each other would multiply.
const VISITS_MAX: usize = 100_000;
/// Filters within filters.
const FILTER_DEPTH_MAX: usize = 4;

/// A path that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `.name`, `['name']`.
    Field(String),
    /// `[0]`, `[-1]`: from the end.
    Index(i64),
    /// `[1:3]`, `[::2]`.
    Slice { start: Option<i64>, end: Option<i64>, stride: i64 },
    /// `.*`, `[*]`.
    All,
    /// `..`
    Descend,
    /// `['a','b']`, `[0,2]`.
    Union(Vec<Step>),
    /// `[?(…)]`.
    Filter(Operand, Option<(Comparison, Operand)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path, with or without the braces of a template.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(text);
        parse_steps(text.trim(), 0).map(Self)
    }

    /// The first value that it leads to.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.all(value).into_iter().next()
    }

    /// The values that it leads to, 1024 at most; fewer where the way to them is very long.
    pub fn all<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        walk(&self.0, value, &Visits(Cell::new(VISITS_MAX)))
    }
}

/// How many visits are left.
struct Visits(Cell<usize>);

impl Visits {
    /// Whether there was one more.
    fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

fn walk<'v>(steps: &[Step], value: &'v Value, visits: &Visits) -> Vec<&'v Value> {
    let mut values = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in values {
            take(step, value, visits, &mut next);
            if next.len() >= VALUES_MAX {
                next.truncate(VALUES_MAX);
                break;
            }
        }
        values = next;
    }
    values
}

fn take<'v>(step: &Step, value: &'v Value, visits: &Visits, into: &mut Vec<&'v Value>) {
    if !visits.take() {
        return;
    }
    let list = || value.as_array().map_or(&[][..], Vec::as_slice);
    match step {
        Step::Field(name) => into.extend(value.as_object().and_then(|object| object.get(name))),
        Step::Index(index) => into.extend(position(*index, list().len()).and_then(|at| list().get(at))),
        Step::Slice { start, end, stride } => {
            let bound = |bound: &Option<i64>, otherwise: usize| {
                bound.map_or(otherwise, |bound| position(bound, list().len()).unwrap_or(0).min(list().len()))
            };
            let (start, end) = (bound(start, 0), bound(end, list().len()));
            let stride = usize::try_from(*stride).unwrap_or(1).max(1);
            into.extend(list().get(start..end).unwrap_or_default().iter().step_by(stride));
        }
        Step::All => into.extend(children(value)),
        Step::Descend => descend(value, visits, into),
        Step::Union(steps) => steps.iter().for_each(|step| take(step, value, visits, into)),
        Step::Filter(left, comparison) => {
            into.extend(list().iter().filter(|item| passes(item, left, comparison.as_ref(), visits)));
        }
    }
}

/// A position from the start, or from the end when it is negative; none before the start.
fn position(index: i64, len: usize) -> Option<usize> {
    if index >= 0 {
        return usize::try_from(index).ok();
    }
    len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// A value and all below it, each before what it holds. No deeper than the parser of JSON let it be.
fn descend<'v>(value: &'v Value, visits: &Visits, into: &mut Vec<&'v Value>) {
    if into.len() >= VALUES_MAX || !visits.take() {
        return;
    }
    into.push(value);
    for child in children(value) {
        descend(child, visits, into);
    }
}

fn passes(item: &Value, left: &Operand, comparison: Option<&(Comparison, Operand)>, visits: &Visits) -> bool {
    let Some(left) = resolve(left, item, visits) else { return false };
    let Some((comparison, right)) = comparison else { return true };
    let Some(right) = resolve(right, item, visits) else { return false };
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (left, right) => left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right)),
    };
    match (comparison, order) {
        (Comparison::Equal, order) => order == Some(Ordering::Equal),
        (Comparison::NotEqual, order) => order.is_some_and(Ordering::is_ne),
        (Comparison::Less, order) => order.is_some_and(Ordering::is_lt),
        (Comparison::LessOrEqual, order) => order.is_some_and(Ordering::is_le),
        (Comparison::Greater, order) => order.is_some_and(Ordering::is_gt),
        (Comparison::GreaterOrEqual, order) => order.is_some_and(Ordering::is_ge),
    }
}

fn resolve<'v>(operand: &'v Operand, item: &'v Value, visits: &Visits) -> Option<&'v Value> {
    match operand {
        Operand::Literal(value) => Some(value),
        Operand::Path(steps) => walk(steps, item, visits).into_iter().next(),
    }
}

/// The steps of `.a.b[0]`. `depth` counts the filters around it.
fn parse_steps(text: &str, depth: usize) -> Result<Vec<Step>, String> {
    let mut rest = text.strip_prefix(['$', '@']).unwrap_or(text);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == STEPS_MAX {
            return Err(format!("a path of more than {STEPS_MAX} steps"));
        }
        if let Some(after) = rest.strip_prefix("..") {
            if after.starts_with('.') {
                return Err("invalid multiple recursive descent".into());
            }
            steps.push(Step::Descend);
            // What follows is a step of its own, with its point taken away already.
            rest = if after.starts_with('[') || after.is_empty() {
                after
            } else {
                parse_field(after, &mut steps)?
            };
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = if after.starts_with('[') || after.is_empty() {
                after
            } else {
                parse_field(after, &mut steps)?
            };
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after).ok_or("unterminated array")?;
            steps.push(parse_bracket(after[..end].trim(), depth)?);
            rest = &after[end + 1..];
        } else {
            rest = parse_field(rest, &mut steps)?;
        }
    }
    Ok(steps)
}

/// A name up to the next step; a backslash keeps the character after it. Gives what is left.
fn parse_field<'t>(text: &'t str, steps: &mut Vec<Step>) -> Result<&'t str, String> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
            '.' | '[' => {
                end = at;
                break;
            }
            '{' | '}' | ' ' => return Err(format!("unrecognized character in path: {char:?}")),
            other => name.push(other),
        }
    }
    steps.push(if name == "*" { Step::All } else { Step::Field(name) });
    Ok(&text[end..])
}

/// Where the bracket that was opened before `text` closes: outside of quotes and inner brackets.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut open = 0_usize;
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open_quote), char) if char == open_quote => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(char),
            (None, '[') => open += 1,
            (None, ']') if open == 0 => return Some(at),
            (None, ']') => open -= 1,
            (None, _) => {}
        }
    }
    None
}

/// What stands in brackets.
fn parse_bracket(text: &str, depth: usize) -> Result<Step, String> {
    let wrong = || format!("invalid array index {text}");
    if let Some(filter) = text.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        return parse_filter(filter.trim(), depth + 1);
    }
    if text == "*" {
        return Ok(Step::All);
    }
    let parts = split_outside_quotes(text, ',');
    if parts.len() > 1 {
        let steps = parts.into_iter().map(|part| parse_bracket(part.trim(), depth));
        return Ok(Step::Union(steps.collect::<Result<_, _>>()?));
    }
    if let Some(name) = unquoted(text) {
        return Ok(Step::Field(name));
    }
    let bounds: Vec<&str> = text.split(':').collect();
    let bound = |text: &str| match text {
        "" => Ok(None),
        text => text.parse::<i64>().map(Some).map_err(|_| wrong()),
    };
    match bounds.as_slice() {
        [index] => index.parse().map(Step::Index).map_err(|_| wrong()),
        [start, end] => Ok(Step::Slice { start: bound(start)?, end: bound(end)?, stride: 1 }),
        [start, end, stride] => {
            let stride = bound(stride)?.unwrap_or(1);
            if stride < 1 {
                Err(wrong())
            } else {
                Ok(Step::Slice { start: bound(start)?, end: bound(end)?, stride })
            }
        }
        _ => Err(wrong()),
    }
}

/// `@.type=="Ready"`, or only `@.type`.
fn parse_filter(text: &str, depth: usize) -> Result<Step, String> {
    if depth > FILTER_DEPTH_MAX {
        return Err(format!("more than {FILTER_DEPTH_MAX} filters within each other"));
    }
    let comparisons = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let Some(at) = find_outside_quotes(text, |char| "=!<>".contains(char)) else {
        return Ok(Step::Filter(parse_operand(text, depth)?, None));
    };
    let (left, rest) = text.split_at(at);
    for (sign, comparison) in comparisons {
        if let Some(right) = rest.strip_prefix(sign) {
            let right = parse_operand(right.trim(), depth)?;
            return Ok(Step::Filter(parse_operand(left.trim(), depth)?, Some((comparison, right))));
        }
    }
    Err(format!("unrecognized filter operator in {text}"))
}

fn parse_operand(text: &str, depth: usize) -> Result<Operand, String> {
    if let Some(text) = unquoted(text) {
        return Ok(Operand::Literal(Value::String(text)));
    }
    match text.parse::<Value>() {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => Ok(Operand::Literal(value)),
        _ => parse_steps(text, depth).map(Operand::Path),
    }
}

/// The text between quotes of either sort; a backslash keeps the character after it.
fn unquoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|char| matches!(char, '\'' | '"'))?;
    let inner = text[1..].strip_suffix(quote)?;
    let mut plain = String::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => plain.extend(chars.next()),
            char if char == quote => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = find_outside_quotes(rest, |char| char == separator) {
        parts.push(&rest[..at]);
        rest = &rest[at + separator.len_utf8()..];
    }
    parts.push(rest);
    parts
}

fn find_outside_quotes(text: &str, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut quote = None;
    for (at, char) in text.char_indices() {
        match quote {
            Some(open) if char == open => quote = None,
            Some(_) => {}
            None if matches!(char, '\'' | '"') => quote = Some(char),
            None if wanted(char) => return Some(at),
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "web", "tier": "front"}},
            "spec": {"size": 3, "ports": [{"port": 80}, {"port": 443, "tls": true}, {"port": 8080}]},
            "status": {"conditions": [
                {"type": "Synced", "status": "False", "age": 4},
                {"type": "Ready", "status": "True", "age": 7},
            ]},
        });
        let cases = [
            (".spec.size", json!([3])),
            ("{.spec.size}", json!([3])),
            ("$.spec.size", json!([3])),
            (".spec.none.deeper", json!([])),
            (r".metadata.labels.app\.kubernetes\.io/name", json!(["web"])),
            (".metadata.labels['app.kubernetes.io/name']", json!(["web"])),
            (".metadata.labels.*", json!(["web", "front"])),
            (".spec.ports[0].port", json!([80])),
            (".spec.ports[-1].port", json!([8080])),
            (".spec.ports[-4].port", json!([])),
            (".spec.ports[*].port", json!([80, 443, 8080])),
            (".spec.ports[1:].port", json!([443, 8080])),
            (".spec.ports[:-1].port", json!([80, 443])),
            (".spec.ports[::2].port", json!([80, 8080])),
            (".spec.ports[0,2].port", json!([80, 8080])),
            (".spec['size','none']", json!([3])),
            (".spec.ports[?(@.tls)].port", json!([443])),
            (".spec.ports[?(@.port>80)].port", json!([443, 8080])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type == 'Ready')].status", json!(["True"])),
            (".status.conditions[?(@.type!=\"Ready\")].status", json!(["False"])),
            (".status.conditions[?(@.age<=4)].type", json!(["Synced"])),
            ("..port", json!([80, 443, 8080])),
            (".spec..tls", json!([true])),
        ];
        for (path, values) in cases {
            let found = JsonPath::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(json!(found.all(&object)), values, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let nested = format!(".a{}", "[?(@.a".repeat(5)) + &")]".repeat(5);
        for path in [".a[", ".a[x]", ".a[1:2:0]", ".a[?(@.b=1)]", ".a b", ".a...b", &nested, &".a".repeat(65)]
        {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
        assert!(JsonPath::parse(&".a".repeat(64)).is_ok());
    }

    #[test]
    fn many_descents_end() {
        let deep = json!({"a": [[[[[[1, 2, 3], [4, 5]]]]], {"b": {"c": {"d": [1]}}}]});
        let path = JsonPath::parse(&"..*".repeat(STEPS_MAX / 2)).expect("only descents");
        assert!(path.all(&deep).len() <= VALUES_MAX);
        let wide = json!({"a": vec![json!({"b": vec![0; 50]}); 100]});
        assert_eq!(JsonPath::parse("..*").expect("a descent").all(&wide).len(), VALUES_MAX);
        // Each filter looks at all that is below each item: without a limit of its own this would take minutes.
        let nested = JsonPath::parse(".a[?(@..*[?(@..*[?(@..*)])])]").expect("filters");
        assert!(nested.all(&json!({"a": vec![wide; 20]})).is_empty());
        let visits = Visits(Cell::new(2));
        assert_eq!([visits.take(), visits.take(), visits.take()], [true, true, false]);
    }
}
