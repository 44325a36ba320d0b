//! Every limit of the data plane: its name, its default, its reason.

use std::time::Duration;

use http::StatusCode;
use shoal_base::units::Bytes;

/// The limits of one edge. The defaults suit an edge node on the open internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte of a request head to its last; also from the accepted connection to its first
    /// byte. A client that drips its headers (slow loris) holds a connection no longer than this.
    pub header_read: Duration,
    /// The whole TLS handshake. Honest clients need two round trips.
    pub tls_handshake: Duration,
    /// A kept-alive connection without a request. Longer than most clients and load balancers keep theirs
    /// (60 s), so that they close first and no request meets a closing connection.
    pub keep_alive: Duration,
    /// A request body that is being read must bring something at least this often.
    pub body_stall: Duration,
    /// A client that takes nothing from its connection for this long is gone. (An HTTP/2 client may stop one
    /// stream by its window and still take others; the workload's own time limit ends such a response.)
    pub write_stall: Duration,
    /// The head of a request, request line included. Guests get the list as it is; cookies of a few KiB are common.
    pub header_list: Bytes,
    /// Header fields of one request. Browsers send about 20.
    pub header_count: usize,
    /// The request target. What browsers and proxies agree on.
    pub uri: Bytes,
    /// A request body, by its declared length at once and by its counted length while it streams.
    pub request_body: Bytes,
    /// Open connections of one listener. Each costs some 10 KiB and a file descriptor.
    pub connections: usize,
    /// Open connections of one peer: an IPv4 address or an IPv6 /64 network. Leaves room for many users
    /// behind one address, and stops one machine from taking all.
    pub connections_per_peer: usize,
    /// Requests in flight on one thread. Beyond it waiting only makes everyone late.
    pub requests_per_thread: usize,
    /// Streams of one HTTP/2 connection at once. RFC 9113 §6.5.2 advises no fewer than 100.
    pub h2_streams: u32,
    /// Streams that a client may reset beyond those it let finish, per connection. More is the rapid-reset
    /// attack: work started only to be thrown away.
    pub h2_resets: u64,
    /// When a response ends before its request body was read: the rest is read and dropped if it is no more
    /// than this, to keep the connection; otherwise the connection is closed after the response.
    pub early_response_drain: Bytes,
    /// How long a closing connection still reads what the client has under way, so that the client gets
    /// the response instead of a reset.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_stall: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            header_list: Bytes::kib(64),
            header_count: HEADER_COUNT,
            uri: Bytes::kib(8),
            request_body: Bytes::gib(1),
            connections: 16_384,
            connections_per_peer: 2_048,
            requests_per_thread: 1_024,
            h2_streams: 128,
            h2_resets: 100,
            early_response_drain: Bytes::kib(64),
            linger: Duration::from_secs(2),
        }
    }
}

/// The number of header fields that hyper parses without an allocation; so our default.
pub(crate) const HEADER_COUNT: usize = 100;

/// Largest buffer of an HTTP/1 connection in each direction: enough to stream at full speed, small enough
/// that a slow reader stops its guest soon. Also the largest `header_list`.
pub(crate) const HTTP1_BUFFER_BYTES: usize = 128 << 10;

/// Smallest `header_list`: what an ordinary browser sends must pass.
pub(crate) const HEADER_LIST_BYTES_MIN: u64 = 1 << 10;

/// Bytes that one HTTP/2 stream may have under way towards us: the product of 100 Mbit/s and 20 ms, so that
/// one stream fills an ordinary line.
pub(crate) const H2_STREAM_BYTES: u32 = 256 << 10;

/// Bytes of a response that wait in one HTTP/2 stream for the client's window: a few frames. Times the
/// streams of a connection this is what one client can make us hold.
pub(crate) const H2_SEND_BYTES: usize = 64 << 10;

/// Bytes that one HTTP/2 connection may have under way towards us, all streams together.
pub(crate) const H2_CONNECTION_BYTES: u32 = 1 << 20;

/// Streams that the peer has reset before we took them up, or that broke the protocol, before HTTP/2 gives
/// up on the connection.
pub(crate) const H2_PENDING_RESETS: usize = 20;

/// HTTP/2 pings a connection with requests in flight this often, to find clients that vanished.
pub(crate) const H2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// A limit that was hit, as metrics and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// [`Limits::header_read`].
    HeaderRead,
    /// [`Limits::tls_handshake`].
    TlsHandshake,
    /// [`Limits::keep_alive`].
    KeepAlive,
    /// [`Limits::body_stall`].
    BodyStall,
    /// [`Limits::write_stall`].
    WriteStall,
    /// [`Limits::header_list`], and over HTTP/1 [`Limits::header_count`] as well.
    HeaderList,
    /// [`Limits::header_count`] over HTTP/2.
    HeaderCount,
    /// [`Limits::uri`].
    Uri,
    /// [`Limits::request_body`].
    RequestBody,
    /// [`Limits::connections`].
    Connections,
    /// [`Limits::connections_per_peer`].
    ConnectionsPerPeer,
    /// [`Limits::requests_per_thread`].
    RequestsPerThread,
    /// [`Limits::h2_resets`].
    H2Resets,
}

impl Limit {
    /// Every limit that is counted, in the order of [`Limits`].
    pub const ALL: [Self; 13] = [
        Self::HeaderRead,
        Self::TlsHandshake,
        Self::KeepAlive,
        Self::BodyStall,
        Self::WriteStall,
        Self::HeaderList,
        Self::HeaderCount,
        Self::Uri,
        Self::RequestBody,
        Self::Connections,
        Self::ConnectionsPerPeer,
        Self::RequestsPerThread,
        Self::H2Resets,
    ];

    /// The name in metrics and logs: that of the field of [`Limits`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::HeaderRead => "header_read",
            Self::TlsHandshake => "tls_handshake",
            Self::KeepAlive => "keep_alive",
            Self::BodyStall => "body_stall",
            Self::WriteStall => "write_stall",
            Self::HeaderList => "header_list",
            Self::HeaderCount => "header_count",
            Self::Uri => "uri",
            Self::RequestBody => "request_body",
            Self::Connections => "connections",
            Self::ConnectionsPerPeer => "connections_per_peer",
            Self::RequestsPerThread => "requests_per_thread",
            Self::H2Resets => "h2_resets",
        }
    }

    /// What the client is told, where it can be told.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::HeaderRead | Self::TlsHandshake | Self::KeepAlive | Self::BodyStall | Self::WriteStall => {
                StatusCode::REQUEST_TIMEOUT
            }
            Self::HeaderList | Self::HeaderCount => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Uri => StatusCode::URI_TOO_LONG,
            Self::RequestBody => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Connections | Self::ConnectionsPerPeer | Self::RequestsPerThread => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::H2Resets => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}
