//! What was counted, as Prometheus text (format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;

use crate::cluster::{Backend, CLASSES, Counted};
use crate::histogram::{BUCKETS, Histogram, Reading, bound_seconds};
use crate::metrics::{Counter, Metrics};
use crate::otlp::Delivery;

/// Picks one of the numbers of a thread.
type Pick<N> = fn(&Metrics) -> &N;

/// A number of a Service.
type Show = fn(&Backend, &Counted) -> f64;

/// Adds up the counters of all threads and writes them out, each metric with its help.
pub(crate) fn render(threads: &[impl AsRef<Metrics>], delivery: &Delivery, is_draining: bool) -> String {
    let threads: Vec<&Metrics> = threads.iter().map(AsRef::as_ref).collect();
    let mut text = Text(String::with_capacity(16 << 10));
    requests(&mut text, &threads);
    latencies(&mut text, &threads);
    let scalars: [(&str, &str, &str, Pick<Counter>); 10] = [
        ("connections_total", "counter", "Connections accepted, those turned away included.", |m| {
            &m.connections
        }),
        ("connections_open", "gauge", "Connections open now.", |m| &m.connections_open),
        ("requests_in_flight", "gauge", "Requests between their head and the end of their response.", |m| {
            &m.in_flight
        }),
        ("requests_malformed_total", "counter", "Requests refused because they are not proper HTTP.", |m| {
            &m.malformed
        }),
        ("requests_panicked_total", "counter", "Requests on which the server itself panicked.", |m| {
            &m.panics
        }),
        ("requests_aborted_total", "counter", "Requests stopped at the end of a drain.", |m| &m.aborted),
        ("tls_handshake_errors_total", "counter", "TLS handshakes that failed.", |m| &m.handshake_errors),
        (
            "received_bytes_total",
            "counter",
            "Bytes read from connections, heads included, without TLS.",
            |m| &m.bytes_in,
        ),
        ("sent_bytes_total", "counter", "Bytes written to connections, heads included, without TLS.", |m| {
            &m.bytes_out
        }),
        (
            "access_log_lost_lines_total",
            "counter",
            "Access log lines dropped because the log is too slow.",
            |m| &m.log_lines_lost,
        ),
    ];
    for (name, kind, help, read) in scalars {
        text.head(name, kind, help);
        text.line(name, "", threads.iter().map(|metrics| read(metrics).get()).sum::<u64>());
    }
    text.head("spans_delivered_total", "counter", "Spans that the collector of traces took.");
    text.line("spans_delivered_total", "", delivery.delivered());
    text.head("spans_dropped_total", "counter", "Spans lost: the collector was slow, away, or refused them.");
    text.line("spans_dropped_total", "", delivery.dropped());
    text.head("draining", "gauge", "1 once the edge takes no new work.");
    text.line("draining", "", u8::from(is_draining));
    text.0
}

/// Adds what is counted of each Service; nothing where there are none.
pub(crate) fn services(text: &mut String, services: &[Arc<Backend>]) {
    if services.is_empty() {
        return;
    }
    let mut services: Vec<_> = services.iter().map(|one| (one, one.stats.read())).collect();
    services.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    let mut out = Text(std::mem::take(text));
    let label = |backend: &Backend| {
        let (namespace, name) = backend.name.split_once('/').unwrap_or_default();
        format!("namespace=\"{namespace}\",service=\"{name}\"")
    };
    let name = "service_requests_total";
    out.head(
        name,
        "counter",
        "Requests to a Service by the class of their answer, those of other guests included.",
    );
    for (backend, counted) in &services {
        for (class, count) in CLASSES.iter().zip(counted.classes).filter(|(_, count)| *count > 0) {
            out.line(name, &format!("{},class=\"{class}\"", label(backend)), count);
        }
    }
    let pick: [(&str, &str, &str, Show); 4] = [
        (
            "service_answer_seconds_total",
            "counter",
            "Time from request heads to answer heads.",
            |_, counted| counted.answer.as_secs_f64(),
        ),
        ("service_retries_total", "counter", "Requests sent to another replica.", |_, counted| {
            counted.retries as f64
        }),
        ("service_waiting", "gauge", "Requests whose answer has not begun.", |_, counted| {
            counted.requests.saturating_sub(counted.classes.iter().sum()) as f64
        }),
        ("service_replicas", "gauge", "Replicas that can be asked on this node.", |backend, _| {
            backend.ready() as f64
        }),
    ];
    for (name, kind, help, show) in pick {
        out.head(name, kind, help);
        services
            .iter()
            .for_each(|(backend, counted)| out.line(name, &label(backend), show(backend, counted)));
    }
    *text = out.0;
}

