//! Evaluation: one step at a time, each paid for.

use std::collections::BTreeMap;
use std::rc::Rc;

use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::parse::Program;
use super::value::{Key, Val};

/// Steps that one evaluation may take (`PerCallLimit` of Kubernetes).
pub(super) const CALL_COST_MAX: u64 = 1_000_000;

/// Steps that all evaluations for one request may take (`RuntimeCELCostBudget` of Kubernetes).
pub(super) const REQUEST_COST_MAX: u64 = 10_000_000;

/// Steps between two looks at the caller's clock.
const STEPS_PER_LOOK: u64 = 4096;

/// What evaluations may still cost. Made once for a request.
pub struct Budget<'b> {
    left: u64,
    call_left: u64,
    next_look: u64,
    stop: Option<&'b dyn Fn() -> bool>,
}

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The expression failed on this input.
    #[error("{0}")]
    Runtime(String),
    /// It took too many steps.
    #[error("operation cancelled: actual cost limit exceeded")]
    Cost,
    /// The caller's deadline has passed.
    #[error("operation interrupted")]
    Stopped,
}

/// The variables of an evaluation.
#[derive(Default)]
pub struct Root<'r, 'v> {
    /// By name.
    pub variables: Vec<(&'static str, Val<'v>)>,
    /// The fields of `variables`, evaluated when they are first asked for.
    pub lazy: Option<&'r dyn Lazy<'v>>,
    /// Answers `authorizer`.
    pub authorizer: Option<&'r dyn Authorizer>,
}

/// Variables that are evaluated when they are first asked for.
pub trait Lazy<'v> {
    /// The value of a variable; none when there is no such variable.
    fn get(&self, name: &str, budget: &mut Budget<'_>) -> Option<Result<Val<'v>, Fault>>;
}

/// Who may do what, for expressions that ask.
pub trait Authorizer {
    /// Whether the user of the request (or the service account named in `check`) may do what `check` says: fields
    /// `path`, or `group`, `resource`, `subresource`, `namespace`, `name`; and `verb`. Gives the reason too.
    ///
    /// # Errors
    /// A sentence, when it could not be decided.
    fn authorize(&self, check: &BTreeMap<&'static str, String>) -> Result<(bool, String), String>;
}

impl<'b> Budget<'b> {
    /// A budget of so many steps.
    pub fn new(cost: u64) -> Self {
        Self { left: cost, call_left: 0, next_look: 0, stop: None }
    }

    /// What one request may cost.
    pub fn of_request() -> Self {
        Self::new(REQUEST_COST_MAX)
    }

    /// Ends evaluations when `stop` says so; it is asked now and then.
    #[must_use]
    pub fn until(mut self, stop: &'b dyn Fn() -> bool) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// How many steps are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Pays for some steps of the evaluation at hand.
    pub(super) fn pay(&mut self, steps: u64) -> Result<(), Fault> {
        self.left = self.left.saturating_sub(steps);
        if self.call_left < steps || self.left == 0 {
            self.call_left = 0;
            return Err(Fault::Cost);
        }
        self.call_left -= steps;
        self.next_look = self.next_look.saturating_sub(steps);
        if self.next_look == 0 {
            self.next_look = STEPS_PER_LOOK;
            if self.stop.is_some_and(|stop| stop()) {
                self.call_left = 0;
                return Err(Fault::Stopped);
            }
        }
        Ok(())
    }
}

impl Fault {
    /// A failure of the expression.
    pub(super) fn runtime(message: impl Into<String>) -> Self {
        Self::Runtime(message.into())
    }

    pub(super) fn no_overload() -> Self {
        Self::runtime("no such overload")
    }

    pub(super) fn no_key(key: &str) -> Self {
        Self::runtime(format!("no such key: {key}"))
    }

    /// Whether no other part of the expression may make up for it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Runtime(_))
    }
}

impl Program {
    /// The value of the expression.
    ///
    /// # Errors
    /// When it fails on this input, or costs too much.
    pub fn evaluate<'v>(&'v self, root: &Root<'_, 'v>, budget: &mut Budget<'_>) -> Result<Val<'v>, Fault> {
        // Expressions inside others (`variables`) share what one evaluation may cost.
        if budget.call_left == 0 {
            budget.call_left = CALL_COST_MAX;
        }
        let value = Evaluator { root, budget }.eval(&self.root, None);
        budget.call_left = 0;
        value
    }

    /// As [`Self::evaluate`], as a part of the evaluation that `budget` already pays for.
    ///
    /// # Errors
    /// As those of [`Self::evaluate`].
    pub fn evaluate_within<'v>(
        &'v self,
        root: &Root<'_, 'v>,
        budget: &mut Budget<'_>,
    ) -> Result<Val<'v>, Fault> {
        Evaluator { root, budget }.eval(&self.root, None)
    }
}

/// Variables that the expression itself binds, innermost first.
pub(super) struct Scope<'s, 'v> {
    pub(super) name: &'s str,
    pub(super) value: Result<Val<'v>, Fault>,
    pub(super) outer: Option<&'s Scope<'s, 'v>>,
}

/// One evaluation.
pub(super) struct Evaluator<'e, 'b, 'v> {
    pub(super) root: &'e Root<'e, 'v>,
    pub(super) budget: &'e mut Budget<'b>,
}

pub(super) type Outcome<'v> = Result<Val<'v>, Fault>;

