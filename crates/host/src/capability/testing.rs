//! Helpers for the tests of capabilities.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use shoal_runtime::{StoreGrant, StorePlace};
use tracing_subscriber::fmt::MakeWriter;

/// A store grant by name: in memory, or at a path.
pub(crate) fn grant(name: &str, path: Option<&std::path::Path>) -> StoreGrant {
    let place = path.map_or(StorePlace::Memory, |path| StorePlace::Path(path.to_owned()));
    StoreGrant { name: name.into(), place }
}

/// Collects what is logged on this thread while it lives.
pub(crate) struct Log {
    lines: Lines,
    _listening: tracing::subscriber::DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Starts to listen, to every level.
    pub(crate) fn listen() -> Self {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_ansi(false)
            .without_time()
            .with_max_level(tracing::Level::TRACE)
            .finish();
        Self { lines, _listening: tracing::subscriber::set_default(subscriber) }
    }

    /// All lines so far.
    pub(crate) fn text(&self) -> String {
        let bytes = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Both kinds of engine that the host uses: without and with concurrency support.
pub(crate) fn engines() -> [wasmtime::Engine; 2] {
    [false, true].map(|concurrency| {
        let mut config = wasmtime::Config::new();
        config.concurrency_support(concurrency);
        wasmtime::Engine::new(&config).expect("an engine")
    })
}
