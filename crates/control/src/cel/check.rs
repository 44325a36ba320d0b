//! What an expression comes to before it is evaluated: its type, and what it may cost.
//!
//! Types are those of the schema; what has none is `dyn` and not judged. Names, fields and operands that cannot be are
//! refused in the words of cel-go.

use std::rc::Rc;

use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use super::cost::{Estimate, Sizes, call_cost};
use super::eval::type_named;
use super::library;
use super::names::unescape;
use super::parse::{CompileError, Program};
use crate::custom::structural::{Kind, Structural};

/// What is known of a value before it is there.
#[derive(Clone, Debug)]
pub enum Type<'s> {
    /// Nothing.
    Dyn,
    /// `null`.
    Null,
    /// Truth.
    Bool,
    /// A whole number.
    Int,
    /// A whole number that is not negative.
    Uint,
    /// A number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A span of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// A list that is made.
    List(Rc<Type<'s>>),
    /// A map that is made.
    Map(Rc<Type<'s>>),
    /// A value that may be absent.
    Optional(Rc<Type<'s>>),
    /// A value of the input: an object, a list, a map or text.
    Schema(&'s Structural),
}

/// The names that an expression may use.
#[derive(Clone, Debug, Default)]
pub struct Environment<'s> {
    /// Variables and their types.
    pub names: Vec<(&'static str, Type<'s>)>,
    /// The fields of `variables`, where there is such a variable.
    pub variables: Option<Vec<String>>,
}

impl<'s> Type<'s> {
    /// The type of values of a schema; none for values that expressions cannot see (preserved ones).
    pub fn of(schema: &'s Structural) -> Option<Self> {
        if schema.int_or_string {
            return Some(Self::Dyn);
        }
        Some(match schema.kind? {
            Kind::Boolean => Self::Bool,
            Kind::Integer => Self::Int,
            Kind::Number => Self::Double,
            Kind::String => match schema.format.as_str() {
                "date-time" | "datetime" | "date" => Self::Timestamp,
                "duration" => Self::Duration,
                "byte" => Self::Bytes,
                _ => Self::Schema(schema),
            },
            Kind::Array => {
                Self::of(schema.items.as_deref()?)?;
                Self::Schema(schema)
            }
            Kind::Object if schema.preserve_unknown && schema.properties.is_empty() && !schema.embedded => {
                return None;
            }
            Kind::Object => match schema.additional_schema() {
                Some(values) if schema.properties.is_empty() => {
                    Self::of(values)?;
                    Self::Schema(schema)
                }
                _ => Self::Schema(schema),
            },
        })
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Dyn => "dyn".into(),
            Self::Null => "null".into(),
            Self::Bool => "bool".into(),
            Self::Int => "int".into(),
            Self::Uint => "uint".into(),
            Self::Double => "double".into(),
            Self::String => "string".into(),
            Self::Bytes => "bytes".into(),
            Self::Duration => "google.protobuf.Duration".into(),
            Self::Timestamp => "google.protobuf.Timestamp".into(),
            Self::List(item) => format!("list({})", item.name()),
            Self::Map(value) => format!("map(string, {})", value.name()),
            Self::Optional(inner) => format!("optional_type({})", inner.name()),
            Self::Schema(schema) => match schema.kind {
                Some(Kind::String) => "string".into(),
                Some(Kind::Array) => format!("list({})", self.item().name()),
                _ if schema.is_map() => format!("map(string, {})", self.item().name()),
                _ => "object".into(),
            },
        }
    }

    /// What kinds of types compare with each other.
    fn family(&self) -> &'static str {
        match self {
            Self::Dyn => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::Timestamp => "timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Optional(_) => "optional",
            Self::Schema(schema) => match schema.kind {
                Some(Kind::String) => "string",
                Some(Kind::Array) => "list",
                _ => "map",
            },
        }
    }

    /// The type of the items of a list, or the values of a map.
    fn item(&self) -> Type<'s> {
        match self {
            Self::List(item) | Self::Map(item) => (**item).clone(),
            Self::Schema(schema) => {
                let below = schema.items.as_deref().or(schema.additional_schema());
                below.and_then(Type::of).unwrap_or(Self::Dyn)
            }
            _ => Self::Dyn,
        }
    }

    fn is(&self, families: &[&str]) -> bool {
        let family = self.family();
        family == "dyn" || families.contains(&family)
    }
}

