//! `PATCH`: an object changed by what a client says about the change.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use serde_json::Value;
use shoal_api::apply::{self, Manager};
use shoal_api::decode::{self, DecodeError, Strictness};
use shoal_api::field::{Error, Path};
use shoal_api::{GroupKind, GroupVersionKind, Node, Status, object, patch};

use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::body::Type;
use crate::commit::Written;
use crate::media::essence;
use crate::options::refused;
use crate::registry::{Served, claim};
use crate::render;
use crate::write::{Writer, place};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// How a change is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Operations, one by one (RFC 6902).
    Json,
    /// What is to be there, null where nothing is (RFC 7386).
    Merge,
    /// The same, with lists merged by what their kind says.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// `PATCH` of an object or of its status.
///
/// # Errors
/// As an update; 409 for fields that others own, when they are applied without force.
pub(crate) async fn patch(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let wanted = request.wanted(served)?;
    let options = request.write_options()?;
    let form = Form::of(served, request.header(&CONTENT_TYPE))?;
    if form != Form::Apply && options.force {
        let error = Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch");
        return Err(refused("PatchOptions", &error));
    }
    let subresource = request.target.subresource.as_str();
    let write = Writer { api, served, request, options: &options, subresource, tracks: form != Form::Apply };
    let written = match form {
        Form::Apply => apply_patch(&write).await?,
        _ => change(&write, form).await?,
    };
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let answer = render::stored(api, served, code, &written.stored, wanted)?;
    Ok(answer::warned(answer, &written.warnings))
}

/// A patch of an object in one of the three forms that say what changes.
async fn change(write: &Writer<'_>, form: Form) -> Result<Written, Status> {
    let (served, kind) = (write.served, write.served.kind());
    patched(write, form, |patch, old| {
        let (mut new, warnings) = patch.made(Type::of(served), old, served.is_core("secrets"))?;
        claim(&mut new, &kind)?;
        place(served, write.request, &mut new)?;
        Ok((new, warnings))
    })
    .await
}

/// Writes what a patch in one of the three forms that say what changes makes of an object. `made` says that, and what the
/// client should be told about it.
///
/// # Errors
/// As an update, and those of `made`.
pub(crate) async fn patched(
    write: &Writer<'_>,
    form: Form,
    made: impl Fn(&Patch, &Value) -> Result<(Value, Vec<String>), Status>,
) -> Result<Written, Status> {
    let patch = Patch::read(form, &write.request.body, write.options.strictness)?;
    let strict = Mutex::new(Vec::new());
    let mut written = write
        .change(|old| {
            let (new, warnings) = made(&patch, old)?;
            *strict.lock() = warnings;
            Ok(new)
        })
        .await?;
    written.warnings.splice(0..0, strict.into_inner());
    Ok(written)
}

/// What a client applies, as an object of a kind, and what it should be told about it.
///
/// # Errors
/// 400, 422: it does not say as whom; it is no such object, or another than that of the path.
pub(crate) fn applied(
    write: &Writer<'_>,
    of: Type<'_>,
    kind: &GroupVersionKind,
) -> Result<(Value, Vec<String>), Status> {
    let (served, target) = (write.served, &write.request.target);
    if write.request.query.get("fieldManager").is_none_or(str::is_empty) {
        let error = Error::required(&Path::new("fieldManager"), "is required for apply patch");
        return Err(refused("PatchOptions", &error));
    }
    let (mut config, warnings) = of.text(kind, &write.request.body, true, write.options.strictness)?;
    claim(&mut config, kind)?;
    let named = object::name(&config);
    if !named.is_empty() && named != target.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({named}) does not match the name on the URL ({})",
            target.name
        )));
    }
    config["metadata"]["name"] = target.name.clone().into();
    if served.resource.namespaced {
        config["metadata"]["namespace"] = target.namespace.clone().into();
    }
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok((config, warnings))
}

/// Server-side apply: the client says what it wants, the fields that it owns follow from that.
async fn apply_patch(write: &Writer<'_>) -> Result<Written, Status> {
    let served = write.served;
    let node = Type::of(served).node();
    let (config, warnings) = applied(write, Type::of(served), &served.kind())?;
    let now = write.api.now();
    let version = served.resource.group_version.to_string();
    let manager = Manager {
        name: &write.options.field_manager,
        subresource: write.subresource,
        api_version: &version,
        now: &now,
        resets: served.resets(write.subresource),
    };
    let merged = |live: Option<&Value>| {
        apply::apply(node, live, &config, &manager, write.options.force).map_err(|error| error.to_status())
    };
    let mut written = if !write.subresource.is_empty() || write.exists().await? {
        write.change(|old| merged(Some(old))).await?
    } else {
        write.may_make()?;
        write.create_named(merged(None)?).await?
    };
    written.warnings.splice(0..0, warnings);
    Ok(written)
}

