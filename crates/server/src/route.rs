//! From a request to whoever answers it.

use std::sync::Arc;

use http::{Method, StatusCode};
use shoal_api::Status;
use shoal_api::resources::Verb;

use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::registry::Served;
use crate::target::ResourceTarget;
use crate::{custom, delete, nodes, patch, read, subresource, watch, write};

/// Answers a request for objects.
pub(crate) async fn resource(api: &Arc<Api>, request: &Request) -> Answer {
    let target = &request.target;
    let served = match served(api, target).await {
        Ok(served) => served,
        Err(status) => return answer::failure(&status),
    };
    let answer = dispatch(api, &served, request).await.unwrap_or_else(|status| answer::failure(&status));
    match served.deprecation() {
        Some(warning) => answer::warned(answer, &[warning.to_owned()]),
        None => answer,
    }
}

/// What a path names. A definition that was written just now may not be served yet: it is waited for.
async fn served(api: &Arc<Api>, target: &ResourceTarget) -> Result<Arc<Served>, Status> {
    let find = || api.registry.load().get(&target.group, &target.version, &target.resource).cloned();
    if let Some(served) = find() {
        return Ok(served);
    }
    custom::settle(api).await?;
    find().ok_or_else(Status::no_such_path)
}

async fn dispatch(api: &Arc<Api>, served: &Arc<Served>, request: &Request) -> Result<Answer, Status> {
    let target = &request.target;
    if !is_somewhere(served, target) || !(target.rest.is_empty() || target.subresource == "proxy") {
        return Err(Status::no_such_path());
    }
    if !target.subresource.is_empty() && target.subresource != "status" {
        return subresource::answer(api, served, request).await;
    }
    allowed(served, request)?;
    if target.group == "metrics.k8s.io" {
        return nodes::usage(api, served, request).await;
    }
    match target.verb {
        Verb::Get => read::get(api, served, request).await,
        Verb::List => read::list(api, served, request).await,
        Verb::Watch => watch::watch(api, served, request).await,
        Verb::Create if !served.is_stored() => subresource::review(api, served, request).await,
        Verb::Create => write::create(api, served, request).await,
        Verb::Update => write::update(api, served, request).await,
        Verb::Patch => patch::patch(api, served, request).await,
        Verb::Delete => delete::delete(api, served, request).await,
        Verb::DeleteCollection => delete::delete_collection(api, served, request).await,
    }
}

/// Whether a path can lead to a resource. What is in no namespace is never reached through one: a right in a namespace
/// would be one to what is everybody's.
fn is_somewhere(served: &Served, target: &ResourceTarget) -> bool {
    if served.resource.namespaced {
        return target.in_namespace || target.name.is_empty();
    }
    !target.in_namespace
}

/// Whether the resource, or the part of it that is asked for, has the verb.
fn allowed(served: &Served, request: &Request) -> Result<(), Status> {
    let target = &request.target;
    let verbs = match target.subresource.as_str() {
        "" => &served.resource.verbs,
        part => &served.resource.subresource(part).ok_or_else(Status::no_such_path)?.verbs,
    };
    // A resource that can be listed can be followed one by one.
    let verb = if target.verb == Verb::Watch && !target.name.is_empty() { Verb::List } else { target.verb };
    let is_one = !target.name.is_empty();
    let fits = match verb {
        Verb::Create => !is_one || !target.subresource.is_empty(),
        Verb::Update | Verb::Patch => is_one,
        _ => true,
    };
    // All namespaces together can be looked at, and nothing else.
    let is_everywhere = served.resource.namespaced && !target.in_namespace;
    let fits = fits && (!is_everywhere || matches!(verb, Verb::List | Verb::Watch));
    if verbs.contains(&verb) && fits {
        return Ok(());
    }
    Err(Status::method_not_allowed())
}

/// Whether a method is one that anything here has.
pub(crate) fn is_known(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method)
}

/// The answer to a method that nothing here has.
pub(crate) fn unknown_method() -> Answer {
    answer::with_header(
        answer::failure(&Status::method_not_allowed()),
        http::header::ALLOW,
        "GET, HEAD, POST, PUT, PATCH, DELETE",
    )
}

/// The answer to what nothing here has.
pub(crate) fn nothing_here() -> Answer {
    answer::text(StatusCode::NOT_FOUND, "404 page not found\n")
}
