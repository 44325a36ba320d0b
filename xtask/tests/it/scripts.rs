//! The scripts that build guests call functions that exist. Bash would notice when a guest is built, and the large ones
//! rarely are.

use std::collections::BTreeSet;

use crate::house::{self, Finding, files, show};

const SHARED: &str = "guests/common.sh";

/// The functions that a script defines.
fn defined(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_suffix("() {")).map(str::trim).collect()
}

/// The first words of the commands in a line. A function has an underscore in its name, and no program here does.
fn calls(line: &str) -> impl Iterator<Item = &str> {
    let line = line.split_once("# ").map_or(line, |(before, _)| before);
    let commands = line.split(['|', ';', '(', '&']).map(str::trim_start);
    commands.filter_map(|command| command.split([' ', ')', '"']).next()).filter(|word| {
        word.contains('_')
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    })
}

fn check(path: &str, text: &str, shared: &str) -> Vec<Finding> {
    let known: BTreeSet<&str> = defined(text).union(&defined(shared)).copied().collect();
    let unknown = |(number, line)| {
        calls(line).filter(|call| !known.contains(call)).map(move |call| (number, call)).collect::<Vec<_>>()
    };
    let way_out = format!("define it in the script or in {SHARED}");
    let findings = (1..).zip(text.lines()).flat_map(unknown);
    findings
        .map(|(number, call)| Finding::new(path, number, format!("`{call}` is no function"), &*way_out))
        .collect()
}

#[test]
fn scripts_of_guests_call_functions_that_exist() {
    let files = files();
    let shared = files.iter().find(|file| file.path == SHARED).and_then(|file| file.text());
    let shared = shared.expect("what all of them share");
    let scripts = files.iter().filter(|file| file.path.starts_with("guests/") && file.path.ends_with(".sh"));
    let findings = scripts.filter_map(|file| Some(check(&file.path, file.text()?, shared))).flatten();
    house::hold("scripts call what exists", findings.collect());
}

#[test]
fn a_call_of_what_is_gone_is_found() {
    let script = "build_one() {\n    need_two\n    gone_three \"$work\" # not_this\n    x=\"$(gone_four a | build_one)\"\n}\n";
    let found = show(&check("guests/x/build.sh", script, "need_two() {\n}\n"));
    let lines: Vec<_> = found.lines().filter(|line| line.starts_with("guests")).collect();
    assert_eq!(
        lines,
        [
            "guests/x/build.sh:3: `gone_three` is no function",
            "guests/x/build.sh:4: `gone_four` is no function"
        ]
    );
}
