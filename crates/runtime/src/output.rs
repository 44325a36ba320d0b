//! Where what a guest prints goes.

use std::fmt;

/// Takes what a workload prints: its standard output and error, what it logs, and how its requests failed.
pub trait Output: Send + Sync {
    /// Takes a line, without its end, or a piece of a line that is too long to be kept whole: then `is_end` says
    /// whether it is the last. Lines of one instance come in order. Called on the thread that runs the guest, so it
    /// must not wait.
    fn write(&self, stream: Stream, piece: &[u8], is_end: bool);
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Debug for dyn Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}
