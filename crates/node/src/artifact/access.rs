//! Requests to the registry of one image: who asks, redirections, connections that are used again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use form_urlencoded::Serializer;
use futures_util::TryStreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::answer::Answer;
use super::challenge::{self, Challenge};
use super::client::{Client, TokenKey};
use super::connection::{Connection, Endpoint, RequestBody};
use super::error::harmless;
use super::retry::{Tries, Trouble};
use super::{Credential, FetchError, Image, Keyring, Problem};

/// Redirections of one request: a registry, its store, a mirror of that, and room.
const REDIRECTS_MAX: usize = 5;
/// Longest answer with a token: tokens are headers, which servers limit to some kilobytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// The life of a token that names none (Docker, "Token authentication").
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// For so long a token is believed at most, whatever it says of itself.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(60 * 60);
/// A token is not used in its last seconds: a request takes its time.
const TOKEN_SPARE: Duration = Duration::from_secs(10);

/// A request of a registry.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) payload: Payload,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// Below `/v2/REPOSITORY/` of the registry.
    Repository(String),
    /// A place that the registry has named.
    Url(Endpoint, String),
}

/// What a request carries.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Nothing,
    Bytes(Bytes),
    File(PathBuf, u64),
}

impl Ask {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            target: Target::Repository(path.into()),
            headers: Vec::new(),
            payload: Payload::Nothing,
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Requests for one image, one after the other.
pub(super) struct Session<'a> {
    client: &'a Client,
    pub(super) image: &'a Image,
    actions: &'static str,
    registry: Option<Endpoint>,
    idle: Vec<(Endpoint, Connection)>,
    /// Credentials that were not tried yet; without any, a nameless one.
    candidates: VecDeque<Option<Credential>>,
    /// Whether there were any credentials to show.
    has_credentials: bool,
    current: Option<Option<Credential>>,
    authorization: Option<HeaderValue>,
    /// Whether the registry has taken the authorization before: then it has run out, and is not wrong.
    is_proven: bool,
}

impl<'a> Session<'a> {
    /// `actions` as in scopes of tokens: `pull`, or `pull,push`.
    pub(super) fn new(
        client: &'a Client,
        image: &'a Image,
        keyring: &Keyring,
        actions: &'static str,
    ) -> Self {
        let mut candidates: VecDeque<_> = keyring.of_image(image).into_iter().cloned().map(Some).collect();
        let has_credentials = !candidates.is_empty();
        if !has_credentials {
            candidates.push_back(None);
        }
        let mut session = Self {
            client,
            image,
            actions,
            registry: None,
            idle: Vec::new(),
            candidates,
            has_credentials,
            current: None,
            authorization: None,
            is_proven: false,
        };
        let first = session.candidates.front().cloned().flatten();
        if let Some(token) = client.token(&session.token_key(first.clone())) {
            session.authorization = Some(token);
            session.current = session.candidates.pop_front();
            session.is_proven = true;
        }
        session
    }

    fn token_key(&self, credential: Option<Credential>) -> TokenKey {
        let Image { registry, repository, .. } = self.image;
        TokenKey {
            registry: registry.clone(),
            repository: repository.clone(),
            actions: self.actions,
            credential,
        }
    }

