//! Outbound HTTP of a workload: each request is checked, resolved, checked again and sent; for both
//! `wasi:http` 0.2 and 0.3.
//!
//! - A destination that no pattern grants is denied before any name is resolved. A name is resolved once, what
//!   it resolves to is checked, and the connection goes to a checked address: a second answer of the resolver
//!   (rebinding) is never asked for.
//! - Redirects are not followed here. The guest follows them, and each hop is a new request with its own checks.
//! - Hop-by-hop fields (RFC 9110, 7.6.1) are taken off both ways; everything else passes. Where the
//!   guest gives no `traceparent`, that of the request that it answers is put on.
//! - Proxy variables of the environment are ignored on purpose: a proxy would resolve names itself, unchecked.
//! - Connections are kept for a while and used again, apart for each workload and each runtime. A request that
//!   meets a connection which the other side has just closed is sent once more on a new one, if it had not
//!   been sent at all, or if it is idempotent (RFC 9110, 9.2.2) and its body is at hand.
//!
//! - A Service of the cluster is called in this process, by plain HTTP and its name; a name that is none is resolved.
//!
//! How many requests one instance has in flight is the caller's to limit.

mod body;
mod connect;
mod connection;
mod denials;
mod destination;
mod error;
mod headers;
mod idle;
mod mesh;
mod resolve;
mod sockets;
mod tls;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Request, Response};
use shoal_base::units::Bytes;
use shoal_runtime::{Body, Invoke, Mesh, OutboundRules, Output, Refusal, TraceContext};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

pub use error::OutboundError;
pub use resolve::{Resolve, SystemResolver};
pub use sockets::socket_check;

use connection::{Connection, Unsent};
use denials::Denials;
use destination::{Destination, Scheme};
use idle::{Idle, Place};

use crate::capability::text::shown;

/// Without a wish of the guest. Longer than any handshake across the world, shorter than a client's patience.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Without a wish of the guest; the deadline of its own request usually comes first.
const BYTES_TIMEOUT: Duration = Duration::from_secs(600);

/// What the node sets for a workload's outbound requests.
#[derive(Clone)]
pub struct OutboundSetup {
    /// Names the workload in logs.
    pub workload: String,
    /// All header fields of a response: names, values and 32 bytes each.
    pub header_list: Bytes,
    /// Certificates (PEM) that are trusted beside the public ones.
    pub extra_roots: Option<Vec<u8>>,
    /// Turns names into addresses.
    pub resolver: Arc<dyn Resolve>,
    /// The Services of the cluster, if it is in one.
    pub mesh: Option<Arc<dyn Mesh>>,
    /// Where names of Services begin that say no namespace.
    pub namespace: String,
    /// The workload's own log, which is told what was denied, too.
    pub output: Option<Arc<dyn Output>>,
}

impl Default for OutboundSetup {
    fn default() -> Self {
        Self {
            workload: String::new(),
            header_list: shoal_runtime::Limits::default().header_list,
            extra_roots: None,
            resolver: Arc::new(SystemResolver),
            mesh: None,
            namespace: String::new(),
            output: None,
        }
    }
}

/// How long the guest wants to wait (`wasi:http` request options; none: the defaults of this host), and on whose
/// behalf it asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// For name, connection and TLS together.
    pub connect_timeout: Option<Duration>,
    /// From sending the request until the head of the response.
    pub first_byte_timeout: Option<Duration>,
    /// Between two pieces of the response's body.
    pub between_bytes_timeout: Option<Duration>,
    /// The trace that the request continues, unless the guest names one itself.
    pub trace: Option<TraceContext>,
    /// How many workloads the request came through on whose behalf this one is.
    pub hops: u8,
}

/// Sends requests for one workload.
pub struct Outbound {
    rules: OutboundRules,
    setup: OutboundSetup,
    roots: Arc<rustls::RootCertStore>,
    tls: OnceLock<tokio_rustls::TlsConnector>,
    idle: Arc<Idle>,
    denials: Denials,
}

impl Outbound {
    /// Outbound requests under these rules.
    ///
    /// # Errors
    /// When the extra certificates are not PEM.
    pub fn new(rules: OutboundRules, setup: OutboundSetup) -> Result<Self, Refusal> {
        let roots = tls::roots(setup.extra_roots.as_deref())?;
        let denials = Denials::new(setup.output.clone());
        Ok(Self { rules, setup, roots, tls: OnceLock::new(), idle: Arc::default(), denials })
    }

    /// What resolves names for this workload.
    pub(crate) fn resolver(&self) -> Arc<dyn Resolve> {
        Arc::clone(&self.setup.resolver)
    }

    /// Whether a guest may have this name resolved for its sockets; said in the log where it may not.
    pub(crate) fn allows_lookup(&self, name: &str) -> bool {
        let is_allowed = self.rules.allows_lookup(name);
        if !is_allowed {
            let grant = format!("tcp://{}:PORT", shown(name));
            self.denials.log(&self.setup.workload, &grant, "no pattern for sockets grants looking it up");
        }
        is_allowed
    }

