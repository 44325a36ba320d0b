//! Calls of functions.

use std::collections::BTreeMap;
use std::rc::Rc;

use kube_cel::cel;
use kube_cel::cel::common::ast::{CallExpr, Expr, IdedExpr, operators};

use super::comprehension::is_namespace;
use super::eval::{Evaluator, Fault, Outcome, Scope, is_logical};
use super::library;
use super::operators::unary;
use super::value::Val;
use crate::custom::go;

/// Steps that the compilation of a pattern costs.
const PATTERN_COST: u64 = 200;

impl<'v> Evaluator<'_, '_, 'v> {
    pub(super) fn call(&mut self, call: &'v CallExpr, scope: Option<&Scope<'_, 'v>>) -> Outcome<'v> {
        self.budget.pay(1)?;
        if is_logical(&call.func_name) {
            return self.logical(&call.func_name, &call.args, scope);
        }
        if let Some(outcome) = self.special(call, scope) {
            return outcome;
        }
        let namespace = call.target.as_deref().and_then(|target| self.namespace(target, scope));
        let mut values = Vec::with_capacity(call.args.len() + 1);
        if let (Some(target), None) = (call.target.as_deref(), namespace) {
            values.push(self.eval(target, scope)?);
        }
        for argument in &call.args {
            values.push(self.eval(argument, scope)?);
        }
        match namespace {
            Some(namespace) => self.qualified(namespace, &call.func_name, &values),
            None => self.apply(&call.func_name, &values, call.target.is_some()),
        }
    }

    /// The group of functions that a target names, when it is none of the variables.
    fn namespace(&self, target: &IdedExpr, scope: Option<&Scope<'_, 'v>>) -> Option<&'static str> {
        let Expr::Ident(name) = &target.expr else { return None };
        let variable = self.root.variables.iter().any(|(known, _)| known == name);
        library::NAMESPACES
            .into_iter()
            .find(|one| !variable && is_namespace(target, one, scope) && one == name)
    }

    fn apply(&mut self, function: &str, values: &[Val<'v>], method: bool) -> Outcome<'v> {
        if let [a, b] = values
            && let Some(outcome) = self.binary(function, a, b)
        {
            return outcome;
        }
        if let [value] = values
            && let Some(outcome) = unary(function, value)
        {
            return outcome;
        }
        if let [Val::Check(check), arguments @ ..] = values {
            return self.ask(function, check, arguments);
        }
        if let [Val::Optional(inner), arguments @ ..] = values {
            return optional(function, inner.as_deref(), arguments);
        }
        match (function, values) {
            ("size", [value]) => self.size(value),
            ("contains" | "startsWith" | "endsWith", [text, part]) if method => {
                self.search(function, text, part)
            }
            ("matches", [text, pattern]) => self.matches(text, pattern),
            ("dyn", [value]) => Ok(value.clone()),
            ("type", [value]) => Ok(Val::Type(value.type_name())),
            ("bool" | "int" | "uint" | "double" | "string" | "bytes", [value]) if !method => {
                self.budget.pay(value.weight() / 10)?;
                convert(function, value)
            }
            ("duration", [text]) if !method => {
                made(text.as_text().and_then(library::duration), "duration", text)
            }
            ("timestamp", [Val::Foreign(time)]) if !method => Ok(Val::Foreign(time.clone())),
            ("timestamp", [text @ (Val::Text(_) | Val::Made(_))]) if !method => {
                made(text.as_text().and_then(library::timestamp), "timestamp", text)
            }
            _ => self.delegate(None, function, values, method),
        }
    }

    fn qualified(&mut self, namespace: &'static str, function: &str, values: &[Val<'v>]) -> Outcome<'v> {
        match (namespace, function, values) {
            ("optional", "none", []) => Ok(Val::Optional(None)),
            ("optional", "of", [value]) => Ok(Val::Optional(Some(Rc::new(value.clone())))),
            ("optional", "ofNonZeroValue", [value]) => {
                let zero = is_zero(value);
                Ok(Val::Optional((!zero).then(|| Rc::new(value.clone()))))
            }
            ("lists", "range", [Val::Int(count)]) => {
                let count = u64::try_from(*count).map_err(|_| Fault::no_overload())?;
                self.budget.pay(count)?;
                Ok(Val::List(Rc::new(
                    (0_i64..).take(usize::try_from(count).unwrap_or(0)).map(Val::Int).collect(),
                )))
            }
            ("sets", _, [a, b]) => {
                self.budget.pay(a.weight().saturating_mul(b.weight()) / 10)?;
                self.delegate(Some(namespace), function, values, false)
            }
            _ => self.delegate(Some(namespace), function, values, false),
        }
    }

