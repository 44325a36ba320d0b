//! The functions of Kubernetes: those of `kube-cel`, called with our values.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use kube_cel::KubeCelExt as _;
use kube_cel::cel;
use kube_cel::cel::common::ast::{CallExpr, Expr, IdedExpr};
use kube_cel::cel::objects::{Key as CelKey, Map as CelMap, OptionalValue};
use regex::Regex;
use serde_json::Value;

use super::eval::{Fault, Outcome};
use super::value::{Key, Val};
use crate::custom::structural;

/// Groups of functions: `sets.contains(a, b)`.
pub(super) const NAMESPACES: [&str; 11] =
    ["sets", "math", "lists", "base64", "strings", "ip", "cidr", "format", "jsonpatch", "optional", "cel"];

/// Functions of the library, those of a group with its name.
pub(super) const FUNCTIONS: [&str; 107] = [
    "asApproximateFloat",
    "asInteger",
    "add",
    "base64.decode",
    "base64.encode",
    "charAt",
    "cidr",
    "compareTo",
    "containsCIDR",
    "containsIP",
    "distinct",
    "family",
    "find",
    "findAll",
    "first",
    "flatten",
    "format",
    "format.dns1035Label",
    "format.dns1035LabelPrefix",
    "format.dns1123Label",
    "format.dns1123LabelPrefix",
    "format.dns1123Subdomain",
    "format.dns1123SubdomainPrefix",
    "format.labelValue",
    "format.named",
    "format.qualifiedName",
    "format.byte",
    "format.date",
    "format.datetime",
    "format.uri",
    "format.uuid",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getEscapedPath",
    "getFullYear",
    "getHost",
    "getHostname",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getPort",
    "getQuery",
    "getScheme",
    "getSeconds",
    "indexOf",
    "ip",
    "ip.isCanonical",
    "isCIDR",
    "isGlobalUnicast",
    "isGreaterThan",
    "isIP",
    "isInteger",
    "isLessThan",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isQuantity",
    "isSemver",
    "isSorted",
    "isURL",
    "isUnspecified",
    "join",
    "jsonpatch.escapeKey",
    "last",
    "lastIndexOf",
    "lowerAscii",
    "major",
    "masked",
    "math.abs",
    "math.bitAnd",
    "math.bitNot",
    "math.bitOr",
    "math.bitShiftLeft",
    "math.bitShiftRight",
    "math.bitXor",
    "math.ceil",
    "math.floor",
    "math.greatest",
    "math.isFinite",
    "math.isInf",
    "math.isNaN",
    "math.least",
    "math.round",
    "math.sign",
    "math.sqrt",
    "math.trunc",
    "max",
    "min",
    "minor",
    "patch",
    "prefixLength",
    "quantity",
    "replace",
    "reverse",
    "semver",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "sign",
    "slice",
    "sort",
    "split",
    "string",
    "sub",
];

/// More of them.
pub(super) const MORE_FUNCTIONS: [&str; 7] =
    ["strings.quote", "substring", "sum", "trim", "upperAscii", "url", "validate"];

/// Bytes that a compiled pattern may take: patterns come with each evaluation.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Longest span of time that Go's durations hold, in seconds (2⁶³ nanoseconds).
const DURATION_SECONDS_MAX: f64 = 9_223_372_036.0;

static LIBRARY: LazyLock<cel::Context<'static>> = LazyLock::new(|| cel::Context::default().with_all());

