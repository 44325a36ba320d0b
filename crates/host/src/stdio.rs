//! Standard output and error of a guest that serves: log lines, not a stream of this process.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use crate::capability::text::escape;
use crate::log_budget::{Line, LogBudget, Verdict};

/// Bytes of a line that are logged together; a longer line is logged in pieces.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Logs what is written, line by line.
#[derive(Clone, Debug)]
pub(crate) struct LogStream {
    workload: Arc<str>,
    stream: &'static str,
    budget: Arc<LogBudget>,
}

impl LogStream {
    /// The stream `stream` (`stdout` or `stderr`) of a guest of `workload`.
    pub(crate) fn new(workload: &str, stream: &'static str, budget: &Arc<LogBudget>) -> Self {
        Self { workload: workload.into(), stream, budget: Arc::clone(budget) }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LineWriter { to: self.clone(), line: Vec::new() })
    }
}

struct LineWriter {
    to: LogStream,
    line: Vec<u8>,
}

impl LineWriter {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") || self.line.len() >= LINE_BYTES_MAX {
                self.log();
            }
        }
    }

    fn log(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let line = escape(line.trim_end_matches(['\r', '\n']));
        let (workload, stream) = (&*self.to.workload, self.to.stream);
        if !line.is_empty() {
            let asked = Line { workload, field: Some(("stream", stream)), message: &line };
            match self.to.budget.ask(&asked, Instant::now()) {
                Verdict::Pass => tracing::info!(target: "guest", workload, stream, "{line}"),
                Verdict::PassAfter { dropped_bytes } => {
                    let notice = self.to.budget.notice(dropped_bytes);
                    tracing::warn!(target: "guest", workload, "{notice}");
                    tracing::info!(target: "guest", workload, stream, "{line}");
                }
                Verdict::Drop => {}
            }
        }
        self.line.clear();
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.log();
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
