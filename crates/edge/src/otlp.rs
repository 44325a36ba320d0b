//! Traces: a span for each recorded request, handed to a thread of their own that posts them to a collector
//! (OTLP over HTTP, JSON).
//!
//! Whether a trace is recorded is decided at its beginning: the client's `traceparent` says so, or else the
//! ratio that was set. A request that is not recorded costs a few random bits; without a collector, nothing.
//! Serving threads never wait: a span that finds the queue full is dropped and counted.
//!
//! Source: OpenTelemetry protocol 1.x (OTLP/HTTP, JSON); semantic conventions for HTTP server spans.

mod encode;
mod export;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use http::uri::Scheme;
use http::{Method, Version};
use shoal_base::splitmix::SplitMix64;
use shoal_runtime::{CollectorUrl, SampleRatio, TraceContext};
use tokio::sync::mpsc::{Sender, channel};

pub(crate) use self::export::Exporter;
use crate::metrics::Timing;

/// Which requests are recorded, and where their spans go.
#[derive(Clone, Debug)]
pub struct Traces {
    /// Where spans are posted.
    pub collector: CollectorUrl,
    /// The part of the traces that begin here which is recorded.
    pub sample: SampleRatio,
    /// `service.name` of the resource: what the requests are for.
    pub service: String,
}

/// Spans that wait for the collector: half a second of 4,000 recorded requests. Times the size of a span this
/// is some 2 MiB at most. What is more is dropped and counted.
const QUEUE_SPANS: usize = 2_048;

/// Bytes of a path or user agent that a span shows; a client must not fill the queue.
const SHOWN_BYTES: usize = 1024;

/// The span of a request, from its beginning on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    /// The span itself.
    pub(crate) context: TraceContext,
    /// The client's span, if it named one.
    pub(crate) parent: Option<u64>,
}

/// The span of a request that has ended.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) begun: Begun,
    pub(crate) ended: SystemTime,
    pub(crate) request: u64,
    pub(crate) method: Method,
    /// `namespace/name` of the Service that answered, in a cluster.
    pub(crate) service: Option<Arc<str>>,
    pub(crate) path: String,
    pub(crate) user_agent: Option<String>,
    pub(crate) scheme: Scheme,
    pub(crate) version: Version,
    pub(crate) peer: SocketAddr,
    /// None: the client went away before the head of the response.
    pub(crate) status: Option<u16>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) timing: Timing,
    pub(crate) failure: Option<&'static str>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    delivered: AtomicU64,
    dropped: AtomicU64,
}

/// Makes the tracer of each thread.
pub(crate) struct Source {
    sender: Sender<Span>,
    sample: SampleRatio,
    delivery: Arc<Delivery>,
}

/// Begins and ends the spans of one thread.
pub(crate) struct Tracer {
    sender: Sender<Span>,
    sample: SampleRatio,
    delivery: Arc<Delivery>,
    random: Random,
}

/// Sets up the way from the serving threads to the collector.
pub(crate) fn open(traces: Traces, delivery: &Arc<Delivery>) -> (Source, Exporter) {
    let (sender, receiver) = channel(QUEUE_SPANS);
    let source = Source { sender, sample: traces.sample, delivery: Arc::clone(delivery) };
    (source, Exporter::new(receiver, traces, Arc::clone(delivery)))
}

/// Text as a span shows it: no longer than it may be.
pub(crate) fn shorten(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN_BYTES)].to_owned()
}

impl Source {
    pub(crate) fn for_thread(&self) -> Tracer {
        Tracer {
            sender: self.sender.clone(),
            sample: self.sample,
            delivery: Arc::clone(&self.delivery),
            random: Random::default(),
        }
    }
}

impl Tracer {
    /// The span of a request whose client named this parent.
    pub(crate) fn begin(&self, parent: Option<TraceContext>) -> Begun {
        let span_id = self.random.next();
        let Some(parent) = parent else {
            let trace_id = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
            let sampled = self.sample.takes(trace_id);
            return Begun { context: TraceContext { trace_id, span_id, sampled }, parent: None };
        };
        Begun { context: TraceContext { span_id, ..parent }, parent: Some(parent.span_id) }
    }

