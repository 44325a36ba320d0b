//! `+`, `<`, `in` …

use std::rc::Rc;

use kube_cel::cel;
use kube_cel::cel::common::ast::{IdedExpr, operators};

use super::eval::{Evaluator, Fault, Outcome, Scope};
use super::value::Val;

impl<'v> Evaluator<'_, '_, 'v> {
    /// `&&`, `||`, `?:`: an operand that decides makes up for one that fails.
    pub(super) fn logical(
        &mut self,
        function: &str,
        args: &'v [IdedExpr],
        scope: Option<&Scope<'_, 'v>>,
    ) -> Outcome<'v> {
        let truth = |outcome: Outcome<'v>| match outcome {
            Ok(Val::Bool(truth)) => Ok(truth),
            Ok(_) => Err(Fault::no_overload()),
            Err(fault) => Err(fault),
        };
        match (function, args) {
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                let chosen = if truth(self.eval(condition, scope))? { then } else { otherwise };
                self.eval(chosen, scope)
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => {
                let decides = function == operators::LOGICAL_OR;
                let left = truth(self.eval(left, scope));
                if left == Ok(decides) || left.as_ref().is_err_and(Fault::is_final) {
                    return left.map(Val::Bool);
                }
                let right = truth(self.eval(right, scope));
                if right == Ok(decides) || right.as_ref().is_err_and(Fault::is_final) {
                    return right.map(Val::Bool);
                }
                left.and(right).map(Val::Bool)
            }
            (operators::NOT_STRICTLY_FALSE, [one]) => match truth(self.eval(one, scope)) {
                Err(fault) if fault.is_final() => Err(fault),
                outcome => Ok(Val::Bool(outcome.unwrap_or(true))),
            },
            _ => Err(Fault::no_overload()),
        }
    }

    /// An operator of two operands; none when `function` is no operator.
    pub(super) fn binary(&mut self, function: &str, a: &Val<'v>, b: &Val<'v>) -> Option<Outcome<'v>> {
        Some(match function {
            operators::EQUALS => self.equal(a, b).map(Val::Bool),
            operators::NOT_EQUALS => self.equal(a, b).map(|same| Val::Bool(!same)),
            operators::LESS => self.compare(a, b).map(|order| Val::Bool(order.is_lt())),
            operators::LESS_EQUALS => self.compare(a, b).map(|order| Val::Bool(order.is_le())),
            operators::GREATER => self.compare(a, b).map(|order| Val::Bool(order.is_gt())),
            operators::GREATER_EQUALS => self.compare(a, b).map(|order| Val::Bool(order.is_ge())),
            operators::IN => self.contains(a, b),
            operators::ADD => self.add(a, b),
            operators::SUBSTRACT => subtract(a, b),
            operators::MULTIPLY => arithmetic(a, b, i64::checked_mul, u64::checked_mul, |a, b| a * b),
            operators::DIVIDE => match b {
                Val::Int(0) | Val::Uint(0) => Err(Fault::runtime("division by zero")),
                _ => arithmetic(a, b, i64::checked_div, u64::checked_div, |a, b| a / b),
            },
            operators::MODULO => match (a, b) {
                (Val::Int(_), Val::Int(0)) | (Val::Uint(_), Val::Uint(0)) => {
                    Err(Fault::runtime("modulus by zero"))
                }
                (Val::Double(_), _) => Err(Fault::no_overload()),
                _ => arithmetic(a, b, i64::checked_rem, u64::checked_rem, |a, _| a),
            },
            operators::INDEX => self.index(a, b),
            operators::OPT_INDEX => Ok(optional(a, |value| value.index(b))),
            operators::OPT_SELECT => match b.as_text() {
                Some(field) => Ok(optional(a, |value| value.field(field))),
                None => Err(Fault::no_overload()),
            },
            _ => return None,
        })
    }

    fn equal(&mut self, a: &Val<'v>, b: &Val<'v>) -> Result<bool, Fault> {
        let (a_weight, b_weight) = (a.weight(), b.weight());
        // Sets are compared each with each.
        let steps = match a.list_type().or(b.list_type()) {
            Some("set" | "map") => a_weight.saturating_mul(b_weight),
            _ => a_weight.min(b_weight),
        };
        self.budget.pay(steps / 10)?;
        Ok(a.same(b))
    }

    fn compare(&mut self, a: &Val<'v>, b: &Val<'v>) -> Result<std::cmp::Ordering, Fault> {
        self.budget.pay(a.weight().min(b.weight()) / 10)?;
        a.order(b).ok_or_else(Fault::no_overload)
    }

    pub(super) fn contains(&mut self, item: &Val<'v>, container: &Val<'v>) -> Outcome<'v> {
        match container.type_name() {
            "list" => {
                self.budget.pay(container.weight() / 10)?;
                let items = container.items().unwrap_or_default();
                Ok(Val::Bool(items.iter().any(|one| one.same(item))))
            }
            "map" => Ok(Val::Bool(container.index(item).is_some())),
            _ => Err(Fault::no_overload()),
        }
    }

    fn add(&mut self, a: &Val<'v>, b: &Val<'v>) -> Outcome<'v> {
        if let (Some(left), Some(right)) = (a.as_text(), b.as_text()) {
            self.budget.pay((left.len() + right.len()) as u64 / 10)?;
            return Ok(Val::text(&format!("{left}{right}")));
        }
        match (a, b) {
            (Val::Bytes(left), Val::Bytes(right)) => {
                self.budget.pay((left.len() + right.len()) as u64 / 10)?;
                Ok(Val::Bytes([&**left, &**right].concat().into()))
            }
            (Val::Foreign(left), Val::Foreign(right)) => time(left, right, true),
            _ if a.type_name() == "list" && b.type_name() == "list" => self.join(a, b),
            _ => arithmetic(a, b, i64::checked_add, u64::checked_add, |a, b| a + b),
        }
    }

    /// `+` of lists; of sets what is new, of lists of type map the items replaced by their keys.
    fn join(&mut self, a: &Val<'v>, b: &Val<'v>) -> Outcome<'v> {
        let mut items = a.items().unwrap_or_default();
        let more = b.items().unwrap_or_default();
        self.budget.pay((items.len() + more.len()) as u64)?;
        match (a.list_type(), a) {
            (Some("set"), _) => {
                self.budget.pay(items.len() as u64 * more.len() as u64)?;
                for item in more {
                    if !items.iter().any(|known| known.same(&item)) {
                        items.push(item);
                    }
                }
            }
            (Some("map"), Val::Json(_, super::View::Typed(schema))) => {
                self.budget.pay(items.len() as u64 * more.len() as u64)?;
                let key = |item: &Val<'v>| -> Vec<Option<Val<'v>>> {
                    schema.list_map_keys.iter().map(|key| item.index(&Val::text(key))).collect()
                };
                let same = |a: &[Option<Val<'v>>], b: &[Option<Val<'v>>]| {
                    a.iter().zip(b).all(|(a, b)| match (a, b) {
                        (Some(a), Some(b)) => a.same(b),
                        (a, b) => a.is_none() && b.is_none(),
                    })
                };
                for item in more {
                    let wanted = key(&item);
                    match items.iter_mut().find(|known| same(&key(known), &wanted)) {
                        Some(known) => *known = item,
                        None => items.push(item),
                    }
                }
            }
            _ => items.extend(more),
        }
        Ok(Val::List(Rc::new(items)))
    }

    fn index(&mut self, container: &Val<'v>, index: &Val<'v>) -> Outcome<'v> {
        match container {
            Val::Optional(_) => Ok(optional(container, |value| value.index(index))),
            _ if container.type_name() == "list" => container.index(index).ok_or_else(|| match index {
                Val::Int(at) => Fault::runtime(format!("index out of bounds: {at}")),
                Val::Uint(at) => Fault::runtime(format!("index out of bounds: {at}")),
                _ => Fault::runtime(format!("unsupported index type '{}' in list", index.type_name())),
            }),
            _ if container.type_name() == "map" => {
                container.index(index).ok_or_else(|| Fault::no_key(&super::call::shown(index)))
            }
            _ => Err(Fault::no_overload()),
        }
    }
}

