//! Running the blocks: a scratch directory, the servers of a section, and what each command shows.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use super::{Block, Step, client, finding, fits, matches};
use crate::house::{self, Finding};

/// For a server to begin, or to serve what it should: a debug build compiles a guest in some seconds.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Between two looks at what a server that says nothing does.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The flags that say where a server listens.
const SOCKETS: &[&str] = &["--listen", "--http", "--https"];

/// Lines of a server that wait to be looked at; it says a handful.
const LINES_MAX: usize = 1024;

/// The binary: `SHOAL`, or else built now.
pub(super) fn shoal() -> PathBuf {
    if let Some(path) = std::env::var_os("SHOAL") {
        return std::path::absolute(house::root().join(path)).expect("SHOAL is a path");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "shoal", "--message-format", "json"])
        .current_dir(house::root())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "cargo build: {}", String::from_utf8_lossy(&built.stderr));
    let path = String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    path.expect("cargo names the binary that it built")
}

/// Runs all blocks; what shows something else than it should is a finding.
#[expect(clippy::print_stderr, reason = "a block that is left out is said aloud")]
pub(super) fn check(shoal: &Path, blocks: &[Block]) -> Vec<Finding> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let guests = house::root().join("guests");
    std::os::unix::fs::symlink(guests, scratch.path().join("guests")).expect("a link to the guests");
    let mut world = World { shoal: shoal.into(), scratch, servers: Vec::new(), ports: Vec::new() };
    let mut findings = Vec::new();
    let has_kubectl = has_kubectl();
    for block in blocks {
        if block.begins_section {
            world.end_section();
        }
        if !has_kubectl && block.steps.iter().any(|step| step.command.starts_with("kubectl ")) {
            eprintln!("SKIPPED: README.md:{}: kubectl is not on the path", block.line);
            continue;
        }
        for step in &block.steps {
            findings.extend(world.step(step, block.eventually));
        }
    }
    findings
}

/// Whether there is a kubectl; there has to be one where all that tests need must be there.
fn has_kubectl() -> bool {
    let is_there = Command::new("kubectl").args(["version", "--client"]).stdout(Stdio::null()).status();
    let is_there = is_there.is_ok_and(|status| status.success());
    assert!(is_there || std::env::var_os("SHOAL_CI").is_none(), "kubectl is not on the path");
    is_there
}

/// What the commands of a section share.
struct World {
    shoal: PathBuf,
    scratch: tempfile::TempDir,
    servers: Vec<Server>,
    /// Addresses as the README has them, and as they are.
    ports: Vec<(String, String)>,
}

impl World {
    fn end_section(&mut self) {
        self.servers.clear();
        self.ports.clear();
    }

    fn step(&mut self, step: &Step, eventually: bool) -> Option<Finding> {
        if step.output.first().is_some_and(|line| line.starts_with("Serving on ")) {
            return self.serve(step);
        }
        let began = Instant::now();
        loop {
            let shown = self.shown(&step.command);
            if matches(&step.output, &shown) {
                return None;
            }
            if !eventually || began.elapsed() > WAIT_MAX {
                return Some(finding(step.line, format!("`{}` shows\n{}", step.command, shown.join("\n"))));
            }
            // A server that has something new says so.
            if let Some(server) = self.servers.last() {
                let _ = server.lines.recv_timeout(LOOK_EVERY);
            }
        }
    }

    /// The output of a command that ends, with the addresses of the README.
    fn shown(&self, command: &str) -> Vec<String> {
        let actual = self.ports.iter().fold(command.to_owned(), |text, (from, to)| text.replace(from, to));
        let shown = match actual.strip_prefix("curl ") {
            Some(words) => client::curl(&words.split(' ').collect::<Vec<_>>()).unwrap_or_else(|error| error),
            None => {
                let output = self.sh(&format!("exec 2>&1; {actual}")).output().expect("sh runs");
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
        };
        let shown = self.ports.iter().fold(shown, |text, (from, to)| text.replace(to, from));
        shown.lines().filter(|line| !is_progress(line)).map(|line| line.trim_end().to_owned()).collect()
    }

    /// Starts a server and waits until it has said what it should.
    fn serve(&mut self, step: &Step) -> Option<Finding> {
        let any_port = |word: &str| match word.strip_prefix("127.0.0.1:") {
            Some(_) => "127.0.0.1:0".to_owned(),
            None => word.to_owned(),
        };
        let mut words: Vec<String> = step.command.split(' ').map(any_port).collect();
        // `shoal up` has three sockets, of which two take requests.
        let sockets = if words.get(1).is_some_and(|verb| verb == "up") { SOCKETS } else { &SOCKETS[..1] };
        for socket in sockets.iter().filter(|socket| !step.command.contains(*socket)) {
            words.splice(2..2, [(*socket).into(), "127.0.0.1:0".into()]);
        }
        let server = Server::start(self.sh(&format!("exec {}", words.join(" "))));
        let mut shown = Vec::new();
        for expected in &step.output {
            let Some(line) = server.line() else { break };
            match (address(expected), address(&line)) {
                (Some(from), Some(to)) => {
                    shown.push(line.replace(to, from));
                    self.ports.push((from.into(), to.into()));
                }
                _ => shown.push(line),
            }
        }
        let as_shown = step.output.len() == shown.len()
            && step.output.iter().zip(&shown).all(|(expected, line)| fits(expected, line));
        self.servers.push(server);
        (!as_shown).then(|| finding(step.line, format!("`{}` shows\n{}", step.command, shown.join("\n"))))
    }

    fn sh(&self, script: &str) -> Command {
        let bin = self.shoal.parent().unwrap_or(Path::new("/"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(self.scratch.path()).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", bin.display()));
        let data = self.scratch.path().join("data");
        // What the reader is told to set.
        command.env("KUBECONFIG", data.join("kubeconfig")).env("HOME", self.scratch.path());
        command.env("SHOAL_DATA_DIR", data).env_remove("SHOAL_LOG");
        command
    }
}

/// What is said of a compile that takes long: whether it does depends on the machine.
fn is_progress(line: &str) -> bool {
    line.starts_with("compiling ")
}

/// A line of the log: which come, and when, is not what the README tells.
fn is_log(line: &str) -> bool {
    ["INFO", "WARN"].iter().any(|level| line.contains(&format!("Z  {level} ")))
}

/// `127.0.0.1:PORT` in a line.
fn address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("://")?;
    Some(rest.split('/').next().unwrap_or(rest))
}

/// A server until it is dropped.
struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("sh runs");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let (said, lines) = sync_channel(LINES_MAX);
        // Ends with the server: its end of the pipe closes. Lines that nobody looks at are dropped.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = said.try_send(line);
            }
        });
        Self { child, lines }
    }

    /// The next line that it says.
    fn line(&self) -> Option<String> {
        loop {
            let line = self.lines.recv_timeout(WAIT_MAX).ok()?;
            if !is_progress(&line) && !is_log(&line) {
                return Some(line);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
