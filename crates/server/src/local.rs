//! The API for parts of this process: the handlers that a socket leads to, without one.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use shoal_api::Status;
use shoal_client::{Body, Error, Transport};
use shoal_control::rbac::{MASTERS, User, node_user_name};

use crate::answer;
use crate::api::Api;
use crate::front::{self, Caller};
use crate::http::BODY_BYTES_MAX;

/// Everyone whose identity is known.
const AUTHENTICATED: &str = "system:authenticated";
/// Every node.
const NODES: &str = "system:nodes";

/// A way to the API of this process, as someone: nobody asks for proof, but what they may do is decided as for all.
#[derive(Clone)]
pub struct Local {
    api: Arc<Api>,
    caller: Arc<Caller>,
    name: String,
}

impl Local {
    /// As this user.
    pub fn new(api: Arc<Api>, user: User) -> Self {
        let name = format!("this process, as {}", user.name);
        Self { api, caller: Arc::new(Caller::known(user)), name }
    }

    /// As one who may do everything, such as a controller or the edge of this machine.
    pub fn master(api: Arc<Api>, name: &str) -> Self {
        Self::new(api, User::new(name, &[MASTERS, AUTHENTICATED]))
    }

    /// As the node of this name, which may do what nodes may.
    pub fn node(api: Arc<Api>, name: &str) -> Self {
        Self::new(api, User::new(&node_user_name(name), &[NODES, AUTHENTICATED]))
    }
}

impl Transport for Local {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        let (api, caller) = (self.api.clone(), self.caller.clone());
        async move {
            if request.body().len() > BODY_BYTES_MAX {
                let message = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
                return Ok(answer::failure(&Status::too_large(message)));
            }
            Ok(front::answer(&api, &caller, request).await)
        }
        .boxed()
    }

    fn server(&self) -> &str {
        &self.name
    }
}
