//! Calls to whichever endpoint answers.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{EtcdOptions, Tls};
use crate::{Error, LeaseId, Result, Revision};

/// How long a call may take, all tries together. etcd itself gives up after some 7 s.
const CALL: Duration = Duration::from_secs(15);

/// How long one endpoint may take for a read before another is asked. A write has all the time: it is not made twice.
const TRY: Duration = Duration::from_secs(5);

/// How long connecting to one endpoint may take.
const CONNECT: Duration = Duration::from_secs(3);

/// Pause after all endpoints were tried in vain.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection is asked for a sign of life this often, also when it is idle: watches are.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long the sign of life may take.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(5);

/// Largest answer: a page of 500 objects of the largest size is 750 MiB, and nobody has those.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Endpoints at most: etcd clusters have up to 7 members.
const ENDPOINTS_MAX: usize = 16;

/// Whether a call may be made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// Connections to all endpoints; each connects when it is used and again when it broke.
pub(super) struct Client {
    channels: Vec<Channel>,
    names: Vec<String>,
    /// Where the last call went well.
    preferred: AtomicUsize,
}

impl Client {
    /// # Errors
    /// An endpoint or the TLS material cannot be understood.
    pub(super) fn new(options: &EtcdOptions) -> Result<Self> {
        if options.endpoints.is_empty() || options.endpoints.len() > ENDPOINTS_MAX {
            let count = options.endpoints.len();
            return Err(Error::Invalid(format!("etcd needs 1 to {ENDPOINTS_MAX} endpoints, not {count}")));
        }
        let channels = options.endpoints.iter().map(|name| channel(name, options.tls.as_ref()));
        let channels = channels.collect::<Result<_>>()?;
        Ok(Self { channels, names: options.endpoints.clone(), preferred: AtomicUsize::new(0) })
    }

    /// The endpoints, as they were given.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// One call and its answer.
    ///
    /// # Errors
    /// For a write that may have happened [`Error::OutcomeUnknown`].
    pub(super) async fn call<M, R>(&self, kind: Kind, path: &'static str, message: M) -> Result<R>
    where
        M: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        let ends = Instant::now() + CALL;
        loop {
            let mut last = None;
            for at in self.order() {
                let left = ends.saturating_duration_since(Instant::now());
                let left = if kind == Kind::Read { left.min(TRY) } else { left };
                let call = unary(self.channels[at].clone(), path, message.clone());
                let status = match tokio::time::timeout(left, call).await {
                    Ok(Ok(answer)) => {
                        self.preferred.store(at, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Ok(Err(status)) => status,
                    Err(_) => Status::deadline_exceeded(format!("{} did not answer in time", self.names[at])),
                };
                if !may_try_again(kind, &status) {
                    return Err(meaning(kind, &status));
                }
                last = Some(status);
            }
            // There is at least one endpoint.
            let status = last.unwrap_or_else(|| Status::unavailable("no endpoint"));
            if Instant::now() + PAUSE >= ends {
                return Err(meaning(kind, &status));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One call to one endpoint.
    pub(super) async fn call_at<M, R>(&self, at: usize, path: &'static str, message: M) -> Result<R>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        match tokio::time::timeout(CONNECT, unary(self.channels[at].clone(), path, message)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(meaning(Kind::Read, &status)),
            Err(_) => Err(Error::Unavailable(format!("{} does not answer", self.names[at]))),
        }
    }

    /// A call with streams in both directions, to the first endpoint that takes it.
    pub(super) async fn stream<M, R>(
        &self,
        path: &'static str,
        open: impl Fn() -> tokio_stream::wrappers::ReceiverStream<M>,
    ) -> Result<Streaming<R>>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut last = Error::Unavailable("no endpoint".into());
        for at in self.order() {
            let mut grpc = Grpc::new(self.channels[at].clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
            let call = async {
                grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
                let codec = ProstCodec::<M, R>::default();
                grpc.streaming(Request::new(open()), PathAndQuery::from_static(path), codec).await
            };
            last = match tokio::time::timeout(CONNECT, call).await {
                Ok(Ok(answer)) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) => meaning(Kind::Read, &status),
                Err(_) => Error::Unavailable(format!("{} does not answer", self.names[at])),
            };
        }
        Err(last)
    }

    /// The endpoints, the preferred one first.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.preferred.load(Ordering::Relaxed), self.channels.len());
        (0..count).map(move |at| (first + at) % count)
    }
}

async fn unary<M, R>(channel: Channel, path: &'static str, message: M) -> Result<R, Status>
where
    M: Message + 'static,
    R: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let codec = ProstCodec::<M, R>::default();
    let answer = grpc.unary(Request::new(message), PathAndQuery::from_static(path), codec).await?;
    Ok(answer.into_inner())
}

fn channel(name: &str, tls: Option<&Tls>) -> Result<Channel> {
    let refuse = |why: String| Error::Invalid(format!("the etcd endpoint `{name}` cannot be used: {why}"));
    if !name.starts_with("http://") && !name.starts_with("https://") {
        return Err(refuse("name it as https://HOST:2379".into()));
    }
    if tls.is_some() && name.starts_with("http://") {
        return Err(refuse("certificates were given, so it must begin with https://".into()));
    }
    let endpoint = Endpoint::from_shared(name.to_string()).map_err(|error| refuse(chain(&error)))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let Some(tls) = tls else {
        if name.starts_with("https://") {
            return Err(refuse("https:// needs the certificate of the authority (`ca_pem`)".into()));
        }
        return Ok(endpoint.connect_lazy());
    };
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca_pem));
    if let Some((certificate, key)) = &tls.identity_pem {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    Ok(endpoint.tls_config(config).map_err(|error| refuse(chain(&error)))?.connect_lazy())
}

/// Whether another endpoint may be asked the same.
fn may_try_again(kind: Kind, status: &Status) -> bool {
    if was_not_sent(status) || is_refusal(status) {
        return true;
    }
    let is_passing = matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded)
        || (status.code() == Code::Unknown && status.source().is_some());
    kind == Kind::Read && is_passing
}

