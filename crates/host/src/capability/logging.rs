//! `wasi:logging`: what a guest says, as events of `tracing` with the target `guest`.
//!
//! Linked for everyone: a guest may always speak. How much it may say is the workload's [`LogBudget`].

use std::time::Instant;

use shoal_runtime::{Output, Stream};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use self::generated::wasi::logging::logging::Level;
use super::text::{cut, escape};
use crate::log_budget::{Line, LogBudget, Verdict};

#[allow(missing_docs, unreachable_pub, dead_code, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({ path: "../../wit", world: "wasi:logging/imports@0.1.0-draft" });
}

/// The names under which guests import the interface: with the draft's version (wasmCloud), and without.
pub(crate) const INTERFACES: [&str; 2] = ["wasi:logging/logging@0.1.0-draft", "wasi:logging/logging"];

/// Longest message, in bytes; the rest is cut off. Log collectors split or refuse longer lines.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Longest context, in bytes; it is a word that groups messages.
const CONTEXT_BYTES_MAX: usize = 256;

/// What a call of `wasi:logging` works on.
#[derive(Clone, Copy)]
pub(crate) struct LoggingView<'a> {
    /// Names the workload in the log.
    pub(crate) workload: &'a str,
    /// What the workload may still say.
    pub(crate) budget: &'a LogBudget,
    /// Where it says it instead of the log.
    pub(crate) output: Option<&'a dyn Output>,
}

/// Links `wasi:logging` under every name in [`INTERFACES`].
///
/// # Errors
/// When one of them is linked already.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> LoggingView<'_>,
) -> wasmtime::Result<()> {
    for interface in INTERFACES {
        linker.instance(interface)?.func_wrap(
            "log",
            move |mut store: StoreContextMut<'_, T>,
                  (level, context, message): (Level, String, String)|
                  -> wasmtime::Result<()> {
                get(store.data_mut()).log(level, &context, &message, Instant::now());
                Ok(())
            },
        )?;
    }
    Ok(())
}

impl LoggingView<'_> {
    fn log(self, level: Level, context: &str, message: &str, now: Instant) {
        if self.output.is_none() && !is_enabled(level) {
            return;
        }
        let context = escape(cut(context, CONTEXT_BYTES_MAX));
        let message = escape(cut(message, MESSAGE_BYTES_MAX));
        let line = Line { workload: self.workload, fields: &[("context", &context)], message: &message };
        if !self.passes(&line, now) {
            return;
        }
        match self.output {
            Some(output) => {
                let context = if context.is_empty() { String::new() } else { format!("{context}: ") };
                let line = format!("{} {context}{message}", name(level));
                output.write(Stream::Stderr, line.as_bytes(), true);
            }
            None => emit(level, self.workload, &context, &message),
        }
    }

    /// Whether the workload may still say this line; says first what was dropped before it.
    pub(crate) fn passes(&self, line: &Line<'_>, now: Instant) -> bool {
        match self.budget.ask(line, now) {
            Verdict::Drop => false,
            Verdict::Pass => true,
            Verdict::PassAfter { dropped_bytes } => {
                let notice = self.budget.notice(dropped_bytes);
                match self.output {
                    Some(output) => output.write(Stream::Stderr, notice.as_bytes(), true),
                    None => tracing::warn!(target: "guest", workload = self.workload, "{notice}"),
                }
                true
            }
        }
    }
}

/// Whether anybody listens to this level: what nobody hears costs no budget.
fn is_enabled(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(target: "guest", tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(target: "guest", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "guest", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "guest", tracing::Level::WARN),
        Level::Error | Level::Critical => tracing::enabled!(target: "guest", tracing::Level::ERROR),
    }
}

/// As a line of a workload's own output begins.
fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    }
}

