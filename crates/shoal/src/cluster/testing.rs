//! An API in memory of which some answers are told otherwise, for tests of the verbs.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use serde_json::json;
use shoal_client::fake::Fake;
use shoal_client::{Body, Client, Error, Transport};

/// What is answered instead; none: what the fake says.
type Answer = dyn Fn(&Request<Bytes>) -> Option<Response<Body>> + Send + Sync;

/// An API in memory.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) fake: Fake,
    answer: Arc<Answer>,
}

impl Api {
    pub(crate) fn new(
        answer: impl Fn(&Request<Bytes>) -> Option<Response<Body>> + Send + Sync + 'static,
    ) -> Self {
        Self { fake: Fake::new(), answer: Arc::new(answer) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(Arc::new(self.clone()), "test")
    }
}

impl Transport for Api {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        match (self.answer)(&request) {
            Some(answer) => async { Ok(answer) }.boxed(),
            None => self.fake.send(request),
        }
    }

    fn server(&self) -> &'static str {
        "the test"
    }
}

/// An answer that refuses.
pub(crate) fn refused(code: u16) -> Response<Body> {
    let status = json!({"kind": "Status", "code": code, "reason": "", "message": "no"});
    said(code, Full::from(status.to_string()).map_err(|never| match never {}).boxed_unsync())
}

/// An answer with this body.
pub(crate) fn said(code: u16, body: Body) -> Response<Body> {
    Response::builder().status(code).body(body).expect("a code of HTTP")
}
