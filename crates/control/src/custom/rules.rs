//! `x-kubernetes-validations`: rules in CEL, and what they say about an object.

use std::collections::BTreeMap;

use serde_json::Value;
use shoal_api::field::{Error, Path, Reason};

use super::correlate;
use super::structural::{Additional, Kind, Rule, Structural};
use crate::cel::{Budget, CompileError, Environment, Estimate, Fault, Program, Root, Type, Val, View};

/// Longest message that a rule may make, in bytes (`maxMessageLength` of Kubernetes).
pub const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// A rule, ready to run.
#[derive(Debug)]
pub struct Compiled {
    rule: Rule,
    program: Program,
    message: Option<Program>,
    /// Whether it compares with the value before.
    pub uses_old: bool,
    /// What it may cost each time.
    pub estimate: Estimate,
    /// What its message may cost each time.
    pub message_estimate: Estimate,
}

/// The rules of a schema, where they stand.
#[derive(Debug, Default)]
pub struct Tree {
    rules: Vec<Compiled>,
    properties: BTreeMap<String, Tree>,
    additional: Option<Box<Tree>>,
    items: Option<Box<Tree>>,
}

/// Why a rule cannot be used: of the expression, or of the expression of its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no expression.
    #[error("rule is not specified")]
    Empty,
    /// The rule.
    #[error("{0}")]
    Rule(String),
    /// Its message.
    #[error("{0}")]
    Message(String),
}

/// What the rules found.
#[derive(Debug, Default)]
pub struct Found {
    /// What is wrong.
    pub errors: Vec<Error>,
    /// What is wrong and was before: warnings.
    pub warnings: Vec<String>,
}

/// Reads a rule of a value of `schema`.
///
/// # Errors
/// When one of its expressions is none.
pub fn compile(rule: &Rule, schema: &Structural) -> Result<Compiled, RuleError> {
    if rule.rule.trim().is_empty() {
        return Err(RuleError::Empty);
    }
    let own = Type::of(schema).unwrap_or(Type::Dyn);
    let old = match rule.optional_old_self {
        Some(true) => Type::Optional(std::rc::Rc::new(own.clone())),
        _ => own.clone(),
    };
    let environment = Environment { names: vec![("self", own), ("oldSelf", old)], variables: None };
    let failed = |error: CompileError| match error.0.as_str() {
        "cel expression must evaluate to a bool" => RuleError::Rule(error.0),
        _ => RuleError::Rule(format!("compilation failed: {error}")),
    };
    let program = Program::compile(&rule.rule).map_err(failed)?;
    let estimate = program.check_bool(&environment).map_err(failed)?;
    let (message, message_estimate) = compile_message(rule, &environment)?;
    let uses_old = program.uses("oldSelf");
    Ok(Compiled { rule: rule.clone(), program, message, uses_old, estimate, message_estimate })
}

fn compile_message(
    rule: &Rule,
    environment: &Environment<'_>,
) -> Result<(Option<Program>, Estimate), RuleError> {
    if rule.message_expression.is_empty() {
        return Ok((None, Estimate::default()));
    }
    let failed =
        |error: CompileError| RuleError::Message(format!("messageExpression compilation failed: {error}"));
    let program = Program::compile(&rule.message_expression).map_err(failed)?;
    let (ty, estimate) = program.check(environment).map_err(failed)?;
    if !matches!(ty.name().as_str(), "string" | "dyn") {
        return Err(RuleError::Message("messageExpression must evaluate to a string".into()));
    }
    Ok((Some(program), estimate))
}

/// The schema as rules see it: the root and embedded objects have `apiVersion`, `kind` and the names of `metadata`.
pub fn visible(schema: &Structural, is_root: bool) -> Structural {
    let mut seen = Structural {
        properties: schema
            .properties
            .iter()
            .map(|(name, below)| (name.clone(), visible(below, false)))
            .collect(),
        items: schema.items.as_deref().map(|items| Box::new(visible(items, false))),
        additional: schema.additional.as_ref().map(|additional| match additional {
            Additional::Schema(below) => Additional::Schema(Box::new(visible(below, false))),
            Additional::Allowed(allowed) => Additional::Allowed(*allowed),
        }),
        ..schema.clone()
    };
    if is_root || schema.embedded {
        let text = || Structural { kind: Some(Kind::String), ..Structural::default() };
        let names = [("name".to_string(), text()), ("generateName".to_string(), text())];
        let metadata =
            Structural { kind: Some(Kind::Object), properties: names.into(), ..Structural::default() };
        seen.properties.insert("apiVersion".into(), text());
        seen.properties.insert("kind".into(), text());
        seen.properties.insert("metadata".into(), metadata);
        seen.kind = Some(Kind::Object);
    }
    seen
}

impl Tree {
    /// The rules of a schema as [`visible`] made it; those that cannot be used are left out, as the definition was
    /// refused for them.
    pub fn new(schema: &Structural) -> Self {
        if !schema.has_rules() {
            return Self::default();
        }
        let below = |schema: &Structural| schema.has_rules().then(|| Self::new(schema));
        Self {
            rules: schema.rules.iter().filter_map(|rule| compile(rule, schema).ok()).collect(),
            properties: schema
                .properties
                .iter()
                .filter_map(|(name, schema)| Some((name.clone(), below(schema)?)))
                .collect(),
            additional: schema.additional_schema().and_then(below).map(Box::new),
            items: schema.items.as_deref().and_then(below).map(Box::new),
        }
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
            && self.properties.is_empty()
            && self.additional.is_none()
            && self.items.is_none()
    }