/// A change as a client sent it.
pub(crate) struct Patch {
    form: Form,
    change: Value,
    /// What stands in it twice.
    findings: Vec<String>,
    strictness: Strictness,
}

impl Patch {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// 400: it is no JSON.
    pub(crate) fn read(form: Form, body: &[u8], strictness: Strictness) -> Result<Self, Status> {
        let (change, mut findings) = decode::free_json(body, gently(strictness))
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
        if form == Form::Json {
            findings.iter_mut().for_each(|finding| finding.insert_str(0, "json patch "));
        }
        Ok(Self { form, change, findings, strictness })
    }

    /// What it makes of an object of a type, and what the client should be told about it. `hides`: what the object holds is
    /// not quoted when something is wrong.
    ///
    /// # Errors
    /// The change cannot be made. 422: what it makes is no object of the type.
    pub(crate) fn made(
        &self,
        of: Type<'_>,
        old: &Value,
        hides: bool,
    ) -> Result<(Value, Vec<String>), Status> {
        let patched = || self.form.patched(Some(of.node()), old, &self.change);
        let refused = |error: DecodeError| match patched() {
            Ok(_) if hides => refused_as("", &error.to_string()),
            Ok(_) if self.form == Form::Strategic => {
                refused_as(&patch::go_shown(&self.change), &error.to_string())
            }
            Ok(patched) => {
                // Read as text, it is refused in other words.
                let (text, of) = (patched.to_string(), of.node());
                let again = decode::json(text.as_bytes(), of, Strictness::Ignore).err();
                let again = again.filter(|_| !matches!(error, DecodeError::Strict(_)));
                refused_as(&text, &again.unwrap_or(error).to_string())
            }
            Err(status) => status,
        };
        let (new, found) = of.value(patched()?, gently(self.strictness)).map_err(refused)?;
        let findings: Vec<String> = self.findings.iter().cloned().chain(found).collect();
        if self.strictness == Strictness::Strict && !findings.is_empty() {
            return Err(refused(DecodeError::Strict(findings)));
        }
        Ok((new, findings))
    }
}

/// All that is unknown or stands twice is gathered first, and refused together.
fn gently(strictness: Strictness) -> Strictness {
    if strictness == Strictness::Strict { Strictness::Warn } else { strictness }
}

/// The refusal of what a patch makes; it names no kind.
fn refused_as(shown: &str, why: &str) -> Status {
    let nothing = GroupKind { group: String::new(), kind: String::new() };
    Status::invalid(&nothing, "", &[Error::invalid(&Path::new("patch"), &shown.into(), why)])
}

impl Form {
    /// What a content type says.
    ///
    /// # Errors
    /// 415: it is none of those that the resource takes.
    pub(crate) fn of(served: &Served, content_type: Option<&str>) -> Result<Self, Status> {
        let built_in = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH];
        let custom = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH];
        let is_custom = served.custom.is_some();
        match essence(content_type.unwrap_or_default()) {
            JSON_PATCH => Ok(Self::Json),
            MERGE_PATCH => Ok(Self::Merge),
            STRATEGIC_PATCH if !is_custom => Ok(Self::Strategic),
            APPLY_PATCH => Ok(Self::Apply),
            _ if is_custom => Err(Status::unsupported_media_type(&custom)),
            _ => Err(Status::unsupported_media_type(&built_in)),
        }
    }

    /// A value of a type, changed.
    ///
    /// # Errors
    /// The change cannot be made.
    pub(crate) fn patched(
        self,
        node: Option<Node<'_>>,
        old: &Value,
        change: &Value,
    ) -> Result<Value, Status> {
        let mut object = old.clone();
        let patched = match (self, node) {
            (Self::Json, _) => patch::json::apply(&mut object, change),
            (Self::Strategic, Some(node)) => patch::strategic::apply(node, &mut object, change.clone()),
            (Self::Merge | Self::Strategic | Self::Apply, _) => {
                patch::merge::apply(&mut object, change.clone())
            }
        };
        patched.map_err(|error| error.to_status())?;
        Ok(object)
    }
}
