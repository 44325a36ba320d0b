//! Why a guest did not reach its end: one kind, one sentence, one log line.

use std::time::Instant;

use shoal_base::units::show_duration;
use shoal_runtime::{Failure, FailureKind, Limits, Stream};
use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::budget::{OverBudget, ProcessFull};
use crate::capability::logging::{LoggingView, MESSAGE_BYTES_MAX};
use crate::capability::text::{cut, escape, shown_to};
use crate::guest::{CpuTimeExceeded, DeadlinePassed};
use crate::limiter::Refusal;
use crate::log_budget::Line;
use crate::state::Context;

/// Frames of a backtrace that are worth a reader's time.
const FRAMES_MAX: usize = 20;

/// Characters of a function's name that are shown. Those of compilers are long and begin with what tells them apart; a
/// guest may give any name to a function.
const FUNCTION_CHARS_MAX: usize = 128;

impl From<OverBudget> for Failure {
    /// An instance was not made.
    fn from(over: OverBudget) -> Self {
        let kind = match over {
            OverBudget::Alone(_) => FailureKind::Memory,
            // There may be room elsewhere, or a moment later.
            OverBudget::Together(_)
            | OverBudget::Share(_)
            | OverBudget::NoInstance(_)
            | OverBudget::Instances(_) => FailureKind::Overloaded,
        };
        Self::new(kind, format!("no instance was made because {over}"))
    }
}

impl From<ProcessFull> for Failure {
    /// A request was not taken.
    fn from(full: ProcessFull) -> Self {
        Self::new(FailureKind::Overloaded, full.to_string())
    }
}

/// What the error means that an instance was not made for. `refusal` is as in [`classify`].
pub(crate) fn classify_not_made(error: &Error, refusal: Option<&Refusal>, limits: &Limits) -> Failure {
    match refusal {
        Some(Refusal::Budget(over)) => Failure::from(*over),
        Some(Refusal::Limit(_)) | None => classify(error, refusal, limits),
    }
}

/// What the error of a guest's run means. `refusal` is the growth that its limiter refused, if any.
pub(crate) fn classify(error: &Error, refusal: Option<&Refusal>, limits: &Limits) -> Failure {
    if error.is::<CpuTimeExceeded>() {
        let limit = limits.cpu_time.map(show_duration).unwrap_or_default();
        let reason = format!("the guest used more than its CPU time of {limit} (--cpu-time)");
        return Failure::new(FailureKind::CpuTime, reason + &backtrace(error));
    }
    if error.is::<DeadlinePassed>() {
        return deadline_passed(limits);
    }
    if let Some(full) = error.downcast_ref::<ProcessFull>() {
        let reason = format!("the guest was ended because {full}");
        return Failure::new(FailureKind::Memory, reason + &backtrace(error));
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Failure::new(
            FailureKind::Overloaded,
            format!("all instances of the pool are in use: {error:#}"),
        );
    }
    if let Some(refusal) = refusal {
        let reason = format!("the guest gave up because {refusal}");
        return Failure::new(FailureKind::Memory, reason + &backtrace(error));
    }
    if is_too_many_instances(error) {
        let reason =
            format!("the guest has more than its limit of {} core instances (--instances)", limits.instances);
        return Failure::new(FailureKind::Memory, reason);
    }
    let reason = match error.downcast_ref::<Trap>() {
        Some(trap) => format!("the guest trapped: {trap}"),
        None => format!("the guest was stopped: {}", error.root_cause()),
    };
    Failure::new(FailureKind::Trap, reason + &backtrace(error))
}

/// Whether the store refused an instance. The engine has no type for that error, only these words; a test holds
/// them (`tests/it/limits.rs`).
fn is_too_many_instances(error: &Error) -> bool {
    error.root_cause().to_string().starts_with("resource limit exceeded: instance count too high")
}

/// The guest was not done by its deadline.
pub(crate) fn deadline_passed(limits: &Limits) -> Failure {
    let limit = limits.timeout.map(show_duration).unwrap_or_default();
    Failure::new(FailureKind::Deadline, format!("the guest was not done within {limit} (--timeout)"))
}

/// The one log line of a failed request. It counts as what the workload says: one that fails each request floods the
/// log no less than one that writes to it.
pub(crate) fn log(context: &Context, request: u64, failure: &Failure) {
    report(context.logging(), request, failure, Instant::now());
}

fn report(to: LoggingView<'_>, request: u64, failure: &Failure, now: Instant) {
    if to.output.is_none() && !tracing::enabled!(target: "guest", tracing::Level::WARN) {
        return;
    }
    // As the client and the access log see it.
    let request = format!("{request:016x}");
    let kind = failure.kind.name();
    let reason = escape(cut(&failure.reason, MESSAGE_BYTES_MAX));
    let fields = [("request", request.as_str()), ("kind", kind)];
    if !to.passes(&Line { workload: to.workload, fields: &fields, message: &reason }, now) {
        return;
    }
    match to.output {
        Some(output) => {
            let line = format!("request {request} failed ({kind}): {reason}");
            output.write(Stream::Stderr, line.as_bytes(), true);
        }
        None => tracing::warn!(target: "guest", workload = to.workload, %request, kind, "{reason}"),
    }
}

/// Where the guest was, innermost function first: ` (in f < g < h)`.
fn backtrace(error: &Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let frames = backtrace.frames();
    if frames.is_empty() {
        return String::new();
    }
    let mut shown: Vec<String> = frames
        .iter()
        .take(FRAMES_MAX)
        .map(|frame| match frame.func_name() {
            // Without the hash that Rust puts behind a name.
            Some(name) => shown_to(&format!("{:#}", rustc_demangle::demangle(name)), FUNCTION_CHARS_MAX),
            None => format!("<function {}>", frame.func_index()),
        })
        .collect();
    if frames.len() > FRAMES_MAX {
        shown.push(format!("{} more", frames.len() - FRAMES_MAX));
    }
    format!(" (in {})", shown.join(" < "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_base::units::Bytes;
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;
    use crate::capability::testing::Log;
    use crate::log_budget::LogBudget;

    #[test]
    fn a_flood_of_failures_is_held_to_the_log_rate() {
        let log = Log::listen();
        let start = Instant::now();
        let budget = LogBudget::new(Bytes(1000), start);
        let to = LoggingView { workload: "web", budget: &budget, output: None };
        let failure = Failure::new(FailureKind::Trap, "it broke");
        (0..100).for_each(|request| report(to, request, &failure, start));
        let text = log.text();
        assert_eq!(text.lines().count(), 10, "each has 104 bytes with its frame: {text}");
        let first = "WARN guest: it broke workload=\"web\" request=0000000000000000 kind=\"trap\"";
        assert_eq!(text.lines().next().map(str::trim), Some(first));
        report(to, 100, &failure, start + Duration::from_secs(2));
        assert!(log.text().contains("bytes of log dropped"), "what is missing is said");
    }

    #[test]
    fn names_of_functions_are_cut_and_forge_no_line() {
        let long = "f".repeat(FUNCTION_CHARS_MAX + 1);
        let text = format!(
            r#"(module (func $"a\nb" unreachable) (func ${long} call $"a\nb") (func (export "run") call ${long}))"#
        );
        let engine = Engine::default();
        let module = Module::new(&engine, text).expect("it compiles");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").expect("the export");
        let error = run.call(&mut store, ()).expect_err("it traps");
        let failure = classify(&error, None, &Limits::default());
        let shown = format!("(in a\\nb < {}… < ", &long[1..]);
        assert!(failure.reason.contains(&shown), "{failure}");
    }
}
