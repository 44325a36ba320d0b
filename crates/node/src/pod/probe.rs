//! What probes ask, and what their answers mean.

use std::time::Duration;

use serde_json::Value;
use shoal_api::object;

use crate::read::{items, named, text};

/// A probe of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// What is asked.
    pub(crate) ask: Ask,
    /// Before the first time.
    pub(crate) delay: Duration,
    /// Between two times.
    pub(crate) period: Duration,
    /// For an answer.
    pub(crate) timeout: Duration,
    /// So many good answers in a row make it good.
    pub(crate) success_threshold: u32,
    /// So many bad answers in a row make it bad.
    pub(crate) failure_threshold: u32,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A request; a status from 200 to 399 is good. An HTTP component answers it in process, whatever the port.
    Http {
        /// Another host than the pod itself; mostly empty.
        host: String,
        /// The port, for hosts and commands.
        port: u16,
        /// With its query.
        path: String,
        /// Whether over TLS.
        is_https: bool,
        /// More headers.
        headers: Vec<(String, String)>,
    },
    /// A connection. An HTTP component has it always.
    Tcp {
        /// Another host than the pod itself; mostly empty.
        host: String,
        /// The port.
        port: u16,
    },
    /// What cannot be asked here, with the reason.
    Never(&'static str),
}

/// Which probe it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Others wait for it; when it is bad the container is started again.
    Startup,
    /// While it is bad the pod gets no requests.
    Readiness,
    /// When it is bad the container is started again.
    Liveness,
}

impl Role {
    /// The field of a container.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::Startup => "startupProbe",
            Self::Readiness => "readinessProbe",
            Self::Liveness => "livenessProbe",
        }
    }

    /// As events name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// The probe of a container, if it has one.
pub(crate) fn of(container: &Value, role: Role) -> Option<Probe> {
    let probe = container.get(role.field()).filter(|probe| probe.is_object())?;
    let seconds = |field: &str, default: u64| Duration::from_secs(probe[field].as_u64().unwrap_or(default));
    let count = |field: &str, default: u32| {
        probe[field].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(default).max(1)
    };
    Some(Probe {
        ask: ask(container, probe),
        delay: seconds("initialDelaySeconds", 0),
        period: seconds("periodSeconds", 10).max(Duration::from_secs(1)),
        timeout: seconds("timeoutSeconds", 1).max(Duration::from_secs(1)),
        success_threshold: count("successThreshold", 1),
        failure_threshold: count("failureThreshold", 3),
    })
}

fn ask(container: &Value, probe: &Value) -> Ask {
    let http = &probe["httpGet"];
    if http.is_object() {
        let headers = items(&http["httpHeaders"]);
        let path = text(&http["path"]);
        return Ask::Http {
            host: text(&http["host"]).into(),
            port: port(container, &http["port"]),
            path: if path.starts_with('/') { path.into() } else { format!("/{path}") },
            is_https: http["scheme"] == "HTTPS",
            headers: headers.map(|one| (text(&one["name"]).into(), text(&one["value"]).into())).collect(),
        };
    }
    let tcp = &probe["tcpSocket"];
    if tcp.is_object() {
        return Ask::Tcp { host: text(&tcp["host"]).into(), port: port(container, &tcp["port"]) };
    }
    if probe["exec"].is_object() {
        return Ask::Never("a guest has no shell in which a command could run: use httpGet or tcpSocket");
    }
    Ask::Never("gRPC probes are not supported: use httpGet or tcpSocket")
}

/// A port by number or by the name that the container gives it; 0 when there is none.
fn port(container: &Value, port: &Value) -> u16 {
    let number = match port.as_str() {
        Some(name) => match named(&container["ports"], name) {
            Some(known) => known["containerPort"].as_u64(),
            None => name.parse().ok(),
        },
        None => port.as_u64(),
    };
    number.and_then(|number| u16::try_from(number).ok()).unwrap_or_default()
}

/// How the answers of a probe count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    success_threshold: u32,
    failure_threshold: u32,
    run: u32,
    was_good: Option<bool>,
    verdict: Option<bool>,
}

