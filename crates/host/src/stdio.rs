//! Standard output and error of a guest that serves: log lines, not a stream of this process.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use shoal_runtime::{Output, Stream};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use crate::capability::logging::LoggingView;
use crate::capability::text::escape;
use crate::log_budget::{Line, LogBudget, Verdict};

/// Bytes of a line that are logged together; a longer line is logged in pieces.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Bytes of a character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;

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
        Box::new(LineWriter { to: self.clone(), line: Vec::new(), is_within: false })
    }
}

struct LineWriter {
    to: LogStream,
    line: Vec<u8>,
    /// The last that the output of the workload got is a piece of a line that has not ended.
    is_within: bool,
}

impl LineWriter {
    fn push(&mut self, bytes: &[u8]) {
        for mut piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // The end of a line is not counted: one of just this length is whole.
            while self.line.len() + piece.len() > LINE_BYTES_MAX + usize::from(piece.ends_with(b"\n")) {
                let (fits, rest) = piece.split_at(LINE_BYTES_MAX - self.line.len());
                self.line.extend_from_slice(fits);
                let next = self.line.split_off(cut_at(&self.line, rest[0]));
                self.log(false);
                self.line = next;
                piece = rest;
            }
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") {
                self.log(true);
            }
        }
    }

    /// Logs what there is: a line or the last piece of one, or else one to which more belongs.
    fn log(&mut self, is_end: bool) {
        if let Some(output) = self.to.output.clone() {
            self.pass(&*output, is_end);
            self.line.clear();
            return;
        }
        let line = String::from_utf8_lossy(&self.line);
        let line = escape(line.trim_end_matches(['\r', '\n']));
        let (workload, stream) = (&*self.to.workload, self.to.stream.name());
        if !line.is_empty() {
            let asked = Line { workload, fields: &[("stream", stream)], message: &line };
            let to = LoggingView { workload, budget: &self.to.budget, output: None };
            if to.passes(&asked, Instant::now()) {
                tracing::info!(target: "guest", workload, stream, "{line}");
            }
        }
        self.line.clear();
    }

    /// Gives what there is to the output of the workload as it is.
    fn pass(&mut self, output: &dyn Output, is_end: bool) {
        if self.line.is_empty() {
            return;
        }
        let stream = self.to.stream;
        match self.to.budget.ask_bytes(self.line.len() as u64, Instant::now()) {
            Verdict::Pass => {}
            Verdict::PassAfter { dropped_bytes } => {
                // Another stream has lost something: that is a line of its own.
                if stream == Stream::Stderr && std::mem::take(&mut self.is_within) {
                    output.write(stream, b"", true);
                }
                output.write(Stream::Stderr, self.to.budget.notice(dropped_bytes).as_bytes(), true);
            }
            Verdict::Drop => {
                // The rest is lost, and the end of the line must not be: the next one would be part of it.
                if std::mem::take(&mut self.is_within) {
                    output.write(stream, b"", true);
                }
                return;
            }
        }
        output.write(stream, self.line.strip_suffix(b"\n").unwrap_or(&self.line), is_end);
        self.is_within = !is_end;
    }
}

/// Where bytes that `next` follows may be cut: not within a character. What is no text is cut where it ends.
fn cut_at(bytes: &[u8], next: u8) -> usize {
    let goes_on = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    if !goes_on(next) {
        return bytes.len();
    }
    let last = bytes.len().saturating_sub(CHAR_BYTES_MAX - 1);
    let begin = bytes[last..].iter().rposition(|byte| !goes_on(*byte)).map(|at| last + at);
    begin.filter(|at| bytes[*at] >= 0b1100_0000).unwrap_or(bytes.len())
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.log(true);
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
        let mut writer = LineWriter { to: stream, line: Vec::new(), is_within: false };
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
    fn a_line_of_just_the_length_that_ends_with_the_stream_has_its_end() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        let lines = said(1 << 20, &[&long]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].2, "no more of it will come");
    }

    #[test]
    fn a_line_whose_rest_is_dropped_ends_all_the_same() {
        let long = vec![b'x'; 2 * LINE_BYTES_MAX];
        let lines = said(10, &[&long, b"yz\nnext\n"]);
        let shown: Vec<(usize, bool)> = lines.iter().map(|(_, text, is_end)| (text.len(), *is_end)).collect();
        assert_eq!(
            shown,
            [(LINE_BYTES_MAX, false), (0, true)],
            "its first piece passed, and no more than its end"
        );
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        for (character, before) in [("ü", 1), ("魚", 2), ("🐟", 1), ("🐟", 3), ("🐟", 4)] {
            let line = "x".repeat(LINE_BYTES_MAX - before) + character + "y";
            // As one write, and byte by byte.
            for size in [line.len(), 1] {
                let pieces: Vec<&[u8]> = line.as_bytes().chunks(size).collect();
                let lines = said(1 << 20, &pieces);
                let text: String = lines.iter().map(|(_, text, _)| text.as_str()).collect();
                assert_eq!(text, line, "{character} at {before}");
                assert_eq!(lines.len(), 2);
            }
        }
    }

    #[test]
    fn what_is_no_text_is_cut_where_it_is_full() {
        assert_eq!(cut_at(b"ab", 0x80), 2, "no character goes on after a letter");
        assert_eq!(cut_at(&[0x80; 8], 0x80), 8);
        assert_eq!(cut_at(b"", 0x80), 0);
        assert_eq!(cut_at("a\u{1f41f}".as_bytes(), b'b'), 5);
    }

    #[test]
    fn an_output_has_the_log_rate_too() {
        let lines = said(10, &[b"0123456789\n", b"too much\n"]);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}
