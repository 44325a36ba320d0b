//! What an expression may cost before it is evaluated, from the limits of the schema.
//!
//! Follows the estimate of cel-go and Kubernetes: text is read at a tenth of a step for a character, a list without
//! `maxItems` has as many items as fit in a request.

use std::rc::Rc;

use kube_cel::cel::common::ast::operators;

use super::check::{Known, Type, family, item};
use crate::custom::structural::{Kind, Structural};

/// What one rule may cost at most (`StaticEstimatedCostLimit` of Kubernetes).
pub const COST_MAX: u64 = 10_000_000;

/// Bytes of the largest request that Kubernetes takes: what is not limited is limited by it.
const REQUEST_BYTES_MAX: u64 = 3 << 20;

/// What an expression comes to at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Steps.
    pub cost: u64,
    /// Characters of text, or items.
    pub size: u64,
}

/// How large values of a schema become.
#[derive(Clone, Copy, Debug)]
pub struct Sizes;

impl Sizes {
    /// Characters of text, items of a list, fields of a map, at most; 1 for anything else.
    pub fn of(schema: &Structural) -> u64 {
        let limits = &schema.limits;
        match schema.kind {
            Some(Kind::String) => {
                let longest =
                    limits.allowed.iter().filter_map(|one| one.as_str()).map(|one| one.len() as u64).max();
                limits.max_length.or(longest).unwrap_or(match schema.format.as_str() {
                    "duration" => 32,
                    "date" => 12,
                    "date-time" | "datetime" => 28,
                    _ => REQUEST_BYTES_MAX - 2,
                })
            }
            Some(Kind::Array) => limits.max_items.unwrap_or_else(|| {
                let item = schema.items.as_deref().map_or(1, least);
                (REQUEST_BYTES_MAX - 2) / (item + 1)
            }),
            Some(Kind::Object) if schema.is_map() => limits.max_properties.unwrap_or_else(|| {
                let value = schema.additional_schema().map_or(1, least);
                (REQUEST_BYTES_MAX - 2) / (value + 6)
            }),
            _ => 1,
        }
    }

    /// How many values of a schema fit in a request.
    pub fn in_request(schema: &Structural) -> u64 {
        REQUEST_BYTES_MAX / (least(schema) + 1)
    }
}

/// Bytes that a value of the schema takes at least.
fn least(schema: &Structural) -> u64 {
    if schema.int_or_string {
        return 1;
    }
    match schema.kind {
        Some(Kind::Boolean) => 4,
        Some(Kind::Integer | Kind::Number) | None => 1,
        Some(Kind::String | Kind::Array) => 2,
        Some(Kind::Object) => {
            let field = |name: &String| {
                let below = schema.properties.get(name)?;
                // One that has a default may be left out.
                below.default.is_none().then(|| name.len() as u64 + least(below) + 4)
            };
            2 + schema.required.iter().filter_map(field).sum::<u64>()
        }
    }
}

