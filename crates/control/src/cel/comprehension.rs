//! `all`, `exists`, `map` …: the parser's loops, and the macros that it does not know.

use std::collections::BTreeMap;
use std::rc::Rc;

use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, operators};

use super::eval::{Evaluator, Fault, Outcome, Scope, bound};
use super::value::{Key, Val};

/// What a loop of `map` or `filter` does with each item.
struct Collect<'v> {
    /// Which items; all when there is none.
    condition: Option<&'v IdedExpr>,
    /// What becomes of an item.
    item: &'v IdedExpr,
}

impl<'v> Evaluator<'_, '_, 'v> {
    pub(super) fn comprehension(
        &mut self,
        comprehension: &'v ComprehensionExpr,
        scope: Option<&Scope<'_, 'v>>,
    ) -> Outcome<'v> {
        let range = self.eval(&comprehension.iter_range, scope)?;
        let items = self.items(&range)?;
        if let Some(collect) = collects(comprehension) {
            return self.collect(&collect, &comprehension.iter_var, items, scope);
        }
        let mut total = self.eval(&comprehension.accu_init, scope);
        for item in items {
            self.budget.pay(1)?;
            let outer = Scope { name: &comprehension.accu_var, value: total, outer: scope };
            let inner = Scope { name: &comprehension.iter_var, value: Ok(item), outer: Some(&outer) };
            match self.eval(&comprehension.loop_cond, Some(&inner))? {
                Val::Bool(true) => {}
                Val::Bool(false) => {
                    total = outer.value;
                    break;
                }
                _ => return Err(Fault::no_overload()),
            }
            // A failure is a value here: a later item may make up for it.
            total = self.eval(&comprehension.loop_step, Some(&inner));
            if total.as_ref().is_err_and(Fault::is_final) {
                return total;
            }
        }
        let inner = Scope { name: &comprehension.accu_var, value: total, outer: scope };
        self.eval(&comprehension.result, Some(&inner))
    }

    fn items(&mut self, range: &Val<'v>) -> Result<Vec<Val<'v>>, Fault> {
        let items = range.items().ok_or_else(Fault::no_overload)?;
        self.budget.pay(items.len() as u64 / 10)?;
        Ok(items)
    }

    /// `map` and `filter`, without copying the list for each item.
    fn collect(
        &mut self,
        collect: &Collect<'v>,
        name: &'v str,
        items: Vec<Val<'v>>,
        scope: Option<&Scope<'_, 'v>>,
    ) -> Outcome<'v> {
        let mut made = Vec::new();
        for item in items {
            self.budget.pay(2)?;
            let inner = Scope { name, value: Ok(item), outer: scope };
            let wanted = match collect.condition {
                None => true,
                Some(condition) => self.truth(condition, Some(&inner))?,
            };
            if wanted {
                made.push(self.eval(collect.item, Some(&inner))?);
            }
        }
        Ok(Val::List(Rc::new(made)))
    }

    fn truth(&mut self, node: &'v IdedExpr, scope: Option<&Scope<'_, 'v>>) -> Result<bool, Fault> {
        match self.eval(node, scope)? {
            Val::Bool(truth) => Ok(truth),
            _ => Err(Fault::no_overload()),
        }
    }

    /// Macros that the parser leaves as calls; none when this is none of them.
    pub(super) fn special(
        &mut self,
        call: &'v CallExpr,
        scope: Option<&Scope<'_, 'v>>,
    ) -> Option<Outcome<'v>> {
        let target = call.target.as_deref()?;
        let name = |index: usize| match &call.args.get(index)?.expr {
            Expr::Ident(name) => Some(name.as_str()),
            _ => None,
        };
        match (call.func_name.as_str(), call.args.as_slice()) {
            ("bind", [_, value, body]) if is_namespace(target, "cel", scope) => {
                let value = self.eval(value, scope);
                Some(self.eval(body, Some(&Scope { name: name(0)?, value, outer: scope })))
            }
            (function @ ("optMap" | "optFlatMap"), [_, body]) => {
                let name = name(0)?;
                Some(self.optional_map(function, target, name, body, scope))
            }
            ("sortBy", [_, body]) => {
                let name = name(0)?;
                Some(self.sort_by(target, name, body, scope))
            }
            ("all" | "exists" | "existsOne" | "exists_one", [_, _, _])
            | ("transformList" | "transformMap" | "transformMapEntry", [_, _, _] | [_, _, _, _]) => {
                let names = (name(0)?, name(1)?);
                Some(self.two_variables(call, target, names, scope))
            }
            _ => None,
        }
    }

    fn optional_map(
        &mut self,
        function: &str,
        target: &'v IdedExpr,
        name: &str,
        body: &'v IdedExpr,
        scope: Option<&Scope<'_, 'v>>,
    ) -> Outcome<'v> {
        let Val::Optional(value) = self.eval(target, scope)? else { return Err(Fault::no_overload()) };
        let Some(value) = value else { return Ok(Val::Optional(None)) };
        let inner = Scope { name, value: Ok((*value).clone()), outer: scope };
        let made = self.eval(body, Some(&inner))?;
        match (function, made) {
            ("optMap", made) => Ok(Val::Optional(Some(Rc::new(made)))),
            (_, made @ Val::Optional(_)) => Ok(made),
            _ => Err(Fault::no_overload()),
        }
    }

    fn sort_by(
        &mut self,
        target: &'v IdedExpr,
        name: &str,
        body: &'v IdedExpr,
        scope: Option<&Scope<'_, 'v>>,
    ) -> Outcome<'v> {
        let target = self.eval(target, scope)?;
        let mut keyed = Vec::new();
        for item in self.items(&target)? {
            self.budget.pay(2)?;
            let inner = Scope { name, value: Ok(item.clone()), outer: scope };
            keyed.push((self.eval(body, Some(&inner))?, item));
        }
        if keyed.windows(2).any(|pair| pair[0].0.order(&pair[1].0).is_none()) {
            return Err(Fault::no_overload());
        }
        keyed.sort_by(|(a, _), (b, _)| a.order(b).unwrap_or(std::cmp::Ordering::Equal));
        Ok(Val::List(Rc::new(keyed.into_iter().map(|(_, item)| item).collect())))
    }

    /// Loops over index and item, or key and value.
    fn two_variables(
        &mut self,
        call: &'v CallExpr,
        target: &'v IdedExpr,
        (first, second): (&str, &str),
        scope: Option<&Scope<'_, 'v>>,
    ) -> Outcome<'v> {
        let range = self.eval(target, scope)?;
        let pairs: Vec<(Val<'v>, Val<'v>)> = match range.type_name() {
            "list" => (0_i64..).map(Val::Int).zip(self.items(&range)?).collect(),
            "map" => {
                let entry = |key: Val<'v>| range.entry(&key).map(|value| (key, value));
                self.items(&range)?.into_iter().filter_map(entry).collect()
            }
            _ => return Err(Fault::no_overload()),
        };
        let (condition, body) = match &call.args[2..] {
            [condition, body] => (Some(condition), body),
            [body] => (None, body),
            _ => return Err(Fault::no_overload()),
        };
        let mut results = Vec::new();
        for (key, value) in pairs {
            self.budget.pay(2)?;
            let outer = Scope { name: first, value: Ok(key.clone()), outer: scope };
            let inner = Scope { name: second, value: Ok(value), outer: Some(&outer) };
            let wanted = match condition {
                None => true,
                Some(condition) => self.truth(condition, Some(&inner))?,
            };
            if wanted {
                results.push((key, self.eval(body, Some(&inner))));
            }
        }
        conclude(&call.func_name, results)
    }
}

