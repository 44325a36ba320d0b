//! `log`, `portforward`, `exec`, `attach` and `proxy`: what a node does for whoever asks the server.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request as HttpRequest, StatusCode};
use http_body_util::Full;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use shoal_api::field::{Error, Path};
use shoal_api::{GroupKind, Status, object};

use crate::admit::{self, Admission};
use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::nodes::{self, Endpoint};
use crate::read;
use crate::registry::Served;

/// What a log may be asked with, as the kubelet takes it.
const LOG_OPTIONS: [&str; 8] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

/// What a path cannot hold as it is (RFC 3986, 3.3), beside what is no ASCII.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What a pod's containers have written.
///
/// # Errors
/// 400, 404, 422: there is no such log; 503: its node is not connected.
pub(super) async fn log(api: &Arc<Api>, served: &Served, request: &Request) -> Result<Answer, Status> {
    let target = &request.target;
    check_options(request)?;
    let pod = read::one(api, served, &target.namespace, &target.name).await?.value()?;
    let container = container(&pod, request.query.get("container").unwrap_or_default())?;
    let Some(node) = node_of(&pod) else { return Ok(nothing()) };
    let endpoint = Endpoint::of(api, node)?;
    let query = request.query.encoded(|name| LOG_OPTIONS.contains(&name));
    let path = format!("/containerLogs/{}/{}/{container}{query}", target.namespace, target.name);
    let to_node = HttpRequest::builder().method(Method::GET).uri(path).body(Full::new(Bytes::new()));
    let answer = nodes::call(api, &endpoint, to_node.map_err(Status::internal)?).await?;
    if !answer.status().is_success() {
        return Err(nodes::refusal(answer).await);
    }
    let mut passed = nodes::passed_on(api, answer);
    passed.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(passed)
}

/// Ports of a pod, through its node.
///
/// # Errors
/// 400, 404; 503: the node is not connected; whatever the node answers.
pub(super) async fn port_forward(
    api: &Arc<Api>,
    served: &Served,
    request: &Request,
) -> Result<Answer, Status> {
    let target = &request.target;
    let pod = read::one(api, served, &target.namespace, &target.name).await?.value()?;
    let node = node_of(&pod).ok_or_else(|| unplaced(&pod))?;
    admitted(api, served, request, "PodPortForwardOptions").await?;
    let endpoint = Endpoint::of(api, node)?;
    let query = request.query.encoded(|name| name == "ports");
    let path = format!("/portForward/{}/{}{query}", target.namespace, target.name);
    nodes::tunnel(api, request, &endpoint, &path).await
}

/// `exec` and `attach`: there is nothing to run and nothing to attach to.
///
/// # Errors
/// Always: 404 for a pod that is not there, else 400 with the reason.
pub(super) async fn no_shell(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let target = &request.target;
    let pod = read::one(api, served, &target.namespace, &target.name).await?.value()?;
    container(&pod, request.query.get("container").unwrap_or_default())?;
    node_of(&pod).ok_or_else(|| unplaced(&pod))?;
    Err(Status::bad_request(format!(
        "pod {} runs a WebAssembly guest: it has no shell, no other processes and no terminal, so nothing can be run in it \
         or attached to it; `kubectl logs` shows what it writes, `kubectl port-forward` reaches what it serves",
        target.name
    )))
}

/// The endpoints of a node themselves.
///
/// # Errors
/// 400: another port than the kubelet's; 503: the node is not connected.
pub(super) async fn node_proxy(api: &Arc<Api>, served: &Served, request: &Request) -> Result<Answer, Status> {
    let target = &request.target;
    let (name, port) = named(&target.name)?;
    read::one(api, served, "", name).await?;
    admitted(api, served, request, "NodeProxyOptions").await?;
    let endpoint = Endpoint::of(api, name)?;
    if port.is_some_and(|port| port != endpoint.port) {
        return Err(Status::bad_request(format!(
            "only the port of its kubelet, {}, is reached through a node",
            endpoint.port
        )));
    }
    if request.headers.contains_key(http::header::UPGRADE) {
        return Err(Status::bad_request(
            "connections through nodes/proxy cannot be upgraded: use pods/portforward",
        ));
    }
    // The path was read; what it says is written again.
    let path = utf8_percent_encode(&target.rest, NOT_IN_PATHS);
    let uri = format!("/{path}{}", request.query.encoded(|_| true));
    let mut to_node = HttpRequest::new(Full::new(request.body.clone()));
    *to_node.method_mut() = request.method.clone();
    *to_node.uri_mut() =
        uri.parse().map_err(|error| Status::bad_request(format!("{uri} is no path: {error}")))?;
    *to_node.headers_mut() = request.headers.clone();
    nodes::without_hops(to_node.headers_mut());
    let answer = nodes::call(api, &endpoint, to_node).await?;
    Ok(nodes::passed_on(api, answer))
}

