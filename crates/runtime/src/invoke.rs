//! One request into a guest.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::uri::Scheme;
use http::{Request, Response};

use crate::{Account, Body, Failure};

/// Answers one HTTP request.
///
/// The future is polled on the core that accepted the connection; the implementation keeps the request on
/// that core. Dropping the future, or the body of the response before its end, cancels the request: that is
/// how a client that went away stops its guest.
pub trait Invoke: Send + Sync + 'static {
    /// Answers `request`. The head comes back as soon as the guest has decided it; the body streams.
    fn invoke(&self, request: Request<Body>, call: Call) -> BoxFuture<'static, Answer>;
}

/// What [`Invoke::invoke`] comes back with.
pub type Answer = Result<Response<Body>, Failure>;

/// The context of one request, made by the edge.
#[derive(Clone, Debug)]
pub struct Call {
    /// Names the request in logs; unique within the process.
    pub id: u64,
    /// `http` or `https`, as the client spoke it.
    pub scheme: Scheme,
    /// Where the client is.
    pub peer: SocketAddr,
    /// When the edge had the whole request head.
    pub received: Instant,
    /// What the request has used so far.
    pub account: Arc<Account>,
}

impl Call {
    /// The context of a request that this process makes itself: plain HTTP from this machine. `made`: when.
    pub fn local(id: u64, made: Instant, account: Account) -> Self {
        Self {
            id,
            scheme: Scheme::HTTP,
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            received: made,
            account: Arc::new(account),
        }
    }
}
