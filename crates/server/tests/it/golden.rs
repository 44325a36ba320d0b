//! What kubectl 1.32 and kube-apiserver 1.32 once said to each other, said again to this server.
//!
//! All recorded exchanges go, in their order, to one new server. Its answers must be those of kube-apiserver, but for
//! what [`normalise`] evens out (times, ids, addresses) and for what `differences.txt` lists with a reason. A
//! difference that is not listed fails the test, and so does a listed one that no longer occurs.

mod compare;
mod differences;
mod names;
mod normalise;
mod recording;
mod replay;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use differences::Accepted;
use recording::Step;
use shoal_server::Controllers;

use crate::server::Server;

/// Where the recordings lie: in a directory beside the repository, or beside one that it lies in.
const RECORDINGS: &str = "shared/golden/kubectl";
/// Characters of a value that a report shows.
const SHOWN: usize = 300;

/// One thing that is not as it was recorded.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The number of the recorded command.
    step: u32,
    /// The number of the exchange in it, from 0.
    exchange: usize,
    /// Method and target.
    request: String,
    /// `status`, `content-type`, or a path in the body that begins with `body`.
    path: String,
    /// As recorded; empty: it was not there.
    expected: String,
    /// As this server says; empty: it does not say it.
    got: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_kubectl_hears_what_kube_apiserver_said() {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let Some(steps) =
        above.map(|directory| directory.join(RECORDINGS)).find_map(|root| Step::read_all(&root))
    else {
        eprintln!("SKIPPED: there is no {RECORDINGS} beside the repository");
        return;
    };
    let server = Server::start_with(Controllers::All).await;
    let mut accepted = Accepted::read(include_str!("golden/differences.txt"));
    let findings = replay::run(&server, &steps, &|finding| accepted.has(finding)).await;
    server.end().await;
    let (listed, new): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| accepted.take(finding));
    let idle = accepted.idle();
    let file = write_report(&steps, &listed, &new, &idle);
    assert!(
        new.is_empty() && idle.is_empty(),
        "{} differences that differences.txt does not list, {} that it lists but that do not occur; all in {}\n{}",
        new.len(),
        idle.len(),
        file.display(),
        report(&steps, &new, &idle, 40)
    );
}

/// What differs, for people; at most `lines` differences.
fn report(steps: &[Step], new: &[Finding], idle: &[String], lines: usize) -> String {
    let mut text = String::new();
    let mut last = None;
    for finding in new.iter().take(lines) {
        if last != Some((finding.step, finding.exchange)) {
            last = Some((finding.step, finding.exchange));
            let command =
                steps.iter().find(|step| step.number == finding.step).map(|step| step.command.as_str());
            let Finding { step, exchange, request, .. } = finding;
            let _ = writeln!(text, "\n{step}.{exchange} {}\n    {request}", command.unwrap_or_default());
        }
        let _ = writeln!(text, "  {}", finding.path);
        let _ = writeln!(text, "    expected {}", shown(&finding.expected));
        let _ = writeln!(text, "    got      {}", shown(&finding.got));
    }
    if new.len() > lines {
        let _ = writeln!(text, "\n... and {} more", new.len() - lines);
    }
    for rule in idle {
        let _ = writeln!(text, "\nno longer occurs: {rule}");
    }
    text
}

fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        _ if value.is_empty() => "nothing".into(),
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.into(),
    }
}

/// Keeps the whole report where people find it.
fn write_report(steps: &[Step], listed: &[Finding], new: &[Finding], idle: &[String]) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden.txt");
    let mut text = format!("# Not listed: {}\n", new.len());
    text += &report(steps, new, idle, usize::MAX);
    let _ = write!(text, "\n\n# Listed: {}\n", listed.len());
    text += &report(steps, listed, &[], usize::MAX);
    std::fs::write(&file, text).expect("a report");
    file
}