    pub(super) fn client(&self) -> &'a Client {
        self.client
    }

    /// Sends a request, with what the registry asks for, and follows where it sends. Any answer that is no success is
    /// trouble, but for those in `also`.
    pub(super) async fn ask(&mut self, ask: &Ask, also: &[StatusCode]) -> Result<Answer, Trouble> {
        loop {
            let answer = self.follow(ask).await?;
            let is_refusal = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if is_refusal && answer.from == self.registry_name() {
                let challenge = challenge::of(&answer.headers);
                let trouble = answer.trouble().await;
                self.authorize(challenge, trouble).await?;
                continue;
            }
            if answer.status.is_success() || also.contains(&answer.status) {
                self.is_proven = true;
                return Ok(answer);
            }
            return Err(answer.trouble().await);
        }
    }

    /// Like [`ask`](Self::ask), again and again while what is wrong may pass, with the whole body.
    pub(super) async fn ask_until(
        &mut self,
        ask: &Ask,
        also: &[StatusCode],
        bytes_max: usize,
    ) -> Result<(HeaderMap, Bytes), FetchError> {
        let seed = self.image.repository.len() as u64;
        let mut tries = Tries::new(self.client.options().retry, seed);
        loop {
            let trouble = match self.ask(ask, also).await {
                Ok(answer) => {
                    let headers = answer.headers.clone();
                    match answer.bytes(bytes_max).await {
                        Ok(body) => return Ok((headers, body)),
                        Err(trouble) => trouble,
                    }
                }
                Err(trouble) => trouble,
            };
            tries.next(trouble).await?;
        }
    }

    fn registry_name(&self) -> String {
        self.registry.as_ref().map(Endpoint::authority).unwrap_or_default()
    }

    async fn follow(&mut self, ask: &Ask) -> Result<Answer, Trouble> {
        let (mut endpoint, mut path) = match &ask.target {
            Target::Repository(path) => {
                (self.registry().await?, format!("/v2/{}/{path}", self.image.repository))
            }
            Target::Url(endpoint, path) => (endpoint.clone(), path.clone()),
        };
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.send(&endpoint, &path, ask).await?;
            // 303 makes a GET of what it answers, and the others mean what they say for those only.
            let follows = matches!(ask.method, Method::GET | Method::HEAD) && answer.status.is_redirection();
            let location = answer.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            let Some(location) = location.filter(|_| follows) else { return Ok(answer) };
            (endpoint, path) = self.resolve(&endpoint, &path, location)?;
        }
        let what = format!("{} redirects more than {REDIRECTS_MAX} times", endpoint.authority());
        Err(Trouble::last(Problem::Registry, what))
    }

    /// The registry, connected to before.
    async fn registry(&mut self) -> Result<Endpoint, Trouble> {
        if let Some(registry) = &self.registry {
            return Ok(registry.clone());
        }
        let (endpoint, connection) = self.client.reach(self.image).await?;
        self.idle.push((endpoint.clone(), connection));
        self.registry = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// Where a `Location` of the registry leads that answered a request of its uploads.
    pub(super) async fn place(&mut self, location: &str) -> Result<(Endpoint, String), Trouble> {
        let registry = self.registry().await?;
        let uploads = format!("/v2/{}/blobs/uploads/", self.image.repository);
        self.resolve(&registry, &uploads, location)
    }

    /// Where a `Location` leads. Never to a place without TLS, unless it may be spoken to so.
    pub(super) fn resolve(
        &self,
        from: &Endpoint,
        path: &str,
        location: &str,
    ) -> Result<(Endpoint, String), Trouble> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok((from.clone(), location.into()));
        }
        let wrong = |why: &str| {
            let what = format!("{} sends to `{}`, {why}", from.authority(), harmless(location, 200));
            Trouble::last(Problem::Registry, what)
        };
        if !location.contains("://") {
            if location.is_empty() || location.starts_with("//") {
                return Err(wrong("which is no place of HTTP"));
            }
            let dir =
                path.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(dir, _)| dir);
            return Ok((from.clone(), format!("{dir}/{location}")));
        }
        let (endpoint, path) =
            Endpoint::of_url(location).ok_or_else(|| wrong("which is no place of HTTP"))?;
        // What serves on this machine alone is not for others to have asked.
        if endpoint.is_loopback() && !from.is_loopback() {
            return Err(wrong("which is this machine"));
        }
        if !endpoint.is_https && !self.client.may_be_plain(&endpoint) {
            return Err(wrong("which is without TLS"));
        }
        Ok((endpoint, path))
    }

    async fn send(&mut self, endpoint: &Endpoint, path: &str, ask: &Ask) -> Result<Answer, Trouble> {
        let is_registry = self.registry.as_ref() == Some(endpoint);
        let authorization = self.authorization.clone().filter(|_| is_registry);
        let request = request(path, ask, authorization).await?;
        self.exchange(endpoint, request).await
    }

    async fn exchange(
        &mut self,
        endpoint: &Endpoint,
        request: Request<RequestBody>,
    ) -> Result<Answer, Trouble> {
        let mut connection = match self.take_idle(endpoint).await {
            Some(connection) => connection,
            None => self.client.dial(endpoint).await?,
        };
        let (from, stall) = (endpoint.authority(), self.client.options().stall);
        let uploads = request.body().size_hint().upper() != Some(0);
        // An upload takes as long as a blob may.
        let wait = if uploads { self.client.options().blob } else { stall };
        let sent = timeout(wait, connection.send(endpoint, request)).await;
        let response = sent
            .map_err(|_| Trouble::passing(format!("{from} does not answer in {} ms", wait.as_millis())))?
            .map_err(|why| Trouble::passing(format!("{from} hangs up: {why}")))?;
        self.idle.push((endpoint.clone(), connection));
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body, stall, from })
    }

    async fn take_idle(&mut self, endpoint: &Endpoint) -> Option<Connection> {
        let at = self.idle.iter().position(|(open, _)| open == endpoint)?;
        let (_, mut connection) = self.idle.swap_remove(at);
        connection.is_ready().await.then_some(connection)
    }

    /// Gets what the registry asks for, with the credential at hand where it has run out, else with the next.
    async fn authorize(&mut self, challenge: Option<Challenge>, mut refusal: Trouble) -> Result<(), Trouble> {
        let has_expired = std::mem::take(&mut self.is_proven);
        if let (true, Some(current)) = (has_expired, self.current.take()) {
            self.candidates.push_front(current);
        }
        self.authorization = None;
        while let Some(credential) = self.candidates.pop_front() {
            match self.obtain(challenge.as_ref(), credential.as_ref()).await {
                Ok(Some(authorization)) => {
                    self.authorization = Some(authorization);
                    self.current = Some(credential);
                    return Ok(());
                }
                Ok(None) => {}
                Err(Trouble::Final(error)) if error.problem == Problem::Denied => refusal = error.into(),
                Err(trouble) => return Err(trouble),
            }
        }
        Err(match refusal {
            Trouble::Final(error) if self.has_credentials => Trouble::Final(error.hint(
                "the credentials that were shown may not do this, or are wrong: look at the user and the password \
                 (docker login, or the imagePullSecrets of the pod)",
            )),
            Trouble::Final(error) => Trouble::Final(error.hint(
                "it is private or not there: give credentials (docker login, or an imagePullSecret of the pod)",
            )),
            passing => passing,
        })
    }

    /// The header that answers a challenge; none when this credential cannot.
    async fn obtain(
        &mut self,
        challenge: Option<&Challenge>,
        credential: Option<&Credential>,
    ) -> Result<Option<HeaderValue>, Trouble> {
        match (challenge, credential) {
            (_, Some(Credential::Bearer(token))) => secret("Bearer", token).map(Some),
            (Some(Challenge::Basic), Some(credential)) => basic(credential).transpose(),
            (Some(Challenge::Bearer { realm, service, scope }), credential) => {
                self.token(realm, service.as_deref(), scope.as_deref(), credential).await.map(Some)
            }
            (Some(Challenge::Basic) | None, _) => Ok(None),
        }
    }

    /// Asks for a token (Docker and OCI, "Token authentication").
    async fn token(
        &mut self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        credential: Option<&Credential>,
    ) -> Result<HeaderValue, Trouble> {
        let own = format!("repository:{}:{}", self.image.repository, self.actions);
        let scope = scope.unwrap_or(&own);
        let registry = self.registry().await?;
        let (endpoint, path) = self.resolve(&registry, "/v2/", realm)?;
        let form = token_form(service, scope, credential);
        let request = match credential {
            Some(Credential::Identity(_)) => {
                let ask = Ask { payload: Payload::Bytes(form.into()), ..Ask::new(Method::POST, "") };
                let ask = ask.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
                request(&path, &ask, None).await?
            }
            credential => {
                let separator = if path.contains('?') { '&' } else { '?' };
                let path = format!("{path}{separator}{form}");
                let authorization = credential.and_then(basic).transpose()?;
                request(&path, &Ask::new(Method::GET, ""), authorization).await?
            }
        };
        let answer = self.exchange(&endpoint, request).await?;
        if !answer.status.is_success() {
            return Err(answer.trouble().await);
        }
        let (header, life) = read_token(&endpoint, &answer.bytes(TOKEN_BYTES_MAX).await?)?;
        if let Some(life) = life.checked_sub(TOKEN_SPARE) {
            self.client.keep_token(self.token_key(credential.cloned()), header.clone(), life);
        }
        Ok(header)
    }
}

