//! From text to a tree, and what is refused on the way.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr};
use kube_cel::cel::parser::Parser;

use super::depth;

/// Longest expression, in code points: what cel-go takes.
pub(super) const CODE_POINTS_MAX: usize = 100_000;

/// Deepest expression. cel-go takes 250 levels; ours cost more of the stack (200 fit in a thread's 2 MiB without
/// optimisation), and people write fewer than ten.
pub(super) const DEPTH_MAX: u16 = 120;

/// An expression that was understood.
#[derive(Debug)]
pub struct Program {
    source: String,
    pub(super) root: IdedExpr,
    variables: BTreeSet<String>,
}

/// An expression that was not understood; its text is that of cel-go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(pub String);

impl CompileError {
    /// `ERROR: <input>:1:5: message`, with the line and a mark below it. Lines and columns begin at 1.
    pub(super) fn at(source: &str, offset: usize, message: &str) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let text = source.lines().nth(line).unwrap_or_default();
        let dots = ".".repeat(column);
        Self(format!("ERROR: <input>:{}:{}: {message}\n | {text}\n | {dots}^", line + 1, column + 1))
    }
}

impl Program {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, is too long or too deep, or uses what Kubernetes has no use for (messages of protobuf).
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        let length = source.chars().count();
        if length > CODE_POINTS_MAX {
            let message = format!(
                "ERROR: <input>:-1:0: expression code point size exceeds limit: size: {length}, limit {CODE_POINTS_MAX}"
            );
            return Err(CompileError(message));
        }
        if depth::of(source) > usize::from(DEPTH_MAX) {
            let message = format!("ERROR: <input>:-1:0: expression recursion limit exceeded: {DEPTH_MAX}");
            return Err(CompileError(message));
        }
        // The grammar is another's code: a panic in it is an expression that is not understood.
        let parsed = catch_unwind(AssertUnwindSafe(|| {
            Parser::new().max_recursion_depth(DEPTH_MAX).enable_optional_syntax(true).parse(source)
        }));
        let root = match parsed {
            Ok(Ok(root)) => root,
            Ok(Err(errors)) => return Err(syntax(source, &errors)),
            Err(_) => return Err(CompileError::at(source, 0, "Syntax error: the expression cannot be read")),
        };
        let mut variables = BTreeSet::new();
        look(&root, &mut Vec::new(), &mut variables, 0)
            .map_err(|message| CompileError::at(source, 0, message))?;
        Ok(Self { source: source.into(), root, variables })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it reads a variable that it does not bind itself.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }
}

fn syntax(source: &str, errors: &kube_cel::cel::ParseErrors) -> CompileError {
    let texts: Vec<String> = errors
        .errors
        .iter()
        .map(|error| {
            let line = usize::try_from(error.pos.0).unwrap_or(1).max(1);
            let column = usize::try_from(error.pos.1).unwrap_or(0).saturating_sub(1);
            let start: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
            let rest = source.get(start..).unwrap_or_default();
            let within: usize = rest.chars().take(column).map(char::len_utf8).sum();
            CompileError::at(source, start + within, &error.msg).0
        })
        .collect();
    CompileError(texts.join("\n"))
}

/// Deepest tree that is evaluated. Chains of operators are trees too.
const TREE_DEPTH_MAX: usize = 400;

/// Refuses what the evaluation does not know, and collects the free variables.
fn look<'e>(
    node: &'e IdedExpr,
    bound: &mut Vec<&'e str>,
    free: &mut BTreeSet<String>,
    depth: usize,
) -> Result<(), &'static str> {
    if depth > TREE_DEPTH_MAX {
        return Err("expression recursion limit exceeded");
    }
    let depth = depth + 1;
    match &node.expr {
        Expr::Unspecified => Err("Syntax error: the expression is empty"),
        Expr::Struct(_) => Err("undeclared reference: messages cannot be made in expressions of Kubernetes"),
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) => {
            if !bound.contains(&name.as_str()) {
                free.insert(name.clone());
            }
            Ok(())
        }
        Expr::Select(select) => look(&select.operand, bound, free, depth),
        Expr::List(list) => list.elements.iter().try_for_each(|one| look(one, bound, free, depth)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                look(&entry.key, bound, free, depth)?;
                look(&entry.value, bound, free, depth)
            }
            EntryExpr::StructField(_) => Err("undeclared reference: a field outside a message"),
        }),
        Expr::Call(call) => {
            let target = call.target.iter().map(AsRef::as_ref);
            target.chain(&call.args).try_for_each(|one| look(one, bound, free, depth))
        }
        Expr::Comprehension(comprehension) => {
            look(&comprehension.iter_range, bound, free, depth)?;
            look(&comprehension.accu_init, bound, free, depth)?;
            let before = bound.len();
            bound.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
            bound.extend(comprehension.iter_var2.as_deref());
            let inner = [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result];
            let looked = inner.into_iter().try_for_each(|one| look(one, bound, free, depth));
            bound.truncate(before);
            looked
        }
    }
}