impl Program {
    /// What the expression comes to.
    ///
    /// # Errors
    /// When it uses a name, a field or an operand that cannot be.
    pub fn check<'s>(&self, environment: &Environment<'s>) -> Result<(Type<'s>, Estimate), CompileError> {
        let mut checker = Checker { environment, source: self.source() };
        let node = checker.infer(&self.root, None)?;
        Ok((node.ty, Estimate { cost: node.cost, size: node.size }))
    }

    /// As [`Self::check`], for an expression that must be true or false.
    ///
    /// # Errors
    /// Also when it is something else.
    pub fn check_bool(&self, environment: &Environment<'_>) -> Result<Estimate, CompileError> {
        match self.check(environment)? {
            (Type::Bool | Type::Dyn, estimate) => Ok(estimate),
            _ => Err(CompileError("cel expression must evaluate to a bool".into())),
        }
    }
}

/// One expression at work.
struct Checker<'c, 's> {
    environment: &'c Environment<'s>,
    source: &'c str,
}

/// What is known of a part of the expression.
#[derive(Clone)]
pub(super) struct Known<'s> {
    pub(super) ty: Type<'s>,
    /// Steps, at most.
    pub(super) cost: u64,
    /// Characters of text, items of a list or a map, at most.
    pub(super) size: u64,
}

/// Names that the expression binds itself, innermost first.
struct Frame<'f, 's> {
    name: &'f str,
    known: Known<'s>,
    outer: Option<&'f Frame<'f, 's>>,
}

impl<'s> Known<'s> {
    fn new(ty: Type<'s>, cost: u64) -> Self {
        let size = match &ty {
            Type::Schema(schema) => Sizes::of(schema),
            Type::List(_) | Type::Map(_) | Type::Dyn | Type::String | Type::Bytes => 1,
            _ => 1,
        };
        Self { ty, cost, size }
    }
}

type Inferred<'s> = Result<Known<'s>, CompileError>;