    /// Runs the rules on a value; `old` is what the object was before.
    pub fn validate(
        &self,
        schema: &Structural,
        value: &Value,
        old: Option<&Value>,
        budget: &mut Budget<'_>,
    ) -> Found {
        let mut found = Found::default();
        let _ended = self.node(schema, value, old, &Path::root(), budget, &mut found);
        found
    }

    /// Fails when no further rule may run.
    fn node(
        &self,
        schema: &Structural,
        value: &Value,
        old: Option<&Value>,
        path: &Path,
        budget: &mut Budget<'_>,
        found: &mut Found,
    ) -> Result<(), Exhausted> {
        if value.is_null() || self.is_empty() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        for rule in &self.rules {
            rule.run(schema, value, old, path, budget, found)?;
        }
        match value {
            Value::Array(items) => {
                let (Some(tree), Some(below)) = (&self.items, &schema.items) else { return Ok(()) };
                for (index, item) in items.iter().enumerate() {
                    let old = correlate::item(schema, old, items, index);
                    tree.node(below, item, old, &path.index(index), budget, found)?;
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    let old = correlate::field(old, name);
                    let named = self.properties.get(name).zip(schema.properties.get(name));
                    if let Some((tree, below)) = named {
                        tree.node(below, value, old, &path.child(name), budget, found)?;
                    } else if let (Some(tree), Some(below), false) =
                        (&self.additional, schema.additional_schema(), schema.properties.contains_key(name))
                    {
                        tree.node(below, value, old, &path.key(name), budget, found)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The budget is used up: what was not judged counts as wrong.
struct Exhausted;

impl Compiled {
    fn run(
        &self,
        schema: &Structural,
        value: &Value,
        old: Option<&Value>,
        path: &Path,
        budget: &mut Budget<'_>,
        found: &mut Found,
    ) -> Result<(), Exhausted> {
        let is_optional = self.rule.optional_old_self == Some(true);
        if self.uses_old && old.is_none() && !is_optional {
            return Ok(());
        }
        if budget.is_empty() {
            found.errors.push(out_of_budget(path));
            return Err(Exhausted);
        }
        let view = View::Typed(schema);
        let mut root = Root::default();
        root.variables.push(("self", Val::json(value, view)));
        let before = old.map(|old| Val::json(old, view));
        match (is_optional, before) {
            (true, before) => root.variables.push(("oldSelf", Val::Optional(before.map(std::rc::Rc::new)))),
            (false, Some(before)) => root.variables.push(("oldSelf", before)),
            (false, None) => {}
        }
        let shown = self.rule.shown();
        let fails = match self.program.evaluate(&root, budget) {
            Ok(Val::Bool(true)) => return Ok(()),
            Ok(_) => None,
            Err(fault @ (Fault::Cost | Fault::Stopped)) => {
                let detail = format!(
                    "'{fault}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
                );
                found.errors.push(typed(path, schema, &detail));
                return Err(Exhausted);
            }
            Err(Fault::Runtime(fault)) if fault.starts_with("no such overload") => Some(format!(
                "'{fault}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
            )),
            Err(fault) => Some(format!("{fault} evaluating rule: {shown}")),
        };
        if let Some(detail) = fails {
            found.errors.push(typed(path, schema, &detail));
            return Ok(());
        }
        let error = self.error(schema, path, &self.message(&root, budget));
        // What was wrong before and has not changed is no obstacle to other changes.
        if !self.uses_old && old == Some(value) {
            found.warnings.push(error.to_string());
        } else {
            found.errors.push(error);
        }
        Ok(())
    }

    fn message<'v>(&'v self, root: &Root<'_, 'v>, budget: &mut Budget<'_>) -> String {
        let made = self.message.as_ref().and_then(|program| program.evaluate(root, budget).ok());
        let text = made.as_ref().and_then(Val::as_text).map(str::trim);
        let usable =
            |text: &&str| !text.is_empty() && !text.contains(['\n', '\r']) && text.len() <= MESSAGE_BYTES_MAX;
        match (text.filter(usable), self.rule.message.trim()) {
            (Some(text), _) => text.into(),
            (None, "") => format!("failed rule: {}", self.rule.shown()),
            (None, message) => message.into(),
        }
    }

    fn error(&self, schema: &Structural, path: &Path, detail: &str) -> Error {
        let below = self.rule.field_path.trim().trim_start_matches('.');
        let path = match (below, below.starts_with('[')) {
            ("", _) => path.clone(),
            (below, true) => Path::new(&format!("{path}{}", below.replace(['\'', '"'], ""))),
            (below, false) => path.child(below),
        };
        match self.rule.reason.as_str() {
            "FieldValueForbidden" => Error::forbidden(&path, detail),
            "FieldValueRequired" => Error::required(&path, detail),
            "FieldValueDuplicate" => Error::duplicate(&path, &Value::String(schema.type_name().into())),
            _ => typed(&path, schema, detail),
        }
    }
}

/// An error that shows the type of the value in its place.
fn typed(path: &Path, schema: &Structural, detail: &str) -> Error {
    Error::invalid(path, &Value::String(schema.type_name().into()), detail)
}

fn out_of_budget(path: &Path) -> Error {
    let message = "Invalid value: validation failed due to running out of cost budget, no further validation rules will be run";
    Error { reason: Reason::Invalid, path: path.clone(), message: message.into() }
}
