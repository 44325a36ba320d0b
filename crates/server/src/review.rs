//! What is only asked and never stored: reviews, tokens.

use std::sync::Arc;

use http::StatusCode;
use shoal_api::{GroupVersionKind, Status};
use shoal_control::rbac::review;

use crate::access::Accounts;
use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::body::{self, Type};
use crate::registry::Served;
use crate::render;
use crate::subresource;

/// `POST` of an object that is answered and not kept.
///
/// # Errors
/// 400, 422: the question cannot be understood.
pub(crate) async fn review(
    api: &Arc<Api>,
    served: &Arc<Served>,
    request: &Request,
) -> Result<Answer, Status> {
    if served.is_core("bindings") {
        let registry = api.registry.load();
        let pods = registry.get("", "v1", "pods").cloned().ok_or_else(Status::no_such_path)?;
        drop(registry);
        return subresource::bind(api, &pods, request).await;
    }
    let wanted = request.wanted(served)?.without_rows()?;
    let options = request.write_options()?;
    let asked = body::object(request, &served.kind(), Type::of(served), options.strictness)?.object;
    let now = api.timestamp();
    let authorizer = || api.access.authorizer.read();
    let answered = match served.resource.plural.as_str() {
        "tokenreviews" => api.access.authenticator.review(&asked, now).await?,
        "subjectaccessreviews" => review::subject_access(&authorizer(), &asked)?,
        "localsubjectaccessreviews" => {
            review::local_subject_access(&authorizer(), &request.target.namespace, &asked)?
        }
        "selfsubjectaccessreviews" => review::self_subject_access(&authorizer(), &request.user, &asked)?,
        "selfsubjectrulesreviews" => review::self_subject_rules(&authorizer(), &request.user, &asked)?,
        "selfsubjectreviews" => review::self_subject(&request.user, &api.now()),
        _ => return Err(Status::method_not_allowed()),
    };
    render::value(api, served, StatusCode::CREATED, &answered, wanted)
}

/// `POST` of a `TokenRequest` for a ServiceAccount.
///
/// # Errors
/// 404: there is no such account; 400, 409, 422: the request is wrong.
pub(crate) async fn token(api: &Arc<Api>, served: &Arc<Served>, request: &Request) -> Result<Answer, Status> {
    let wanted = request.wanted(served)?;
    let options = request.write_options()?;
    let kind = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    let asked = body::object(request, &kind, Type::of_kind(&kind), options.strictness)?.object;
    let (accounts, target) = (Accounts(api.objects.clone()), &request.target);
    let issued = api
        .access
        .authenticator
        .service_accounts()
        .request(&accounts, &target.namespace, &target.name, &asked, api.timestamp())
        .await?;
    Ok(answer::warned(
        render::encoded(StatusCode::CREATED, &issued.object, wanted.encoding),
        &issued.warnings,
    ))
}
