//! From a request as it came to its answer: who asks, whether they may, in which turn, what was done.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Uri};
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use shoal_api::Status;
use shoal_api::resources::Verb;
use shoal_api::selector::field;
use shoal_control::rbac::{ANONYMOUS, Attributes, MASTERS, User};

use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::audit;
use crate::auth;
use crate::fair::Work;
use crate::options::{self, Query};
use crate::target::{ResourceTarget, Target};
use crate::{gzip, paths, read, route};

/// The code of what the authorizer refuses, and of nothing else that happens before a request is answered.
const FORBIDDEN: u16 = 403;
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
    let id = audit::new_id();
    let (user, refused) = match authenticated(api, caller, &parts.headers, &path).await {
        Ok(user) => (user, None),
        Err(status) => (User::default(), Some(status)),
    };
    let asked = Asked {
        method: parts.method,
        uri: parts.uri,
        path,
        target,
        query,
        headers: parts.headers,
        body,
        upgrade: parts.extensions.remove(),
        user: Arc::new(user),
        impersonator: None,
    };
    let mut answer = match refused {
        None => asked.answer(api, caller, &id, begun).await,
        Some(status) => asked.of_nobody(api, caller, &id, &status),
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

/// Who asks.
async fn authenticated(api: &Api, caller: &Caller, headers: &HeaderMap, path: &str) -> Result<User, Status> {
    let (authenticator, certificate) = (&api.access.authenticator, caller.certificate.as_ref());
    match &caller.known {
        Some(user) => Ok(user.clone()),
        None => authenticator.authenticate(certificate, headers, path, api.timestamp()).await,
    }
}

/// A request of someone who is known.
struct Asked {
    method: Method,
    /// As it was written.
    uri: Uri,
    /// As it is meant.
    path: String,
    target: Target,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
    upgrade: Option<OnUpgrade>,
    user: Arc<User>,
    /// Who asks as that user; none: the user.
    impersonator: Option<Arc<User>>,
}

impl Asked {
    /// The answer to somebody who is not known. What they asked for is recorded, and what they showed.
    fn of_nobody(&self, api: &Api, caller: &Caller, id: &str, status: &Status) -> Answer {
        let (seen, shown) = (self.seen(api, caller, id), self.shown(caller));
        let entry = seen.entry(status.code, api.timestamp());
        let (stage, message) = (audit::Stage::ResponseStarted, shown.as_str());
        api.audit.record(&audit::Entry { stage, message, decision: None, ..entry });
        answer::failure(status)
    }

    /// By what somebody tried to be known, in the words of kube-apiserver.
    fn shown(&self, caller: &Caller) -> String {
        let header =
            self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let scheme = header.trim().split_once(' ').map(|(scheme, _)| scheme.to_ascii_lowercase());
        let scheme = scheme.filter(|scheme| ["basic", "bearer"].contains(&scheme.as_str()));
        let certificate = caller.certificate.is_some().then(|| "x509".to_owned());
        let shown: Vec<String> = scheme.into_iter().chain(certificate).collect();
        if shown.is_empty() {
            return "Authentication failed, no credentials provided".into();
        }
        format!("Authentication failed, attempted: {}", shown.join(", "))
    }

    async fn answer(mut self, api: &Arc<Api>, caller: &Caller, id: &str, begun: Instant) -> Answer {
        if let Err(status) = self.impersonate(api) {
            api.audit.record(&self.seen(api, caller, id).refusal(&status, api.timestamp()));
            return answer::failure(&status);
        }
        // Administrators never wait: they end a flood.
        if self.user.is_in(MASTERS) {
            return self.in_turn(api, caller, id, begun).await;
        }
        match api.fair.turn(&self.who(caller)).await {
            Ok(turn) => turn.compute(self.in_turn(api, caller, id, begun)).await,
            Err(status) => {
                api.audit.record(&self.seen(api, caller, id).failure(&status, api.timestamp()));
                answer::failure(&status)
            }
        }
    }

    async fn in_turn(self, api: &Arc<Api>, caller: &Caller, id: &str, begun: Instant) -> Answer {
        if !route::is_known(&self.method) {
            let status = Status::method_not_allowed();
            api.audit.record(&self.seen(api, caller, id).refusal(&status, api.timestamp()));
            return route::unknown_method();
        }
        let mut authorized = self.authorized(api);
        // A node asks for what a pod names as soon as it hears of the pod, which may be before the authorizer has.
        if authorized.is_err() && self.user.node_name().is_some() && self.rests_on_pods() {
            authorized = match api.settle_rights().await {
                Ok(()) => self.authorized(api),
                Err(status) => Err(status),
            };
        }
        if let Err(status) = authorized {
            api.audit.record(&self.seen(api, caller, id).refusal(&status, api.timestamp()));
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
            Err(status) => {
                api.audit.record(&self.seen(api, caller, id).failure(&status, api.timestamp()));
                return answer::failure(&status);
            }
        };
        let seen = self.seen(api, caller, id);
        let work = Box::pin(self.dispatch(api));
        let answer = match (has_happened, place) {
            (Ok(()), Some(place)) => api.fair.with(place, seen.user.clone(), work).await,
            (Ok(()), None) => work.await,
            (Err(status), _) => answer::failure(&status),
        };
        let code = answer.status();
        let target = seen.target.as_ref().filter(|target| is_served(api, target));
        let resource = target.map_or("", |target| &target.resource);
        api.metrics.request(seen.verb, resource, code, begun.elapsed());
        api.audit.record(&match answer.extensions().get::<Status>() {
            Some(status) => seen.failure(status, api.timestamp()),
            None => seen.entry(code.as_u16(), api.timestamp()),
        });
        answer
    }

    /// Goes on as whom the headers name, where the user may.
    fn impersonate(&mut self, api: &Api) -> Result<(), Status> {
        let other = auth::impersonated(&self.headers, &self.user, &api.access.authorizer.read())?;
        if let Some(other) = other {
            self.impersonator = Some(std::mem::replace(&mut self.user, Arc::new(other)));
        }
        Ok(())
    }

    /// Whose turn it needs: those whom nobody knows are told apart by where they are, so that none takes the turns of a probe.
    fn who(&self, caller: &Caller) -> Cow<'_, str> {
        match self.user.name.as_str() {
            ANONYMOUS => Cow::Owned(format!("{ANONYMOUS} {}", caller.address.ip())),
            name => Cow::Borrowed(name),
        }
    }

    /// For which work it needs a place; none: it is short, or long and idle, or an administrator's.
    fn work(&self) -> Option<Work> {
        let Target::Resource(target) = &self.target else { return None };
        match target.verb {
            _ if self.user.is_in(MASTERS) || is_long(target) => None,
            Verb::List => Some(Work::List),
            _ => Some(Work::Short),
        }
    }

    /// Waits until the revision that a reader asks for is there.
    async fn has_happened(&self, api: &Api) -> Result<(), Status> {
        let is_read = |target: &ResourceTarget| matches!(target.verb, Verb::Get | Verb::List);
        if !matches!(&self.target, Target::Resource(target) if is_read(target)) {
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
            uri: self.uri.clone(),
            verb: self.verb(),
            user: self.user.clone(),
            impersonator: self.impersonator.clone(),
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
        let selected = self.selected();
        let terms = selected.terms().iter().filter(|term| !term.not);
        let fields: Vec<(&str, &str)> = terms.map(|term| (&*term.field, &*term.value)).collect();
        // Who selects the one object of a name needs a right to that object only, as the agents of nodes have.
        let only = selected.required("metadata.name");
        let attributes = match &self.target {
            Target::Path => Attributes::path(self.verb(), &self.path),
            Target::Resource(target) => {
                let name = only.filter(|_| target.name.is_empty()).unwrap_or(&target.name);
                Attributes {
                    subresource: &target.subresource,
                    version: &target.version,
                    fields: &fields,
                    ..Attributes::resource(
                        self.verb(),
                        &target.group,
                        &target.resource,
                        &target.namespace,
                        name,
                    )
                }
            }
        };
        authorizer.require(&self.user, &attributes)
    }

    /// Whether a node may do this when a pod of it names the object: [`NodeUses`](shoal_control::rbac::NodeUses) follows pods
    /// for these alone, and says to all else what it said before.
    fn rests_on_pods(&self) -> bool {
        let Target::Resource(target) = &self.target else { return false };
        let is_read = matches!(target.verb, Verb::Get | Verb::List | Verb::Watch);
        match (target.group.as_str(), target.resource.as_str(), target.subresource.as_str()) {
            ("", "secrets" | "configmaps" | "pods", "") => is_read,
            ("", "persistentvolumeclaims" | "persistentvolumes", "")
            | ("storage.k8s.io", "volumeattachments", "")
            | ("resource.k8s.io", "resourceclaims", "") => target.verb == Verb::Get,
            ("", "persistentvolumeclaims", "status") => {
                matches!(target.verb, Verb::Get | Verb::Update | Verb::Patch)
            }
            ("", "serviceaccounts", "token") => target.verb == Verb::Create,
            _ => false,
        }
    }

    /// What its field selector says, where it selects objects. One that cannot be read selects nothing: whoever lists says
    /// what is wrong with it.
    fn selected(&self) -> field::Selector {
        match &self.target {
            Target::Resource(target)
                if matches!(target.verb, Verb::List | Verb::Watch | Verb::DeleteCollection) =>
            {
                let text = self.query.get("fieldSelector").unwrap_or_default();
                field::Selector::parse(text).unwrap_or_default()
            }
            Target::Resource(_) | Target::Path => field::Selector::default(),
        }
    }

    /// As RBAC names it; empty where the method is none that anything here has.
    fn verb(&self) -> &'static str {
        match (&self.target, &self.method) {
            (_, method) if !route::is_known(method) => "",
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
    uri: Uri,
    verb: &'static str,
    user: Arc<User>,
    impersonator: Option<Arc<User>>,
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
            stage: audit::Stage::ResponseComplete,
            uri: self.uri.path_and_query().map_or(self.uri.path(), |all| all.as_str()),
            verb: self.verb,
            user: self.impersonator.as_ref().unwrap_or(&self.user),
            impersonated: self.impersonator.is_some().then_some(&*self.user),
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

    /// What was allowed, and failed.
    fn failure<'a>(&'a self, status: &'a Status, answered: Timestamp) -> audit::Entry<'a> {
        audit::Entry { reason: status.reason, message: &status.message, ..self.entry(status.code, answered) }
    }

    /// What was not done. That the authorizer forbade it is said only where it did.
    fn refusal<'a>(&'a self, status: &'a Status, answered: Timestamp) -> audit::Entry<'a> {
        let decision = (status.code == FORBIDDEN).then_some(("forbid", ""));
        audit::Entry { decision, ..self.failure(status, answered) }
    }
}

/// Whether there is such a resource: others are made up by whoever asks.
fn is_served(api: &Api, target: &ResourceTarget) -> bool {
    api.registry.load().get(&target.group, &target.version, &target.resource).is_some()
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