impl<'s> Checker<'_, 's> {
    fn error(&self, needle: &str, message: &str) -> CompileError {
        CompileError::at(self.source, find_word(self.source, needle), message)
    }

    fn infer(&mut self, node: &IdedExpr, frame: Option<&Frame<'_, 's>>) -> Inferred<'s> {
        match &node.expr {
            Expr::Literal(literal) => Ok(literal_type(literal)),
            Expr::Ident(name) => self.name(name, frame),
            Expr::Select(select) => {
                if let (Expr::Ident(name), Some(known)) = (&select.operand.expr, &self.environment.variables)
                    && name == "variables"
                    && !known.contains(&select.field)
                {
                    return Err(self.undefined(&select.field));
                }
                let operand = self.infer(&select.operand, frame)?;
                let field = self.field(&operand, &select.field)?;
                let ty = if select.test { Type::Bool } else { field };
                Ok(Known::new(ty, operand.cost.saturating_add(1)))
            }
            Expr::Call(call) => self.call(call, frame),
            Expr::List(list) => {
                let mut cost = 10_u64;
                let mut item = None;
                for element in &list.elements {
                    let known = self.infer(element, frame)?;
                    cost = cost.saturating_add(known.cost);
                    item = Some(match item {
                        None => known.ty,
                        Some(item) => unite(item, &known.ty),
                    });
                }
                let ty = Type::List(Rc::new(item.unwrap_or(Type::Dyn)));
                Ok(Known { ty, cost, size: list.elements.len() as u64 })
            }
            Expr::Map(map) => {
                let mut cost = 30_u64;
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    let pair = [self.infer(&entry.key, frame)?.cost, self.infer(&entry.value, frame)?.cost];
                    cost = pair.into_iter().fold(cost, u64::saturating_add);
                }
                Ok(Known { ty: Type::Map(Rc::new(Type::Dyn)), cost, size: map.entries.len() as u64 })
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, frame),
            Expr::Struct(_) | Expr::Unspecified => Ok(Known::new(Type::Dyn, 0)),
        }
    }

    fn name(&mut self, name: &str, frame: Option<&Frame<'_, 's>>) -> Inferred<'s> {
        let mut at = frame;
        while let Some(one) = at {
            if one.name == name {
                return Ok(Known { cost: 1, ..one.known.clone() });
            }
            at = one.outer;
        }
        if let Some((_, ty)) = self.environment.names.iter().find(|(known, _)| *known == name) {
            return Ok(Known::new(ty.clone(), 1));
        }
        if type_named(name).is_some() {
            return Ok(Known::new(Type::Dyn, 1));
        }
        Err(self.error(name, &format!("undeclared reference to '{name}' (in container '')")))
    }

    fn undefined(&self, field: &str) -> CompileError {
        self.error(&format!(".{field}"), &format!("undefined field '{field}'"))
    }

    /// The type of a field.
    fn field(&self, operand: &Known<'s>, field: &str) -> Result<Type<'s>, CompileError> {
        match &operand.ty {
            Type::Dyn => Ok(Type::Dyn),
            Type::Map(value) => Ok((**value).clone()),
            Type::Optional(inner) => {
                let known = Known { ty: (**inner).clone(), cost: 0, size: 1 };
                Ok(Type::Optional(Rc::new(self.field(&known, field)?)))
            }
            Type::Schema(schema) if schema.is_map() => Ok(operand.ty.item()),
            Type::Schema(schema) if schema.kind != Some(Kind::Array) && schema.kind != Some(Kind::String) => {
                if schema.embedded && matches!(field, "apiVersion" | "kind" | "metadata") {
                    return Ok(Type::Dyn);
                }
                let below = schema.field(&unescape(field)).and_then(Type::of);
                below.ok_or_else(|| self.undefined(field))
            }
            other => {
                let message = format!("type '{}' does not support field selection", other.name());
                Err(self.error(&format!(".{field}"), &message))
            }
        }
    }

    fn comprehension(
        &mut self,
        comprehension: &ComprehensionExpr,
        frame: Option<&Frame<'_, 's>>,
    ) -> Inferred<'s> {
        let range = self.infer(&comprehension.iter_range, frame)?;
        if !range.ty.is(&["list", "map"]) {
            let message = format!(
                "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                range.ty.name()
            );
            return Err(self.error("", &message));
        }
        let item = if range.ty.family() == "map" {
            Known::new(Type::String, 1)
        } else {
            Known::new(range.ty.item(), 1)
        };
        let init = self.infer(&comprehension.accu_init, frame)?;
        let total = Known { size: range.size, ..init.clone() };
        let outer = Frame { name: &comprehension.accu_var, known: total, outer: frame };
        let inner = Frame { name: &comprehension.iter_var, known: item, outer: Some(&outer) };
        let condition = self.infer(&comprehension.loop_cond, Some(&inner))?;
        let step = self.infer(&comprehension.loop_step, Some(&inner))?;
        let ty = match (&init.ty, step.ty) {
            (Type::List(_), made @ Type::List(_)) => made,
            (Type::Bool, made) if !made.is(&["bool"]) => {
                let message =
                    format!("found no matching overload for '_&&_' applied to '(bool, {})'", made.name());
                return Err(self.error("", &message));
            }
            (init, _) => init.clone(),
        };
        let total = Known { ty, cost: 1, size: range.size };
        let last = Frame { name: &comprehension.accu_var, known: total, outer: frame };
        let result = self.infer(&comprehension.result, Some(&last))?;
        let rounds = range.size.saturating_mul(condition.cost.saturating_add(step.cost));
        let cost = [range.cost, init.cost, rounds, result.cost].into_iter().fold(0, u64::saturating_add);
        Ok(Known { cost, ..result })
    }

    fn call(&mut self, call: &CallExpr, frame: Option<&Frame<'_, 's>>) -> Inferred<'s> {
        let namespace = match call.target.as_deref().map(|target| &target.expr) {
            Some(Expr::Ident(name)) if !self.binds(name, frame) => {
                library::NAMESPACES.into_iter().find(|known| known == name)
            }
            _ => None,
        };
        if let Some(known) = self.macro_call(call, namespace, frame)? {
            return Ok(known);
        }
        let mut values = Vec::with_capacity(call.args.len() + 1);
        if let (Some(target), None) = (call.target.as_deref(), namespace) {
            values.push(self.infer(target, frame)?);
        }
        for argument in &call.args {
            values.push(self.infer(argument, frame)?);
        }
        let ty = self.result(call, namespace, &values)?;
        let (cost, size) = call_cost(namespace, &call.func_name, &values);
        let size = if matches!(ty, Type::Schema(_)) { Known::new(ty.clone(), 0).size } else { size };
        Ok(Known { ty, cost, size })
    }

    fn binds(&self, name: &str, frame: Option<&Frame<'_, 's>>) -> bool {
        let mut at = frame;
        while let Some(one) = at {
            if one.name == name {
                return true;
            }
            at = one.outer;
        }
        self.environment.names.iter().any(|(known, _)| *known == name)
    }

    /// Macros that the parser leaves as calls: their bodies see names that nothing else does.
    fn macro_call(
        &mut self,
        call: &CallExpr,
        namespace: Option<&str>,
        frame: Option<&Frame<'_, 's>>,
    ) -> Result<Option<Known<'s>>, CompileError> {
        let ident = |index: usize| match call.args.get(index).map(|node| &node.expr) {
            Some(Expr::Ident(name)) => Some(name.as_str()),
            _ => None,
        };
        let (Some(target), Some(first)) = (call.target.as_deref(), ident(0)) else { return Ok(None) };
        match (namespace, call.func_name.as_str(), call.args.as_slice()) {
            (Some("cel"), "bind", [_, value, body]) => {
                let known = self.infer(value, frame)?;
                let cost = known.cost;
                let body = self.infer(body, Some(&Frame { name: first, known, outer: frame }))?;
                Ok(Some(Known { cost: cost.saturating_add(body.cost), ..body }))
            }
            (None, "optMap" | "optFlatMap" | "sortBy", [_, body]) => {
                let range = self.infer(target, frame)?;
                let item = match &range.ty {
                    Type::Optional(inner) => (**inner).clone(),
                    other => other.item(),
                };
                let known = Known::new(item, 1);
                let body = self.infer(body, Some(&Frame { name: first, known, outer: frame }))?;
                let rounds = range.size.max(1).saturating_mul(body.cost.saturating_add(1));
                let ty = match call.func_name.as_str() {
                    "sortBy" => range.ty.clone(),
                    "optMap" => Type::Optional(Rc::new(body.ty)),
                    _ => body.ty,
                };
                Ok(Some(Known { ty, cost: range.cost.saturating_add(rounds), size: range.size }))
            }
            (
                None,
                "all" | "exists" | "existsOne" | "exists_one" | "transformList" | "transformMap"
                | "transformMapEntry",
                [_, _, rest @ ..],
            ) if (1..=2).contains(&rest.len()) => {
                let Some(second) = ident(1) else { return Ok(None) };
                self.two_variables(call, target, (first, second), frame).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn two_variables(
        &mut self,
        call: &CallExpr,
        target: &IdedExpr,
        (first, second): (&str, &str),
        frame: Option<&Frame<'_, 's>>,
    ) -> Inferred<'s> {
        let range = self.infer(target, frame)?;
        let key = if range.ty.family() == "list" { Type::Int } else { Type::String };
        let key = if range.ty.family() == "dyn" { Type::Dyn } else { key };
        let outer = Frame { name: first, known: Known::new(key, 1), outer: frame };
        let inner = Frame { name: second, known: Known::new(range.ty.item(), 1), outer: Some(&outer) };
        let mut cost = 2_u64;
        let mut body = Type::Dyn;
        for node in &call.args[2..] {
            let known = self.infer(node, Some(&inner))?;
            cost = cost.saturating_add(known.cost);
            body = known.ty;
        }
        let ty = match call.func_name.as_str() {
            "transformList" => Type::List(Rc::new(body)),
            "transformMap" | "transformMapEntry" => Type::Map(Rc::new(Type::Dyn)),
            _ => Type::Bool,
        };
        let rounds = range.size.saturating_mul(cost);
        Ok(Known { ty, cost: range.cost.saturating_add(rounds), size: range.size })
    }

    /// The type that a call comes to.
    fn result(
        &self,
        call: &CallExpr,
        namespace: Option<&str>,
        values: &[Known<'s>],
    ) -> Result<Type<'s>, CompileError> {
        if let Some(ty) = super::cost::operator(&call.func_name, values) {
            return ty.ok_or_else(|| {
                let types: Vec<String> = values.iter().map(|value| value.ty.name()).collect();
                let message = format!(
                    "found no matching overload for '{}' applied to '({})'",
                    call.func_name,
                    types.join(", ")
                );
                self.error(sign(&call.func_name), &message)
            });
        }
        let on_dyn = values.first().is_some_and(|value| value.ty.is(&[])) && call.target.is_some();
        let function = call.func_name.as_str();
        if !on_dyn && !library::is_known(namespace, function) && !is_native(namespace, function) {
            let name = namespace.map_or(function.to_string(), |namespace| format!("{namespace}.{function}"));
            return Err(self.error(function, &format!("undeclared reference to '{name}' (in container '')")));
        }
        Ok(super::cost::function_type(namespace, function, values))
    }
}