/// `-x` and `!x`.
pub(super) fn unary<'v>(function: &str, value: &Val<'v>) -> Option<Outcome<'v>> {
    let overflow = || Fault::runtime("integer overflow");
    Some(match (function, value) {
        (operators::LOGICAL_NOT, Val::Bool(truth)) => Ok(Val::Bool(!truth)),
        (operators::NEGATE, Val::Int(number)) => number.checked_neg().map(Val::Int).ok_or_else(overflow),
        (operators::NEGATE, Val::Double(number)) => Ok(Val::Double(-number)),
        (operators::NEGATE, Val::Foreign(cel::Value::Duration(duration))) => {
            Ok(Val::Foreign(cel::Value::Duration(-*duration)))
        }
        (operators::LOGICAL_NOT | operators::NEGATE, _) => Err(Fault::no_overload()),
        _ => return None,
    })
}

/// A step into a value that may be absent.
fn optional<'v>(value: &Val<'v>, step: impl FnOnce(&Val<'v>) -> Option<Val<'v>>) -> Val<'v> {
    match value {
        Val::Optional(None) => Val::Optional(None),
        Val::Optional(Some(inner)) => Val::Optional(step(inner).map(Rc::new)),
        value => Val::Optional(step(value).map(Rc::new)),
    }
}

fn arithmetic<'v>(
    a: &Val<'v>,
    b: &Val<'v>,
    int: fn(i64, i64) -> Option<i64>,
    uint: fn(u64, u64) -> Option<u64>,
    double: fn(f64, f64) -> f64,
) -> Outcome<'v> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => {
            int(*a, *b).map(Val::Int).ok_or_else(|| Fault::runtime("integer overflow"))
        }
        (Val::Uint(a), Val::Uint(b)) => {
            uint(*a, *b).map(Val::Uint).ok_or_else(|| Fault::runtime("unsigned integer overflow"))
        }
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(double(*a, *b))),
        _ => Err(Fault::no_overload()),
    }
}

fn subtract<'v>(a: &Val<'v>, b: &Val<'v>) -> Outcome<'v> {
    match (a, b) {
        (Val::Foreign(left), Val::Foreign(right)) => time(left, right, false),
        _ => arithmetic(a, b, i64::checked_sub, u64::checked_sub, |a, b| a - b),
    }
}

/// Sums and differences of times and durations.
fn time<'v>(left: &cel::Value, right: &cel::Value, plus: bool) -> Outcome<'v> {
    use cel::Value::{Duration, Timestamp};
    let made = match (left, right) {
        (Duration(a), Duration(b)) if plus => a.checked_add(b).map(Duration),
        (Duration(a), Duration(b)) => a.checked_sub(b).map(Duration),
        (Timestamp(a), Duration(b)) if plus => a.checked_add_signed(*b).map(Timestamp),
        (Duration(a), Timestamp(b)) if plus => b.checked_add_signed(*a).map(Timestamp),
        (Timestamp(a), Duration(b)) => a.checked_sub_signed(*b).map(Timestamp),
        (Timestamp(a), Timestamp(b)) if !plus => Some(Duration(a.signed_duration_since(*b))),
        _ => return Err(Fault::no_overload()),
    };
    made.map(Val::Foreign).ok_or_else(|| Fault::runtime("timestamp overflow"))
}