/// One event; the levels of `tracing` are fixed at each call site.
fn emit(level: Level, workload: &str, context: &str, message: &str) {
    match level {
        Level::Trace => tracing::trace!(target: "guest", workload, context, "{message}"),
        Level::Debug => tracing::debug!(target: "guest", workload, context, "{message}"),
        Level::Info => tracing::info!(target: "guest", workload, context, "{message}"),
        Level::Warn => tracing::warn!(target: "guest", workload, context, "{message}"),
        Level::Error => tracing::error!(target: "guest", workload, context, "{message}"),
        Level::Critical => tracing::error!(target: "guest", workload, context, critical = true, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_base::units::Bytes;
    use wasmtime::Store;
    use wasmtime::component::Component;

    use super::*;
    use crate::capability::testing::{Log, engines};

    /// Logs "hello" with the level 4 (error) and the context "shop".
    const SPEAKER: &str = r#"
    (component
      (import "INTERFACE" (instance $logging
        (type $enum (enum "trace" "debug" "info" "warn" "error" "critical"))
        (export "level" (type $level (eq $enum)))
        (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
      (core module $libc (memory (export "memory") 1) (data (i32.const 0) "shophello"))
      (core instance $libc (instantiate $libc))
      (core func $log (canon lower (func $logging "log") (memory $libc "memory")))
      (core module $main
        (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
        (func (export "run")
          (call $log (i32.const 4) (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 5))))
      (core instance $main (instantiate $main (with "host" (instance (export "log" (func $log))))))
      (func (export "run") (canon lift (core func $main "run"))))
    "#;

    #[test]
    fn components_of_both_names_speak_on_both_engines() {
        for engine in engines() {
            for interface in INTERFACES {
                let log = Log::listen();
                let component =
                    Component::new(&engine, SPEAKER.replace("INTERFACE", interface)).expect("it compiles");
                let mut linker = Linker::<LogBudget>::new(&engine);
                add_to_linker(&mut linker, |budget| LoggingView { workload: "web", budget, output: None })
                    .expect("both names link");
                let mut store = Store::new(&engine, LogBudget::new(Bytes(1000), Instant::now()));
                let instance = linker.instantiate(&mut store, &component).expect("an instance");
                let function = instance.get_typed_func::<(), ()>(&mut store, "run").expect("the export");
                function.call(&mut store, ()).expect("it runs");
                assert_eq!(log.text(), "ERROR guest: hello workload=\"web\" context=\"shop\"\n");
            }
        }
    }

    /// What is logged when a guest with a budget of `rate` says these.
    fn said(rate: u64, lines: &[(Level, &str, &str, Duration)]) -> String {
        let log = Log::listen();
        let start = Instant::now();
        let budget = LogBudget::new(Bytes(rate), start);
        for (level, context, message, after) in lines {
            LoggingView { workload: "web", budget: &budget, output: None }.log(
                *level,
                context,
                message,
                start + *after,
            );
        }
        log.text()
    }

    #[test]
    fn levels_map_to_levels() {
        let at = Duration::ZERO;
        let levels = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Critical];
        let text = said(1000, &levels.map(|level| (level, "c", "m", at)));
        let shown: Vec<_> =
            text.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
        assert_eq!(shown, ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "ERROR"]);
        assert!(text.trim_end().ends_with("critical=true"), "{text}");
    }

    #[test]
    fn a_guest_cannot_forge_a_line() {
        let text =
            said(1000, &[(Level::Info, "a\nb", "x\r\n ERROR host: all is lost\x1b[2J", Duration::ZERO)]);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("x\\r\\n ERROR host: all is lost\\u{1b}[2J"), "{text}");
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let mut lines = vec![(Level::Info, "", "0123456789", Duration::ZERO); 30];
        lines.push((Level::Info, "", "after", Duration::from_secs(2)));
        // Each line is 78 bytes with time, level, workload and context.
        let text = said(780, &lines);
        assert_eq!(text.lines().filter(|line| line.contains("0123456789")).count(), 10);
        assert!(
            text.contains("1560 bytes of log dropped: over the limit of 780B per second (--log-rate)"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 12, "ten lines, the notice, and the line after it: {text}");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "é".repeat(MESSAGE_BYTES_MAX);
        let text = said(1 << 20, &[(Level::Info, &long, &long, Duration::ZERO)]);
        assert_eq!(text.matches('é').count(), (MESSAGE_BYTES_MAX + CONTEXT_BYTES_MAX) / 2);
    }

    #[test]
    fn what_nobody_hears_costs_nothing() {
        let quiet = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(std::io::sink)
            .finish();
        let now = Instant::now();
        let budget = LogBudget::new(Bytes(5), now);
        tracing::subscriber::with_default(quiet, || {
            LoggingView { workload: "web", budget: &budget, output: None }.log(
                Level::Info,
                "",
                "0123456789",
                now,
            );
        });
        assert_eq!(budget.left_bytes(), 5);
    }

    #[test]
    fn what_counts_is_what_is_written() {
        // The tests' log leaves out the time and the blank after it.
        const TIME_BYTES: usize = "2026-11-23T00:00:32.476423Z ".len();
        let log = Log::listen();
        let now = Instant::now();
        let budget = LogBudget::new(Bytes(1 << 20), now);
        let view = LoggingView { workload: "web", budget: &budget, output: None };
        view.log(Level::Info, "", "short", now);
        view.log(Level::Error, "a context", "with an \u{e9} and a\nline end", now);
        let text = log.text();
        assert_eq!((1 << 20) - budget.left_bytes(), (text.len() + text.lines().count() * TIME_BYTES) as i128);
    }
}
