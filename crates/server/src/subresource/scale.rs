//! `scale`: how many replicas there should be, in one form for all kinds that have any.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use serde_json::{Value, json};
use shoal_api::resources::Verb;
use shoal_api::selector::label;
use shoal_api::{GroupVersionKind, Status, object};

use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::body::{self, Type};
use crate::convert;
use crate::patch::{Form, Patch};
use crate::read;
use crate::registry::Served;
use crate::render;
use crate::write::Writer;

/// Reads or changes the number of replicas.
///
/// # Errors
/// 404, 409, 422: as for the object itself.
pub(super) async fn answer(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let target = &request.target;
    let wanted = request.wanted(served)?;
    let options = request.write_options()?;
    let kind = GroupVersionKind::new("autoscaling", "v1", "Scale");
    let node = Type::of_kind(&kind).node();
    let write = Writer { api, served, request, options: &options, subresource: "scale", tracks: true };
    let written = match target.verb {
        Verb::Get => {
            let stored = read::one(api, served, &target.namespace, &target.name).await?;
            let scale = of(served, &convert::value(api, served, &stored).await?)?;
            return Ok(render::encoded(StatusCode::OK, &scale, wanted.encoding));
        }
        Verb::Patch => {
            let form = Form::of(served, request.header(&CONTENT_TYPE))?;
            let patch = Patch::read(form, &request.body, options.strictness)?;
            let strict = Mutex::new(Vec::new());
            let mut written = write
                .change(|old| {
                    let (scale, warnings) = patch.made(Type::BuiltIn(node), &of(served, old)?, false)?;
                    *strict.lock() = warnings;
                    with(served, old, &scale)
                })
                .await?;
            written.warnings.splice(0..0, strict.into_inner());
            written
        }
        _ => {
            let scale = body::object(request, &kind, Type::BuiltIn(node), options.strictness)?.object;
            write.change(|old| with(served, old, &scale)).await?
        }
    };
    let scale = of(served, &render::in_version(served, &written.stored)?)?;
    Ok(answer::warned(render::encoded(StatusCode::OK, &scale, wanted.encoding), &written.warnings))
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
    if replicas < 0 {
        let path = shoal_api::field::Path::new("spec").child("replicas");
        let error =
            shoal_api::field::Error::invalid(&path, &json!(replicas), "must be greater than or equal to 0");
        let kind = shoal_api::GroupKind { group: "autoscaling".into(), kind: "Scale".into() };
        return Err(Status::invalid(&kind, object::name(old), &[error]));
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