/// Calls a function; the first value is the target of a method.
pub(super) fn call<'v>(
    namespace: Option<&str>,
    function: &str,
    values: &[Val<'v>],
    method: bool,
) -> Outcome<'v> {
    if !is_known(namespace, function) {
        return Err(Fault::no_overload());
    }
    let foreign: Vec<cel::Value> =
        values.iter().map(to_cel).collect::<Option<_>>().ok_or_else(Fault::no_overload)?;
    let names: Vec<String> = (0..foreign.len()).map(|index| format!("@{index}")).collect();
    let ident = |name: &str| IdedExpr { id: 0, expr: Expr::Ident(name.into()) };
    let mut context = LIBRARY.new_inner_scope();
    for (name, value) in names.iter().zip(foreign) {
        context.add_variable_from_value(name.as_str(), value);
    }
    let mut arguments: Vec<IdedExpr> = names.iter().map(|name| ident(name)).collect();
    let target = match namespace {
        Some(namespace) => Some(Box::new(ident(namespace))),
        None if method && !arguments.is_empty() => Some(Box::new(arguments.remove(0))),
        None => None,
    };
    let call = CallExpr { func_name: function.into(), target, args: arguments };
    let expression = IdedExpr { id: 0, expr: Expr::Call(call) };
    // The library is another's code: a panic in it is an expression that fails.
    match catch_unwind(AssertUnwindSafe(|| cel::Value::resolve(&expression, &context))) {
        Ok(Ok(value)) => from_cel(value),
        Ok(Err(error)) => Err(Fault::runtime(words(&error))),
        Err(_) => Err(Fault::runtime(format!("{function} failed on its arguments"))),
    }
}

/// Whether the library has a function.
pub(super) fn is_known(namespace: Option<&str>, function: &str) -> bool {
    let known = |name: &str| FUNCTIONS.contains(&name) || MORE_FUNCTIONS.contains(&name);
    namespace.map_or_else(|| known(function), |namespace| known(&format!("{namespace}.{function}")))
}

/// A point in time, from RFC 3339.
pub(super) fn timestamp<'v>(text: &str) -> Option<Val<'v>> {
    construct("timestamp", text)
}

/// A span of time, as Go writes it.
pub(super) fn duration<'v>(text: &str) -> Option<Val<'v>> {
    (seconds(text)?.abs() < DURATION_SECONDS_MAX).then(|| construct("duration", text))?
}

/// Bytes, from base64.
pub(super) fn bytes<'v>(text: &str) -> Option<Val<'v>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok().map(|bytes| Val::Bytes(bytes.into()))
}

/// A pattern of `matches`.
pub(super) fn pattern(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| structural::why(&error))
}

fn construct<'v>(function: &str, text: &str) -> Option<Val<'v>> {
    let argument = IdedExpr { id: 0, expr: Expr::Ident("@0".into()) };
    let call = CallExpr { func_name: function.into(), target: None, args: vec![argument] };
    let expression = IdedExpr { id: 0, expr: Expr::Call(call) };
    let mut context = LIBRARY.new_inner_scope();
    context.add_variable_from_value("@0", text.to_string());
    let value = catch_unwind(AssertUnwindSafe(|| cel::Value::resolve(&expression, &context))).ok()?.ok()?;
    Some(Val::Foreign(value))
}

/// How long a Go duration is; none when it is none.
fn seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    let mut total = 0.0;
    let mut found = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        const UNITS: [(&str, f64); 8] = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("μs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let (after, unit) =
            UNITS.iter().find_map(|(name, unit)| Some((rest[digits..].strip_prefix(name)?, unit)))?;
        total += number * unit;
        rest = after;
        found = true;
    }
    found.then_some(sign * total)
}

fn words(error: &cel::ExecutionError) -> String {
    match error {
        cel::ExecutionError::FunctionError { message, .. } => message.clone(),
        cel::ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        cel::ExecutionError::NoSuchOverload
        | cel::ExecutionError::UndeclaredReference(_)
        | cel::ExecutionError::InvalidArgumentCount { .. }
        | cel::ExecutionError::UnsupportedTargetType { .. }
        | cel::ExecutionError::UnexpectedType { .. } => "no such overload".into(),
        other => other.to_string(),
    }
}

