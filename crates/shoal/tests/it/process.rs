//! A `shoal` process of one test: its own data directory, its own port, ended with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::Client;

/// How long anything may take: a debug build on a busy machine compiles a large guest in minutes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(240);

/// A directory for one test; `data` in it is the data directory, which does not exist at first.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// A path in here.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path in here, as an argument.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file in here and gives its path.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// The binary, with this place's data directory and nothing of the tester's own settings.
    pub(crate) fn shoal(&self) -> Command {
        let mut command = bare();
        command.env("SHOAL_DATA_DIR", self.path("data"));
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn output(&self, args: &[&str]) -> Ended {
        self.output_of(args, b"")
    }

    /// Runs the binary to its end in a directory.
    pub(crate) fn output_in(&self, directory: &Path, args: &[&str]) -> Ended {
        let mut command = self.shoal();
        command.current_dir(directory).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ended::wait(command.spawn().expect("shoal starts"), args)
    }

    /// Runs the binary to its end with this on standard input.
    pub(crate) fn output_of(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut command = self.shoal();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("shoal starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        // A guest that reads nothing closes the pipe early.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = Ended::wait(child, args);
        writer.join().expect("the writer ends");
        output
    }

    /// Serves a built guest on a port of its own, with these flags.
    pub(crate) fn serve(&self, guest: &str, flags: &[&str]) -> Server {
        self.serve_file(&built(guest), flags)
    }

    /// Serves the artifact at `path`.
    pub(crate) fn serve_file(&self, path: &Path, flags: &[&str]) -> Server {
        let mut command = self.shoal();
        command.arg("run").arg(path).args(["--listen", "127.0.0.1:0"]).args(flags);
        Server::start(command)
    }
}

/// The binary without the tester's own settings.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal"));
    for name in ["SHOAL_LOG", "SHOAL_DATA_DIR", "NO_COLOR", "CLICOLOR_FORCE", "COLUMNS", "KUBECONFIG"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The path of a built guest.
pub(crate) fn built(guest: &str) -> PathBuf {
    guests().join("built").join(format!("{guest}.wasm"))
}

/// The directory of the guests.
pub(crate) fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests").canonicalize().expect("the guests' directory")
}

/// How a process ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Waits until the process ends; one that serves instead is ended, and the test with it.
    fn wait(child: Child, args: &[&str]) -> Self {
        let pid = pid(&child);
        let (ended, end) = sync_channel(1);
        let waiter = std::thread::spawn(move || drop(ended.send(child.wait_with_output())));
        let output = end.recv_timeout(DEADLINE).unwrap_or_else(|_| {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a process to end");
            panic!("`shoal {}` did not end", args.join(" "))
        });
        waiter.join().expect("the waiter ends");
        Self::of(output.expect("shoal ends"))
    }

    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        // Said of a compile that takes more than a second: how busy the machine is decides.
        let stderr = text(output.stderr);
        let stderr = stderr.split_inclusive('\n').filter(|line| !line.starts_with("compiling ")).collect();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr }
    }
}

/// A process that serves.
pub(crate) struct Server {
    child: Child,
    talk: Arc<Talk>,
    reader: Option<JoinHandle<()>>,
    /// What it writes to standard output, gathered until it ends.
    output: Option<JoinHandle<String>>,
    pub(crate) scheme: String,
    pub(crate) address: SocketAddr,
}

/// The lines that a process wrote to standard error so far.
#[derive(Default)]
struct Talk {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    is_over: bool,
}

impl Server {
    /// Starts the process and waits for the line that says where it serves.
    pub(crate) fn start(command: Command) -> Self {
        Self::start_at(command, "Serving on ")
    }

    /// Starts the process and waits for the line that says with these words where it is reached.
    pub(crate) fn start_at(mut command: Command, words: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("shoal starts");
        let talk = Arc::new(Talk::default());
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let reader = std::thread::spawn({
            let talk = Arc::clone(&talk);
            move || talk.listen(stderr)
        });
        let mut stdout = child.stdout.take().expect("a pipe");
        let output = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("UTF-8");
            text
        });
        let line = talk.wait("the line that says where it serves", |line| line.starts_with(words));
        let url = line.trim_start_matches(words);
        let (scheme, address) = url.split_once("://").expect("a URL");
        let address = address.parse().expect("an address");
        let scheme = scheme.to_owned();
        Self { child, talk, reader: Some(reader), output: Some(output), scheme, address }
    }

    /// The address of the admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        let line = self.wait_line("the address of the metrics", |line| line.starts_with("Metrics on "));
        let url = line.trim_start_matches("Metrics on http://").trim_end_matches("/metrics");
        url.parse().expect("an address")
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client<std::net::TcpStream> {
        Client::connect(self.address)
    }

    /// Gets a path over a connection of its own: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let response = self.client().send("GET", path, &[], b"").expect("an answer");
        (response.status, response.text())
    }

    /// Waits for a line on standard error.
    pub(crate) fn wait_line(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        self.talk.wait(what, fits)
    }

    /// The lines on standard error so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.talk.lock().lines.clone()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(pid(&self.child), signal).expect("a process to signal");
    }

    /// Waits until the process ends by itself: exit status, standard output, lines on standard error.
    pub(crate) fn ended(mut self) -> (ExitStatus, String, Vec<String>) {
        self.talk.wait_end();
        let status = self.child.wait().expect("a status");
        let output = self.output.take().expect("taken once").join().expect("the output");
        let lines = self.lines();
        (status, output, lines)
    }

    /// Asks the process to end and waits until it did.
    pub(crate) fn stop(self) -> (ExitStatus, String, Vec<String>) {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("a status");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Talk {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, stderr: impl BufRead) {
        for line in stderr.lines() {
            self.lock().lines.push(line.expect("UTF-8"));
            self.changed.notify_all();
        }
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    fn wait(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + DEADLINE;
        let mut heard = self.lock();
        loop {
            if let Some(line) = heard.lines.iter().find(|line| fits(line)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!heard.is_over && !left.is_zero(), "{what} did not come: {:#?}", heard.lines);
            heard = self.changed.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_end(&self) {
        let end = Instant::now() + DEADLINE;
        let mut heard = self.lock();
        while !heard.is_over {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the process did not end: {:#?}", heard.lines);
            heard = self.changed.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn pid(child: &Child) -> rustix::process::Pid {
    i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id")
}

/// Tries until something holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come true");
        std::thread::yield_now();
    }
}
