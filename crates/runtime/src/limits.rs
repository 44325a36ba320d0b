//! How much one workload may use. Every limit has a default that suits an edge node, and a reason.

use std::time::Duration;

use shoal_base::units::Bytes;

/// Limits of one workload; those of time and size hold for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All linear memories of one instance together. Interpreters (Python, JavaScript) need tens of MiB;
    /// a node shares its memory among thousands of tenants.
    pub memory: Bytes,
    /// Elements of all tables together. Toolchains emit a few thousand.
    pub table_elements: u64,
    /// Core instances in one component. Composed components have dozens.
    pub instances: u32,
    /// Wasm stack. Deep recursion in interpreters needs some; a fiber holds it while a request waits.
    pub stack: Bytes,
    /// Time on the core per request, or for the whole run of a command (none: no limit).
    pub cpu_time: Option<Duration>,
    /// Wall time until the response has ended, or for the whole run of a command (none: no limit).
    pub timeout: Option<Duration>,
    /// Request body.
    pub request_body: Bytes,
    /// Response body.
    pub response_body: Bytes,
    /// All header fields of one message: names, values and 32 bytes each.
    pub header_list: Bytes,
    /// Outbound requests and connections that one instance may have open at once.
    pub outbound_in_flight: u32,
    /// Bytes of standard output, standard error and logging per second; more is dropped, and said so.
    pub log_rate: Bytes,
}

/// Limits for whatever an artifact turns out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsByKind {
    /// For an artifact that answers requests.
    pub serving: Limits,
    /// For one that runs as a process.
    pub command: Limits,
}

impl Default for LimitsByKind {
    fn default() -> Self {
        Self { serving: Limits::default(), command: Limits::for_command() }
    }
}

impl From<Limits> for LimitsByKind {
    /// The same limits for both.
    fn from(limits: Limits) -> Self {
        Self { serving: limits.clone(), command: limits }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Bytes::mib(128),
            table_elements: 100_000,
            instances: 100,
            stack: Bytes::kib(512),
            cpu_time: Some(Duration::from_secs(10)),
            timeout: Some(Duration::from_secs(30)),
            request_body: Bytes::gib(1),
            response_body: Bytes::gib(1),
            header_list: Bytes::kib(64),
            outbound_in_flight: 64,
            log_rate: Bytes::mib(1),
        }
    }
}

impl Limits {
    /// The defaults for a command: it runs until it ends.
    pub fn for_command() -> Self {
        Self { cpu_time: None, timeout: None, log_rate: Bytes::gib(1), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use shoal_base::units::show_duration;

    use super::*;

    #[test]
    fn the_specification_has_these_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../SPECIFICATION.md");
        let text = std::fs::read_to_string(path).expect("the specification can be read");
        let shown = |limits: Limits| {
            // Without `..`: a new limit does not build until it has its row.
            let Limits {
                memory,
                table_elements,
                instances,
                stack,
                cpu_time,
                timeout,
                request_body,
                response_body,
                header_list,
                outbound_in_flight,
                log_rate,
            } = limits;
            let time = |time: Option<Duration>| time.map_or("none".into(), show_duration);
            [
                ("memory", memory.to_string()),
                ("table_elements", table_elements.to_string()),
                ("instances", instances.to_string()),
                ("stack", stack.to_string()),
                ("cpu_time", time(cpu_time)),
                ("timeout", time(timeout)),
                ("request_body", request_body.to_string()),
                ("response_body", response_body.to_string()),
                ("header_list", header_list.to_string()),
                ("outbound_in_flight", outbound_in_flight.to_string()),
                ("log_rate", log_rate.to_string()),
            ]
        };
        for ((name, serving), (_, command)) in
            shown(Limits::default()).iter().zip(shown(Limits::for_command()))
        {
            let row = format!("| `{name}` | {serving} | {command} |");
            assert!(text.contains(&row), "SPECIFICATION.md lacks `{row}`");
        }
    }
}
