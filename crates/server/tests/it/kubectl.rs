//! The real kubectl 1.32 and Helm 3 against this server: scripts with commands, and what is printed for them.
//!
//! A script (`kubectl/NAME.kubectl`) is read top-down:
//!
//! - `# ...` is a comment;
//! - `file NAME`, and below it indented lines: a file for the commands after it;
//! - `$ COMMAND` is run by a shell in a directory of its own, with a server of its own. Below it stands what it prints:
//!   lines of standard output after two spaces, lines of standard error after `! `, and `= N` for an exit code.
//!
//! With `UPDATE_EXPECT=1` the scripts are rewritten with what was printed. Ids, ages and the like are evened out by
//! [`shown`].

mod shown;
pub(crate) mod tool;

use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_server::Controllers;
use tool::Tool;

use crate::server::Server;

/// For one command. Those that wait have their own, shorter, deadlines.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);

/// The script whose workloads become pods; elsewhere they would have names that are drawn, some time after they are made.
const ROLLOUT: &str = "rollout";
/// The script whose commands are Helm's.
const HELM: &str = "helm";

/// One test for each script.
macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        /// All scripts.
        const SCRIPTS: &[&str] = &[$(stringify!($name)),*];
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                check(stringify!($name)).await;
            }
        )*
    };
}

scripts! {
    access, apply, certificates, create, custom, delete, describe, discovery, edit, events, explain, get, helm, invalid,
    kustomize, label, nodes, patch, pods, proxy, rollout, scale, server_side, set, versions, wait
}

#[test]
fn every_script_is_run() {
    let mut found: Vec<String> = std::fs::read_dir(directory())
        .expect("the scripts")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".kubectl")?.to_owned()))
        .collect();
    found.sort();
    assert_eq!(found, SCRIPTS);
}

/// A part of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// As it stands.
    Comment(String),
    /// A name and its content.
    File(String, String),
    /// A command; what it printed is read anew.
    Command(String),
}

/// Runs a script and compares what is printed.
async fn check(name: &str) {
    let Some(mut kubectl) = Tool::find() else { return };
    if name == HELM {
        let Some(both) = kubectl.with_helm() else { return };
        kubectl = both;
    }
    let path = directory().join(format!("{name}.kubectl"));
    let text = std::fs::read_to_string(&path).expect("a script");
    let controllers = if name == ROLLOUT { Controllers::All } else { Controllers::Api };
    let server = Server::start_with(controllers).await;
    let tool = kubectl.in_directory(server.dir(), &server.kubeconfig);
    let mut printed = String::new();
    for part in parts(&text) {
        if let Part::File(name, content) = &part {
            let file = tool.directory().join(name);
            std::fs::create_dir_all(file.parent().expect("it is in a directory")).expect("a directory");
            std::fs::write(file, content).expect("a file");
        }
        let output = match &part {
            Part::Command(command) => Some(tool.run(command, COMMAND_WITHIN).await),
            _ => None,
        };
        print(&part, output.map(|output| shown::shown(&output, &server.address)).as_deref(), &mut printed);
    }
    server.end().await;
    expect_test::expect_file![path].assert_eq(&printed);
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kubectl")
}

/// What a script says, without what was printed.
fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("file ") {
            let mut content = String::new();
            while let Some(line) = lines.next_if(|line| line.is_empty() || line.starts_with("  ")) {
                content += line.strip_prefix("  ").unwrap_or_default();
                content.push('\n');
            }
            parts.push(Part::File(name.into(), format!("{}\n", content.trim_end())));
        } else if let Some(command) = line.strip_prefix("$ ") {
            let mut command = command.to_owned();
            // A command goes on in the next line when its line ends so.
            while command.ends_with('\\') {
                command = format!("{command}\n{}", lines.next().unwrap_or_default());
            }
            parts.push(Part::Command(command));
        } else if line.starts_with('#') {
            match parts.last_mut() {
                Some(Part::Comment(text)) => *text = format!("{text}\n{line}"),
                _ => parts.push(Part::Comment(line.into())),
            }
        }
    }
    parts
}

/// Writes a part, and what was printed, as scripts have them.
fn print(part: &Part, output: Option<&str>, to: &mut String) {
    let follows_comment = matches!(part, Part::Command(_)) && to.ends_with("#\n");
    if !to.is_empty() && !follows_comment {
        to.push('\n');
    }
    match part {
        Part::Comment(text) => *to += &format!("{text}\n"),
        Part::File(name, content) => {
            *to += &format!("file {name}\n");
            for line in content.lines() {
                *to += format!("  {line}").trim_end();
                to.push('\n');
            }
        }
        Part::Command(command) => {
            *to += &format!("$ {command}\n");
            *to += output.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_and_written_as_they_are() {
        let text =
            "# What it is.\n# More.\n\nfile a.yaml\n  a: 1\n\n  b:\n    c: 2\n\n$ kubectl get \\\n    pods\n";
        let printed = format!("{text}  NAME\n! error\n= 1\n\n$ two\n");
        let expected = [
            Part::Comment("# What it is.\n# More.".into()),
            Part::File("a.yaml".into(), "a: 1\n\nb:\n  c: 2\n".into()),
            Part::Command("kubectl get \\\n    pods".into()),
            Part::Command("two".into()),
        ];
        assert_eq!(parts(&printed), expected);
        let mut written = String::new();
        for (part, output) in expected.iter().zip(["", "", "  NAME\n! error\n= 1\n", ""]) {
            print(part, Some(output), &mut written);
        }
        assert_eq!(written, printed);
    }
}
