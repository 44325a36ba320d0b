//! From a request as it came to its answer: who asks, whether they may, in which turn, what was done.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest};
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use shoal_api::Status;
use shoal_api::resources::Verb;
use shoal_control::rbac::{Attributes, MASTERS, User};

use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::audit;
use crate::auth;
use crate::fair::Work;
use crate::options::{self, Query};
use crate::target::{ResourceTarget, Target};
use crate::{gzip, paths, read, route};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Who is at the other end of a connection.
pub struct Caller {
    /// From where.
    pub address: SocketAddr,
    certificate: Option<auth::Peer>,
    /// Who it is, where that needs no proof: a part of this process.
    known: Option<User>,
}

impl Caller {
    /// A client that showed these certificates, which TLS has verified.
    pub fn new(address: SocketAddr, certificates: &[CertificateDer<'_>]) -> Self {
        Self { address, certificate: auth::Peer::from_chain(certificates), known: None }
    }

    /// A part of this process, which says itself who it is.
    pub(crate) fn known(user: User) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { address, certificate: None, known: Some(user) }
    }
}

/// Answers a request.
pub async fn answer(api: &Arc<Api>, caller: &Caller, request: HttpRequest<Bytes>) -> Answer {
    let begun = Instant::now();
    let (mut parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let accepts_gzip = accepts_gzip(&parts.headers);
    // As it is meant, before anyone decides by it: clients write `system%3Anode` for `system:node`.
    let Ok(path) = percent_decode_str(parts.uri.path()).decode_utf8() else {
        return answer::failure(&Status::bad_request("the path is not UTF-8"));
    };
    let path = path.into_owned();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let target = Target::of(&parts.method, &path, query.flag("watch"));
    let id = uuid::Uuid::new_v4().to_string();
    let mut answer = match known(api, caller, &parts.headers, &path).await {
        Ok(user) => {
            let asked = Asked {
                method: parts.method,
                path,
                target,
                query,
                headers: parts.headers,
                body,
                upgrade: parts.extensions.remove(),
                user: Arc::new(user),
            };
            asked.answer(api, caller, &id, begun).await
        }
        Err(status) => answer::failure(&status),
    };
    if accepts_gzip {
        answer = gzip::compressed(answer).await;
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(AUDIT_ID, value);
    }
    if is_head {
        *answer.body_mut() = answer::full(Bytes::new());
    }
    answer
}

/// Who asks, and in whose name.
async fn known(api: &Api, caller: &Caller, headers: &HeaderMap, path: &str) -> Result<User, Status> {
    let (authenticator, certificate) = (&api.access.authenticator, caller.certificate.as_ref());
    let user = match &caller.known {
        Some(user) => user.clone(),
        None => authenticator.authenticate(certificate, headers, path, api.timestamp()).await?,
    };
    let authorizer = api.access.authorizer.read();
    match auth::impersonated(headers, &user, &authorizer)? {
        Some(other) => Ok(other),
        None => Ok(user),
    }
}

/// A request of someone who is known.
struct Asked {
    method: Method,
    path: String,
    target: Target,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
    upgrade: Option<OnUpgrade>,
    user: Arc<User>,
}

impl Asked {
    async fn answer(self, api: &Arc<Api>, caller: &Caller, id: &str, begun: Instant) -> Answer {
        if !route::is_known(&self.method) {
            return route::unknown_method();
        }
        if let Err(status) = self.authorized(api) {
            let refused = self.seen(api, caller, id);
            api.audit.record(&audit::Entry {
                reason: status.reason,
                message: &status.message,
                decision: Some(("forbid", "")),
                ..refused.entry(status.code, api.timestamp())
            });
            return answer::failure(&status);
        }
        // What has not happened yet is waited for without a place.
        let has_happened = self.has_happened(api).await;
        let place = match self.work() {
            Some(work) => Some(api.fair.place(&self.user.name, work).await),
            None => None,
        };
        let place = match place.transpose() {
            Ok(place) => place,
            Err(status) => return answer::failure(&status),
        };
        if let Some(place) = &place {
            place.give_way().await;
        }
        let seen = self.seen(api, caller, id);
        let answer = match has_happened {
            Ok(()) => self.dispatch(api).await,
            Err(status) => answer::failure(&status),
        };
        let code = answer.status();
        api.metrics.request(
            seen.verb,
            seen.target.as_ref().map_or("", |target| &target.resource),
            code,
            begun.elapsed(),
        );
        api.audit.record(&seen.entry(code.as_u16(), api.timestamp()));
        answer
    }

    /// For which work it needs a place; none: it is short, or long and idle, or an administrator's.
    fn work(&self) -> Option<Work> {
        let Target::Resource(target) = &self.target else { return None };
        match target.verb {
            _ if self.user.is_in(MASTERS) || is_long(target) => None,
            Verb::Get | Verb::List => Some(Work::Read),
            _ => Some(Work::Write),
        }
    }

    /// Waits until the revision that a reader asks for is there.
    async fn has_happened(&self, api: &Api) -> Result<(), Status> {
        if self.work() != Some(Work::Read) {
            return Ok(());
        }
        let asked = self.query.get("resourceVersion").filter(|text| !["", "0"].contains(text));
        match asked.map(options::revision) {
            Some(Ok(revision)) => read::reach(api, revision).await,
            // Whoever reads the options says what is wrong with them.
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// What the audit log says of it.
    fn seen(&self, api: &Api, caller: &Caller, id: &str) -> Seen {
        let agent = self.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        Seen {
            id: id.to_owned(),
            received: api.timestamp(),
            uri: self.path.clone(),
            verb: self.verb(),
            user: self.user.clone(),
            source: [caller.address.ip().to_string()],
            agent: agent.unwrap_or_default().to_owned(),
            target: match &self.target {
                Target::Resource(target) => Some(target.clone()),
                Target::Path => None,
            },
        }
    }

    /// Whether this user may do this.
    fn authorized(&self, api: &Api) -> Result<(), Status> {
        let authorizer = api.access.authorizer.read();
        let selector = self.query.get("fieldSelector").unwrap_or_default();
        let terms = selector.split(',').filter_map(|term| term.split_once('='));
        let fields: Vec<(&str, &str)> = terms
            .filter(|(field, _)| !field.ends_with('!'))
            .map(|(field, value)| (field, value.strip_prefix('=').unwrap_or(value)))
            .collect();
        // Who lists or follows the object of one name asks for that object, as in Kubernetes.
        let named =
            || fields.iter().find(|(field, _)| *field == "metadata.name").map_or("", |(_, name)| name);
        let attributes = match &self.target {
            Target::Path => Attributes::path(self.verb(), &self.path),
            Target::Resource(target) => Attributes {
                subresource: &target.subresource,
                version: &target.version,
                fields: &fields,
                ..Attributes::resource(
                    self.verb(),
                    &target.group,
                    &target.resource,
                    &target.namespace,
                    match target.verb {
                        Verb::List | Verb::Watch if target.name.is_empty() => named(),
                        _ => &target.name,
                    },
                )
            },
        };
        authorizer.require(&self.user, &attributes)
    }

    /// As RBAC names it.
    fn verb(&self) -> &'static str {
        match (&self.target, &self.method) {
            (Target::Resource(target), _) => target.verb.name(),
            (_, &Method::POST) => "post",
            (_, &Method::PUT) => "put",
            (_, &Method::PATCH) => "patch",
            (_, &Method::DELETE) => "delete",
            (_, &Method::HEAD) => "head",
            _ => "get",
        }
    }

    async fn dispatch(self, api: &Arc<Api>) -> Answer {
        match self.target {
            Target::Path => paths::answer(api, &self.method, &self.path, &self.query, &self.headers).await,
            Target::Resource(target) => {
                let request = Request {
                    user: self.user,
                    method: self.method,
                    target,
                    query: self.query,
                    headers: self.headers,
                    body: self.body,
                    upgrade: Mutex::new(self.upgrade),
                };
                route::resource(api, &request).await
            }
        }
    }
}

/// What is remembered of a request while it is answered.
struct Seen {
    id: String,
    received: Timestamp,
    uri: String,
    verb: &'static str,
    user: Arc<User>,
    source: [String; 1],
    agent: String,
    target: Option<ResourceTarget>,
}

impl Seen {
    fn entry(&self, code: u16, answered: Timestamp) -> audit::Entry<'_> {
        let object = self.target.as_ref().map(|target| audit::ObjectRef {
            resource: &target.resource,
            namespace: &target.namespace,
            name: &target.name,
            group: &target.group,
            version: &target.version,
            subresource: &target.subresource,
            ..audit::ObjectRef::default()
        });
        audit::Entry {
            id: &self.id,
            received: self.received,
            answered,
            uri: &self.uri,
            verb: self.verb,
            user: &self.user,
            impersonated: None,
            source_ips: &self.source,
            user_agent: &self.agent,
            object,
            code,
            reason: "",
            message: "",
            decision: Some(("allow", "")),
            body: None,
        }
    }
}

/// Whether a request lasts for as long as whoever asks wants it to.
fn is_long(target: &ResourceTarget) -> bool {
    target.verb == Verb::Watch
        || ["attach", "exec", "log", "portforward", "proxy"].contains(&target.subresource.as_str())
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|one| one.trim().split(';').next() == Some("gzip"))
}
