//! How requests are taken, as typed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::LISTEN_DEFAULT;
use super::edge_limit::{self, EdgeLimits, TypedEdgeLimit};
use super::limits::duration;
use crate::exit::{self, Exit};
use clap::ValueEnum;
use shoal_runtime::{CollectorUrl, SampleRatio};

/// Most threads that serve: one for each core of the largest machines there are.
const THREADS_MAX: usize = 1024;

/// How requests are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeRequest {
    /// Where requests are taken; at least one, each once. Port 0: the system picks one.
    pub listen: Vec<SocketAddr>,
    /// The certificate; none: no TLS.
    pub tls: Option<Tls>,
    /// How the edge works.
    pub edge: EdgeOptions,
}

/// How an edge works, wherever it takes its requests.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeOptions {
    /// Where metrics and health are served; none: nowhere.
    pub admin: Option<SocketAddr>,
    /// What is logged of each request.
    pub access_log: AccessLog,
    /// Where traces are sent, and which; none: nowhere.
    pub traces: Option<Traces>,
    /// How long requests in flight may take to end after the first signal.
    pub drain: Duration,
    /// Limits of connections and requests.
    pub limits: EdgeLimits,
    /// Threads that serve; none: one for each core.
    pub threads: Option<NonZeroUsize>,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From two PEM files: the chain, and its private key.
    Files {
        /// The chain, the server's own certificate first.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// Made at start, for development.
    SelfSigned,
}

/// Where traces are sent, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// The collector.
    pub collector: CollectorUrl,
    /// The part of the traces that begin here which is recorded.
    pub sample: SampleRatio,
}

/// What is logged of each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    /// Nothing.
    #[default]
    Off,
    /// A line for people.
    Human,
    /// A JSON object.
    Json,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Serving")]
pub(crate) struct TypedServe {
    /// Take requests here: ADDRESS:PORT, or PORT for this machine only; port 0 for one that the system picks
    /// [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Serve HTTPS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve HTTPS with a certificate made at start, for development
    #[arg(long, conflicts_with = "tls_cert")]
    tls_self_signed: bool,
    #[command(flatten)]
    edge: TypedEdge,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Serving")]
pub(crate) struct TypedEdge {
    /// Serve /metrics, /livez and /readyz here
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    admin: Option<SocketAddr>,
    /// What is logged of each request: off, human or json
    #[arg(long, value_enum, value_name = "FORM", default_value_t, hide_possible_values = true)]
    access_log: AccessLog,
    /// Send traces to the OpenTelemetry collector at this address, such as http://127.0.0.1:4318 (OTLP over HTTP)
    #[arg(long, value_name = "URL")]
    otlp: Option<CollectorUrl>,
    /// The part of requests that is traced where the client does not say, from 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t, requires = "otlp")]
    otlp_sample: SampleRatio,
    /// How long requests in flight may take to end after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    drain: Duration,
    #[arg(long, value_name = "NAME=VALUE", value_parser = edge_limit::parse, help = edge_limit::help())]
    edge_limit: Vec<TypedEdgeLimit>,
    /// Threads that serve [default: one for each core]
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
}

impl TypedServe {
    pub(crate) fn meaning(self) -> Result<ServeRequest, Exit> {
        let listen = if self.listen.is_empty() { vec![LISTEN_DEFAULT] } else { self.listen };
        let edge = self.edge.meaning()?;
        if let Some(twice) = twice(listen.iter().chain(&edge.admin)) {
            return Err(Exit::error(exit::USAGE, format!("{twice} is given twice"))
                .hint("give each --listen, and --admin, an address of its own"));
        }
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(cert), Some(key)) => Some(Tls::Files { cert, key }),
            _ => self.tls_self_signed.then_some(Tls::SelfSigned),
        };
        Ok(ServeRequest { listen, tls, edge })
    }
}

impl TypedEdge {
    pub(crate) fn meaning(self) -> Result<EdgeOptions, Exit> {
        Ok(EdgeOptions {
            admin: self.admin,
            access_log: self.access_log,
            traces: self.otlp.map(|collector| Traces { collector, sample: self.otlp_sample }),
            drain: self.drain,
            limits: edge_limit::meaning(&self.edge_limit)?,
            threads: self.threads,
        })
    }
}

/// The first address that another one repeats. Port 0 twice means two ports.
pub(crate) fn twice<'a>(addresses: impl Iterator<Item = &'a SocketAddr>) -> Option<&'a SocketAddr> {
    let mut seen = std::collections::BTreeSet::new();
    addresses.into_iter().find(|address| address.port() != 0 && !seen.insert(**address))
}

/// `ADDRESS:PORT`, or `PORT` of this machine only.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let local =
        |port: &str| port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    if text.starts_with([':', '*']) {
        return Err(
            "it has no address; 0.0.0.0:PORT takes requests from everywhere, PORT from this machine".into()
        );
    }
    text.parse()
        .ok()
        .or_else(|| local(text.strip_prefix("localhost:").unwrap_or(text)))
        .ok_or_else(|| "it is not ADDRESS:PORT, [ADDRESS]:PORT, localhost:PORT or PORT".into())
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= THREADS_MAX => Ok(count),
        _ => Err(format!("it is not a number from 1 to {THREADS_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_typed() {
        for (typed, meant) in [
            ("8080", "127.0.0.1:8080"),
            ("localhost:80", "127.0.0.1:80"),
            ("0.0.0.0:443", "0.0.0.0:443"),
            ("[::1]:0", "[::1]:0"),
        ] {
            assert_eq!(address(typed).map(|a| a.to_string()), Ok(meant.into()), "{typed}");
        }
        for wrong in ["", "example.com:80", "127.0.0.1", "70000", "1.2.3.4:80:x"] {
            let error = "it is not ADDRESS:PORT, [ADDRESS]:PORT, localhost:PORT or PORT";
            assert_eq!(address(wrong), Err(error.into()), "{wrong}");
        }
        assert!(address(":8080").is_err_and(|error| error.contains("0.0.0.0:PORT")));
    }

    #[test]
    fn threads_end_at_their_limit() {
        assert_eq!(threads("1024").map(NonZeroUsize::get), Ok(THREADS_MAX));
        for wrong in ["0", "1025", "all"] {
            assert!(threads(wrong).is_err(), "{wrong}");
        }
    }
}