/// The cost of a call with its arguments, and the size of what it makes.
pub(super) fn call_cost(namespace: Option<&str>, function: &str, values: &[Known<'_>]) -> (u64, u64) {
    let arguments = values.iter().map(|value| value.cost).fold(0, u64::saturating_add);
    let size = |index: usize| values.get(index).map_or(1, |value| value.size);
    let read = |count: u64| count.div_ceil(10);
    let both = size(0).saturating_add(size(1));
    let is_list = |index: usize| values.get(index).is_some_and(|value| family(&value.ty) == "list");
    let (own, made) = match (namespace, function) {
        (None, operators::LOGICAL_AND | operators::LOGICAL_OR) => (0, 1),
        (None, operators::CONDITIONAL) => {
            let cost = values.first().map_or(0, |value| value.cost);
            let branches = values.iter().skip(1).map(|value| value.cost).max().unwrap_or(0);
            return (cost.saturating_add(branches), size(1).max(size(2)));
        }
        (None, operators::EQUALS | operators::NOT_EQUALS) => (read(size(0).min(size(1))).max(1), 1),
        (None, operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS) => {
            (read(size(0).min(size(1))).max(1), 1)
        }
        (None, operators::IN) => (if is_list(1) { size(1) } else { 1 }, 1),
        (None, operators::ADD) if is_list(0) => (1, both),
        (None, operators::ADD) => (read(both), both),
        (None, "contains") => (read(size(0)).saturating_mul(read(size(1)).max(1)), 1),
        (None, "startsWith" | "endsWith") => (read(size(1)), 1),
        (None, "matches") => (read(size(0) + 1).saturating_mul((size(1) / 4).max(1)), 1),
        (None, "find" | "findAll") => (read(size(0) + 1).saturating_mul((size(1) / 4).max(1)), size(0)),
        (None, "sum" | "min" | "max" | "isSorted" | "sort" | "reverse" | "flatten") => (size(0), size(0)),
        (None, "distinct") => (size(0).saturating_mul(size(0)), size(0)),
        (None, "indexOf" | "lastIndexOf") => (size(0).max(read(both)), 1),
        (None, "replace") => (read(both), size(0).saturating_mul(size(2).max(1))),
        (None, "join" | "split" | "format") => (read(both).max(1), size(0).saturating_mul(size(1).max(1))),
        (Some("sets"), _) => (size(0).saturating_mul(size(1)), 1),
        (Some("lists"), "range") => (1, REQUEST_BYTES_MAX),
        (None, "check") => (350_000, 1),
        (None, operators::INDEX | operators::NEGATE | operators::LOGICAL_NOT | "size") => (1, 1),
        _ => (read(size(0)).max(1), size(0)),
    };
    (
        arguments
            .saturating_add(own)
            .saturating_add(u64::from(own == 0 && function.starts_with(char::is_alphabetic))),
        made,
    )
}

/// The type of an operator's value: none when it is no operator, `Some(None)` when its operands do not fit.
pub(super) fn operator<'s>(function: &str, values: &[Known<'s>]) -> Option<Option<Type<'s>>> {
    let fits = |value: &Known<'_>, families: &[&str]| {
        let family = family(&value.ty);
        family == "dyn" || families.contains(&family)
    };
    let alike = |a: &Known<'_>, b: &Known<'_>| {
        let (a, b) = (family(&a.ty), family(&b.ty));
        a == b || a == "dyn" || b == "dyn"
    };
    let number = |value: &Known<'_>| fits(value, &["int", "uint", "double"]);
    const ORDERED: [&str; 8] = ["bool", "int", "uint", "double", "string", "bytes", "duration", "timestamp"];
    Some(match (function, values) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b]) => {
            (fits(a, &["bool"]) && fits(b, &["bool"])).then_some(Type::Bool)
        }
        (operators::LOGICAL_NOT, [a]) => fits(a, &["bool"]).then_some(Type::Bool),
        (operators::NOT_STRICTLY_FALSE, [_]) => Some(Type::Bool),
        (operators::NEGATE, [a]) => fits(a, &["int", "double", "duration"]).then(|| a.ty.clone()),
        (operators::CONDITIONAL, [condition, a, b]) => {
            let null = fits(a, &["null"]) || fits(b, &["null"]);
            (fits(condition, &["bool"]) && (alike(a, b) || null))
                .then(|| super::check::unite(a.ty.clone(), &b.ty))
        }
        (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => {
            let null = fits(a, &["null"]) || fits(b, &["null"]);
            (alike(a, b) || null).then_some(Type::Bool)
        }
        (
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
            [a, b],
        ) => {
            let ordered = fits(a, &ORDERED) && fits(b, &ORDERED);
            (ordered && (alike(a, b) || (number(a) && number(b)))).then_some(Type::Bool)
        }
        (operators::IN, [a, b]) => {
            let member = Known { ty: item(&b.ty), ..b.clone() };
            let holds = match family(&b.ty) {
                "list" => alike(a, &member),
                "map" | "dyn" => true,
                _ => false,
            };
            holds.then_some(Type::Bool)
        }
        (operators::ADD, [a, b]) => sum(a, b),
        (operators::SUBSTRACT, [a, b]) => match (family(&a.ty), family(&b.ty)) {
            ("timestamp", "timestamp") => Some(Type::Duration),
            ("timestamp" | "duration", "duration") => Some(a.ty.clone()),
            _ => (number(a) && number(b) && alike(a, b)).then(|| either(a, b)),
        },
        (operators::MULTIPLY | operators::DIVIDE, [a, b]) => {
            (number(a) && number(b) && alike(a, b)).then(|| either(a, b))
        }
        (operators::MODULO, [a, b]) => {
            let whole = fits(a, &["int", "uint"]) && fits(b, &["int", "uint"]);
            (whole && alike(a, b)).then(|| either(a, b))
        }
        (operators::INDEX, [a, _]) => fits(a, &["list", "map", "optional"]).then(|| item(&a.ty)),
        (operators::OPT_INDEX, [a, _]) => Some(Type::Optional(Rc::new(item(&a.ty)))),
        (operators::OPT_SELECT, [_, _]) => Some(Type::Optional(Rc::new(Type::Dyn))),
        _ => return None,
    })
}

