//! `--watch`: loads the artifact again when it changes, and swaps it in between two requests.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use shoal_cli::{Exit, exit, render};
use shoal_edge::Routes;
use shoal_host::Host;
use shoal_runtime::{Quiet, Refusal, Runtime as _, Workload, WorkloadSpec};

/// How long the artifact must be left alone before it is read: linkers write in several steps.
const SETTLE: Duration = Duration::from_millis(50);

/// Changes that wait to be seen. They carry nothing, so one stands for all.
const CHANGES_WAITING: usize = 1;

/// Watches until it is dropped.
pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Starts to watch the directory of the artifact: builds replace the file rather than write to it.
pub(crate) fn start(host: Arc<Host>, spec: &WorkloadSpec, routes: Routes) -> Result<Watch, Exit> {
    let refuse = |error: &dyn std::fmt::Display| {
        Exit::error(exit::UNAVAILABLE, format!("cannot watch {}: {error}", spec.artifact.display()))
    };
    let (changed, changes) = sync_channel(CHANGES_WAITING);
    let artifact = spec.artifact.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let concerns = event.is_ok_and(|event| {
            !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == artifact.file_name())
        });
        if concerns {
            // Full: a change is waiting to be seen already. Gone: the process ends.
            let _ = changed.try_send(());
        }
    })
    .map_err(|error| refuse(&error))?;
    let dir = spec.artifact.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher.watch(dir, RecursiveMode::NonRecursive).map_err(|error| refuse(&error))?;
    let thread = std::thread::Builder::new()
        .name("watch".into())
        .spawn({
            let spec = spec.clone();
            move || follow(&changes, &host, &spec, &routes)
        })
        .map_err(|error| refuse(&error))?;
    Ok(Watch { watcher: Some(watcher), thread: Some(thread) })
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.watcher.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(changes: &Receiver<()>, host: &Host, spec: &WorkloadSpec, routes: &Routes) {
    while changes.recv().is_ok() {
        while changes.recv_timeout(SETTLE).is_ok() {}
        match host.load(spec, &Quiet) {
            Ok(Workload::Http(invoke)) => {
                routes.replace(invoke);
                let _ = writeln!(anstream::stderr(), "Reloaded {}", spec.artifact.display());
            }
            Ok(Workload::Command(_)) => {
                keep(&Refusal::new("it is a command now, which does not answer requests"));
            }
            Err(refusal) => keep(&refusal),
        }
    }
}

/// Goes on with what was loaded before.
fn keep(refusal: &Refusal) {
    let what = format!("not reloaded: {}", refusal.what);
    let text = render::error::warning(&what, refusal.hint.as_deref());
    let _ = anstream::stderr().write_all(text.as_bytes());
}
