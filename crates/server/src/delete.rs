//! Deleting: at once, or in time, after whoever has something to finish has finished it.

use http::StatusCode;
use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{Status, object};
use shoal_control::custom::definition;
use shoal_control::known::CUSTOM_RESOURCE_DEFINITION;
use shoal_control::plan;

use crate::admit::{self, Admission};
use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::commit;
use crate::convert;
use crate::objects::Stored;
use crate::options::{DeleteOptions, ListOptions, Propagation};
use crate::read;
use crate::registry::Served;
use crate::render;
use crate::select::Selection;

/// How often a deletion is tried anew when others change the object meanwhile.
const ATTEMPTS_MAX: usize = 32;
/// The finalizer that keeps an object until what it owns is gone.
const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that keeps an object until what it owns has no owner.
const ORPHAN: &str = "orphan";

/// What became of a deletion.
pub(crate) enum Deleted {
    /// The object is gone; it was this.
    Gone(Value),
    /// The object stays for a while, marked.
    Waits(Stored),
}

/// `DELETE` of one object.
///
/// # Errors
/// 404, 409 when a precondition does not hold, and those of the store.
pub(crate) async fn delete(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let wanted = request.wanted(served)?;
    let options = DeleteOptions::read(&request.query, &crate::body::delete_options(request)?)?;
    let target = &request.target;
    let (deleted, warnings) = remove(api, served, request, &target.namespace, &target.name, &options).await?;
    let answer = match deleted {
        Deleted::Waits(stored) => {
            let stored = convert::shown(api, served, stored).await?;
            render::stored(api, served, StatusCode::OK, &stored, wanted)?
        }
        Deleted::Gone(object) if gives_object(served) => {
            render::value(api, served, StatusCode::OK, &object, wanted)?
        }
        Deleted::Gone(object) => answer::json(StatusCode::OK, &success(served, &object)),
    };
    Ok(answer::warned(answer, &warnings))
}

/// `DELETE` of many.
///
/// # Errors
/// The first failure that is not that an object is gone already.
pub(crate) async fn delete_collection(
    api: &Api,
    served: &Served,
    request: &Request,
) -> Result<Answer, Status> {
    let wanted = request.wanted(served)?;
    let list = ListOptions::read(&request.query)?;
    let options = DeleteOptions::read(&request.query, &crate::body::delete_options(request)?)?;
    let selection = Selection::read(served, &list, "")?;
    read::reach_asked(api, &list).await?;
    let page = read::page(api, served, &request.target.namespace, &list, &selection).await?;
    let mut warnings = Vec::new();
    for stored in &page.objects {
        let Some((namespace, name)) = served.place(&stored.key) else { continue };
        match remove(api, served, request, namespace, name, &options).await {
            // What is said of each is said once.
            Ok((_, said)) => {
                warnings.extend(said.into_iter().filter(|one| !warnings.contains(one)).collect::<Vec<_>>());
            }
            Err(gone) if gone.reason == "NotFound" => {}
            Err(error) => return Err(error),
        }
    }
    let answer = render::list(api, served, &page, wanted, request.include()).await?;
    Ok(answer::warned(answer, &warnings))
}