pub(super) fn family<'t>(ty: &'t Type<'_>) -> &'t str {
    ty.family()
}

pub(super) fn item<'s>(ty: &Type<'s>) -> Type<'s> {
    ty.item()
}

/// The type of a list of both: of the one when they are of one sort.
pub(super) fn unite<'s>(a: Type<'s>, b: &Type<'s>) -> Type<'s> {
    if a.family() == b.family() { a } else { Type::Dyn }
}

fn literal_type<'s>(literal: &LiteralValue) -> Known<'s> {
    let (ty, size) = match literal {
        LiteralValue::Boolean(_) => (Type::Bool, 1),
        LiteralValue::Bytes(bytes) => (Type::Bytes, bytes.inner().len()),
        LiteralValue::Double(_) => (Type::Double, 1),
        LiteralValue::Int(_) => (Type::Int, 1),
        LiteralValue::Null => (Type::Null, 1),
        LiteralValue::String(text) => (Type::String, text.inner().chars().count()),
        LiteralValue::UInt(_) => (Type::Uint, 1),
    };
    Known { ty, cost: 0, size: size as u64 }
}

/// Functions of the language itself, and those of the authorizer, whose values are `dyn`.
fn is_native(namespace: Option<&str>, function: &str) -> bool {
    match namespace {
        Some("optional") => matches!(function, "none" | "of" | "ofNonZeroValue"),
        Some("lists") => function == "range",
        Some(_) => false,
        None => matches!(
            function,
            "size"
                | "contains"
                | "startsWith"
                | "endsWith"
                | "matches"
                | "dyn"
                | "type"
                | "bool"
                | "int"
                | "uint"
                | "double"
                | "string"
                | "bytes"
                | "duration"
                | "timestamp"
                | "hasValue"
                | "value"
                | "or"
                | "orValue"
        ),
    }
}

/// How an operator is written.
fn sign(function: &str) -> &str {
    match function {
        "@in" => "in",
        other => other.trim_matches('_'),
    }
}

/// Where a word stands in a text; 0 when it does not.
fn find_word(source: &str, word: &str) -> usize {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let wordlike = word.chars().any(part);
    source
        .match_indices(word)
        .map(|(at, _)| at)
        .find(|at| {
            let before = source[..*at].chars().next_back();
            let after = source[at + word.len()..].chars().next();
            let begins = word.starts_with('.') || !before.is_some_and(part);
            !wordlike || (begins && !after.is_some_and(part))
        })
        .unwrap_or(0)
}
