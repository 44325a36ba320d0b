//! Shows work that takes long: a compile, and only when it does; a transfer; objects that come up or go.

mod lines;
mod transfer;

use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use shoal_runtime::{Progress, Step};

use crate::render;

pub use lines::LinesProgress;
pub use transfer::TransferProgress;

/// A compile that ends before this is not worth a word: most artifacts take less, and come from the cache
/// the second time.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the spinner turns: often enough to look alive, rare enough to cost the compiler nothing.
const TICK: Duration = Duration::from_millis(120);

/// Shows the compile of one artifact at a time: on a terminal a spinner with the time and size, elsewhere
/// one line. Says nothing about a compile that is over within a second.
pub struct CompileProgress {
    name: String,
    is_terminal: bool,
    patience: Duration,
    say: Arc<dyn Fn(&str) + Send + Sync>,
    running: Mutex<Option<Running>>,
}

/// One compile, watched by a thread that is joined when it ends.
struct Running {
    over: Arc<Over>,
    watcher: JoinHandle<()>,
}

/// Set once the compile is over.
#[derive(Default)]
struct Over {
    over: Mutex<bool>,
    changed: Condvar,
}

impl CompileProgress {
    /// Shows the compile of the artifact of this name on standard error; `is_terminal` says whether that is
    /// a terminal.
    pub fn new(name: impl Into<String>, is_terminal: bool) -> Self {
        let say = |line: &str| drop(writeln!(anstream::stderr(), "{line}"));
        Self::with(name, is_terminal, PATIENCE, Arc::new(say))
    }

    fn with(
        name: impl Into<String>,
        is_terminal: bool,
        patience: Duration,
        say: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Self {
        Self { name: name.into(), is_terminal, patience, say, running: Mutex::new(None) }
    }

    fn begin(&self, size_bytes: u64) {
        self.end();
        let over = Arc::new(Over::default());
        let what = format!("{} ({})", render::plain(&self.name), render::size(size_bytes));
        let watch = {
            let (over, say) = (Arc::clone(&over), Arc::clone(&self.say));
            let (is_terminal, patience) = (self.is_terminal, self.patience);
            move || watch(&over, &what, is_terminal, patience, &*say)
        };
        // Without a thread the compile goes on unseen: that is all that is lost.
        if let Ok(watcher) = std::thread::Builder::new().name("compile-progress".into()).spawn(watch) {
            *lock(&self.running) = Some(Running { over, watcher });
        }
    }

    fn end(&self) {
        if let Some(Running { over, watcher }) = lock(&self.running).take() {
            *lock(&over.over) = true;
            over.changed.notify_all();
            // A watcher that panicked has said so itself.
            drop(watcher.join());
        }
    }
}

impl Progress for CompileProgress {
    fn step(&self, step: Step) {
        match step {
            Step::Compiling { size_bytes } => self.begin(size_bytes),
            Step::Ready => self.end(),
        }
    }
}

impl Drop for CompileProgress {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits for the compile to be over; when patience ends first, shows it until it is.
fn watch(over: &Over, what: &str, is_terminal: bool, patience: Duration, say: &dyn Fn(&str)) {
    let started = Instant::now();
    let guard = lock(&over.over);
    let waited = over.changed.wait_timeout_while(guard, patience, |over| !*over);
    let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
    if !timeout.timed_out() {
        return;
    }
    if !is_terminal {
        say(&format!("compiling {what}; the result is kept, so that the next start takes no time"));
        return;
    }
    let spinner = ProgressBar::new_spinner().with_elapsed(started.elapsed());
    let style = ProgressStyle::with_template("{spinner:.cyan} compiling {msg} {elapsed}");
    spinner.set_style(style.expect("the template is well formed"));
    spinner.set_message(what.to_string());
    spinner.enable_steady_tick(TICK);
    drop(over.changed.wait_while(guard, |over| !*over));
    spinner.finish_and_clear();
    say(&format!("compiled {what} in {:.1}s", started.elapsed().as_secs_f64()));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// How long a test waits for a line before it fails.
    const DEADLINE: Duration = Duration::from_secs(30);

    fn progress(is_terminal: bool, patience: Duration) -> (CompileProgress, mpsc::Receiver<String>) {
        let (sender, lines) = mpsc::sync_channel(16);
        let sender = Mutex::new(sender);
        let say = move |line: &str| drop(lock(&sender).send(line.to_string()));
        (CompileProgress::with("app.wasm", is_terminal, patience, Arc::new(say)), lines)
    }

    #[test]
    fn a_short_compile_is_not_mentioned() {
        let (progress, lines) = progress(false, Duration::from_secs(3600));
        progress.step(Step::Compiling { size_bytes: 1 });
        progress.step(Step::Ready);
        drop(progress);
        assert_eq!(lines.try_iter().count(), 0);
    }

    #[test]
    fn a_long_compile_is_one_line_where_there_is_no_terminal() {
        let (progress, lines) = progress(false, Duration::ZERO);
        progress.step(Step::Compiling { size_bytes: 18_425_097 });
        let line = lines.recv_timeout(DEADLINE).expect("a line");
        assert_eq!(
            line,
            "compiling app.wasm (17.6MiB); the result is kept, so that the next start takes no time"
        );
        progress.step(Step::Ready);
        drop(progress);
        assert_eq!(lines.try_iter().count(), 0);
    }

    #[test]
    fn every_compile_is_watched_anew_and_none_is_left_behind() {
        let (progress, lines) = progress(false, Duration::ZERO);
        for _ in 0..2 {
            progress.step(Step::Compiling { size_bytes: 1 });
            lines.recv_timeout(DEADLINE).expect("a line");
        }
        progress.step(Step::Compiling { size_bytes: 1 });
        drop(progress);
        let left: Vec<String> = lines.iter().collect();
        assert!(left.len() <= 1, "the channel is closed once the last watcher is gone: {left:?}");
    }
}
