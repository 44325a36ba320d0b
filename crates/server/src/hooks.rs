//! Admission by objects: webhooks are asked, policies are judged.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Uri};
use parking_lot::Mutex;
use serde_json::Value;
use shoal_api::{GroupVersion, GroupVersionKind, Status, object, patch, status};
use shoal_control::admission::Operation;
use shoal_control::cel::{Authorizer, Budget};
use shoal_control::known;
use shoal_control::policy::webhook::{Address, Webhook};
use shoal_control::policy::{self, Attributes, Params, Policy, Report};
use shoal_control::rbac;
use shoal_control::snapshot::Snapshot;

use crate::admit::Admission;
use crate::api::Api;
use crate::options::told;
use crate::{body, convert, fair, https};

/// How long the expressions of all policies may take for one request; their cost is limited apart from that.
const RULES_TIME: Duration = Duration::from_secs(2);
/// Configurations and policies that are kept ready; past it all are made anew.
const READY_MAX: usize = 1024;

/// Configurations and policies, ready for requests, by the identity and revision of what they were made of.
#[derive(Default)]
pub struct Ready {
    webhooks: Mutex<HashMap<String, Arc<Vec<Webhook>>>>,
    policies: Mutex<HashMap<String, Option<Arc<Policy>>>>,
}

/// Lets webhooks change an object. Returns what the client should be told.
///
/// # Errors
/// A webhook's refusal, or that it cannot be asked.
pub(crate) async fn mutate(
    admission: &Admission<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    let webhooks = webhooks(admission.api, &MUTATING);
    let mut warnings = Vec::new();
    let mut asked_again = Vec::new();
    for webhook in each(&webhooks) {
        let (said, changed) = ask_to_change(admission, webhook, object, old).await?;
        warnings.extend(said);
        if changed {
            // Those that came before may have something to say about the change, once.
            asked_again = each(&webhooks)
                .take_while(|one| !std::ptr::eq(*one, webhook))
                .filter(|one| one.is_asked_again())
                .collect();
        }
    }
    for webhook in asked_again {
        warnings.extend(ask_to_change(admission, webhook, object, old).await?.0);
    }
    Ok(warnings)
}

/// Lets policies and webhooks refuse an object. Returns what the client should be told.
///
/// # Errors
/// The refusal of one, or that it cannot be asked.
pub(crate) async fn validate(
    admission: &Admission<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    let mut warnings = judge(admission, object, old).await?;
    for webhook in each(&webhooks(admission.api, &VALIDATING)) {
        if let Some(consent) = ask(admission, webhook, object, old).await? {
            warnings.extend(consent.answer.warnings);
        }
    }
    Ok(warnings)
}

/// The two kinds of configurations.
struct Configurations {
    kind: &'static str,
    is_mutating: bool,
}

const MUTATING: Configurations = Configurations { kind: "MutatingWebhookConfiguration", is_mutating: true };
const VALIDATING: Configurations =
    Configurations { kind: "ValidatingWebhookConfiguration", is_mutating: false };

/// All webhooks, in the order of their configurations' names.
fn webhooks(api: &Api, of: &Configurations) -> Vec<Arc<Vec<Webhook>>> {
    let kind = GroupVersionKind::new("admissionregistration.k8s.io", "v1", of.kind);
    let configurations = api.world.view().list(&kind, None);
    let mut ready = api.hooks.webhooks.lock();
    if ready.len() > READY_MAX {
        ready.clear();
    }
    let made = |configuration: &Value| Arc::new(Webhook::of(configuration, of.is_mutating));
    configurations.iter().map(|one| ready.entry(version(one)).or_insert_with(|| made(one)).clone()).collect()
}

fn version(object: &Value) -> String {
    format!("{}/{}", object::uid(object), object::resource_version(object))
}

fn each(all: &[Arc<Vec<Webhook>>]) -> impl Iterator<Item = &Webhook> {
    all.iter().flat_map(|webhooks| webhooks.iter())
}