fn sum<'s>(a: &Known<'s>, b: &Known<'s>) -> Option<Type<'s>> {
    match (family(&a.ty), family(&b.ty)) {
        ("dyn", _) => Some(b.ty.clone()),
        (_, "dyn") => Some(a.ty.clone()),
        ("timestamp", "duration") | ("duration", "timestamp") => Some(Type::Timestamp),
        ("string", "string") => Some(Type::String),
        ("list", "list") => Some(Type::List(Rc::new(super::check::unite(item(&a.ty), &item(&b.ty))))),
        (left, right) => {
            let adds = ["int", "uint", "double", "bytes", "duration"].contains(&left);
            (left == right && adds).then(|| a.ty.clone())
        }
    }
}

fn either<'s>(a: &Known<'s>, b: &Known<'s>) -> Type<'s> {
    if family(&a.ty) == "dyn" { b.ty.clone() } else { a.ty.clone() }
}

/// The type of what a function makes; `dyn` where it depends on more than its name.
pub(super) fn function_type<'s>(namespace: Option<&str>, function: &str, values: &[Known<'s>]) -> Type<'s> {
    let first = || values.first().map_or(Type::Dyn, |value| value.ty.clone());
    match (namespace, function) {
        (
            None,
            "contains"
            | "startsWith"
            | "endsWith"
            | "matches"
            | "bool"
            | "hasValue"
            | "isSorted"
            | "isURL"
            | "isIP"
            | "isCIDR"
            | "isQuantity"
            | "isSemver"
            | "isInteger"
            | "isGreaterThan"
            | "isLessThan"
            | "isLoopback"
            | "isUnspecified"
            | "isGlobalUnicast"
            | "isLinkLocalUnicast"
            | "isLinkLocalMulticast"
            | "containsIP"
            | "containsCIDR",
        )
        | (Some("sets"), _)
        | (Some("math"), "isNaN" | "isInf" | "isFinite")
        | (Some("ip"), "isCanonical") => Type::Bool,
        (
            None,
            "size" | "int" | "indexOf" | "lastIndexOf" | "compareTo" | "sign" | "asInteger" | "prefixLength"
            | "family" | "major" | "minor" | "patch" | "getFullYear" | "getMonth" | "getDate"
            | "getDayOfMonth" | "getDayOfWeek" | "getDayOfYear" | "getHours" | "getMinutes" | "getSeconds"
            | "getMilliseconds",
        ) => Type::Int,
        (None, "uint") => Type::Uint,
        (None, "double" | "asApproximateFloat") => Type::Double,
        (
            None,
            "string" | "charAt" | "join" | "lowerAscii" | "upperAscii" | "replace" | "substring" | "trim"
            | "find" | "format" | "getScheme" | "getHost" | "getHostname" | "getPort" | "getEscapedPath",
        )
        | (Some("strings" | "jsonpatch"), _)
        | (Some("base64"), "encode") => Type::String,
        (None, "bytes") | (Some("base64"), "decode") => Type::Bytes,
        (None, "duration") => Type::Duration,
        (None, "timestamp") => Type::Timestamp,
        (None, "split" | "findAll") => Type::List(Rc::new(Type::String)),
        (Some("lists"), "range") => Type::List(Rc::new(Type::Int)),
        (None, "sort" | "distinct" | "slice") => first(),
        (None, "orValue" | "value") => match first() {
            Type::Optional(inner) => (*inner).clone(),
            _ => Type::Dyn,
        },
        (None, "or") => first(),
        (Some("optional"), "of" | "ofNonZeroValue") => Type::Optional(Rc::new(first())),
        (Some("optional"), "none") => Type::Optional(Rc::new(Type::Dyn)),
        _ => Type::Dyn,
    }
}