impl Tally {
    /// Nothing has been answered yet.
    pub(crate) fn new(probe: &Probe) -> Self {
        let Probe { success_threshold, failure_threshold, .. } = *probe;
        Self { success_threshold, failure_threshold, run: 0, was_good: None, verdict: None }
    }

    /// Counts an answer; comes back with the verdict when it changes.
    pub(crate) fn count(&mut self, is_good: bool) -> Option<bool> {
        self.run = if self.was_good == Some(is_good) { self.run.saturating_add(1) } else { 1 };
        self.was_good = Some(is_good);
        let needed = if is_good { self.success_threshold } else { self.failure_threshold };
        if self.run < needed || self.verdict == Some(is_good) {
            return None;
        }
        self.verdict = Some(is_good);
        self.verdict
    }
}

/// Longest time to end that is meant: nobody waits for it, and moments so far away can still be counted.
const GRACE_SECONDS_MAX: u64 = 10 * 365 * 86_400;

/// How long the containers of a pod may take to end.
pub(crate) fn grace(pod: &Value) -> Duration {
    let asked = pod["metadata"]["deletionGracePeriodSeconds"].as_u64();
    let own = || pod["spec"]["terminationGracePeriodSeconds"].as_u64();
    let is_deleted = object::deletion_timestamp(pod).is_some();
    let seconds = asked.filter(|_| is_deleted).or_else(own).unwrap_or(30);
    Duration::from_secs(seconds.min(GRACE_SECONDS_MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn probes_have_the_defaults_of_kubernetes() {
        let container = json!({
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"port": "http", "path": "healthz"}},
            "livenessProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 2, "failureThreshold": 1},
            "startupProbe": {"exec": {"command": ["true"]}},
        });
        let readiness = of(&container, Role::Readiness).expect("a probe");
        let Ask::Http { port, path, .. } = &readiness.ask else { panic!("it asks by HTTP") };
        assert_eq!((*port, path.as_str()), (8080, "/healthz"));
        assert_eq!(
            (readiness.period.as_secs(), readiness.timeout.as_secs(), readiness.failure_threshold),
            (10, 1, 3)
        );
        let liveness = of(&container, Role::Liveness).expect("a probe");
        assert_eq!(liveness.ask, Ask::Tcp { host: String::new(), port: 9 });
        assert!(matches!(of(&container, Role::Startup).map(|probe| probe.ask), Some(Ask::Never(_))));
        assert_eq!(of(&json!({}), Role::Startup), None);
    }

    #[test]
    fn the_time_to_end_is_that_of_the_deletion_and_can_be_counted() {
        let pod = |own: u64, asked: u64, is_deleted: bool| {
            let deleted = if is_deleted { json!("2026-01-01T00:00:00Z") } else { json!(null) };
            json!({"metadata": {"deletionTimestamp": deleted, "deletionGracePeriodSeconds": asked},
                "spec": {"terminationGracePeriodSeconds": own}})
        };
        assert_eq!(grace(&pod(7, 3, true)).as_secs(), 3);
        assert_eq!(grace(&pod(7, 3, false)).as_secs(), 7);
        assert_eq!(grace(&json!({})).as_secs(), 30);
        for long in [GRACE_SECONDS_MAX + 1, i64::MAX.unsigned_abs(), u64::MAX] {
            assert_eq!(grace(&pod(long, long, true)).as_secs(), GRACE_SECONDS_MAX);
            assert!(std::time::Instant::now().checked_add(grace(&pod(long, 0, false))).is_some());
        }
    }

    #[test]
    fn a_verdict_needs_as_many_answers_as_its_threshold() {
        let probe =
            of(&json!({"livenessProbe": {"tcpSocket": {"port": 1}, "successThreshold": 2}}), Role::Liveness);
        let mut tally = Tally::new(&probe.expect("a probe"));
        let answers = [false, false, true, false, false, false, false, true, true, true];
        let verdicts: Vec<Option<bool>> = answers.into_iter().map(|is_good| tally.count(is_good)).collect();
        let expected = [None, None, None, None, None, Some(false), None, None, Some(true), None];
        assert_eq!(verdicts, expected);
    }
}
