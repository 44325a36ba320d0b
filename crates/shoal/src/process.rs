//! What concerns the process as a whole: its log, its limits, its signals.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use shoal_cli::{Color, Common, Exit, Request, exit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What is logged unless `--log` or `SHOAL_LOG` say otherwise: what a guest says, and what goes wrong.
const LOG_DEFAULT: &str = "warn,shoal=info,guest=info";

/// Starts the log, on standard error.
pub(crate) fn log(common: &Common, request: &Request) -> Result<(), Exit> {
    let (Request::Run(_) | Request::Server(_) | Request::Up(_) | Request::Node(_)) = request else {
        return Ok(());
    };
    let directives = common.log.as_deref().unwrap_or(LOG_DEFAULT);
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Exit::error(exit::USAGE, format!("`{directives}` is no log filter: {error}"))
            .hint("give a level, or TARGET=LEVEL pairs: --log warn,guest=debug")
    })?;
    let ansi = match common.color {
        Color::Auto => {
            std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none()
        }
        Color::Always => true,
        Color::Never => false,
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
    Ok(())
}

/// Does the work of the process. A panic that reaches this far is a defect of Shoal, which has an exit code of its own;
/// what panicked, and where, has been said by then.
pub(crate) fn guarded(work: impl FnOnce() -> Result<u8, Exit>) -> Result<u8, Exit> {
    // Nothing that a panic could have left half done is looked at again: the process ends.
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Exit::error(exit::INTERNAL, "this is a defect of Shoal; the lines above say where")
            .hint("please report it with them, and with what `shoal version` and `shoal doctor` say"))
    })
}

/// Raises the limit of open files to what the system allows: each connection takes one.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!("cannot raise the limit of open files: {error}");
        }
    }
}

/// Has memory given out in small pages. The allocator asks for huge ones, which an idle process fills by a third: 15 MiB
/// more than it needs.
pub(crate) fn use_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!("cannot do without huge pages: {error}");
    }
}

/// A runtime for work beside the edge's own threads.
pub(crate) fn runtime() -> Result<Runtime, Exit> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::error(exit::UNAVAILABLE, format!("cannot start a runtime: {error}")))
}

/// A runtime with a thread for each core.
pub(crate) fn threaded_runtime() -> Result<Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::error(exit::UNAVAILABLE, format!("cannot start a runtime: {error}")))
}

/// The signals that a serving process knows.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To end (SIGTERM, SIGINT).
    End,
    /// To read certificates again (SIGHUP).
    Reload,
}

impl Signals {
    /// Takes over the signals of this process; needs a runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

/// Writes a file so that it appears under its name only when it is whole and on disk.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Exit> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(dir).and_then(|mut file| {
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    });
    match written {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Exit::error(exit::UNAVAILABLE, format!("cannot write {}: {error}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_process_as_a_defect() {
        let ended = guarded(|| panic!("a test panics here on purpose"));
        assert_eq!(ended.map_err(|exit| exit.code()), Err(70));
        assert_eq!(guarded(|| Ok(3)), Ok(3), "what does not panic passes through");
        assert_eq!(guarded(|| Err(Exit::error(exit::USAGE, "no"))).map_err(|exit| exit.code()), Err(64));
    }

    #[test]
    fn a_panic_on_a_thread_of_the_edge_reaches_the_guard() {
        let ended = guarded(|| {
            let thread = std::thread::spawn(|| panic!("a test panics here on purpose"));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        assert_eq!(ended.map_err(|exit| exit.code()), Err(70));
    }
}
