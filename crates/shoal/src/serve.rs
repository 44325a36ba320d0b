//! `shoal run` of an artifact that answers requests: an edge with one route, until a signal ends it.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use shoal_base::drain::{Drain, Drained};
use shoal_cli::{AccessLog, EdgeLimits, EdgeOptions, Exit, RunRequest, ServeRequest, Tls, exit, render};
use shoal_edge::{Certificates, Config, Edge, Limits, Listener, MoreMetrics, Routes, Served};
use shoal_host::Host;
use shoal_runtime::Invoke;

use crate::process::{self, Asked, Signals};
use crate::watch;

/// Serves until the process is asked to end and requests in flight have ended.
pub(crate) fn run(
    host: Host,
    request: &RunRequest,
    invoke: Arc<dyn Invoke>,
    drain: &Drain,
) -> Result<u8, Exit> {
    let host = Arc::new(host);
    let certificates = certificates(&request.serve)?;
    let listeners = request.serve.listen.iter();
    let listeners =
        listeners.map(|address| Listener { address: *address, tls: certificates.clone() }).collect();
    let metrics = MoreMetrics(Arc::new({
        let host = Arc::clone(&host);
        move || host.metrics()
    }));
    let (spec, options) = (&request.spec, &request.serve.edge);
    let edge = Edge::bind(config(options, listeners, &spec.limits.serving, &spec.name, metrics))
        .map_err(|error| edge_error(&error))?;
    let routes = Routes::to(invoke);
    let signals = take_signals(drain.clone(), certificates)?;
    // Before it is said that we serve: whoever reads that may change the file at once.
    let watch = request.watch.then(|| watch::start(Arc::clone(&host), &request.spec, routes.clone()));
    let watch = watch.transpose()?;
    announce(&edge, request.serve.tls.is_some());
    let served = edge.serve(&routes, drain).map_err(|error| edge_error(&error));
    drain.begin();
    drop(watch);
    // A thread that panicked has said so itself, and what was served was served.
    drop(signals.join());
    Ok(farewell(&served?))
}

/// What the edge is told: how it works, where it listens, what its requests may use, and what its traces name.
pub(crate) fn config(
    options: &EdgeOptions,
    listeners: Vec<Listener>,
    limits: &shoal_runtime::Limits,
    service: &str,
    metrics: MoreMetrics,
) -> Config {
    Config {
        listeners,
        admin: options.admin,
        threads: options.threads,
        drain_deadline: options.drain,
        access_log: match options.access_log {
            AccessLog::Off => shoal_edge::AccessLog::Off,
            AccessLog::Human => shoal_edge::AccessLog::Human(Box::new(std::io::stdout())),
            AccessLog::Json => shoal_edge::AccessLog::Json(Box::new(std::io::stdout())),
        },
        traces: options.traces.clone().map(|traces| shoal_edge::Traces {
            collector: traces.collector,
            sample: traces.sample,
            service: service.into(),
        }),
        limits: edge_limits(&options.limits, limits),
        more_metrics: Some(metrics),
    }
}

/// The defaults, with what was given laid over them.
fn edge_limits(given: &EdgeLimits, workload: &shoal_runtime::Limits) -> Limits {
    let defaults = Limits::default();
    let count = |given: Option<u32>, default: usize| given.map_or(default, |count| count as usize);
    // Without `..` on either side: a limit that the command line does not know does not build.
    Limits {
        header_read: given.header_read.unwrap_or(defaults.header_read),
        tls_handshake: given.tls_handshake.unwrap_or(defaults.tls_handshake),
        keep_alive: given.keep_alive.unwrap_or(defaults.keep_alive),
        body_stall: given.body_stall.unwrap_or(defaults.body_stall),
        write_stall: given.write_stall.unwrap_or(defaults.write_stall),
        header_list: workload.header_list,
        header_count: count(given.header_count, defaults.header_count),
        uri: given.uri.unwrap_or(defaults.uri),
        request_body: workload.request_body,
        connections: count(given.connections, defaults.connections),
        connections_per_peer: count(given.connections_per_peer, defaults.connections_per_peer),
        requests_per_thread: count(given.requests_per_thread, defaults.requests_per_thread),
        h2_streams: given.h2_streams.unwrap_or(defaults.h2_streams),
        h2_resets: given.h2_resets.map_or(defaults.h2_resets, u64::from),
        early_response_drain: given.early_response_drain.unwrap_or(defaults.early_response_drain),
        linger: given.linger.unwrap_or(defaults.linger),
    }
}