    /// Sends a request and comes back with the head of the response; its body streams. Must be called in the
    /// runtime that polls it. Dropping the future or the body of the response ends the exchange.
    ///
    /// # Errors
    /// One of the cases of `wasi:http`'s `error-code`.
    pub async fn send(
        &self,
        request: Request<Body>,
        options: SendOptions,
    ) -> Result<Response<Body>, OutboundError> {
        let destination = Destination::of(request.uri())?;
        self.check(&destination)?;
        let mut request = headers::outgoing(request, options.trace)?;
        if let Some(invoke) = self.in_cluster(&destination) {
            return mesh::send(invoke, request, &destination, options, self.setup.header_list).await;
        }
        let place = Place { runtime: Handle::current().id(), destination };
        if let Some(connection) = self.idle.take(&place) {
            let spare = headers::replay(&request);
            match self.exchange(connection, request, &place, options).await {
                Ok(response) => return Ok(response),
                Err(Unsent { request: Some(unsent), .. }) => request = *unsent,
                Err(Unsent { stale: true, error, .. }) => request = spare.ok_or(error)?,
                Err(unsent) => return Err(unsent.error),
            }
        }
        let connection = self.connect(&place, options).await?;
        self.exchange(connection, request, &place, options).await.map_err(|unsent| unsent.error)
    }

    /// What answers there, where it is a Service of the cluster. Services speak plain HTTP.
    fn in_cluster(&self, destination: &Destination) -> Option<Arc<dyn Invoke>> {
        let mesh = self.setup.mesh.as_ref().filter(|_| destination.scheme == Scheme::Http)?;
        mesh.service(&self.setup.namespace, &destination.host, destination.port)
    }

    /// Denies what no pattern grants, and says once for each destination which pattern would.
    fn check(&self, destination: &Destination) -> Result<(), OutboundError> {
        if self.rules.allows(destination.scheme.name(), &destination.host, destination.port) {
            return Ok(());
        }
        let grant = destination.to_string();
        self.denials.log(&self.setup.workload, &grant, "no pattern grants it");
        Err(OutboundError::HttpRequestDenied { grant })
    }

    async fn connect(&self, place: &Place, options: SendOptions) -> Result<Connection, OutboundError> {
        let deadline = Instant::now() + options.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let destination = &place.destination;
        let resolved = timeout_at(deadline, resolve::addresses(&*self.setup.resolver, destination)).await;
        let addresses = resolved.map_err(|_| OutboundError::DnsTimeout)??;
        let scheme = destination.scheme.name();
        let allowed: Vec<_> = addresses
            .iter()
            .copied()
            .filter(|address| self.rules.allows_address(scheme, address.ip(), address.port()))
            .collect();
        if let (Some(first), true) = (addresses.first(), allowed.is_empty()) {
            let grant = format!("{scheme}://{first}");
            self.denials.log(
                &self.setup.workload,
                &grant,
                "the name resolves to an address that is not public",
            );
            return Err(OutboundError::DestinationIpProhibited { grant });
        }
        let connect = async {
            let stream = connect::tcp(&allowed).await?;
            let tls = || self.tls.get_or_init(|| tls::connector(&self.roots)).clone();
            connection::open(stream, destination, tls, self.setup.header_list, Arc::downgrade(&self.idle))
                .await
        };
        timeout_at(deadline, connect).await.map_err(|_| OutboundError::ConnectionTimeout)?
    }

    /// One request and its response on this connection.
    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<Body>,
        place: &Place,
        options: SendOptions,
    ) -> Result<Response<Body>, Unsent> {
        let deadline = Instant::now() + options.first_byte_timeout.unwrap_or(BYTES_TIMEOUT);
        if let Some(shared) = connection.share() {
            self.idle.park(place.clone(), shared);
        }
        let sent = timeout_at(deadline, connection.send(request, &place.destination)).await;
        let response = sent.unwrap_or_else(|_| Err(OutboundError::ConnectionReadTimeout.into()))?;
        let limit = self.setup.header_list;
        if headers::section_bytes(response.headers()) > limit.0 {
            let limit = u32::try_from(limit.0).ok();
            return Err(OutboundError::HttpResponseHeaderSectionSize(limit).into());
        }
        if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(OutboundError::HttpUpgradeFailed.into());
        }
        let between = options.between_bytes_timeout.unwrap_or(BYTES_TIMEOUT);
        let lease = idle::Lease::new(&self.idle, place.clone(), connection);
        Ok(headers::incoming(response).map(|incoming| body::response(incoming, between, lease)))
    }
}

/// A listener that never takes a connection, and the requests of a workload that may reach it: none ends by itself.
#[cfg(test)]
pub(crate) fn to_silence() -> (std::net::TcpListener, Outbound) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let rules = OutboundRules(vec![format!("http://{address}").parse().expect("a pattern")]);
    let outbound = Outbound::new(rules, OutboundSetup::default()).expect("no certificates to read");
    (silent, outbound)
}