/// Whether no connection came about.
fn was_not_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// What etcd says before it proposes anything.
fn is_refusal(status: &Status) -> bool {
    matches!(status.message(), "etcdserver: no leader" | "etcdserver: too many requests")
}

/// What an answer of etcd means for whoever asked. `LeaseNotFound`, `Compacted` and `Future` do not say of what yet.
fn meaning(kind: Kind, status: &Status) -> Error {
    let text = status.message();
    let named = || {
        let source = status.source().map(chain).unwrap_or_default();
        if source.is_empty() { format!("etcd: {text}") } else { format!("etcd: {text}: {source}") }
    };
    let asked = Revision(0);
    match text.trim_start_matches("etcdserver: ") {
        "mvcc: required revision has been compacted" => return Error::Compacted { asked, compacted: None },
        "mvcc: required revision is a future revision" => return Error::Future { asked },
        "requested lease not found" => return Error::LeaseNotFound(LeaseId(0)),
        "mvcc: database space exceeded" => {
            let way_out =
                "delete objects, compact and defragment, then `etcdctl alarm disarm`, or raise its quota";
            return Error::NoSpace(format!("etcd is at its quota; {way_out}"));
        }
        "request is too large" | "too many operations in txn request" => {
            return Error::Invalid(format!("{}; its limits are lower than the usual ones", named()));
        }
        _ => {}
    }
    match status.code() {
        Code::InvalidArgument | Code::Unimplemented => Error::Invalid(named()),
        Code::PermissionDenied | Code::Unauthenticated => Error::Unavailable(named()),
        _ if kind == Kind::Write && !was_not_sent(status) && !is_refusal(status) => {
            Error::OutcomeUnknown(named())
        }
        _ => Error::Unavailable(named()),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_says_has_its_meaning() {
        let kind = |kind, code, text: &str| meaning(kind, &Status::new(code, text)).kind();
        for (code, text, read, write) in [
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                "compacted",
                "compacted",
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
                "future",
                "future",
            ),
            (Code::NotFound, "etcdserver: requested lease not found", "lease_not_found", "lease_not_found"),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", "no_space", "no_space"),
            (Code::InvalidArgument, "etcdserver: request is too large", "invalid", "invalid"),
            (Code::Unavailable, "etcdserver: request timed out", "unavailable", "outcome_unknown"),
            (Code::Unavailable, "etcdserver: leader changed", "unavailable", "outcome_unknown"),
            (Code::Unavailable, "etcdserver: no leader", "unavailable", "unavailable"),
            (Code::Unknown, "something new", "unavailable", "outcome_unknown"),
        ] {
            assert_eq!(
                (kind(Kind::Read, code, text), kind(Kind::Write, code, text)),
                (read, write),
                "{text}"
            );
        }
    }

    #[test]
    fn a_write_is_tried_again_only_when_it_cannot_have_happened() {
        let timed_out = Status::unavailable("etcdserver: request timed out");
        assert!(may_try_again(Kind::Read, &timed_out) && !may_try_again(Kind::Write, &timed_out));
        assert!(may_try_again(Kind::Write, &Status::unavailable("etcdserver: no leader")));
        let refused = Status::from_error(Box::new(tonic::ConnectError("refused".into())));
        assert!(may_try_again(Kind::Write, &refused));
        assert!(!may_try_again(Kind::Read, &Status::invalid_argument("no")));
    }
}
