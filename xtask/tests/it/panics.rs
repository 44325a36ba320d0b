//! A panic is a defect of ours: outside tests, each place that can panic on purpose says why it cannot.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::functions::is_test;
use crate::house::{self, Finding, is_test_file, rust_files};

/// Places of a file that may panic without a reason.
fn check(path: &str, text: &str) -> Vec<Finding> {
    let file = match syn::parse_file(text) {
        Ok(file) => file,
        Err(error) => {
            return vec![Finding::new(path, error.span().start().line, error.to_string(), "mend it")];
        }
    };
    let mut finder = Finder { path, lines: text.lines().collect(), findings: Vec::new() };
    finder.visit_file(&file);
    finder.findings
}

struct Finder<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
    findings: Vec<Finding>,
}

impl Finder<'_> {
    fn find(&mut self, line: usize, what: &str, way_out: &str) {
        self.findings.push(Finding::new(self.path, line, what, way_out));
    }

    /// Whether the line, or one directly above it, is a comment that gives the reason.
    fn has_reason(&self, line: usize) -> bool {
        let at = |line: usize| self.lines.get(line.wrapping_sub(1)).copied().unwrap_or_default();
        at(line).contains(" // ") || at(line.wrapping_sub(1)).trim_start().starts_with("// ")
    }

    fn unwrap(&mut self, call: &syn::ExprMethodCall, method: &str) {
        let line = call.method.span().start().line;
        match method {
            "unwrap" | "unwrap_err" if call.args.is_empty() => self.find(
                line,
                &format!("`.{method}()` outside tests"),
                "return an error that says what, on which object; where it cannot fail, `.expect(\"why\")`",
            ),
            "expect" | "expect_err" if is_empty_text(&call.args) => {
                self.find(line, &format!("`.{method}(\"\")` without a reason"), "say why it cannot fail");
            }
            _ => {}
        }
    }

    fn macro_call(&mut self, call: &syn::Macro) {
        let Some(name) = call.path.segments.last().map(|segment| segment.ident.to_string()) else { return };
        let line = call.path.span().start().line;
        match name.as_str() {
            "todo" | "unimplemented" => {
                self.find(
                    line,
                    &format!("`{name}!` outside tests"),
                    "write it, or leave the feature out and say so",
                );
            }
            "panic" if !self.has_reason(line) => self.find(
                line,
                "`panic!` outside tests without a reason",
                "return an error; where it is a defect of ours, say in a comment above why it cannot happen",
            ),
            "unreachable" if call.tokens.is_empty() && !self.has_reason(line) => {
                self.find(line, "`unreachable!()` without a reason", "give it a message that says why");
            }
            _ => {}
        }
    }
}

fn is_empty_text(arguments: &syn::punctuated::Punctuated<syn::Expr, syn::Token![,]>) -> bool {
    matches!(
        arguments.first(),
        Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. })) if text.value().trim().is_empty()
    )
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.unwrap(call, &call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.macro_call(call);
        visit::visit_macro(self, call);
    }
}

#[test]
fn nothing_panics_without_a_reason() {
    let sources = rust_files().into_iter().filter(|(path, _)| !is_test_file(path));
    let findings = sources.flat_map(|(path, text)| check(&path, &text)).collect();
    house::hold("nothing panics without a reason", findings);
}

#[test]
fn a_panic_without_a_reason_is_found() {
    let text = r#"
fn f() {
    a.unwrap();
    b.unwrap_err();
    c.expect("");
    todo!();
    panic!("x");
    unreachable!();
    if x { return Err(y) } else { d.iter().map(|e| e.unwrap()) };
}
"#;
    let lines: Vec<usize> = check("a.rs", text).iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_panic_with_its_reason_is_not() {
    let text = r#"
fn f() {
    a.expect("a lock is never poisoned: nothing panics while it is held");
    a.unwrap_or_default();
    // The caller has checked it.
    panic!("x");
    panic!("y"); // a defect of ours
    unreachable!("the state was left before");
    b.expect(1);
}
#[test]
fn t() { a.unwrap(); }
#[cfg(test)]
mod tests { fn g() { todo!() } }
"#;
    assert_eq!(check("a.rs", text), []);
}