fn certificates(serve: &ServeRequest) -> Result<Option<Arc<Certificates>>, Exit> {
    let certificates = match &serve.tls {
        None => return Ok(None),
        Some(Tls::Files { cert, key }) => Certificates::from_files(cert, key),
        Some(Tls::SelfSigned) => Certificates::self_signed(&serve.listen),
    };
    certificates.map(|certificates| Some(Arc::new(certificates))).map_err(|error| {
        let exit = Exit::error(exit::NO_INPUT, shoal_base::error_chain::chain(&error).to_string());
        match serve.tls {
            Some(Tls::Files { .. }) => {
                exit.hint("give PEM files: --tls-cert the chain, --tls-key its private key, not encrypted")
            }
            Some(Tls::SelfSigned) | None => exit,
        }
    })
}

/// Says where it serves; the first line is for scripts, too.
fn announce(edge: &Edge, tls: bool) {
    let scheme = if tls { "https" } else { "http" };
    let say = |line: String| drop(writeln!(anstream::stderr(), "{line}"));
    for address in edge.local_addrs() {
        say(format!("Serving on {scheme}://{}", reachable(address)));
    }
    if let Some(address) = edge.admin_addr() {
        say(format!("Metrics on http://{}/metrics", reachable(address)));
    }
}

/// The address as somebody on this machine can type it.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

/// Obeys signals from now on, on a thread of its own: whoever reads that we serve may send one at once.
fn take_signals(drain: Drain, certificates: Option<Arc<Certificates>>) -> Result<JoinHandle<()>, Exit> {
    let refuse = |what: &str, error: &std::io::Error| {
        Exit::error(exit::UNAVAILABLE, format!("cannot {what}: {error}"))
    };
    let runtime = process::runtime()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::new().map_err(|error| refuse("take over signals", &error))?
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(obey(signals, &drain, certificates.as_deref())))
        .map_err(|error| refuse("start a thread", &error))
}

/// Begins the drain at the first signal to end; the second one ends the process at once.
async fn obey(mut signals: Signals, drain: &Drain, certificates: Option<&Certificates>) {
    loop {
        tokio::select! {
            () = drain.begun() => return,
            asked = signals.next() => match asked {
                Asked::End => break,
                Asked::Reload => reload(certificates),
            },
        }
    }
    drain.begin();
    tracing::info!(target: "shoal", "draining; a second signal ends at once");
    tokio::select! {
        () = ended(drain) => {}
        _ = signals.next() => end_at_once(),
    }
}

#[expect(clippy::disallowed_methods, reason = "who signals twice asks to skip the drain")]
pub(crate) fn end_at_once() -> ! {
    std::process::exit(i32::from(SECOND_SIGNAL));
}

/// What a process ends with that was not given the time to drain, as a shell reports SIGTERM.
const SECOND_SIGNAL: u8 = 128 + 15;

/// Resolves when nothing holds the drain any more.
async fn ended(drain: &Drain) {
    while drain.finish(std::time::Duration::from_secs(1)).await != Drained::Clean {}
}

fn reload(certificates: Option<&Certificates>) {
    match certificates.map(Certificates::reload) {
        None => tracing::info!(target: "shoal", "SIGHUP: nothing to read again"),
        Some(Ok(())) => tracing::info!(target: "shoal", "SIGHUP: certificates read again"),
        Some(Err(error)) => {
            let error = shoal_base::error_chain::chain(&error).to_string();
            tracing::error!(target: "shoal", "SIGHUP: certificates stay as they were: {error}");
        }
    }
}

pub(crate) fn farewell(served: &Served) -> u8 {
    match served.drained {
        Drained::Clean => exit::OK,
        Drained::Late { left } => {
            let requests = if left == 1 { "request was" } else { "requests were" };
            let what = format!("{left} {requests} still in flight at the drain deadline and stopped");
            let hint = "give them more time with --drain";
            let _ = anstream::stderr().write_all(render::error::warning(&what, Some(hint)).as_bytes());
            exit::UNAVAILABLE
        }
    }
}

pub(crate) fn edge_error(error: &shoal_edge::Error) -> Exit {
    let code = match error {
        shoal_edge::Error::Config(_) => exit::USAGE,
        _ => exit::UNAVAILABLE,
    };
    let exit = Exit::error(code, shoal_base::error_chain::chain(error).to_string());
    match error.hint() {
        Some(hint) => exit.hint(hint),
        None => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_shown_as_one_that_can_be_typed() {
        for (bound, shown) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[fd00::1]:80", "[fd00::1]:80"),
        ] {
            let bound: SocketAddr = bound.parse().expect("an address");
            assert_eq!(reachable(bound).to_string(), shown);
        }
    }
}