    /// A function of the library: it reads all that it is given, and may make more of it.
    fn delegate(
        &mut self,
        namespace: Option<&str>,
        function: &str,
        values: &[Val<'v>],
        method: bool,
    ) -> Outcome<'v> {
        let weights: Vec<u64> = values.iter().map(Val::weight).collect();
        let total: u64 = weights.iter().sum();
        let steps = match (function, weights.as_slice()) {
            // Each piece that is found may be replaced by all of the new text.
            ("replace", [text, old, new, ..]) => {
                total.saturating_add((text + 1).saturating_mul(*new) / (*old).max(1))
            }
            ("join", [_, separator]) => {
                total.saturating_add(values[0].count().unwrap_or(0) as u64 * separator)
            }
            // Compared each with each.
            ("distinct", [list]) => list.saturating_mul(*list),
            ("indexOf" | "lastIndexOf", [text, part, ..]) => {
                total.saturating_add(text.saturating_mul(*part) / 10)
            }
            ("find" | "findAll", _) => total + PATTERN_COST,
            ("format", _) => total.saturating_mul(4),
            _ => total,
        };
        self.budget.pay(steps / 10)?;
        library::call(namespace, function, values, method)
    }

    fn size(&mut self, value: &Val<'v>) -> Outcome<'v> {
        let count = match (value.as_text(), value) {
            (Some(text), _) => {
                self.budget.pay(text.len() as u64 / 10)?;
                text.chars().count()
            }
            (_, Val::Bytes(bytes)) => bytes.len(),
            _ => value.count().ok_or_else(Fault::no_overload)?,
        };
        Ok(Val::Int(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    fn search(&mut self, function: &str, text: &Val<'v>, part: &Val<'v>) -> Outcome<'v> {
        let (Some(text), Some(part)) = (text.as_text(), part.as_text()) else {
            return Err(Fault::no_overload());
        };
        self.budget.pay((text.len() + part.len()) as u64 / 10)?;
        Ok(Val::Bool(match function {
            "contains" => text.contains(part),
            "startsWith" => text.starts_with(part),
            _ => text.ends_with(part),
        }))
    }

    fn matches(&mut self, text: &Val<'v>, pattern: &Val<'v>) -> Outcome<'v> {
        let (Some(text), Some(pattern)) = (text.as_text(), pattern.as_text()) else {
            return Err(Fault::no_overload());
        };
        self.budget
            .pay(PATTERN_COST + (text.len() as u64).saturating_mul(1 + pattern.len() as u64 / 4) / 10)?;
        let pattern = library::pattern(pattern).map_err(Fault::runtime)?;
        Ok(Val::Bool(pattern.is_match(text)))
    }

    /// `authorizer.group('apps').resource('deployments').check('create').allowed()` and its kin.
    fn ask(
        &mut self,
        function: &str,
        check: &Rc<BTreeMap<&'static str, String>>,
        arguments: &[Val<'v>],
    ) -> Outcome<'v> {
        let text = |index: usize| arguments.get(index).and_then(Val::as_text).map(str::to_string);
        let with = |pairs: &[(&'static str, Option<String>)]| -> Outcome<'v> {
            let mut check = (**check).clone();
            for (name, value) in pairs {
                check.insert(name, value.clone().ok_or_else(Fault::no_overload)?);
            }
            Ok(Val::Check(Rc::new(check)))
        };
        match function {
            "path" => with(&[("path", text(0))]),
            "group" => with(&[("group", text(0))]),
            "resource" => with(&[("resource", text(0))]),
            "subresource" => with(&[("subresource", text(0))]),
            "namespace" => with(&[("namespace", text(0))]),
            "name" => with(&[("name", text(0))]),
            "fieldSelector" => with(&[("fieldSelector", text(0))]),
            "labelSelector" => with(&[("labelSelector", text(0))]),
            "serviceAccount" => {
                with(&[("serviceAccountNamespace", text(0)), ("serviceAccountName", text(1))])
            }
            "check" => {
                // Upstream prices a question to the authorizer so.
                self.budget.pay(350_000)?;
                let Val::Check(check) = with(&[("verb", text(0))])? else { return Err(Fault::no_overload()) };
                let authorizer = self.root.authorizer.ok_or_else(Fault::no_overload)?;
                let mut check = (*check).clone();
                match authorizer.authorize(&check) {
                    Ok((allowed, reason)) => {
                        check.extend([("@allowed", allowed.to_string()), ("@reason", reason)]);
                    }
                    Err(error) => check.extend([("@allowed", "false".to_string()), ("@error", error)]),
                }
                Ok(Val::Check(Rc::new(check)))
            }
            "allowed" => match check.get("@allowed") {
                Some(allowed) => Ok(Val::Bool(allowed == "true")),
                None => Err(Fault::no_overload()),
            },
            "reason" => Ok(Val::text(check.get("@reason").map_or("", String::as_str))),
            "errored" => Ok(Val::Bool(check.contains_key("@error"))),
            "error" => Ok(Val::text(check.get("@error").map_or("", String::as_str))),
            _ => Err(Fault::no_overload()),
        }
    }

    /// `authorizer.requestResource`: the resource of the request at hand.
    pub(super) fn request_resource(&mut self) -> Outcome<'v> {
        let request = self.root.variables.iter().find(|(name, _)| *name == "request");
        let (_, request) = request.ok_or_else(Fault::no_overload)?;
        let text = |value: Option<Val<'v>>| value.and_then(|value| value.as_text().map(str::to_string));
        let mut check = BTreeMap::new();
        let resource = request.field("resource");
        for name in ["group", "resource"] {
            let value = text(resource.as_ref().and_then(|resource| resource.field(name)));
            check.insert(name, value.unwrap_or_default());
        }
        for (name, field) in [("subresource", "subResource"), ("namespace", "namespace"), ("name", "name")] {
            if let Some(value) = text(request.field(field)).filter(|value| !value.is_empty()) {
                check.insert(name, value);
            }
        }
        Ok(Val::Check(Rc::new(check)))
    }
}

/// A value as messages show it.
pub(super) fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Null => "null".into(),
        Val::Bool(truth) => truth.to_string(),
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => number.to_string(),
        Val::Double(number) => go::number(*number),
        Val::Type(name) => (*name).into(),
        _ => value.as_text().map_or_else(|| value.type_name().into(), str::to_string),
    }
}

fn made<'v>(value: Option<Val<'v>>, what: &str, text: &Val<'v>) -> Outcome<'v> {
    value.ok_or_else(|| match text.as_text() {
        Some(text) => Fault::runtime(format!("type conversion error from 'string' to '{what}': {text:?}")),
        None => Fault::no_overload(),
    })
}

fn optional<'v>(function: &str, inner: Option<&Val<'v>>, arguments: &[Val<'v>]) -> Outcome<'v> {
    match (function, inner, arguments) {
        ("hasValue", inner, []) => Ok(Val::Bool(inner.is_some())),
        ("value", Some(inner), []) => Ok(inner.clone()),
        ("value", None, []) => Err(Fault::runtime("optional.none() dereference")),
        ("or", Some(inner), [Val::Optional(_)]) => Ok(Val::Optional(Some(Rc::new(inner.clone())))),
        ("or", None, [other @ Val::Optional(_)]) => Ok(other.clone()),
        ("orValue", Some(inner), [_]) => Ok(inner.clone()),
        ("orValue", None, [other]) => Ok(other.clone()),
        (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, ..) => Err(Fault::no_overload()),
        ("type" | "dyn", ..) => Err(Fault::no_overload()),
        _ => Err(Fault::no_overload()),
    }
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null => true,
        Val::Bool(truth) => !truth,
        Val::Int(number) => *number == 0,
        Val::Uint(number) => *number == 0,
        Val::Double(number) => *number == 0.0,
        Val::Bytes(bytes) => bytes.is_empty(),
        Val::Optional(inner) => inner.is_none(),
        Val::Foreign(cel::Value::Duration(duration)) => duration.is_zero(),
        _ => match (value.as_text(), value.count()) {
            (Some(text), _) => text.is_empty(),
            (None, count) => count == Some(0),
        },
    }
}

/// `int(x)`, `string(x)` …
fn convert<'v>(to: &str, value: &Val<'v>) -> Outcome<'v> {
    let range = || Fault::runtime("integer overflow");
    let unreadable =
        |text: &str| Fault::runtime(format!("type conversion error from 'string' to '{to}': {text:?}"));
    match (to, value, value.as_text()) {
        ("string", _, Some(_)) | ("bool", Val::Bool(_), _) | ("int", Val::Int(_), _) => Ok(value.clone()),
        ("uint", Val::Uint(_), _) | ("double", Val::Double(_), _) | ("bytes", Val::Bytes(_), _) => {
            Ok(value.clone())
        }
        ("string", Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::Bool(_), _) => {
            Ok(Val::text(&shown(value)))
        }
        ("string", Val::Bytes(bytes), _) => {
            let text = std::str::from_utf8(bytes);
            text.map(Val::text)
                .map_err(|_| Fault::runtime("invalid UTF-8 in bytes, cannot convert to string"))
        }
        ("bytes", _, Some(text)) => Ok(Val::Bytes(text.as_bytes().into())),
        ("bool", _, Some(text)) => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => Err(unreadable(text)),
        },
        ("int", Val::Uint(number), _) => i64::try_from(*number).map(Val::Int).map_err(|_| range()),
        ("uint", Val::Int(number), _) => u64::try_from(*number).map(Val::Uint).map_err(|_| range()),
        ("int" | "uint", Val::Double(number), _) => {
            let whole = number.trunc();
            let text = format!("{whole:.0}");
            match to {
                "int" => text.parse().map(Val::Int).map_err(|_| range()),
                _ => text.parse().map(Val::Uint).map_err(|_| range()),
            }
        }
        ("int", _, Some(text)) => text.parse().map(Val::Int).map_err(|_| unreadable(text)),
        ("uint", _, Some(text)) => text.parse().map(Val::Uint).map_err(|_| unreadable(text)),
        ("double", _, Some(text)) => text.parse().map(Val::Double).map_err(|_| unreadable(text)),
        #[expect(clippy::cast_precision_loss, reason = "what the conversion asks for")]
        ("double", Val::Int(number), _) => Ok(Val::Double(*number as f64)),
        #[expect(clippy::cast_precision_loss, reason = "what the conversion asks for")]
        ("double", Val::Uint(number), _) => Ok(Val::Double(*number as f64)),
        ("int", Val::Foreign(cel::Value::Timestamp(time)), _) => Ok(Val::Int(time.timestamp())),
        ("string", Val::Foreign(_), _) => library::call(None, to, std::slice::from_ref(value), false),
        _ => Err(Fault::no_overload()),
    }
}
