//! `eviction`: a pod is deleted, if its disruption budgets allow.

use serde_json::Value;
use shoal_api::selector::label;
use shoal_api::status::{Cause, Details};
use shoal_api::{GroupVersionKind, Status, object};
use shoal_control::known;
use shoal_control::snapshot::Snapshot;

use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::body::{self, Type};
use crate::delete;
use crate::options::DeleteOptions;
use crate::read;
use crate::registry::Served;
use crate::write::Writer;

/// Evicts a pod.
///
/// # Errors
/// 404; 429: a budget does not allow it now; 500: more than one budget is for the pod.
pub(super) async fn evict(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let options = request.write_options()?;
    let kind = GroupVersionKind::new("policy", "v1", "Eviction");
    let eviction = body::object(request, &kind, Type::of_kind(&kind), options.strictness)?.object;
    let target = &request.target;
    let said = object::name(&eviction);
    if !said.is_empty() && said != target.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut delete = DeleteOptions::read(&request.query, &eviction["deleteOptions"])?;
    delete.dry_run |= options.dry_run;
    let pod = read::one(api, served, &target.namespace, &target.name).await?.value()?;
    if is_counted(&pod) {
        spend(api, request, &pod, delete.dry_run).await?;
    }
    let (_, warnings) =
        delete::remove(api, served, request, &target.namespace, &target.name, &delete).await?;
    Ok(answer::warned(super::done(), &warnings))
}

/// Whether losing a pod disrupts anything.
fn is_counted(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    !["Succeeded", "Failed", "Pending"].contains(&phase) && object::deletion_timestamp(pod).is_none()
}

/// Takes one disruption from the budget of a pod.
async fn spend(api: &Api, request: &Request, pod: &Value, dry_run: bool) -> Result<(), Status> {
    api.settle().await?;
    let budgets = {
        let view = api.world.view();
        view.list(&known::POD_DISRUPTION_BUDGET, Some(object::namespace(pod)))
    };
    let mut of_pod = budgets.iter().filter(|budget| {
        label::Selector::from_object(&budget["spec"]["selector"]).is_ok_and(|selector| selector.matches(pod))
    });
    let Some(budget) = of_pod.next() else { return Ok(()) };
    if of_pod.next().is_some() {
        return Err(Status::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    let registry = api.registry.load();
    let served = registry.of_kind(&known::POD_DISRUPTION_BUDGET).cloned().ok_or_else(Status::no_such_path)?;
    drop(registry);
    let (name, pod_name, now) = (object::name(budget).to_owned(), object::name(pod).to_owned(), api.now());
    let options = crate::options::WriteOptions { dry_run, ..request.write_options()? };
    let inner = Request::of(request.user.clone(), &served, object::namespace(pod), &name);
    let write = Writer {
        api,
        served: &served,
        request: &inner,
        options: &options,
        subresource: "status",
        tracks: true,
    };
    let taken = |old: &Value| {
        let allowed = old["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
        let is_observed = old["status"]["observedGeneration"] == old["metadata"]["generation"];
        if allowed <= 0 || !is_observed {
            return Err(refused(old, is_observed));
        }
        let mut new = old.clone();
        new["status"]["disruptionsAllowed"] = (allowed - 1).into();
        new["status"]["disruptedPods"][&pod_name] = now.clone().into();
        Ok(new)
    };
    write.change(taken).await.map(|_| ())
}

fn refused(budget: &Value, is_observed: bool) -> Status {
    let status = &budget["status"];
    let name = object::name(budget);
    let why = if is_observed {
        format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status["desiredHealthy"], status["currentHealthy"]
        )
    } else {
        format!("The disruption budget {name} is still being processed by the server.")
    };
    let cause = Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() };
    let details = Details {
        causes: vec![cause],
        retry_after_seconds: if is_observed { 0 } else { 10 },
        ..Details::default()
    };
    Status::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
        .with_details(details)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_budget_says_why_it_refuses() {
        let budget = json!({"metadata": {"name": "b"}, "status": {"desiredHealthy": 2, "currentHealthy": 2}});
        let status = refused(&budget, true).to_value();
        assert_eq!(
            status["details"]["causes"][0]["message"],
            "The disruption budget b needs 2 healthy pods and has 2 currently"
        );
    }
}