/// Asks a webhook and changes the object as it says. Returns its warnings, and whether anything changed.
async fn ask_to_change(
    admission: &Admission<'_>,
    webhook: &Webhook,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(Vec<String>, bool), Status> {
    let Some(Consent { answer, meant }) = ask(admission, webhook, object, old).await? else {
        return Ok((Vec::new(), false));
    };
    let Some(change) = answer.patch else { return Ok((answer.warnings, false)) };
    let (api, served) = (admission.api, admission.served);
    let mut changed = convert::to(api, served, object, &meant).await?;
    if let Err(error) = patch::json::apply(&mut changed, &change) {
        return Err(webhook.failed(&error.to_string()));
    }
    let changed = convert::to(api, served, &changed, &served.resource.group_version).await?;
    let is_changed = changed != *object;
    *object = changed;
    Ok((answer.warnings, is_changed))
}

/// What a webhook that let a request pass said.
struct Consent {
    answer: policy::webhook::Answer,
    /// The version in which it saw the objects.
    meant: GroupVersion,
}

/// A request with its objects in the version that somebody means.
///
/// # Errors
/// 500: they cannot be converted.
async fn in_version(
    admission: &Admission<'_>,
    mut request: Attributes,
    meant: &GroupVersion,
) -> Result<Attributes, Status> {
    if *meant == admission.served.resource.group_version {
        return Ok(request);
    }
    for object in [&mut request.object, &mut request.old_object] {
        if !object.is_null() {
            *object = convert::to(admission.api, admission.served, object, meant).await?;
        }
    }
    Ok(request)
}

/// Asks a webhook; none: the request is not for it, or it failed and does not mind.
async fn ask(
    admission: &Admission<'_>,
    webhook: &Webhook,
    object: &Value,
    old: Option<&Value>,
) -> Result<Option<Consent>, Status> {
    let mut request = attributes(admission, object, old);
    let Some(meant) = matches(admission, webhook, &request)? else { return Ok(None) };
    if admission.dry_run && !webhook.allows_dry_run() {
        return Err(Status::bad_request(format!(
            "admission webhook {:?} does not support dry run",
            webhook.name
        )));
    }
    request = in_version(admission, request, &meant).await?;
    let uid = uuid::Uuid::new_v4().to_string();
    match call(admission.api, webhook, &webhook.review(&request, &meant, &uid)).await {
        Ok(answer) => match webhook.accept(&uid, &answer) {
            Ok(answer) => Ok(Some(Consent { answer, meant })),
            Err(status) if webhook.ignores_failures() && status.code == 500 => Ok(None),
            Err(status) => Err(*status),
        },
        Err(message) if webhook.ignores_failures() => {
            tracing::warn!(
                webhook = webhook.name,
                error = message,
                "a webhook could not be asked, and is ignored"
            );
            Ok(None)
        }
        Err(message) => Err(webhook.failed(&message)),
    }
}

/// The version in which a request is for a webhook; none: it is not for it.
fn matches(
    admission: &Admission<'_>,
    webhook: &Webhook,
    request: &Attributes,
) -> Result<Option<GroupVersion>, Status> {
    let namespace = namespace(admission);
    let rights = Rights { admission };
    let begun = Instant::now();
    let is_over = || begun.elapsed() > RULES_TIME;
    let mut budget = Budget::of_request().until(&is_over);
    webhook.matches(request, namespace.as_deref(), Some(&rights), &mut budget).map_err(|status| *status)
}

/// Sends a review to a webhook.
async fn call(api: &Api, webhook: &Webhook, review: &Value) -> Result<Value, String> {
    let address = webhook.address().ok_or("its configuration does not say where it is")?;
    let time = Duration::from_secs(u64::from(webhook.timeout_seconds));
    send(api, &address, webhook.authority().as_deref(), time, review).await
}

/// Sends a review to whoever is at an address, and reads the answer. `authority`: the certificates to believe, PEM; none
/// for the public ones.
///
/// # Errors
/// A sentence: there is no answer in time, or none that can be read.
pub(crate) async fn send(
    api: &Api,
    address: &Address,
    authority: Option<&[u8]>,
    time: Duration,
    review: &Value,
) -> Result<Value, String> {
    let to = destination(api, address)?;
    let body = serde_json::to_vec(review).map_err(|error| error.to_string())?;
    let path =
        format!("{}{}timeout={}s", to.path, if to.path.contains('?') { "&" } else { "?" }, time.as_secs());
    let client = https::trusting(authority)?;
    let asked = Box::pin(https::post(&client, &to.connect, &to.host, &path, body, time));
    // It may take long: others go on meanwhile.
    let bytes = fair::outside(asked).await?;
    serde_json::from_slice(&bytes).map_err(|error| format!("its answer is no JSON: {error}"))
}

/// Where to connect, under which name, for which path.
struct Destination {
    connect: Vec<String>,
    host: String,
    path: String,
}

fn destination(api: &Api, address: &Address) -> Result<Destination, String> {
    match address {
        Address::Url(url) => {
            let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no address: {error}"))?;
            let authority = uri.authority().ok_or_else(|| format!("`{url}` has no host"))?;
            if uri.scheme_str() != Some("https") {
                return Err(format!("`{url}` is not https"));
            }
            let host = authority.host().to_owned();
            let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            Ok(Destination {
                connect: vec![format!("{host}:{}", authority.port_u16().unwrap_or(443))],
                host,
                path,
            })
        }
        Address::Service { namespace, name, port, path } => {
            let connect = endpoints(api, namespace, name, *port);
            if connect.is_empty() {
                return Err(format!("no endpoints available for service {name:?}"));
            }
            let connect = connect.iter().map(ToString::to_string).collect();
            Ok(Destination { connect, host: format!("{name}.{namespace}.svc"), path: path.clone() })
        }
    }
}

/// The ready endpoints of a Service behind one of its ports.
fn endpoints(api: &Api, namespace: &str, name: &str, port: u16) -> Vec<SocketAddr> {
    let view = api.world.view();
    let Some(service) = view.get(&known::SERVICE, namespace, name) else { return Vec::new() };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let of_port =
        list(&service["spec"]["ports"]).into_iter().find(|one| one["port"].as_u64() == Some(port.into()));
    let Some(of_port) = of_port else { return Vec::new() };
    let slices = view.list(&known::ENDPOINT_SLICE, Some(namespace));
    let own = slices.iter().filter(|slice| object::label(slice, "kubernetes.io/service-name") == Some(name));
    let mut found = Vec::new();
    for slice in own {
        let named = |one: &Value| {
            one["name"].as_str().unwrap_or_default() == of_port["name"].as_str().unwrap_or_default()
        };
        let Some(target) = list(&slice["ports"]).into_iter().find(named) else { continue };
        let Some(port) = target["port"].as_u64().and_then(|port| u16::try_from(port).ok()) else { continue };
        for endpoint in list(&slice["endpoints"]) {
            if endpoint["conditions"]["ready"] == false {
                continue;
            }
            let addresses = list(&endpoint["addresses"]);
            let addresses = addresses.iter().filter_map(|one| one.as_str()?.parse::<IpAddr>().ok());
            found.extend(addresses.map(|address| SocketAddr::new(address, port)));
        }
    }
    found
}

/// Judges a request by all policies. Returns what the client should be told.
async fn judge(
    admission: &Admission<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    let api = admission.api;
    let of = |kind: &str| GroupVersionKind::new("admissionregistration.k8s.io", "v1", kind);
    let bindings = api.world.view().list(&of("ValidatingAdmissionPolicyBinding"), None);
    if bindings.is_empty() {
        return Ok(Vec::new());
    }
    let (namespace, rights) = (namespace(admission), Rights { admission });
    let versions = versions(admission, object, old, &bindings, namespace.as_deref()).await?;
    let Some((_, own)) = versions.first() else { return Ok(Vec::new()) };
    let begun = Instant::now();
    let is_over = || begun.elapsed() > RULES_TIME;
    let mut budget = Budget::of_request().until(&is_over);
    let mut report = Report::default();
    for binding in &bindings {
        let name = binding["spec"]["policyName"].as_str().unwrap_or_default();
        let Some(found) = api.world.view().get(&of("ValidatingAdmissionPolicy"), "", name) else { continue };
        let Some(policy) = ready(api, &found) else { continue };
        let Some(meant) = policy.version(own, namespace.as_deref()) else { continue };
        let Some((_, request)) = versions.iter().find(|(version, _)| *version == meant) else { continue };
        let found = params(admission, &policy, binding);
        let given = match &found {
            Ok(None) => Params::None,
            Ok(Some(found)) => Params::Found(found.iter().map(AsRef::as_ref).collect()),
            Err(message) => Params::Failed(message.clone()),
        };
        let around = policy::Surroundings {
            namespace: namespace.as_deref(),
            params: &given,
            authorizer: Some(&rights),
        };
        policy.judge(binding, request, around, &mut budget, &mut report);
    }
    let resource = status::Resource { group: &own.group, name: &own.resource };
    match report.refusal(resource, &own.name) {
        Some(refusal) => Err(refusal),
        None => Ok(report.warnings),
    }
}

/// A request as it came, and in each other version in which a bound policy means it.
async fn versions(
    admission: &Admission<'_>,
    object: &Value,
    old: Option<&Value>,
    bindings: &[Arc<Value>],
    namespace: Option<&Value>,
) -> Result<Vec<(GroupVersion, Attributes)>, Status> {
    let own = attributes(admission, object, old);
    let kind = GroupVersionKind::new("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy");
    let mut meant: Vec<GroupVersion> = Vec::new();
    for binding in bindings {
        let name = binding["spec"]["policyName"].as_str().unwrap_or_default();
        let Some(found) = admission.api.world.view().get(&kind, "", name) else { continue };
        let version = ready(admission.api, &found).and_then(|policy| policy.version(&own, namespace));
        meant.extend(version.filter(|version| *version != own.group_version() && !meant.contains(version)));
    }
    let mut all = vec![(own.group_version(), own.clone())];
    for version in meant {
        let request = in_version(admission, own.clone(), &version).await?;
        all.push((version, request));
    }
    Ok(all)
}

/// A policy, ready; none: its expressions cannot be read, which was said when it was written.
fn ready(api: &Api, policy: &Value) -> Option<Arc<Policy>> {
    let mut ready = api.hooks.policies.lock();
    if ready.len() > READY_MAX {
        ready.clear();
    }
    ready.entry(version(policy)).or_insert_with(|| Policy::new(policy).ok().map(Arc::new)).clone()
}

/// What a binding's parameters are; none: the policy takes none.
///
/// # Errors
/// A sentence: they cannot be had.
fn params(
    admission: &Admission<'_>,
    policy: &Policy,
    binding: &Value,
) -> Result<Option<Vec<Arc<Value>>>, String> {
    let Some((api_version, kind)) = policy.param_kind() else { return Ok(None) };
    let version: GroupVersion = api_version.parse().map_err(|error| format!("{error}"))?;
    let view = admission.api.world.view();
    let resource = view.resource(api_version, kind);
    let resource = resource.ok_or_else(|| {
        format!("failed to find resource referenced by paramKind: '{version}, Kind={kind}'")
    })?;
    let reference = &binding["spec"]["paramRef"];
    let own = reference["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let namespace = own.unwrap_or(&admission.request.target.namespace);
    if let Some(name) = reference["name"].as_str() {
        let place = if resource.namespaced { namespace } else { "" };
        return Ok(Some(view.get(&resource.kind, place, name).into_iter().collect()));
    }
    let all = view.list(&resource.kind, resource.namespaced.then_some(namespace));
    let selector = &reference["selector"];
    Ok(Some(all.into_iter().filter(|one| policy::selects(selector, &one["metadata"]["labels"])).collect()))
}

/// The namespace of a request.
fn namespace(admission: &Admission<'_>) -> Option<Arc<Value>> {
    let name = &admission.request.target.namespace;
    if name.is_empty() { None } else { admission.api.world.view().get(&known::NAMESPACE, "", name) }
}

fn attributes(admission: &Admission<'_>, object: &Value, old: Option<&Value>) -> Attributes {
    let (target, user) = (&admission.request.target, &admission.request.user);
    let kind = admission.kind();
    let name = if target.name.is_empty() { object::name(object) } else { &target.name };
    Attributes {
        operation: match admission.operation {
            Operation::Create => policy::Operation::Create,
            Operation::Update => policy::Operation::Update,
            Operation::Delete => policy::Operation::Delete,
            Operation::Connect => policy::Operation::Connect,
        },
        group: kind.group.clone(),
        version: kind.version.clone(),
        resource: admission.served.resource.plural.clone(),
        kind,
        subresource: admission.subresource.to_owned(),
        name: name.to_owned(),
        namespace: target.namespace.clone(),
        object: object.clone(),
        old_object: old.cloned().unwrap_or(Value::Null),
        options: options(admission),
        equivalents: equivalents(admission),
        dry_run: admission.dry_run,
        user: user.as_ref().clone(),
    }
}

/// The options of a request. A connection has its own, which are its object.
fn options(admission: &Admission<'_>) -> Value {
    let request = admission.request;
    let (kind, body) = match admission.operation {
        Operation::Create => ("CreateOptions", Value::Null),
        Operation::Update => ("UpdateOptions", Value::Null),
        // Pods are deleted by evictions too, which have another body; what could not be read was refused before.
        Operation::Delete if request.method == Method::DELETE => {
            ("DeleteOptions", body::delete_options(request).unwrap_or_default())
        }
        Operation::Delete => ("DeleteOptions", Value::Null),
        Operation::Connect => return Value::Null,
    };
    told(kind, &request.query, body)
}

/// The other versions in which the objects of a request are served.
fn equivalents(admission: &Admission<'_>) -> Vec<GroupVersion> {
    let own = &admission.served.resource;
    let registry = admission.api.registry.load();
    let others = registry.all().map(|served| &served.resource).filter(|other| {
        other.storage == own.storage && other.plural == own.plural && other.group_version != own.group_version
    });
    others.map(|other| other.group_version.clone()).collect()
}

/// What the user of a request may do, for expressions that ask.
struct Rights<'a> {
    admission: &'a Admission<'a>,
}

impl Authorizer for Rights<'_> {
    fn authorize(&self, check: &BTreeMap<&'static str, String>) -> Result<(bool, String), String> {
        let text = |field: &str| check.get(field).map(String::as_str).unwrap_or_default();
        let attributes = match check.get("path") {
            Some(path) => rbac::Attributes::path(text("verb"), path),
            None => rbac::Attributes {
                subresource: text("subresource"),
                ..rbac::Attributes::resource(
                    text("verb"),
                    text("group"),
                    text("resource"),
                    text("namespace"),
                    text("name"),
                )
            },
        };
        let user = match check.get("serviceAccountName") {
            Some(name) => {
                let namespace = text("serviceAccountNamespace");
                let mut user =
                    rbac::User::new(&rbac::service_account_name(namespace, name), &[rbac::AUTHENTICATED]);
                user.groups.extend(rbac::service_account_groups(namespace));
                user
            }
            None => self.admission.request.user.as_ref().clone(),
        };
        let decision = self.admission.api.access.authorizer.read().authorize(&user, &attributes);
        Ok((decision.allowed, decision.reason))
    }
}
