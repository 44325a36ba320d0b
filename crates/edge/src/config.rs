//! What an edge is told before it opens its first socket.

use std::fmt;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::units::Bytes;

use crate::limits::{HEADER_LIST_BYTES_MIN, HTTP1_BUFFER_BYTES, Limits};
use crate::otlp::Traces;
use crate::tls::Certificates;

/// Everything an edge needs to know. [`Config::default`] serves plain HTTP on `127.0.0.1:8080`.
#[derive(Debug)]
pub struct Config {
    /// Where to serve. Port 0 takes any free port.
    pub listeners: Vec<Listener>,
    /// Where to serve `/metrics`, `/livez` and `/readyz`; none: nowhere. Keep it on loopback: it has no
    /// authentication.
    pub admin: Option<SocketAddr>,
    /// Serving threads; none: one per core that the process may use.
    pub threads: Option<NonZeroUsize>,
    /// How long requests in flight may still take once the drain has begun.
    pub drain_deadline: Duration,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// Where traces of requests are sent; none: nowhere.
    pub traces: Option<Traces>,
    /// Limits of connections and requests.
    pub limits: Limits,
    /// Prometheus text of the rest of the process, added to `/metrics`.
    pub more_metrics: Option<MoreMetrics>,
}

/// One address to serve on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The address.
    pub address: SocketAddr,
    /// Speaks TLS with these certificates; none: plain HTTP.
    pub tls: Option<Arc<Certificates>>,
}

/// Where and how requests are logged. Lines go to the writer in batches, from a thread of their own.
#[derive(Default)]
pub enum AccessLog {
    /// Nowhere.
    #[default]
    Off,
    /// One line per request for people.
    Human(Box<dyn Write + Send>),
    /// One JSON object per request and line.
    Json(Box<dyn Write + Send>),
}

/// Makes Prometheus text (format 0.0.4): whole metrics, each with `# HELP` and `# TYPE`.
#[derive(Clone)]
pub struct MoreMetrics(pub Arc<dyn Fn() -> String + Send + Sync>);

/// Why a [`Config`] cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is nothing to serve on.
    #[error("no address to listen on")]
    NoListener,
    /// One address is named twice.
    #[error("the address {0} is named twice")]
    SameAddress(SocketAddr),
    /// One address takes in another: `[::]` means all IPv4 addresses too.
    #[error("the address {address} is already served by {by}, which means all addresses")]
    Covered {
        /// The address that need not be named.
        address: SocketAddr,
        /// The one that takes it in.
        by: SocketAddr,
    },
    /// More threads than a machine has use for.
    #[error("{0} threads are more than the {THREADS_MAX} that one edge can run")]
    TooManyThreads(usize),
    /// A limit that must be above zero is zero.
    #[error("the limit `{0}` is zero, so nothing could be served")]
    ZeroLimit(&'static str),
    /// `header_list` is outside of what a connection can hold.
    #[error("the limit `header_list` is {given}, but must be from {least} to {most}", least = Bytes(HEADER_LIST_BYTES_MIN), most = Bytes(HTTP1_BUFFER_BYTES as u64))]
    HeaderList {
        /// The value given.
        given: Bytes,
    },
}

/// More threads than this cannot be told apart in request ids, and no machine has the cores.
pub(crate) const THREADS_MAX: usize = 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))],
            admin: None,
            threads: None,
            drain_deadline: Duration::from_secs(30),
            access_log: AccessLog::Off,
            traces: None,
            limits: Limits::default(),
            more_metrics: None,
        }
    }
}

impl Config {
    /// Serving threads: those asked for, else one per core that the process may use.
    pub fn thread_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
        self.threads.map_or_else(cores, NonZeroUsize::get)
    }

    /// Whether this can be served, without touching a socket.
    ///
    /// # Errors
    /// The first value that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.listeners.is_empty() {
            return Err(ConfigError::NoListener);
        }
        check_addresses(&self.listeners)?;
        if self.thread_count() > THREADS_MAX {
            return Err(ConfigError::TooManyThreads(self.thread_count()));
        }
        check_limits(&self.limits)
    }
}

impl Listener {
    /// Serves plain HTTP on this address.
    pub const fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// Serves HTTPS on this address.
    pub const fn tls(address: SocketAddr, certificates: Arc<Certificates>) -> Self {
        Self { address, tls: Some(certificates) }
    }
}

