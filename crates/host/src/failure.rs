//! Why a guest did not reach its end: one kind, one sentence, one log line.

use shoal_base::units::show_duration;
use shoal_runtime::{Failure, FailureKind, Limits, Stream};
use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::guest::{CpuTimeExceeded, DeadlinePassed};
use crate::state::Context;

/// Frames of a backtrace that are worth a reader's time.
const FRAMES_MAX: usize = 20;

/// What the error of a guest's run means. `refusal` is the growth that its limiter refused, if any.
pub(crate) fn classify(error: &Error, refusal: Option<&str>, limits: &Limits) -> Failure {
    if error.is::<CpuTimeExceeded>() {
        let limit = limits.cpu_time.map(show_duration).unwrap_or_default();
        let reason = format!("the guest used more than its CPU time of {limit} (--cpu-time)");
        return Failure::new(FailureKind::CpuTime, reason + &backtrace(error));
    }
    if error.is::<DeadlinePassed>() {
        return deadline_passed(limits);
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

/// The one log line of a failed request.
pub(crate) fn log(context: &Context, request: u64, failure: &Failure) {
    let workload = context.name.as_str();
    // As the client and the access log see it.
    let request = format_args!("{request:016x}");
    if let Some(output) = &context.output {
        let line = format!("request {request} failed ({}): {}", failure.kind.name(), failure.reason);
        return output.write(Stream::Stderr, line.as_bytes(), true);
    }
    tracing::warn!(target: "guest", workload, %request, kind = failure.kind.name(), "{}", failure.reason);
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
            Some(name) => name.to_owned(),
            None => format!("<function {}>", frame.func_index()),
        })
        .collect();
    if frames.len() > FRAMES_MAX {
        shown.push(format!("{} more", frames.len() - FRAMES_MAX));
    }
    format!(" (in {})", shown.join(" < "))
}
