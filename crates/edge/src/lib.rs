//! The data plane of a node: listeners, TLS, limits, named phases; calls [`shoal_runtime::Invoke`].
//!
//! One thread per core, each with its own runtime and its own listening sockets, so that a request stays on
//! the core that accepted it. A request meets these phases, each with a module that says more:
//!
//! | phase | what happens | where |
//! |---|---|---|
//! | accept | a connection is let in, or turned away | `accept`, `gate`, `listener` |
//! | TLS | handshake, choice of protocol | `tls`, `accept` |
//! | route | the workload for port, host and path | [`Routes`], [`Cluster`] |
//! | admit | malformed, ambiguous and oversized requests are refused | [`admit`], [`framing`] |
//! | invoke | the workload is called | `service` |
//! | respond | its answer, or what went wrong, is written | `respond` |
//! | account | metrics, access log, traces | `account`, `otlp` |
//!
//! What a workload may rely on: the request names its host, in the URI or in exactly one `host` header
//! (HTTP/1.0 may name none); its framing is unambiguous; head and body are within [`Limits`].
//! Connection-level fields that a workload sets (`connection`, `transfer-encoding`, `upgrade` …) are dropped.
//! `upgrade` requests are answered as ordinary ones, as RFC 9110 §7.8 allows; a workload that answers 1xx
//! has given no proper answer.
//!
//! What a client may rely on: a response that begins ends whole, or visibly broken (a reset, never a clean
//! but short end). A client that sends `expect: 100-continue` is told to go on when the workload first reads
//! the body, unless the response has begun by then. HTTP/1 trailers of a response are sent only to
//! clients that say `te: trailers`, as RFC 9110 §6.5.1 asks. Heads that are no HTTP at all are answered
//! 400, 414 or 431 by the parser, without a body, and are in no access log.
//!
//! Absent here: any knowledge of what runs behind [`shoal_runtime::Invoke`], and any file but certificates.

mod accept;
mod access_log;
mod account;
mod admin;
mod cluster;
mod complain;
mod config;
mod connection;
mod edge;
mod error;
mod exposition;
mod follow;
mod gate;
mod histogram;
mod http1;
mod http2;
mod limits;
mod listener;
mod metrics;
mod otlp;
mod ports;
mod request_body;
mod respond;
mod routes;
mod service;
mod tls;
mod watch;
mod wire;
mod worker;

pub mod admit;
pub mod framing;

pub use cluster::{Cluster, Kind, Settings};
pub use config::{AccessLog, Config, ConfigError, Listener, MoreMetrics};
pub use edge::{Edge, Served};
pub use error::Error;
pub use follow::{Follow, follow};
pub use limits::{Limit, Limits};
pub use otlp::Traces;
pub use ports::Ports;
pub use routes::Routes;
pub use tls::{CertificateError, Certificates};
