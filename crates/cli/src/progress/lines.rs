//! Shows several things that are on their way, one line for each.

use std::collections::HashMap;
use std::io::Write as _;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::TICK;

/// Shows objects that come up or go: on a terminal a line for each that changes in place, elsewhere a line for each change.
pub struct LinesProgress {
    /// None where there is no terminal.
    terminal: Option<MultiProgress>,
    lines: HashMap<String, Line>,
    say: Box<dyn FnMut(&str) + Send>,
}

/// What is shown of one object.
struct Line {
    text: String,
    bar: Option<ProgressBar>,
}

impl LinesProgress {
    /// Shows them on standard error; `is_terminal` says whether that is a terminal.
    pub fn new(is_terminal: bool) -> Self {
        Self::with(is_terminal, Box::new(|line| drop(writeln!(anstream::stderr(), "{line}"))))
    }

    fn with(is_terminal: bool, say: Box<dyn FnMut(&str) + Send>) -> Self {
        Self { terminal: is_terminal.then(MultiProgress::new), lines: HashMap::new(), say }
    }

    /// What is to be shown of an object now, with styles. `is_over`: it will not change again.
    pub fn set(&mut self, object: &str, text: &str, is_over: bool) {
        let known = self.lines.get(object);
        if known.is_some_and(|line| line.text == text) {
            return;
        }
        let bar = known.and_then(|line| line.bar.clone());
        let bar = bar.or_else(|| self.terminal.as_ref().map(|all| all.add(spinner())));
        match &bar {
            None => (self.say)(text),
            Some(bar) if is_over => bar.finish_with_message(text.to_owned()),
            Some(bar) => bar.set_message(text.to_owned()),
        }
        self.lines.insert(object.to_owned(), Line { text: text.to_owned(), bar });
    }
}

impl Drop for LinesProgress {
    /// What was shown stays on the terminal, as it was last.
    fn drop(&mut self) {
        for line in self.lines.values() {
            if let Some(bar) = &line.bar {
                bar.abandon();
            }
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner:.cyan} {msg}");
    bar.set_style(style.expect("the template is well formed"));
    bar.enable_steady_tick(TICK);
    bar
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn without_a_terminal_each_change_is_a_line() {
        let (sender, lines) = mpsc::sync_channel(16);
        let say = move |line: &str| drop(sender.send(line.to_owned()));
        let mut progress = LinesProgress::with(false, Box::new(say));
        for (object, text) in
            [("a", "a: 0 of 1"), ("b", "b: 0 of 1"), ("a", "a: 0 of 1"), ("a", "a: serving")]
        {
            progress.set(object, text, text.ends_with("serving"));
        }
        drop(progress);
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["a: 0 of 1", "b: 0 of 1", "a: serving"]);
    }

    #[test]
    fn on_a_terminal_a_line_is_changed_in_place() {
        let mut progress = LinesProgress::with(true, Box::new(|line| panic!("a line was said: {line}")));
        progress.set("a", "a: 0 of 1", false);
        let bar = progress.lines["a"].bar.clone().expect("a bar");
        progress.set("a", "a: serving", true);
        assert_eq!(bar.message(), "a: serving");
        assert!(bar.is_finished());
    }
}