/// Name and port in `NAME`, `NAME:PORT` and `https:NAME:PORT`, as paths to a node have them.
fn named(text: &str) -> Result<(&str, Option<u16>), Status> {
    let wrong = || Status::bad_request(format!("invalid node request {text:?}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (name, port) = match parts[..] {
        [name] => (name, ""),
        [name, port] | ["https", name, port] => (name, port),
        _ => return Err(wrong()),
    };
    let port = if port.is_empty() { None } else { Some(port.parse().map_err(|_| wrong())?) };
    Ok((name, port))
}

/// Lets policies and webhooks refuse a connection.
async fn admitted(api: &Api, served: &Served, request: &Request, kind: &str) -> Result<(), Status> {
    let admission = Admission {
        api,
        served,
        request,
        operation: admit::Operation::Connect,
        subresource: &request.target.subresource,
        dry_run: false,
    };
    let options = json!({"apiVersion": "v1", "kind": kind, "metadata": {}});
    admit::validate(&admission, &options, None).await.map(|_| ())
}

/// The node of a pod; none: it has none yet.
fn node_of(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty())
}

fn unplaced(pod: &Value) -> Status {
    Status::bad_request(format!("pod {} does not have a host assigned", object::name(pod)))
}

/// The log of a pod that has not run yet.
fn nothing() -> Answer {
    answer::without_body(StatusCode::NO_CONTENT)
}

/// The container that is meant.
fn container<'p>(pod: &'p Value, asked: &'p str) -> Result<&'p str, Status> {
    let of = |field: &str| pod["spec"][field].as_array().into_iter().flatten();
    let named = |one: &'p Value| one["name"].as_str();
    let name = object::name(pod);
    let all: Vec<&str> = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(of)
        .filter_map(named)
        .collect();
    if !asked.is_empty() {
        if all.contains(&asked) {
            return Ok(asked);
        }
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    let own: Vec<&str> = of("containers").filter_map(named).collect();
    match own[..] {
        [one] => Ok(one),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        _ => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
    }
}

/// Refuses options of a log that cannot be.
fn check_options(request: &Request) -> Result<(), Status> {
    let number = |name: &str| request.query.number::<i64>(name);
    let least = |name: &str, least: i64, why: &str| -> Result<Option<Error>, Status> {
        let wrong = number(name)?.filter(|number| *number < least);
        Ok(wrong.map(|number| Error::invalid(&Path::new(name), &json!(number), why)))
    };
    let mut errors: Vec<Error> = Vec::new();
    errors.extend(least("tailLines", 0, "must be greater than or equal to 0")?);
    errors.extend(least("limitBytes", 1, "must be greater than 0")?);
    if request.query.is_there("sinceSeconds") && request.query.is_there("sinceTime") {
        let both = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(Error::forbidden(&Path::new(""), both));
    } else {
        errors.extend(least("sinceSeconds", 1, "must be greater than 0")?);
    }
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupKind { group: String::new(), kind: "PodLogOptions".into() };
    Err(Status::invalid(&kind, &request.target.name, &errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_or_must_be_named() {
        let pod = |containers: &[&str]| {
            let containers: Vec<Value> = containers.iter().map(|name| json!({"name": name})).collect();
            json!({"metadata": {"name": "p"}, "spec": {"initContainers": [{"name": "i"}], "containers": containers}})
        };
        let (one, two) = (pod(&["a"]), pod(&["a", "b"]));
        let message =
            |pod: &Value, asked: &str| container(pod, asked).map(str::to_owned).map_err(|s| s.message);
        assert_eq!(message(&one, ""), Ok("a".into()));
        assert_eq!(message(&two, "i"), Ok("i".into()));
        assert_eq!(message(&two, "x"), Err("container x is not valid for pod p".into()));
        let choose = "a container name must be specified for pod p, choose one of: [i a b]";
        assert_eq!(message(&two, ""), Err(choose.into()));
    }

    #[test]
    fn a_node_is_named_with_its_port_or_without() {
        let read = |text: &str| named(text).map(|(name, port)| (name.to_owned(), port)).ok();
        assert_eq!(read("n1"), Some(("n1".into(), None)));
        assert_eq!(read("n1:10250"), Some(("n1".into(), Some(10250))));
        assert_eq!(read("https:n1:10250"), Some(("n1".into(), Some(10250))));
        assert_eq!(read("https:n1:"), Some(("n1".into(), None)));
        for wrong in ["http:n1:10250", "n1:x", "n1:70000", "a:b:c:d"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
