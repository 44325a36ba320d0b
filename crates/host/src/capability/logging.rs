//! `wasi:logging`: what a guest says, as events of `tracing` with the target `guest`.
//!
//! Linked for everyone: a guest may always speak. How much it may say is the workload's [`LogBudget`].

use std::time::Instant;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use self::generated::wasi::logging::logging::Level;
use super::text::escape;
use crate::log_budget::{LogBudget, Verdict};

#[allow(missing_docs, unreachable_pub, dead_code, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({ path: "../../wit", world: "wasi:logging/imports@0.1.0-draft" });
}

/// The names under which guests import the interface: with the draft's version (wasmCloud), and without.
pub(crate) const INTERFACES: [&str; 2] = ["wasi:logging/logging@0.1.0-draft", "wasi:logging/logging"];

/// Longest message, in bytes; the rest is cut off. Log collectors split or refuse longer lines.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Longest context, in bytes; it is a word that groups messages.
const CONTEXT_BYTES_MAX: usize = 256;

/// What a call of `wasi:logging` works on.
#[derive(Clone, Copy)]
pub(crate) struct LoggingView<'a> {
    /// Names the workload in the log.
    pub(crate) workload: &'a str,
    /// What the workload may still say.
    pub(crate) budget: &'a LogBudget,
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
        if !is_enabled(level) {
            return;
        }
        let context = escape(cut(context, CONTEXT_BYTES_MAX));
        let message = escape(cut(message, MESSAGE_BYTES_MAX));
        match self.budget.ask((context.len() + message.len()) as u64, now) {
            Verdict::Drop => return,
            Verdict::PassAfter { dropped_bytes } => {
                let notice = self.budget.notice(dropped_bytes);
                tracing::warn!(target: "guest", workload = self.workload, "{notice}");
            }
            Verdict::Pass => {}
        }
        emit(level, self.workload, &context, &message);
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

/// The beginning of the text, at most `bytes_max` bytes, cut between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
