//! The verbs of the API.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use shoal_api::object;

use crate::{Body, Deletion, Error, Patch, Refused, Resource, Transport};

/// For a whole answer. The API server itself gives up after a minute.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Longest answer: a page of a list, at the size that objects have at most in practice.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// For the head of an answer whose body comes bit by bit.
const HEAD_TIME: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";

/// Speaks to the API. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    agent: HeaderValue,
}

impl Client {
    /// A client that is called `agent` in the API's audit log and as the owner of the fields that it writes.
    pub fn new(transport: Arc<dyn Transport>, agent: &'static str) -> Self {
        Self { transport, agent: HeaderValue::from_static(agent) }
    }

    /// Where the API is, for messages.
    pub fn server(&self) -> &str {
        self.transport.server()
    }

    /// An object.
    ///
    /// # Errors
    /// As every request: the API refuses, cannot be reached or cannot be understood.
    pub async fn get(&self, of: &Resource, namespace: &str, name: &str) -> Result<Value, Error> {
        self.exchange(Method::GET, &of.object_path(namespace, name, ""), "", None).await
    }

    /// Makes an object, in the namespace that it names.
    ///
    /// # Errors
    /// As every request; see [`Error::is_already_there`].
    pub async fn create(&self, of: &Resource, object: &Value) -> Result<Value, Error> {
        self.exchange(Method::POST, &of.path(object::namespace(object)), JSON, Some(object)).await
    }

    /// Posts to a subresource, such as `eviction` or `token`.
    ///
    /// # Errors
    /// As every request.
    pub async fn create_in(
        &self,
        of: &Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        let path = of.object_path(namespace, name, subresource);
        self.exchange(Method::POST, &path, JSON, Some(body)).await
    }

    /// Replaces an object by a newer version of itself.
    ///
    /// # Errors
    /// As every request; see [`Error::is_conflict`].
    pub async fn update(&self, of: &Resource, object: &Value) -> Result<Value, Error> {
        let path = of.object_path(object::namespace(object), object::name(object), "");
        self.exchange(Method::PUT, &path, JSON, Some(object)).await
    }

    /// Replaces the status of an object.
    ///
    /// # Errors
    /// As every request; see [`Error::is_conflict`].
    pub async fn update_status(&self, of: &Resource, object: &Value) -> Result<Value, Error> {
        let path = of.object_path(object::namespace(object), object::name(object), "status");
        self.exchange(Method::PUT, &path, JSON, Some(object)).await
    }

    /// Changes an object, or a subresource of it when that is not empty.
    ///
    /// # Errors
    /// As every request.
    pub async fn patch(
        &self,
        of: &Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: &Patch,
    ) -> Result<Value, Error> {
        let mut target = of.object_path(namespace, name, subresource);
        if let Patch::Apply { manager, force, .. } = patch {
            let mut query = Serializer::new(String::new());
            query.append_pair("fieldManager", manager);
            if *force {
                query.append_pair("force", "true");
            }
            target = format!("{target}?{}", query.finish());
        }
        self.exchange(Method::PATCH, &target, patch.media_type(), Some(patch.body())).await
    }

    /// Deletes an object. Comes back with it, or with what is left of it.
    ///
    /// # Errors
    /// As every request; a conflict when another object has the name by now.
    pub async fn delete(
        &self,
        of: &Resource,
        namespace: &str,
        name: &str,
        deletion: &Deletion,
    ) -> Result<Value, Error> {
        let path = of.object_path(namespace, name, "");
        self.exchange(Method::DELETE, &path, JSON, Some(&deletion.body())).await
    }

    /// Sends a request as it is, but for the name of this client; an answer that is no success is an error.
    ///
    /// # Errors
    /// As every request.
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Body>, Error> {
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| self.agent.clone());
        let name = format!("{} {}", request.method(), request.uri().path());
        let answer = self.transport.send(request).await?;
        if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        let code = answer.status().as_u16();
        let body = collected(answer, &name).await?;
        let status = serde_json::from_slice(&body).unwrap_or_default();
        Err(Error::Refused(Box::new(Refused::of(&status, code))))
    }

    /// Asks for what comes bit by bit, for as long as it takes; comes back with the head of the answer.
    pub(crate) async fn stream(&self, target: &str, accept: &'static str) -> Result<Body, Error> {
        let name = format!("GET {target}");
        let request = Request::builder().method(Method::GET).uri(target).header(ACCEPT, accept);
        let request = request.body(Bytes::new());
        let request =
            request.map_err(|error| Error::Answer { request: name.clone(), why: error.to_string() })?;
        match tokio::time::timeout(HEAD_TIME, self.send(request)).await {
            Ok(answer) => Ok(answer?.into_body()),
            Err(_) => Err(Error::Unreachable {
                server: self.server().into(),
                why: format!("no answer to {name} in {} seconds", HEAD_TIME.as_secs()),
            }),
        }
    }

    /// Sends a request and reads the JSON of its answer.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        target: &str,
        media_type: &'static str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        self.exchange_as(method, target, media_type, body, |answer| serde_json::from_slice(answer)).await
    }

    /// Sends a request and reads its answer in its own way.
    pub(crate) async fn exchange_as(
        &self,
        method: Method,
        target: &str,
        media_type: &'static str,
        body: Option<&Value>,
        read: impl FnOnce(&[u8]) -> serde_json::Result<Value>,
    ) -> Result<Value, Error> {
        let name = format!("{method} {target}");
        let bytes = body.map(|body| serde_json::to_vec(body).expect("a value can be written"));
        let mut request = Request::builder().method(method).uri(target).header(ACCEPT, JSON);
        if !media_type.is_empty() {
            request = request.header(CONTENT_TYPE, media_type);
        }
        let request = request.body(Bytes::from(bytes.unwrap_or_default()));
        let request =
            request.map_err(|error| Error::Answer { request: name.clone(), why: error.to_string() })?;
        let exchange = async {
            let body = collected(self.send(request).await?, &name).await?;
            read(&body).map_err(|error| Error::Answer { request: name.clone(), why: error.to_string() })
        };
        match tokio::time::timeout(ANSWER_TIME, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable {
                server: self.server().into(),
                why: format!("no answer to {name} in {} seconds", ANSWER_TIME.as_secs()),
            }),
        }
    }
}

async fn collected(answer: Response<Body>, request: &str) -> Result<Bytes, Error> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| Error::Answer { request: request.into(), why: error.to_string() })
}