fn to_cel(value: &Val<'_>) -> Option<cel::Value> {
    Some(match value {
        Val::Null => cel::Value::Null,
        Val::Bool(truth) => cel::Value::Bool(*truth),
        Val::Int(number) => cel::Value::Int(*number),
        Val::Uint(number) => cel::Value::UInt(*number),
        Val::Double(number) => cel::Value::Float(*number),
        Val::Text(text) => cel::Value::String(Arc::new((*text).into())),
        Val::Made(text) => cel::Value::String(Arc::new((**text).into())),
        Val::Bytes(bytes) => cel::Value::Bytes(Arc::new(bytes.to_vec())),
        Val::List(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect::<Option<_>>()?)),
        Val::Map(entries) => {
            let entry = |(key, value): (&Key<'_>, &Val<'_>)| Some((key_to_cel(key)?, to_cel(value)?));
            let map: HashMap<CelKey, cel::Value> = entries.iter().map(entry).collect::<Option<_>>()?;
            cel::Value::Map(CelMap { map: Arc::new(map) })
        }
        Val::Json(Value::Array(_), _) => {
            let items = value.items()?.iter().map(to_cel).collect::<Option<_>>()?;
            cel::Value::List(Arc::new(items))
        }
        Val::Json(..) => {
            let entry = |key: &Val<'_>| {
                let name = CelKey::String(Arc::new(key.as_text()?.to_string()));
                Some((name, to_cel(&value.entry(key).unwrap_or(Val::Null))?))
            };
            let map: HashMap<CelKey, cel::Value> = value.items()?.iter().map(entry).collect::<Option<_>>()?;
            cel::Value::Map(CelMap { map: Arc::new(map) })
        }
        Val::Optional(inner) => {
            let inner = inner.as_deref().map(to_cel);
            match inner {
                None => cel::Value::Opaque(Arc::new(OptionalValue::none())),
                Some(inner) => cel::Value::Opaque(Arc::new(OptionalValue::of(inner?))),
            }
        }
        Val::Foreign(value) => value.clone(),
        Val::Type(_) | Val::Check(_) => return None,
    })
}

fn key_to_cel(key: &Key<'_>) -> Option<CelKey> {
    Some(match key {
        Key::Bool(truth) => CelKey::Bool(*truth),
        Key::Int(number) => CelKey::Int(*number),
        Key::Uint(number) => CelKey::Uint(*number),
        Key::Text(text) => CelKey::String(Arc::new((*text).to_string())),
        Key::Made(text) => CelKey::String(Arc::new(text.to_string())),
    })
}

fn from_cel<'v>(value: cel::Value) -> Outcome<'v> {
    Ok(match value {
        cel::Value::Null => Val::Null,
        cel::Value::Bool(truth) => Val::Bool(truth),
        cel::Value::Int(number) => Val::Int(number),
        cel::Value::UInt(number) => Val::Uint(number),
        cel::Value::Float(number) => Val::Double(number),
        cel::Value::String(text) => Val::text(&text),
        cel::Value::Bytes(bytes) => Val::Bytes(bytes.as_slice().into()),
        cel::Value::List(items) => {
            Val::List(Rc::new(items.iter().cloned().map(from_cel).collect::<Result<_, _>>()?))
        }
        cel::Value::Map(map) => {
            let entry = |(key, value): (&CelKey, &cel::Value)| {
                let key = match key {
                    CelKey::Bool(truth) => Key::Bool(*truth),
                    CelKey::Int(number) => Key::Int(*number),
                    CelKey::Uint(number) => Key::Uint(*number),
                    CelKey::String(text) => Key::Made(text.as_str().into()),
                };
                Ok((key, from_cel(value.clone())?))
            };
            Val::Map(Rc::new(map.map.iter().map(entry).collect::<Result<_, Fault>>()?))
        }
        cel::Value::Opaque(opaque) => match opaque.downcast_ref::<OptionalValue>() {
            Some(optional) => {
                let inner = optional.value().cloned().map(from_cel).transpose()?;
                Val::Optional(inner.map(Rc::new))
            }
            None => Val::Foreign(cel::Value::Opaque(opaque)),
        },
        other @ (cel::Value::Duration(_) | cel::Value::Timestamp(_)) => Val::Foreign(other),
        _ => return Err(Fault::no_overload()),
    })
}
