//! Parts of objects with verbs of their own.

pub(crate) mod binding;
mod connect;
mod eviction;
mod scale;

use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use shoal_api::resources::Verb;
use shoal_api::{GroupVersionKind, Status, object};

use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::body::{self, Type};
use crate::registry::Served;
use crate::target::ResourceTarget;
use crate::{patch, read, write};

pub(crate) use crate::review::review;

/// Answers a request for a part of an object, other than its `status`.
///
/// # Errors
/// 404: there is no such part; 405: it has no such verb; and those of the part.
pub(crate) async fn answer(
    api: &Arc<Api>,
    served: &Arc<Served>,
    request: &Request,
) -> Result<Answer, Status> {
    let target = &request.target;
    let part = served.resource.subresource(&target.subresource).ok_or_else(Status::no_such_path)?;
    let connects = ["exec", "attach", "portforward", "proxy"].contains(&target.subresource.as_str());
    if !part.verbs.contains(&target.verb) && !connects {
        return Err(Status::method_not_allowed());
    }
    match (target.resource.as_str(), target.subresource.as_str()) {
        (_, "scale") => scale::answer(api, served, request).await,
        ("pods", "binding") => binding::bind(api, served, request).await,
        ("pods", "eviction") => eviction::evict(api, served, request).await,
        ("serviceaccounts", "token") => crate::review::token(api, served, request).await,
        ("pods", "log") => connect::log(api, served, request).await,
        ("pods", "portforward") => connect::port_forward(api, served, request).await,
        ("pods", "exec" | "attach") => connect::no_shell(api, served, request).await,
        ("nodes", "proxy") => connect::node_proxy(api, served, request).await,
        (_, "proxy") => Err(Status::unavailable(format!(
            "{} cannot be reached through the API server: use its own address",
            served.named().qualified()
        ))),
        // What is left are parts that are read and written as the object itself, by rules of their own.
        _ => match target.verb {
            Verb::Get => read::get(api, served, request).await,
            Verb::Patch => patch::patch(api, served, request).await,
            _ => write::update(api, served, request).await,
        },
    }
}

/// `POST` of a `Binding` into its collection: an older way to bind a pod.
///
/// # Errors
/// As [`answer`].
pub(crate) async fn bind(api: &Arc<Api>, pods: &Arc<Served>, request: &Request) -> Result<Answer, Status> {
    let kind = GroupVersionKind::new("", "v1", "Binding");
    let of = Type::of_kind(&kind);
    let binding = body::object(request, &kind, of, request.write_options()?.strictness)?.object;
    let target = ResourceTarget {
        resource: pods.resource.plural.clone(),
        name: object::name(&binding).into(),
        subresource: "binding".into(),
        ..request.target.clone()
    };
    let request = Request {
        user: request.user.clone(),
        method: request.method.clone(),
        target,
        query: request.query.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
        upgrade: Mutex::default(),
    };
    binding::bind(api, pods, &request).await
}

/// The answer to what was done and leaves nothing to show.
fn done() -> Answer {
    let status: Value =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    answer::json(StatusCode::CREATED, &status)
}
