//! What carries a request to the API.

use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

use crate::Error;

/// The body of an answer, as it comes.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A way to an API server. Whose identity a request has is the transport's business.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request, whose URI is a path with its query, and comes back with the head of the answer. Dropping the
    /// future, or the body before its end, gives the request up.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>>;

    /// Where the API is, for messages.
    fn server(&self) -> &str;
}
