//! TokenRequest: `serviceaccounts/NAME/token`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use shoal_api::field::{Error, Path};
use shoal_api::status::Resource;
use shoal_api::{GroupKind, Status, object};

use super::{Bound, Lookup, ServiceAccounts};

/// How long a token is valid when nobody says.
pub const SECONDS_DEFAULT: i64 = 3600;
/// Shortest life of a token that may be asked for, as kube-apiserver has it.
pub const SECONDS_MIN: i64 = 10 * 60;
/// Longest number of seconds that may be asked for, as kube-apiserver has it.
const SECONDS_ASKED_MAX: i64 = 1 << 32;
/// Longest life of a token that is given: a year, so that keys can be forgotten.
const SECONDS_MAX: i64 = 365 * 24 * 3600;

/// The answer to a TokenRequest.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    /// The TokenRequest with its status.
    pub object: Value,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

impl ServiceAccounts {
    /// Issues the token that a TokenRequest asks for.
    ///
    /// # Errors
    /// 404 when there is no such account or bound object, 400, 409 or 422 when the request is wrong.
    pub async fn request(
        &self,
        lookup: &dyn Lookup,
        namespace: &str,
        name: &str,
        request: &Value,
        now: Timestamp,
    ) -> Result<Issued, Status> {
        let asked = object::name(request);
        if !asked.is_empty() && asked != name {
            return Err(Status::bad_request(format!(
                "the name in the metadata of the TokenRequest ({asked}) does not match the name on the URL ({name})"
            )));
        }
        let account = find(lookup, "serviceaccounts", namespace, name).await?;
        let spec = &request["spec"];
        let (seconds, warnings) = seconds(spec)?;
        let mut audiences: Vec<String> = spec["audiences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(String::from)
            .collect();
        if audiences.is_empty() {
            audiences = self.audiences().to_vec();
        }
        let reference = &spec["boundObjectRef"];
        let bound = match reference.is_object() {
            true => bound(lookup, namespace, name, reference).await?,
            false => Bound::default(),
        };
        let token = self.issue(&account, &audiences, &bound, now, seconds);
        let at =
            |seconds: i64| Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
        let mut answer = request.clone();
        answer["apiVersion"] = json!("authentication.k8s.io/v1");
        answer["kind"] = json!("TokenRequest");
        let metadata = object::metadata_mut(&mut answer);
        metadata.insert("name".into(), json!(name));
        metadata.insert("namespace".into(), json!(namespace));
        metadata.insert("creationTimestamp".into(), json!(at(now.as_second())));
        answer["spec"] = json!({
            "audiences": audiences, "expirationSeconds": seconds,
            "boundObjectRef": if reference.is_object() { reference.clone() } else { Value::Null },
        });
        answer["status"] = json!({"token": token, "expirationTimestamp": at(now.as_second() + seconds)});
        Ok(Issued { object: answer, warnings })
    }
}

/// How long the token is to be valid, and what to say when that is less than was asked for.
fn seconds(spec: &Value) -> Result<(i64, Vec<String>), Status> {
    let asked = spec["expirationSeconds"].as_i64().filter(|seconds| *seconds != 0).unwrap_or(SECONDS_DEFAULT);
    let detail = match asked {
        seconds if seconds < SECONDS_MIN => "may not specify a duration less than 10 minutes",
        seconds if seconds > SECONDS_ASKED_MAX => "may not specify a duration larger than 2^32 seconds",
        seconds if seconds > SECONDS_MAX => {
            let warning =
                format!("requested expiration of {asked} seconds shortened to {SECONDS_MAX} seconds");
            return Ok((SECONDS_MAX, vec![warning]));
        }
        seconds => return Ok((seconds, Vec::new())),
    };
    let path = Path::new("spec").child("expirationSeconds");
    let kind = GroupKind { group: "authentication.k8s.io".into(), kind: "TokenRequest".into() };
    Err(Status::invalid(&kind, "", &[Error::invalid(&path, &json!(asked), detail)]))
}

/// The object that the token is to end with.
async fn bound(
    lookup: &dyn Lookup,
    namespace: &str,
    account: &str,
    reference: &Value,
) -> Result<Bound, Status> {
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (version, kind, name, uid) = (text("apiVersion"), text("kind"), text("name"), text("uid"));
    let of_core = version.is_empty() || version == "v1";
    let resource = match kind {
        "Pod" if of_core => "pods",
        "Secret" if of_core => "secrets",
        "Node" if of_core => "nodes",
        _ => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let group_version = if group.is_empty() { version.into() } else { format!("{group}/{version}") };
            let message = format!("cannot bind token to object of type {group_version}, Kind={kind}");
            return Err(Status::bad_request(message));
        }
    };
    let found = find(lookup, resource, if kind == "Node" { "" } else { namespace }, name).await?;
    let mut bound = Bound::default();
    let named = Some((name.to_string(), object::uid(&found).to_string()));
    match kind {
        "Pod" => {
            if found["spec"]["serviceAccountName"] != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            bound.pod = named;
            bound.node = node_of(lookup, &found).await?;
        }
        "Secret" => bound.secret = named,
        _ => bound.node = named,
    }
    if !uid.is_empty() && uid != object::uid(&found) {
        let message = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(Status::conflict(Resource { group: "", name: kind }, name, &message));
    }
    Ok(bound)
}

async fn node_of(lookup: &dyn Lookup, pod: &Value) -> Result<Option<(String, String)>, Status> {
    let Some(name) = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let node = lookup.get("nodes", "", name).await?;
    let uid = node.map(|node| object::uid(&node).to_string()).unwrap_or_default();
    Ok(Some((name.to_string(), uid)))
}

async fn find(
    lookup: &dyn Lookup,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Arc<Value>, Status> {
    let found = lookup.get(resource, namespace, name).await?;
    found.ok_or_else(|| Status::not_found(Resource { group: "", name: resource }, name))
}
