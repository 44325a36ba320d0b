//! The thread that posts spans to the collector, in batches, one after the other.
//!
//! A batch that cannot be delivered is dropped and counted, not tried again: a collector on the same machine,
//! or beside it, is the place for queues on disk. Each batch has a connection of its own, so that none meets
//! one that the collector has just closed.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use shoal_runtime::{Body, CollectorUrl};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Delivery, Span, Traces, encode};

/// Spans of one request to the collector: some 600 KB of JSON.
const BATCH_SPANS: usize = 512;

/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// For one batch: name, connection, TLS, request and response. As long as other exporters wait.
const DELIVER: Duration = Duration::from_secs(10);

/// How long the last batches may take once the edge has served its last request.
const LAST_DELIVERY: Duration = Duration::from_secs(3);

/// At most one line in this time says that spans are lost.
const SAY_INTERVAL: Duration = Duration::from_secs(60);

/// What is read of the collector's response.
const RESPONSE_BYTES: usize = 64 << 10;

/// Posts spans until all tracers are gone.
pub(crate) struct Exporter {
    receiver: Receiver<Span>,
    traces: Traces,
    delivery: Arc<Delivery>,
    said: Option<Instant>,
    /// Lost spans that were said, or passed over because others were just before.
    noticed: u64,
}

impl Exporter {
    pub(super) fn new(receiver: Receiver<Span>, traces: Traces, delivery: Arc<Delivery>) -> Self {
        Self { receiver, traces, delivery, said: None, noticed: 0 }
    }

    /// Blocks until the tracers are gone and their spans are delivered, or `all_served` and a while.
    pub(crate) fn run(mut self, runtime: Runtime, all_served: &CancellationToken) {
        runtime.block_on(async {
            let mut batch = Vec::with_capacity(BATCH_SPANS);
            let is_late = tokio::select! {
                () = self.deliver_all(&mut batch) => false,
                () = after(all_served, LAST_DELIVERY) => true,
            };
            if is_late {
                let lost = batch.len() + self.receiver.len();
                self.lose(lost as u64, "it took too long at the end");
            }
        });
        // Lookups of names cannot be called off; nobody waits for them.
        runtime.shutdown_background();
    }

    async fn deliver_all(&mut self, batch: &mut Vec<Span>) {
        while self.receiver.recv_many(batch, BATCH_SPANS).await > 0 {
            // Ends early when the batch is full or no more can come.
            let _ = timeout(GATHER, self.gather(batch)).await;
            self.deliver(batch).await;
            batch.clear();
            if self.is_news() {
                self.say("more spans are recorded than it takes; lower --otlp-sample");
            }
        }
    }

    async fn gather(&mut self, batch: &mut Vec<Span>) {
        while batch.len() < BATCH_SPANS {
            let room = BATCH_SPANS - batch.len();
            if self.receiver.recv_many(batch, room).await == 0 {
                return;
            }
        }
    }

    async fn deliver(&mut self, batch: &[Span]) {
        let count = batch.len() as u64;
        let body = encode::request(&self.traces.service, batch);
        match timeout(DELIVER, post(&self.traces.collector, body)).await {
            Ok(Ok(rejected)) => {
                let rejected = rejected.min(count);
                self.delivery.deliver_spans(count - rejected);
                if rejected > 0 {
                    self.lose(rejected, "it rejects them");
                }
            }
            Ok(Err(error)) => self.lose(count, &error),
            Err(_) => self.lose(count, "it does not answer in time"),
        }
    }

    /// Counts spans that are lost, and says so now and then.
    fn lose(&mut self, count: u64, why: &str) {
        self.delivery.drop_spans(count);
        self.say(why);
    }

    /// Whether spans were lost that nothing was said of: they found the queue full.
    fn is_news(&self) -> bool {
        self.delivery.dropped() > self.noticed
    }

    fn say(&mut self, why: &str) {
        self.noticed = self.delivery.dropped();
        if self.may_say(Instant::now()) {
            let (collector, dropped) = (&self.traces.collector, self.delivery.dropped());
            tracing::warn!("cannot deliver traces to {collector}: {why}; {dropped} spans dropped so far");
        }
    }

