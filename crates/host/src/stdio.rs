//! Standard output and error of a guest that serves: log lines, not a stream of this process.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use shoal_runtime::{Output, Stream};
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
    stream: Stream,
    budget: Arc<LogBudget>,
    output: Option<Arc<dyn Output>>,
}

impl LogStream {
    /// A stream of a guest of `workload`: to its output if it has one, else to the log.
    pub(crate) fn new(
        workload: &str,
        stream: Stream,
        budget: &Arc<LogBudget>,
        output: Option<&Arc<dyn Output>>,
    ) -> Self {
        Self { workload: workload.into(), stream, budget: Arc::clone(budget), output: output.cloned() }
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
        for mut piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // The end of a line is not counted: one of just this length is whole.
            while self.line.len() + piece.len() > LINE_BYTES_MAX + usize::from(piece.ends_with(b"\n")) {
                let (fits, rest) = piece.split_at(LINE_BYTES_MAX - self.line.len());
                self.line.extend_from_slice(fits);
                self.log();
                piece = rest;
            }
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") {
                self.log();
            }
        }
    }

    fn log(&mut self) {
        if let Some(output) = &self.to.output {
            pass(&self.to, &**output, &self.line);
            self.line.clear();
            return;
        }
        let line = String::from_utf8_lossy(&self.line);
        let line = escape(line.trim_end_matches(['\r', '\n']));
        let (workload, stream) = (&*self.to.workload, self.to.stream.name());
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

/// Gives a line, or a piece of one, to the output of the workload as it is.
fn pass(from: &LogStream, output: &dyn Output, line: &[u8]) {
    let is_end = line.ends_with(b"\n");
    let piece = line.strip_suffix(b"\n").unwrap_or(line);
    if line.is_empty() {
        return;
    }
    match from.budget.ask_bytes(line.len() as u64, Instant::now()) {
        Verdict::Pass => {}
        Verdict::PassAfter { dropped_bytes } => {
            output.write(Stream::Stderr, from.budget.notice(dropped_bytes).as_bytes(), true);
        }
        Verdict::Drop => return,
    }
    output.write(from.stream, piece, is_end || line.len() < LINE_BYTES_MAX);
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use shoal_base::units::Bytes;

    use super::*;

    #[derive(Default)]
    struct Said(Mutex<Vec<(Stream, String, bool)>>);

    impl Output for Said {
        fn write(&self, stream: Stream, piece: &[u8], is_end: bool) {
            let text = String::from_utf8_lossy(piece).into_owned();
            self.0.lock().expect("nobody panicked").push((stream, text, is_end));
        }
    }

    /// What reaches the output when a guest writes these pieces.
    fn said(rate: u64, pieces: &[&[u8]]) -> Vec<(Stream, String, bool)> {
        let said = Arc::new(Said::default());
        let output: Arc<dyn Output> = said.clone();
        let budget = Arc::new(LogBudget::new(Bytes(rate), Instant::now()));
        let stream = LogStream::new("web", Stream::Stderr, &budget, Some(&output));
        let mut writer = LineWriter { to: stream, line: Vec::new() };
        pieces.iter().for_each(|piece| writer.push(piece));
        drop(writer);
        said.0.lock().expect("nobody panicked").clone()
    }

    #[test]
    fn an_output_gets_each_line_as_it_is() {
        let line = |text: &str| (Stream::Stderr, text.to_owned(), true);
        assert_eq!(
            said(1000, &[b"on", b"e\n\ntwo\x1b", b"\nthree"]),
            ["one", "", "two\u{1b}", "three"].map(line)
        );
    }

    #[test]
    fn a_line_that_is_too_long_comes_in_pieces() {
        let long = vec![b'x'; LINE_BYTES_MAX - 1];
        let lengths = |pieces: &[&[u8]]| -> Vec<(usize, bool)> {
            said(1 << 20, pieces).into_iter().map(|(_, text, is_end)| (text.len(), is_end)).collect()
        };
        assert_eq!(lengths(&[&long, b"\n"]), [(LINE_BYTES_MAX - 1, true)]);
        assert_eq!(lengths(&[&long, b"yz\n"]), [(LINE_BYTES_MAX, false), (1, true)]);
    }

    #[test]
    fn an_output_has_the_log_rate_too() {
        let lines = said(10, &[b"0123456789\n", b"too much\n"]);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}
