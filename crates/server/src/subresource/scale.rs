//! `scale`: how many replicas there should be, in one form for all kinds that have any.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use shoal_api::apply::{Manager, scale_to_parent, scale_to_subresource};
use shoal_api::resources::Verb;
use shoal_api::selector::label;
use shoal_api::{GroupKind, GroupVersionKind, Status, object};
use shoal_control::custom::scale;

use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::body::{self, Type};
use crate::commit::Written;
use crate::convert;
use crate::patch::{Form, applied, patched};
use crate::read;
use crate::registry::Served;
use crate::render;
use crate::write::Writer;

const SCALE: &str = "scale";
const MANAGED: &str = "managedFields";

/// Reads or changes the number of replicas.
///
/// # Errors
/// 404, 409, 422: as for the object itself.
pub(super) async fn answer(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let target = &request.target;
    let wanted = request.wanted(served)?;
    let options = request.write_options()?;
    let kind = GroupVersionKind::new("autoscaling", "v1", "Scale");
    let of_scale = Type::of_kind(&kind);
    let write = Writer { api, served, request, options: &options, subresource: SCALE, tracks: true };
    let written = match target.verb {
        Verb::Get => {
            let stored = read::one(api, served, &target.namespace, &target.name).await?;
            let scale = of(served, &convert::value(api, served, &stored).await?)?;
            return Ok(render::encoded(StatusCode::OK, &scale, wanted.encoding));
        }
        Verb::Patch => {
            let form = Form::of(served, request.header(&CONTENT_TYPE))?;
            match form {
                Form::Apply => apply(&write, of_scale, &kind).await?,
                _ => change(&write, form, of_scale).await?,
            }
        }
        _ => {
            let scale = body::object(request, &kind, of_scale, options.strictness)?.object;
            write.change(|old| with(served, old, &scale)).await?
        }
    };
    let scale = of(served, &render::in_version(served, &written.stored)?)?;
    Ok(answer::warned(render::encoded(StatusCode::OK, &scale, wanted.encoding), &written.warnings))
}

/// A patch in one of the three forms that say what changes.
async fn change(write: &Writer<'_>, form: Form, of_scale: Type<'_>) -> Result<Written, Status> {
    patched(write, form, |patch, old| {
        let (scale, warnings) = patch.made(of_scale, &of(write.served, old)?, false)?;
        Ok((with(write.served, old, &scale)?, warnings))
    })
    .await
}

/// Server-side apply: who applies a scale owns the replicas, and nothing else of the object.
async fn apply(write: &Writer<'_>, of_scale: Type<'_>, kind: &GroupVersionKind) -> Result<Written, Status> {
    let served = write.served;
    let (config, warnings) = applied(write, of_scale, kind)?;
    let version = served.resource.group_version.to_string();
    let built_in = [(version.clone(), vec!["spec".into(), "replicas".into()])];
    let paths = served.custom.as_ref().map_or(&built_in[..], |custom| custom.replicas());
    let (now, scale_version) = (write.api.now(), kind.group_version().to_string());
    let manager = Manager {
        name: &write.options.field_manager,
        subresource: SCALE,
        api_version: &scale_version,
        now: &now,
        resets: &[],
    };
    let force = write.options.force;
    let write = Writer { tracks: false, ..*write };
    let mut written = write
        .change(|old| {
            let mut scale = of(served, old)?;
            scale["metadata"][MANAGED] = scale_to_subresource(&old["metadata"][MANAGED], paths);
            let scaled = shoal_api::apply::apply(of_scale.node(), Some(&scale), &config, &manager, force);
            let scaled = scaled.map_err(|error| error.to_status())?;
            let mut new = with(served, old, &scaled)?;
            let entries = &scaled["metadata"][MANAGED];
            new["metadata"][MANAGED] = scale_to_parent(&old["metadata"][MANAGED], entries, &version, paths);
            Ok(new)
        })
        .await?;
    written.warnings.splice(0..0, warnings);
    Ok(written)
}

/// The scale of an object.
fn of(served: &Served, object: &Value) -> Result<Value, Status> {
    if let Some(custom) = &served.custom {
        return custom.scale(object).map_err(Status::internal);
    }
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {}, "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    if let Some(replicas) = object["spec"]["replicas"].as_i64().filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = &object["spec"]["selector"];
    let selector = if served.is_core("replicationcontrollers") {
        label::Selector::from_map(selector)
    } else {
        label::Selector::from_object(selector).unwrap_or_else(|_| label::Selector::nothing())
    };
    if !selector.is_everything() {
        scale["status"]["selector"] = selector.to_string().into();
    }
    Ok(scale)
}

/// An object with the replicas of a scale.
fn with(served: &Served, old: &Value, scale: &Value) -> Result<Value, Status> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    let errors = scale::validate(scale);
    if !errors.is_empty() {
        let kind = GroupKind { group: "autoscaling".into(), kind: "Scale".into() };
        return Err(Status::invalid(&kind, object::name(old), &errors));
    }
    let mut new = match &served.custom {
        Some(custom) => custom.with_scale(old, replicas).map_err(Status::internal)?,
        None => {
            let mut new = old.clone();
            new["spec"]["replicas"] = replicas.into();
            new
        }
    };
    for field in ["uid", "resourceVersion"] {
        if let Some(text) = scale["metadata"][field].as_str().filter(|text| !text.is_empty()) {
            new["metadata"][field] = text.into();
        }
    }
    Ok(new)
}