fn check_addresses(listeners: &[Listener]) -> Result<(), ConfigError> {
    let addresses = || listeners.iter().map(|listener| listener.address).enumerate();
    for (index, address) in addresses().filter(|(_, address)| address.port() != 0) {
        for (_, other) in addresses().filter(|(at, other)| *at != index && other.port() == address.port()) {
            if other == address {
                return Err(ConfigError::SameAddress(address));
            }
            if other.ip().is_unspecified() && (other.is_ipv6() || address.is_ipv4()) {
                return Err(ConfigError::Covered { address, by: other });
            }
        }
    }
    Ok(())
}

fn check_limits(limits: &Limits) -> Result<(), ConfigError> {
    let durations = [
        ("header_read", limits.header_read),
        ("tls_handshake", limits.tls_handshake),
        ("keep_alive", limits.keep_alive),
        ("body_stall", limits.body_stall),
        ("write_stall", limits.write_stall),
    ];
    let counts = [
        ("header_count", limits.header_count as u64),
        ("uri", limits.uri.0),
        ("connections", limits.connections as u64),
        ("connections_per_peer", limits.connections_per_peer as u64),
        ("requests_per_thread", limits.requests_per_thread as u64),
        ("h2_streams", u64::from(limits.h2_streams)),
    ];
    let zero_duration = durations.into_iter().find(|(_, value)| value.is_zero()).map(|(name, _)| name);
    let zero_count = counts.into_iter().find(|(_, value)| *value == 0).map(|(name, _)| name);
    if let Some(name) = zero_duration.or(zero_count) {
        return Err(ConfigError::ZeroLimit(name));
    }
    if !(HEADER_LIST_BYTES_MIN..=HTTP1_BUFFER_BYTES as u64).contains(&limits.header_list.0) {
        return Err(ConfigError::HeaderList { given: limits.header_list });
    }
    Ok(())
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::Human(_) => "Human",
            Self::Json(_) => "Json",
        })
    }
}

impl fmt::Debug for MoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MoreMetrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().expect_err("the configuration is wrong").to_string()
    }

    #[test]
    fn the_default_can_be_served() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn each_bad_value_is_one_sentence() {
        assert_eq!(wrong(|c| c.listeners.clear()), "no address to listen on");
        assert_eq!(
            wrong(|c| c.listeners.push(c.listeners[0].clone())),
            "the address 127.0.0.1:8080 is named twice"
        );
        let add = |c: &mut Config, address: &str| {
            c.listeners.push(Listener::plain(address.parse().expect("an address")));
        };
        assert_eq!(
            wrong(|c| add(c, "[::]:8080")),
            "the address 127.0.0.1:8080 is already served by [::]:8080, which means all addresses"
        );
        assert_eq!(
            wrong(|c| add(c, "0.0.0.0:8080")),
            "the address 127.0.0.1:8080 is already served by 0.0.0.0:8080, which means all addresses"
        );
        assert_eq!(
            wrong(|c| c.threads = NonZeroUsize::new(THREADS_MAX + 1)),
            "1025 threads are more than the 1024 that one edge can run"
        );
        assert_eq!(
            wrong(|c| c.limits.keep_alive = Duration::ZERO),
            "the limit `keep_alive` is zero, so nothing could be served"
        );
        assert_eq!(
            wrong(|c| c.limits.header_list = Bytes(HEADER_LIST_BYTES_MIN - 1)),
            "the limit `header_list` is 1023B, but must be from 1KiB to 128KiB"
        );
        assert!(wrong(|c| c.limits.header_list = Bytes(HTTP1_BUFFER_BYTES as u64 + 1)).contains("128KiB"));
    }

    #[test]
    fn listeners_that_do_not_meet_may_stand_side_by_side() {
        let other_port = Listener::plain(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8081)));
        let local_v6 = Listener::plain(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 8080)));
        let local = Listener::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        let config = Config { listeners: vec![local, local_v6, other_port], ..Config::default() };
        assert_eq!(config.check(), Ok(()));
        let any = Listener::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let config = Config { listeners: vec![any.clone(), any], ..Config::default() };
        assert_eq!(config.check(), Ok(()));
    }
}