/// Deletes one object, or marks it. With it comes what the client should be told.
///
/// # Errors
/// As [`delete`].
pub(crate) async fn remove(
    api: &Api,
    served: &Served,
    request: &Request,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<(Deleted, Vec<String>), Status> {
    for _ in 0..ATTEMPTS_MAX {
        let stored = read::one(api, served, namespace, name).await?;
        let old = convert::value(api, served, &stored).await?;
        check(served, &stored, &old, options)?;
        let admission = Admission {
            api,
            served,
            request,
            operation: admit::Operation::Delete,
            subresource: "",
            dry_run: options.dry_run,
        };
        let warnings = admit::delete(&admission, &old).await?;
        let marked = marked(served, &old, options, api.moment());
        let committed = match marked {
            // Marked before, and nothing new to mark.
            Some(new) if new == old => return Ok((Deleted::Waits(stored), warnings)),
            Some(new) => commit::update(&admission, served, &stored, &old, new, options.dry_run)
                .await?
                .map(Deleted::Waits),
            None => {
                let gone = commit::delete(&admission, served, &stored, &old, options.dry_run).await?;
                gone.map(|gone| Deleted::Gone(ended(served, gone, api.moment())))
            }
        };
        if let Some(deleted) = committed {
            return Ok((deleted, warnings));
        }
    }
    Err(Status::modified(served.named(), name))
}

/// What was deleted, as its client is shown it: of a pod, when it ended.
fn ended(served: &Served, mut object: Value, now: Moment) -> Value {
    if served.is_core("pods") && object::deletion_timestamp(&object).is_none() {
        let metadata = object::metadata_mut(&mut object);
        metadata.insert("deletionTimestamp".into(), now.to_time().into());
        metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    }
    object
}

fn check(served: &Served, stored: &Stored, old: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let conflict = |what: &str, asked: &str, is: &str| {
        let message =
            format!("Precondition failed: {what} in precondition: {asked}, {what} in object meta: {is}");
        Err(Status::conflict(served.named(), object::name(old), &message))
    };
    if let Some(uid) = &options.uid
        && uid != object::uid(old)
    {
        return conflict("UID", uid, object::uid(old));
    }
    let revision = stored.revision.to_string();
    match &options.resource_version {
        Some(asked) if *asked != revision => conflict("ResourceVersion", asked, &revision),
        _ => Ok(()),
    }
}

/// The object as it waits for its end; none: nothing keeps it.
fn marked(served: &Served, old: &Value, options: &DeleteOptions, now: Moment) -> Option<Value> {
    let mut new = old.clone();
    finalize(served, &mut new, options.propagation);
    if served.kind() == *CUSTOM_RESOURCE_DEFINITION && object::deletion_timestamp(old).is_none() {
        definition::begin_deletion(&mut new, &now.to_time());
    }
    let grace = grace(served, old, options);
    let is_marked = object::deletion_timestamp(old).is_some();
    let waits = object::finalizers(&new).next().is_some() || has_spec_finalizers(served, &new);
    if !waits && grace == 0 {
        return None;
    }
    let metadata = object::metadata_mut(&mut new);
    let shorter = old["metadata"]["deletionGracePeriodSeconds"].as_i64().is_none_or(|was| grace < was);
    if !is_marked || shorter {
        metadata.insert("deletionTimestamp".into(), plan::after(now, grace).to_time().into());
        // Definitions are marked by a hand of their own in Kubernetes, which says nothing but when.
        let is_definition = served.kind() == *CUSTOM_RESOURCE_DEFINITION;
        if !is_definition {
            metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        }
        if !is_marked
            && !is_definition
            && let Some(generation) = old["metadata"]["generation"].as_i64()
        {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
    if served.is_core("namespaces") {
        metadata.remove("deletionGracePeriodSeconds");
        new["status"]["phase"] = "Terminating".into();
    }
    Some(new)
}

/// Puts in the finalizer that the wish of the client asks for, and takes out its opposite.
fn finalize(served: &Served, object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    if served.is_core("namespaces") && propagation != Propagation::Foreground {
        return;
    }
    let mut finalizers: Vec<String> = object::finalizers(object)
        .filter(|one| ![FOREGROUND, ORPHAN].contains(one))
        .map(str::to_owned)
        .collect();
    match propagation {
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
        Propagation::Background => {}
    }
    if finalizers.is_empty() {
        object::metadata_mut(object).remove("finalizers");
    } else {
        object["metadata"]["finalizers"] = json!(finalizers);
    }
}

/// How long an object has to end, in seconds. Only pods on a node, which have work to end, have any time.
fn grace(served: &Served, old: &Value, options: &DeleteOptions) -> i64 {
    if !served.is_core("pods") {
        return 0;
    }
    let is_over = ["Succeeded", "Failed"].contains(&old["status"]["phase"].as_str().unwrap_or_default());
    if is_over || old["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
        return 0;
    }
    let own = old["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    options.grace_period_seconds.unwrap_or(own).max(0)
}

/// Whether a namespace is kept by `spec.finalizers`.
fn has_spec_finalizers(served: &Served, object: &Value) -> bool {
    served.is_core("namespaces")
        && object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

/// Whether nothing keeps an object that is marked any more.
pub(crate) fn is_done(served: &Served, object: &Value) -> bool {
    object::deletion_timestamp(object).is_some()
        && object::finalizers(object).next().is_none()
        && !has_spec_finalizers(served, object)
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}

/// Kinds whose deletion is answered with what was deleted, as Kubernetes does for a few.
fn gives_object(served: &Served) -> bool {
    let core = [
        "pods",
        "services",
        "namespaces",
        "persistentvolumes",
        "persistentvolumeclaims",
        "serviceaccounts",
        "podtemplates",
        "resourcequotas",
    ];
    let storage = ["volumeattachments", "storageclasses", "csidrivers", "csinodes", "csistoragecapacities"];
    core.iter().any(|plural| served.is_core(plural))
        || served.resource.group_version.group == "storage.k8s.io"
            && storage.contains(&served.resource.plural.as_str())
}

fn success(served: &Served, object: &Value) -> Value {
    let mut details =
        json!({"name": object::name(object), "kind": served.resource.plural, "uid": object::uid(object)});
    if !served.resource.group_version.group.is_empty() {
        details["group"] = served.resource.group_version.group.clone().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
