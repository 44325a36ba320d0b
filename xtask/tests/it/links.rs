//! Links between documents lead somewhere.

use std::collections::BTreeSet;

use crate::house::{self, File, Finding, files, show};

/// Relative links of a document to what is not in the tree.
fn check(path: &str, text: &str, known: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap_or_default();
            if resolve(path, file).is_none_or(|file| !exists(&file, known)) {
                let way_out = "name a file of the tree, relative to this document";
                findings.push(Finding::new(
                    path,
                    number,
                    format!("the link `{target}` leads nowhere"),
                    way_out,
                ));
            }
        }
    }
    findings
}

/// The path from the root that `target` means in the document at `path`; none when it leads out of the tree.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            "." | "" => {}
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn exists(file: &str, known: &BTreeSet<String>) -> bool {
    known.contains(file) || known.iter().any(|known| known.starts_with(&format!("{file}/")))
}

#[test]
fn links_of_documents_lead_somewhere() {
    let files = files();
    let known: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    let documents = files.iter().filter(|file| file.path.ends_with(".md"));
    let findings = documents.filter_map(|file| Some(check(&file.path, file.text()?, &known))).flatten();
    house::hold("links lead somewhere", findings.collect());
}

#[test]
fn a_link_to_nowhere_is_found() {
    let file = |path: &str| File { path: path.into(), bytes: Vec::new() };
    let known = [file("README.md"), file("docs/cli.md")].into_iter().map(|file| file.path).collect();
    let text = "[a](../README.md) [b](cli.md#grants) [c](https://crates.io) [d](#here) [e](../docs/)\n\
        [gone](gone.md) [out](../../README.md)\n";
    expect_test::expect![[r#"
        docs/index.md:2: the link `gone.md` leads nowhere
            way out: name a file of the tree, relative to this document
        docs/index.md:2: the link `../../README.md` leads nowhere
            way out: name a file of the tree, relative to this document
    "#]]
    .assert_eq(&show(&check("docs/index.md", text, &known)));
}
