//! Whether two builds of a guest behave alike: both run under `shoal run`, and their answers are compared.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long a guest may take to answer or to end: a debug build on a busy machine is slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// The first exit code that means that shoal refused to run a guest (64 to 78, as in sysexits.h).
const EXIT_REFUSED: i32 = 64;

/// Requests that every HTTP guest gets: method, target, body. What a guest makes of them is its own.
const REQUESTS: [(&str, &str, &str); 3] =
    [("GET", "/hello", ""), ("POST", "/info", "a body"), ("GET", "/", "")];

/// What an HTTP guest answered: one status line and body for each request.
type Answers = Vec<(String, String)>;

/// In what the committed and the rebuilt guest differ; none when they answer alike.
///
/// # Errors
/// No `shoal` is built, or a guest does not run at all.
pub(super) fn difference(root: &Path, built: &Path, rebuilt: &Path, guest: &str) -> Result<Option<String>> {
    let shoal = find_shoal(root).with_context(|| {
        format!("{guest} has other bytes than committed; `cargo build -p shoal` lets this task compare the answers")
    })?;
    let file = |directory: &Path| directory.join(format!("{guest}.wasm"));
    let (then, now) = if guest.starts_with("cli") || guest.starts_with("socket") {
        (command_output(&shoal, &file(built))?, command_output(&shoal, &file(rebuilt))?)
    } else {
        let answers = |directory| {
            Ok::<_, anyhow::Error>(format!("{:?}", serve_and_ask(&shoal, &file(directory), guest)?))
        };
        (answers(built)?, answers(rebuilt)?)
    };
    Ok((then != now).then(|| format!("committed: {then}; rebuilt: {now}")))
}

/// The binary under test: `SHOAL`, or what cargo built.
fn find_shoal(root: &Path) -> Option<PathBuf> {
    let named = std::env::var_os("SHOAL").map(PathBuf::from);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let candidates = ["debug/shoal", "release/shoal"].map(|path| target.join(path));
    named.into_iter().chain(candidates).find(|path| path.is_file())
}

/// The grants that a guest needs to load.
fn grants(guest: &str) -> &'static [&'static str] {
    match guest {
        "counter" | "counter-draft2" => &["--kv", "default"],
        "config" => &["--config", "hello=there"],
        "blobs" => &["--blobs", "default"],
        "fetch" => &["--allow-outbound", "http://127.0.0.1:1"],
        "socket" | "socket-p3" => &["--allow-outbound", "tcp://127.0.0.1:1"],
        // The guests' own directory: nothing writes below the path that is asked for.
        "reader" => &["--dir", ".:/data:ro"],
        _ => &[],
    }
}

fn run_command(shoal: &Path, file: &Path, guest: &str) -> Command {
    let mut command = Command::new(shoal);
    command.arg("run").arg(file).args(grants(guest)).stdin(Stdio::null());
    command
}

/// What a command printed and exited with, without the lines that change from run to run.
fn command_output(shoal: &Path, file: &Path) -> Result<String> {
    let guest = file.file_stem().unwrap_or_default().to_string_lossy();
    let output = run_command(shoal, file, &guest)
        .args(["--timeout", &format!("{}s", DEADLINE.as_secs()), "--", "3", "two"])
        .output()
        .with_context(|| format!("cannot run {}", shoal.display()))?;
    // Above all codes that the guests are asked for here: shoal's own, for what it does not run.
    ensure!(
        output.status.code().is_some_and(|code| code < EXIT_REFUSED),
        "{} does not run: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let steady = text.lines().filter(|line| !line.starts_with("clock: ") && !line.starts_with("random: "));
    Ok(format!("{}; {}", output.status, steady.collect::<Vec<_>>().join(" | ")))
}

fn serve_and_ask(shoal: &Path, file: &Path, guest: &str) -> Result<Answers> {
    let mut child = run_command(shoal, file, guest)
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", shoal.display()))?;
    let answers = ask(&mut child).with_context(|| format!("{} does not serve", file.display()));
    child.kill().context("cannot stop shoal")?;
    child.wait().context("cannot stop shoal")?;
    answers
}

fn ask(child: &mut Child) -> Result<Answers> {
    let talk = child.stderr.take().context("stderr is a pipe")?;
    let mut talk = BufReader::new(talk);
    let mut line = String::new();
    let address = loop {
        line.clear();
        ensure!(talk.read_line(&mut line)? > 0, "shoal ended before it listened");
        if let Some(address) = address_in(&line) {
            break address;
        }
    };
    // Someone has to read what the guest logs, or it would block on a full pipe.
    let drain = std::thread::spawn(move || std::io::copy(&mut talk, &mut std::io::sink()));
    let answers = REQUESTS.iter().map(|request| exchange(&address, *request)).collect();
    child.kill().context("cannot stop shoal")?;
    drain.join().ok();
    answers
}

/// The `HOST:PORT` of the first `http://HOST:PORT` in the line.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || ".:[]-".contains(letter)));
    let address = &rest[..end.unwrap_or(rest.len())];
    address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()).then(|| address.to_owned())
}

/// One request over its own connection, in HTTP/1.0, whose bodies end with the connection.
fn exchange(address: &str, (method, target, body): (&str, &str, &str)) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let length = body.len();
    write!(stream, "{method} {target} HTTP/1.0\r\nHost: guest\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("{method} {target} was not answered"))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("{method} {target} was not answered with HTTP: {answer:?}");
    };
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_first_line_that_has_one() {
        assert_eq!(address_in("serving hello on http://127.0.0.1:8080\n").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(address_in("http://[::1]:80/, then more").as_deref(), Some("[::1]:80"));
        assert_eq!(address_in("http://no-port.example/"), None);
        assert_eq!(address_in("compiling hello"), None);
    }
}