/// What a token is asked for with: in the query, or in the body where a refresh token is shown.
fn token_form(service: Option<&str>, scope: &str, credential: Option<&Credential>) -> String {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(service.map(|service| ("service", service))).append_pair("scope", scope);
    if let Some(Credential::Identity(token)) = credential {
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "shoal");
        form.append_pair("refresh_token", token);
    }
    form.finish()
}

fn read_token(endpoint: &Endpoint, body: &[u8]) -> Result<(HeaderValue, Duration), Trouble> {
    #[derive(Deserialize)]
    struct Given {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let wrong = || Trouble::last(Problem::Registry, format!("{} gives no token", endpoint.authority()));
    let given: Given = serde_json::from_slice(body).map_err(|_| wrong())?;
    let token = given.token.or(given.access_token).filter(|token| !token.is_empty()).ok_or_else(wrong)?;
    let life =
        given.expires_in.map_or(TOKEN_LIFE, |seconds| Duration::from_secs(seconds).min(TOKEN_LIFE_MAX));
    Ok((secret("Bearer", &token)?, life))
}

/// `Basic` for a name and a password; none for a credential of another kind.
fn basic(credential: &Credential) -> Option<Result<HeaderValue, Trouble>> {
    let Credential::Basic { username, password } = credential else { return None };
    Some(secret("Basic", &STANDARD.encode(format!("{username}:{password}"))))
}

fn secret(scheme: &str, value: &str) -> Result<HeaderValue, Trouble> {
    let wrong = |_| FetchError::new(Problem::Denied, "a credential has characters that no header may have");
    let mut value = HeaderValue::try_from(format!("{scheme} {value}")).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

async fn request(
    path: &str,
    ask: &Ask,
    authorization: Option<HeaderValue>,
) -> Result<Request<RequestBody>, Trouble> {
    let (body, size_bytes) = match &ask.payload {
        Payload::Nothing => (Empty::new().map_err(|never| match never {}).boxed_unsync(), 0),
        Payload::Bytes(bytes) => {
            (Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync(), bytes.len() as u64)
        }
        Payload::File(path, size_bytes) => {
            let file = tokio::fs::File::open(path).await;
            let file = file.map_err(|error| FetchError::disk("read", path, &error))?;
            (file_body(file), *size_bytes)
        }
    };
    let mut request = Request::builder().method(ask.method.clone()).uri(path);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    // Without it a body of a file would be sent in chunks, which registries need not take.
    if matches!(ask.method, Method::POST | Method::PUT | Method::PATCH) {
        request = request.header(header::CONTENT_LENGTH, size_bytes);
    }
    request
        .body(body)
        .map_err(|error| Trouble::last(Problem::Request, format!("cannot ask for `{path}`: {error}")))
}

fn file_body(file: tokio::fs::File) -> RequestBody {
    let frames = ReaderStream::with_capacity(file, FILE_CHUNK_BYTES).map_ok(Frame::data);
    RequestBody::new(StreamBody::new(frames))
}

/// Read of a file at once.
const FILE_CHUNK_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{ClientOptions, Reference};

    #[test]
    fn a_location_is_resolved_and_never_leads_out_of_tls() {
        let client = Client::new(ClientOptions::default()).expect("a client");
        let Ok(Reference::Image(image)) = "ghcr.io/ada/app".parse() else { panic!("an image") };
        let session = Session::new(&client, &image, &Keyring::default(), "pull");
        let from = Endpoint::new(true, "ghcr.io");
        let resolve = |location: &str| {
            let resolved = session.resolve(&from, "/v2/ada/app/blobs/x?a=b", location).ok()?;
            Some(format!("{} {} {}", resolved.0.is_https, resolved.0.authority(), resolved.1))
        };
        assert_eq!(resolve("/a?b").as_deref(), Some("true ghcr.io /a?b"));
        assert_eq!(resolve("y").as_deref(), Some("true ghcr.io /v2/ada/app/blobs/y"));
        assert_eq!(resolve("https://cdn.example.com/a").as_deref(), Some("true cdn.example.com /a"));
        let local = ["http://127.0.0.1:5000/a", "https://localhost/a", "http://[::1]/a"];
        for nothing in local {
            assert_eq!(resolve(nothing), None, "{nothing}: a registry elsewhere has this machine asked");
        }
        let own = session.resolve(&Endpoint::new(true, "127.0.0.1:5001"), "/", local[0]).ok();
        assert!(own.is_some_and(|(endpoint, _)| endpoint.authority() == "127.0.0.1:5000"));
        for nothing in ["", "//cdn.example.com/a", "http://cdn.example.com/a", "ftp://a/b", "https://a@b/c"] {
            assert_eq!(resolve(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_token_is_read_under_both_its_names() {
        let endpoint = Endpoint::new(true, "auth.example.com");
        let read = |body: &str| {
            let (header, life) = read_token(&endpoint, body.as_bytes()).ok()?;
            Some((header.to_str().expect("plain text").to_string(), life.as_secs()))
        };
        assert_eq!(read(r#"{"token": "a", "expires_in": 300}"#), Some(("Bearer a".into(), 300)));
        assert_eq!(read(r#"{"access_token": "b"}"#), Some(("Bearer b".into(), 60)));
        let for_ever = format!(r#"{{"token": "a", "expires_in": {}}}"#, u64::MAX);
        assert_eq!(read(&for_ever), Some(("Bearer a".into(), TOKEN_LIFE_MAX.as_secs())));
        for nothing in ["", "{}", r#"{"token": ""}"#, r#"{"token": "a\nb"}"#, "[]"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }
}