impl<'v> Evaluator<'_, '_, 'v> {
    pub(super) fn eval(&mut self, node: &'v IdedExpr, scope: Option<&Scope<'_, 'v>>) -> Outcome<'v> {
        match &node.expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Ident(name) => self.variable(name, scope),
            Expr::Select(select) => {
                self.budget.pay(1)?;
                if let Some(value) = self.lazy(&select.operand, &select.field, scope) {
                    return if select.test { Ok(Val::Bool(value.is_ok())) } else { value };
                }
                let operand = self.eval(&select.operand, scope)?;
                if select.test { test(&operand, &select.field) } else { self.select(&operand, &select.field) }
            }
            Expr::Call(call) => self.call(call, scope),
            Expr::List(list) => {
                self.budget.pay(1 + list.elements.len() as u64)?;
                let mut items = Vec::with_capacity(list.elements.len());
                for (index, element) in list.elements.iter().enumerate() {
                    let value = self.eval(element, scope)?;
                    match value {
                        Val::Optional(inner) if list.optional_indices.contains(&index) => {
                            items.extend(inner.map(|inner| (*inner).clone()));
                        }
                        value => items.push(value),
                    }
                }
                Ok(Val::List(Rc::new(items)))
            }
            Expr::Map(map) => self.map(&map.entries, scope),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, scope),
            Expr::Struct(_) | Expr::Unspecified => Err(Fault::runtime("unsupported expression")),
        }
    }

    fn variable(&mut self, name: &str, scope: Option<&Scope<'_, 'v>>) -> Outcome<'v> {
        self.budget.pay(1)?;
        let mut frame = scope;
        while let Some(one) = frame {
            if one.name == name {
                return one.value.clone();
            }
            frame = one.outer;
        }
        if let Some((_, value)) = self.root.variables.iter().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        if name == "authorizer" && self.root.authorizer.is_some() {
            return Ok(Val::Check(Rc::default()));
        }
        if let Some(named) = type_named(name) {
            return Ok(Val::Type(named));
        }
        Err(Fault::runtime(format!("no such attribute(s): {name}")))
    }

    /// `variables.name`.
    fn lazy(
        &mut self,
        operand: &IdedExpr,
        field: &str,
        scope: Option<&Scope<'_, 'v>>,
    ) -> Option<Outcome<'v>> {
        let (Expr::Ident(name), Some(lazy)) = (&operand.expr, self.root.lazy) else { return None };
        if name != "variables" || bound(name, scope) {
            return None;
        }
        Some(lazy.get(field, self.budget).unwrap_or_else(|| Err(Fault::no_key(field))))
    }

    pub(super) fn select(&mut self, operand: &Val<'v>, field: &str) -> Outcome<'v> {
        match operand {
            Val::Optional(None) => Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => Ok(Val::Optional(inner.field(field).map(Rc::new))),
            Val::Check(_) if field == "requestResource" => self.request_resource(),
            _ if operand.type_name() == "map" => operand.field(field).ok_or_else(|| Fault::no_key(field)),
            _ => Err(Fault::no_overload()),
        }
    }

    fn map(
        &mut self,
        entries: &'v [kube_cel::cel::common::ast::IdedEntryExpr],
        scope: Option<&Scope<'_, 'v>>,
    ) -> Outcome<'v> {
        self.budget.pay(1 + 2 * entries.len() as u64)?;
        let mut map = BTreeMap::new();
        for entry in entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                return Err(Fault::runtime("unsupported expression"));
            };
            let key = self.eval(&entry.key, scope)?;
            let value = self.eval(&entry.value, scope)?;
            let value = match (entry.optional, value) {
                (true, Val::Optional(None)) => continue,
                (true, Val::Optional(Some(inner))) => (*inner).clone(),
                (_, value) => value,
            };
            let key = Key::new(key).ok_or_else(|| Fault::runtime("unsupported key type"))?;
            if map.insert(key, value).is_some() {
                return Err(Fault::runtime("insert failed: key already exists"));
            }
        }
        Ok(Val::Map(Rc::new(map)))
    }
}

/// Whether the expression itself binds a name.
pub(super) fn bound(name: &str, scope: Option<&Scope<'_, '_>>) -> bool {
    let mut frame = scope;
    while let Some(one) = frame {
        if one.name == name {
            return true;
        }
        frame = one.outer;
    }
    false
}

/// `has(operand.field)`.
fn test<'v>(operand: &Val<'v>, field: &str) -> Outcome<'v> {
    match operand {
        Val::Optional(inner) => {
            Ok(Val::Bool(inner.as_ref().is_some_and(|inner| inner.field(field).is_some())))
        }
        _ if operand.type_name() == "map" => Ok(Val::Bool(operand.field(field).is_some())),
        _ => Err(Fault::no_overload()),
    }
}

fn constant(literal: &LiteralValue) -> Val<'_> {
    match literal {
        LiteralValue::Boolean(truth) => Val::Bool(*truth.inner()),
        LiteralValue::Bytes(bytes) => Val::Bytes(bytes.inner().into()),
        LiteralValue::Double(number) => Val::Double(*number.inner()),
        LiteralValue::Int(number) => Val::Int(*number.inner()),
        LiteralValue::Null => Val::Null,
        LiteralValue::String(text) => Val::Text(text.inner()),
        LiteralValue::UInt(number) => Val::Uint(*number.inner()),
    }
}

/// Types that expressions may name.
pub(super) fn type_named(name: &str) -> Option<&'static str> {
    const TYPES: [&str; 10] =
        ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];
    TYPES.into_iter().find(|known| *known == name)
}

/// Whether a function is one of the logical operators, which know what to do with failures.
pub(super) fn is_logical(function: &str) -> bool {
    matches!(
        function,
        operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::CONDITIONAL
            | operators::NOT_STRICTLY_FALSE
    )
}
