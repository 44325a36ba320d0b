//! How much guests may use, as typed. What was not typed keeps the default of the artifact's kind.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use shoal_base::units::{Bytes, parse_duration};
use shoal_runtime::{Limits, LimitsByKind};

/// Least memory: one page of WebAssembly, without which a guest with a memory cannot start.
const MEMORY_MIN: Bytes = Bytes::kib(64);

/// Least stack: host functions of WASI take some kilobytes below the guest's own frames.
const STACK_MIN: Bytes = Bytes::kib(16);

/// Most stack: address space of this size is set aside for every request in flight.
const STACK_MAX: Bytes = Bytes::mib(64);

/// What was typed, laid over `defaults`.
fn over(typed: &TypedLimits, defaults: &Limits) -> Limits {
    Limits {
        memory: typed.memory.unwrap_or(defaults.memory),
        table_elements: typed.table_elements.unwrap_or(defaults.table_elements),
        instances: typed.instances.map_or(defaults.instances, NonZeroU32::get),
        stack: typed.stack.unwrap_or(defaults.stack),
        cpu_time: typed.cpu_time.map_or(defaults.cpu_time, |bound| bound.0),
        timeout: typed.timeout.map_or(defaults.timeout, |bound| bound.0),
        request_body: typed.request_body.unwrap_or(defaults.request_body),
        response_body: typed.response_body.unwrap_or(defaults.response_body),
        header_list: typed.header_list.unwrap_or(defaults.header_list),
        outbound_in_flight: typed.outbound_in_flight.unwrap_or(defaults.outbound_in_flight),
        log_rate: typed.log_rate.unwrap_or(defaults.log_rate),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Limits (of one request, or of a command's whole run)")]
pub(crate) struct TypedLimits {
    /// All linear memories of one instance together [default: 128MiB]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<Bytes>,
    /// Time on the core; `none` for no limit [default: 10s; commands: none]
    #[arg(long, value_name = "TIME")]
    cpu_time: Option<Bound>,
    /// Time until the response has ended; `none` for no limit [default: 30s; commands: none]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Bound>,
    /// Request body [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    request_body: Option<Bytes>,
    /// Response body [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    response_body: Option<Bytes>,
    /// All header fields of one message: names, values and 32 bytes each [default: 64KiB]
    #[arg(long, value_name = "SIZE")]
    header_list: Option<Bytes>,
    /// Elements of all tables together [default: 100000]
    #[arg(long, value_name = "N")]
    table_elements: Option<u64>,
    /// Core instances in one component [default: 100]
    #[arg(long, value_name = "N", value_parser = count)]
    instances: Option<NonZeroU32>,
    /// Stack of the guest [default: 512KiB]
    #[arg(long, value_name = "SIZE", value_parser = stack)]
    stack: Option<Bytes>,
    /// Outbound requests and connections open at once [default: 64]
    #[arg(long, value_name = "N")]
    outbound_in_flight: Option<u32>,
    /// Output and log lines per second; more is dropped [default: 1MiB; commands: 1GiB]
    #[arg(long, value_name = "SIZE")]
    log_rate: Option<Bytes>,
}

/// What the guests of one process share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Limits of all guests together")]
pub(crate) struct TypedTotal {
    /// Linear memories, tables and stacks [default: three quarters of what the machine or the control group has]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(crate) total_memory: Option<Bytes>,
}

impl TypedLimits {
    pub(crate) fn meaning(&self) -> LimitsByKind {
        let defaults = LimitsByKind::default();
        LimitsByKind { serving: over(self, &defaults.serving), command: over(self, &defaults.command) }
    }
}

/// A time, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound(pub(crate) Option<Duration>);

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        match duration(text)? {
            Duration::ZERO => Err("nothing can be done in no time; say `none` for no limit".into()),
            duration => Ok(Self(Some(duration))),
        }
    }
}

/// A duration; a bare number gets a hint at its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("it has no unit; say {text}ms or {text}s"));
    }
    parse_duration(text).map_err(|error| error.to_string())
}

/// A count of things of which there must be one at least.
pub(crate) fn count(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("it is not a number from 1 to {}", u32::MAX))
}

fn memory(text: &str) -> Result<Bytes, String> {
    let size: Bytes = text.parse().map_err(|error: shoal_base::units::UnitError| error.to_string())?;
    if size < MEMORY_MIN {
        return Err(format!("a guest needs at least {MEMORY_MIN}"));
    }
    Ok(size)
}

fn stack(text: &str) -> Result<Bytes, String> {
    let size: Bytes = text.parse().map_err(|error: shoal_base::units::UnitError| error.to_string())?;
    if !(STACK_MIN..=STACK_MAX).contains(&size) {
        return Err(format!("a stack has {STACK_MIN} to {STACK_MAX}"));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_end_at_their_limits() {
        assert_eq!(memory("64KiB"), Ok(MEMORY_MIN));
        assert_eq!(memory("65535"), Err("a guest needs at least 64KiB".into()));
        assert_eq!(stack("16KiB"), Ok(STACK_MIN));
        assert_eq!(stack("64MiB"), Ok(STACK_MAX));
        for wrong in ["16383", "65537KiB"] {
            assert_eq!(stack(wrong), Err("a stack has 16KiB to 64MiB".into()), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_positive_or_none() {
        assert_eq!("50ms".parse(), Ok(Bound(Some(Duration::from_millis(50)))));
        assert_eq!("none".parse(), Ok(Bound(None)));
        assert_eq!(
            "0s".parse::<Bound>(),
            Err("nothing can be done in no time; say `none` for no limit".into())
        );
        assert!("soon".parse::<Bound>().is_err());
    }

    #[test]
    fn what_was_not_typed_keeps_its_default() {
        assert_eq!(over(&TypedLimits::default(), &Limits::for_command()), Limits::for_command());
        let typed =
            TypedLimits { timeout: Some(Bound(None)), memory: Some(Bytes::mib(1)), ..TypedLimits::default() };
        let expected = Limits { timeout: None, memory: Bytes::mib(1), ..Limits::default() };
        assert_eq!(over(&typed, &Limits::default()), expected);
    }

    #[test]
    fn the_help_names_the_defaults_that_hold() {
        use clap::CommandFactory as _;
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            _limits: TypedLimits,
        }
        let help = Only::command().term_width(200).render_help().to_string();
        let (serving, command) = (Limits::default(), Limits::for_command());
        let time = |time: Option<Duration>| time.map_or("none".into(), shoal_base::units::show_duration);
        for default in [
            format!("together [default: {}]", serving.memory),
            format!("[default: {}; commands: {}]", time(serving.cpu_time), time(command.cpu_time)),
            format!("[default: {}; commands: {}]", time(serving.timeout), time(command.timeout)),
            format!("Request body [default: {}]", serving.request_body),
            format!("Response body [default: {}]", serving.response_body),
            format!("each [default: {}]", serving.header_list),
            format!("tables together [default: {}]", serving.table_elements),
            format!("component [default: {}]", serving.instances),
            format!("guest [default: {}]", serving.stack),
            format!("once [default: {}]", serving.outbound_in_flight),
            format!("[default: {}; commands: {}]", serving.log_rate, command.log_rate),
        ] {
            assert!(help.contains(&default), "no `{default}` in\n{help}");
        }
    }
}