/// What the results of the items come to.
fn conclude<'v>(function: &str, results: Vec<(Val<'v>, Outcome<'v>)>) -> Outcome<'v> {
    if let Some((_, Err(fault))) = results.iter().find(|(_, one)| one.as_ref().is_err_and(Fault::is_final)) {
        return Err(fault.clone());
    }
    let is = |truth: bool| move |(_, one): &&(Val<'v>, Outcome<'v>)| matches!(one, Ok(Val::Bool(one)) if *one == truth);
    let first_fault = || results.iter().find_map(|(_, one)| one.clone().err());
    match function {
        "all" if results.iter().any(|one| is(false)(&one)) => Ok(Val::Bool(false)),
        "exists" if results.iter().any(|one| is(true)(&one)) => Ok(Val::Bool(true)),
        "all" | "exists" => first_fault().map_or(Ok(Val::Bool(function == "all")), Err),
        "existsOne" | "exists_one" => match first_fault() {
            Some(fault) => Err(fault),
            None => Ok(Val::Bool(results.iter().filter(|one| is(true)(one)).count() == 1)),
        },
        "transformList" => {
            let items = results.into_iter().map(|(_, one)| one).collect::<Result<Vec<_>, _>>()?;
            Ok(Val::List(Rc::new(items)))
        }
        "transformMap" => {
            let mut map = BTreeMap::new();
            for (key, value) in results {
                map.insert(Key::new(key).ok_or_else(Fault::no_overload)?, value?);
            }
            Ok(Val::Map(Rc::new(map)))
        }
        _ => {
            let mut map = BTreeMap::new();
            for (_, entries) in results {
                let entries = entries?;
                for key in
                    entries.items().filter(|_| entries.type_name() == "map").ok_or_else(Fault::no_overload)?
                {
                    let value = entries.entry(&key).unwrap_or(Val::Null);
                    let key = Key::new(key).ok_or_else(Fault::no_overload)?;
                    if map.insert(key, value).is_some() {
                        return Err(Fault::runtime("insert failed: key already exists"));
                    }
                }
            }
            Ok(Val::Map(Rc::new(map)))
        }
    }
}

/// Whether a loop only makes a list of what it sees.
fn collects(comprehension: &ComprehensionExpr) -> Option<Collect<'_>> {
    let Expr::List(init) = &comprehension.accu_init.expr else { return None };
    if !init.elements.is_empty() {
        return None;
    }
    let total = |node: &IdedExpr| matches!(&node.expr, Expr::Ident(name) if *name == comprehension.accu_var);
    if !total(&comprehension.result) {
        return None;
    }
    let Expr::Call(step) = &comprehension.loop_step.expr else { return None };
    let (condition, append) = match (step.func_name.as_str(), step.args.as_slice()) {
        (operators::CONDITIONAL, [condition, append, otherwise]) if total(otherwise) => {
            let Expr::Call(append) = &append.expr else { return None };
            (Some(condition), append)
        }
        _ => (None, step),
    };
    match (append.func_name.as_str(), append.args.as_slice()) {
        (operators::ADD, [left, right]) if total(left) => match &right.expr {
            Expr::List(list) if list.elements.len() == 1 && list.optional_indices.is_empty() => {
                Some(Collect { condition, item: &list.elements[0] })
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether `node` names a group of functions rather than a value.
pub(super) fn is_namespace(node: &IdedExpr, name: &str, scope: Option<&Scope<'_, '_>>) -> bool {
    matches!(&node.expr, Expr::Ident(ident) if ident == name) && !bound(name, scope)
}