    fn may_say(&mut self, now: Instant) -> bool {
        let may = self.said.is_none_or(|said| now.duration_since(said) >= SAY_INTERVAL);
        if may {
            self.said = Some(now);
        }
        may
    }
}

async fn after(token: &CancellationToken, wait: Duration) {
    token.cancelled().await;
    tokio::time::sleep(wait).await;
}

/// Posts a batch. Comes back with the number of spans that the collector rejects.
async fn post(collector: &CollectorUrl, body: String) -> Result<u64, String> {
    let host = (collector.host.as_str(), collector.port);
    let stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
    if !collector.https {
        return exchange(stream, collector, body).await;
    }
    let name = ServerName::try_from(collector.host.clone()).map_err(|error| error.to_string())?;
    let stream = TLS.connect(name, stream).await.map_err(|error| error.to_string())?;
    exchange(stream, collector, body).await
}

/// TLS with the authorities that browsers trust, made for the first batch that needs it.
static TLS: LazyLock<TlsConnector> = LazyLock::new(|| {
    let roots: rustls::RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
});

async fn exchange<S>(stream: S, collector: &CollectorUrl, body: String) -> Result<u64, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let chain = |error: hyper::Error| shoal_base::error_chain::chain(&error).to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(chain)?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(message(collector, body)?).await.map_err(chain)?;
    if !response.status().is_success() {
        return Err(refused(response.status()));
    }
    // The spans are taken, whatever becomes of the answer's body.
    let body = Limited::new(response.into_body(), RESPONSE_BYTES).collect().await;
    Ok(body.map_or(0, |body| rejected(&body.to_bytes())))
}

fn message(collector: &CollectorUrl, body: String) -> Result<Request<Body>, String> {
    let host = HeaderValue::try_from(collector.authority()).map_err(|error| error.to_string())?;
    Request::builder()
        .method(Method::POST)
        .uri(collector.path.as_str())
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("shoal/", env!("CARGO_PKG_VERSION")))
        .body(Body::whole(Bytes::from(body)))
        .map_err(|error| error.to_string())
}

fn refused(status: StatusCode) -> String {
    match status {
        StatusCode::NOT_FOUND => "it answers 404: is it the OTLP/HTTP port?".into(),
        status => format!("it answers {status}"),
    }
}

/// `partialSuccess.rejectedSpans`, a number that some write as text.
fn rejected(body: &[u8]) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let rejected = &value["partialSuccess"]["rejectedSpans"];
    rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{span, traces};
    use super::super::{QUEUE_SPANS, open};
    use super::*;

    #[test]
    fn what_is_lost_is_said_once_a_minute() {
        let (_source, mut exporter) = open(traces("1"), &Arc::default());
        let start = Instant::now();
        assert!(exporter.may_say(start));
        assert!(!exporter.may_say(start + SAY_INTERVAL - Duration::from_nanos(1)));
        assert!(exporter.may_say(start + SAY_INTERVAL));
        assert!(!exporter.may_say(start + SAY_INTERVAL + Duration::from_secs(1)));
    }

    #[test]
    fn spans_that_found_the_queue_full_are_said_too() {
        let delivery = Arc::default();
        let (source, mut exporter) = open(traces("1"), &delivery);
        assert!(!exporter.is_news());
        let tracer = source.for_thread();
        (0..=QUEUE_SPANS).for_each(|_| tracer.end(span()));
        assert!(exporter.is_news());
        exporter.say("a test");
        assert!(!exporter.is_news(), "once");
        exporter.lose(2, "a test");
        assert!(!exporter.is_news(), "what the exporter loses itself it says itself");
    }

    #[test]
    fn rejected_spans_are_read_however_they_are_written() {
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":2}}"#), 2);
        for nothing in ["", "{}", r#"{"partialSuccess":{}}"#, "[1]", "no JSON"] {
            assert_eq!(rejected(nothing.as_bytes()), 0, "{nothing}");
        }
    }
}