fn requests(text: &mut Text, threads: &[&Metrics]) {
    let mut by_code = BTreeMap::new();
    let mut failures = BTreeMap::new();
    let mut limits = BTreeMap::new();
    for metrics in threads {
        metrics.codes().for_each(|(code, count)| *by_code.entry(code.as_u16()).or_insert(0) += count);
        metrics.failures().for_each(|(kind, count)| *failures.entry(kind).or_insert(0) += count);
        metrics.limits().for_each(|(limit, count)| *limits.entry(limit).or_insert(0) += count);
    }
    text.head(
        "requests_total",
        "counter",
        "Requests by status; 499: the client went away before the response head. Heads that are no HTTP are in requests_malformed_total only.",
    );
    for (code, count) in by_code {
        text.line("requests_total", &format!("class=\"{}xx\",code=\"{code}\"", code / 100), count);
    }
    text.head("failures_total", "counter", "Requests that a workload did not answer properly, by kind.");
    for (kind, count) in failures {
        text.line("failures_total", &format!("kind=\"{kind}\""), count);
    }
    text.head("limits_total", "counter", "Connections and requests that hit a limit, by its name.");
    for (limit, count) in limits {
        text.line("limits_total", &format!("limit=\"{}\"", limit.name()), count);
    }
}

fn latencies(text: &mut Text, threads: &[&Metrics]) {
    let phases: [(&str, Pick<Histogram>); 4] = [
        ("queue", |m| &m.queue),
        ("instantiate", |m| &m.instantiate),
        ("guest", |m| &m.guest),
        ("host", |m| &m.host),
    ];
    let name = "request_duration_seconds";
    text.head(name, "histogram", "From the request head to the end of the response.");
    text.histogram(name, "", &read(threads, |m| &m.total));
    let name = "request_phase_seconds";
    text.head(
        name,
        "histogram",
        "Parts of the duration of requests that reached a workload; host is all that is not queue, instantiate or guest.",
    );
    for (phase, pick) in phases {
        text.histogram(name, &format!("phase=\"{phase}\","), &read(threads, pick));
    }
}

fn read(threads: &[&Metrics], pick: Pick<Histogram>) -> Reading {
    let mut reading = Reading::default();
    threads.iter().for_each(|metrics| pick(metrics).add_to(&mut reading));
    reading
}

/// Text under way. Every name gets the prefix of the edge.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP shoal_edge_{name} {help}\n# TYPE shoal_edge_{name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            self.write(format_args!("shoal_edge_{name} {value}\n"));
        } else {
            self.write(format_args!("shoal_edge_{name}{{{labels}}} {value}\n"));
        }
    }

    /// `labels` is empty or ends in a comma.
    fn histogram(&mut self, name: &str, labels: &str, reading: &Reading) {
        let mut count = 0;
        for (bucket, in_bucket) in reading.counts.iter().enumerate().take(BUCKETS) {
            count += in_bucket;
            let bound = bound_seconds(bucket);
            self.line(&format!("{name}_bucket"), &format!("{labels}le=\"{bound}\""), count);
        }
        count += reading.counts[BUCKETS];
        self.line(&format!("{name}_bucket"), &format!("{labels}le=\"+Inf\""), count);
        let labels = labels.trim_end_matches(',');
        self.line(&format!("{name}_sum"), labels, reading.sum_ns as f64 / 1e9);
        self.line(&format!("{name}_count"), labels, count);
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes any text");
    }
}