    /// Hands a span over. Never waits.
    pub(crate) fn end(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.delivery.drop_spans(1);
        }
    }
}

impl Delivery {
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn deliver_spans(&self, count: u64) {
        self.delivered.fetch_add(count, Relaxed);
    }

    fn drop_spans(&self, count: u64) {
        self.dropped.fetch_add(count, Relaxed);
    }
}

/// Numbers that nobody else draws: SplitMix64 from a random beginning. Identifiers are no secrets.
struct Random(AtomicU64);

impl Default for Random {
    fn default() -> Self {
        Self(AtomicU64::new(RandomState::new().build_hasher().finish()))
    }
}

impl Random {
    /// The next number; never zero. One thread draws: no locked instruction is needed.
    fn next(&self) -> u64 {
        let mut numbers = SplitMix64::new(self.0.load(Relaxed));
        let number = numbers.draw();
        self.0.store(numbers.seed(), Relaxed);
        number.max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    pub(super) fn traces(sample: &str) -> Traces {
        Traces {
            collector: "http://127.0.0.1:4318".parse().expect("a collector"),
            sample: sample.parse().expect("a ratio"),
            service: "shop".into(),
        }
    }

    pub(super) fn span() -> Span {
        let context = TraceContext {
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span_id: 0x12,
            sampled: true,
        };
        Span {
            begun: Begun { context, parent: Some(0xb7ad_6b71_6920_3331) },
            ended: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_380_258_123),
            request: 0xa1,
            method: Method::GET,
            service: None,
            path: "/a".into(),
            user_agent: Some("curl/8".into()),
            scheme: Scheme::HTTPS,
            version: Version::HTTP_2,
            peer: SocketAddr::from(([127, 0, 0, 1], 5123)),
            status: Some(200),
            bytes_in: 3,
            bytes_out: 5,
            timing: Timing {
                total: Duration::from_micros(1500),
                queue: Duration::from_nanos(1200),
                instantiate: Duration::from_micros(7),
                guest: Duration::from_micros(40),
            },
            failure: None,
        }
    }

    #[test]
    fn the_client_decides_for_its_own_traces_and_the_ratio_for_those_that_begin_here() {
        let delivery = Arc::default();
        let [never, always] = ["0", "1"].map(|sample| open(traces(sample), &delivery).0.for_thread());
        let parent = TraceContext { trace_id: 7, span_id: 9, sampled: true };
        let begun = never.begin(Some(parent));
        assert_eq!((begun.context.trace_id, begun.context.sampled, begun.parent), (7, true, Some(9)));
        assert_ne!(begun.context.span_id, 9, "the span of this request is not its parent");
        let begun = always.begin(Some(TraceContext { sampled: false, ..parent }));
        assert!(!begun.context.sampled);
        assert!(!never.begin(None).context.sampled);
        let [first, second] = [(); 2].map(|()| always.begin(None));
        assert!(first.context.sampled && first.parent.is_none());
        assert_ne!(first.context.trace_id, second.context.trace_id);
        assert_ne!(first.context.span_id, second.context.span_id);
    }

    #[test]
    fn a_span_that_finds_no_room_is_counted() {
        let delivery = Arc::default();
        let (source, exporter) = open(traces("1"), &delivery);
        let tracer = source.for_thread();
        (0..QUEUE_SPANS).for_each(|_| tracer.end(span()));
        assert_eq!(delivery.dropped(), 0);
        tracer.end(span());
        assert_eq!(delivery.dropped(), 1);
        drop(exporter);
        tracer.end(span());
        assert_eq!(delivery.dropped(), 2, "without an exporter there is no room at all");
    }

    #[test]
    fn what_is_too_long_is_cut() {
        assert_eq!(shorten(&"a".repeat(SHOWN_BYTES)).len(), SHOWN_BYTES);
        assert_eq!(shorten(&"a".repeat(SHOWN_BYTES + 1)).len(), SHOWN_BYTES);
    }
}
