//! Shows how much of an artifact has come or gone.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::render;

/// Shows a transfer on a terminal as a bar with its speed, and elsewhere nothing: what comes of it is said in the end.
pub struct TransferProgress(ProgressBar);

impl TransferProgress {
    /// `verb` says what is done, as in `pulling`; `is_terminal` whether standard error is a terminal.
    pub fn new(verb: &str, name: &str, is_terminal: bool) -> Self {
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template(
            "{msg} {bar:24.cyan} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        );
        bar.set_style(style.expect("the template is well formed"));
        bar.set_message(format!("{verb} {}", render::plain(name)));
        Self(bar)
    }

    /// So many bytes of so many.
    pub fn at(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for TransferProgress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_what_is_done_and_how_far_it_is() {
        let progress = TransferProgress::new("pulling", "ghcr.io/a\u{1b}b", false);
        assert_eq!(progress.0.message(), "pulling ghcr.io/a\\u{1b}b");
        progress.at(1024, 4096);
        assert_eq!((progress.0.position(), progress.0.length()), (1024, Some(4096)));
        let bar = progress.0.clone();
        drop(progress);
        assert!(bar.is_finished());
    }
}
