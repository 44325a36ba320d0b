//! Spans on their way to a collector, and what the edge does when there is none.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use serde_json::Value;
use shoal_edge::{Certificates, Config, Listener, Traces};
use shoal_runtime::fake::FakeInvoke;
use shoal_runtime::{Body, Call, Failure, FailureKind};

use crate::support::{Running, config, connect, eventually, read_response, serve, status};

/// Takes what is posted, and answers all of it alike.
struct Collector {
    address: SocketAddr,
    posted: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Collector {
    fn new(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let posted: Arc<Mutex<Vec<_>>> = Arc::default();
        let seen = posted.clone();
        // Ends with the process of the test: an accept cannot be called off.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap() == 0 {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                seen.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap()));
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { address, posted }
    }

    /// All spans so far.
    fn spans(&self) -> Vec<Value> {
        let posted = self.posted.lock().unwrap();
        let spans = |body: &Value| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned();
        posted.iter().flat_map(|(_, body)| spans(body).unwrap()).collect()
    }
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

fn traced(collector: SocketAddr, sample: &str) -> Config {
    let traces = Traces {
        collector: format!("http://{collector}").parse().unwrap(),
        sample: sample.parse().unwrap(),
        service: "shop".into(),
    };
    Config { traces: Some(traces), ..config() }
}

/// Answers with the trace that the request carries and the one that outbound calls would continue.
fn workload() -> impl shoal_runtime::Invoke {
    FakeInvoke::new(|request: Request<Body>, call: Call| async move {
        if request.uri().path() == "/trap" {
            return Err(Failure::new(FailureKind::Trap, "unreachable"));
        }
        let named = |name: &str| {
            request.headers().get(name).map_or("none", |value| value.to_str().unwrap_or("?")).to_owned()
        };
        let outbound = call.account.trace().map_or("none".into(), |trace| trace.to_string());
        let text = format!("{} {} {outbound}", named("traceparent"), named("tracestate"));
        Ok(Response::new(Body::whole(text)))
    })
}

fn ask(edge: &Running, path: &str, headers: &str) -> String {
    let mut socket = connect(edge.address());
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n").as_bytes()).unwrap();
    read_response(&mut socket)
}

/// The three words of the workload's answer.
fn words(response: &str) -> [String; 3] {
    let body = response.split("\r\n\r\n").nth(1).unwrap();
    let words: Vec<String> = body.split(' ').map(str::to_owned).collect();
    words.try_into().unwrap()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    attributes.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"])
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

#[test]
fn a_recorded_request_becomes_a_span_of_its_trace() {
    let collector = Collector::new(TAKEN);
    let edge = serve(traced(collector.address, "0"), workload());
    let headers = format!("traceparent: {PARENT}-01\r\ntracestate: a=b\r\nuser-agent: curl/8\r\n");
    let [seen, state, outbound] = words(&ask(&edge, "/a?secret=1", &headers));
    assert_eq!(state, "a=b");
    assert_eq!(seen, outbound, "the guest sees the span that its outbound calls continue");
    assert_eq!(status(&ask(&edge, "/trap", &headers)), 500);
    eventually("two spans are there", || collector.spans().len() == 2);
    edge.await_metric("shoal_edge_spans_delivered_total", 2.0);
    let spans = collector.spans();
    let id = spans[0]["spanId"].as_str().unwrap();
    assert_eq!(seen, format!("00-0af7651916cd43dd8448eb211c80319c-{id}-01"));
    assert_eq!(spans[0]["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(spans[0]["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(attribute(&spans[0], "url.path")["stringValue"], "/a", "a query may hold secrets");
    assert_eq!(attribute(&spans[0], "user_agent.original")["stringValue"], "curl/8");
    assert_eq!(attribute(&spans[0], "http.response.status_code")["intValue"], "200");
    assert_eq!(spans[0]["status"], serde_json::json!({}));
    assert_eq!(attribute(&spans[1], "error.type")["stringValue"], "trap");
    assert_eq!(spans[1]["status"]["code"], 2);
    let posted = collector.posted.lock().unwrap();
    let (head, body) = &posted[0];
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let service = &body["resourceSpans"][0]["resource"]["attributes"][0];
    assert_eq!((&service["key"], &service["value"]["stringValue"]), (&"service.name".into(), &"shop".into()));
}

#[test]
fn what_is_not_recorded_says_so_to_those_it_calls() {
    let collector = Collector::new(TAKEN);
    let edge = serve(traced(collector.address, "0"), workload());
    let [seen, state, outbound] = words(&ask(&edge, "/", "tracestate: a=b\r\n"));
    assert!(seen.ends_with("-00") && seen == outbound, "{seen} {outbound}");
    assert_eq!(state, "none", "notes of no trace are not handed on");
    let [seen, _, _] = words(&ask(&edge, "/", &format!("traceparent: {PARENT}-00\r\n")));
    assert!(seen.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && seen.ends_with("-00"), "{seen}");
    assert_eq!(edge.metric("shoal_edge_spans_dropped_total"), Some(0.0));
    edge.stop();
    assert!(collector.spans().is_empty());
}

#[test]
fn the_ratio_decides_about_traces_that_begin_here() {
    let collector = Collector::new(TAKEN);
    let edge = serve(traced(collector.address, "1"), workload());
    let [seen, _, _] = words(&ask(&edge, "/", ""));
    edge.stop();
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "what is recorded is delivered before the edge has ended");
    let (trace, span) = (spans[0]["traceId"].as_str().unwrap(), spans[0]["spanId"].as_str().unwrap());
    assert_eq!(seen, format!("00-{trace}-{span}-01"));
    assert!(spans[0].get("parentSpanId").is_none());
}

#[test]
fn without_a_collector_a_trace_is_handed_on_as_it_came() {
    let edge = serve(config(), workload());
    let named = format!("{PARENT}-01");
    let [seen, state, outbound] =
        words(&ask(&edge, "/", &format!("traceparent: {named}\r\ntracestate: a=b\r\n")));
    assert_eq!((seen.as_str(), state.as_str(), outbound.as_str()), (&*named, "a=b", &*named));
    assert_eq!(words(&ask(&edge, "/", "")), ["none", "none", "none"]);
}

#[test]
fn requests_go_on_without_their_collector_and_spans_are_counted() {
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let edge = serve(traced(gone, "1"), workload());
    for _ in 0..3 {
        assert_eq!(status(&ask(&edge, "/", "")), 200);
    }
    edge.await_metric("shoal_edge_spans_dropped_total", 3.0);
    assert_eq!(status(&ask(&edge, "/", "")), 200);
    assert_eq!(edge.metric("shoal_edge_spans_delivered_total"), Some(0.0));
}

#[test]
fn spans_that_the_collector_refuses_are_counted() {
    for (answer, dropped) in [
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", 1.0),
        ("HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"1\"}}", 1.0),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 0.0),
    ] {
        let collector = Collector::new(answer);
        let edge = serve(traced(collector.address, "1"), workload());
        assert_eq!(status(&ask(&edge, "/", "")), 200);
        edge.await_metric("shoal_edge_spans_delivered_total", 1.0 - dropped);
        edge.await_metric("shoal_edge_spans_dropped_total", dropped);
    }
}

#[test]
fn a_collector_must_prove_its_name() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let certificates = Arc::new(Certificates::self_signed(&[any]).unwrap());
    let collector =
        serve(Config { listeners: vec![Listener::tls(any, certificates)], ..config() }, workload());
    let mut config = traced(collector.address(), "1");
    config.traces.as_mut().unwrap().collector = format!("https://{}", collector.address()).parse().unwrap();
    let edge = serve(config, workload());
    assert_eq!(status(&ask(&edge, "/", "")), 200);
    edge.await_metric("shoal_edge_spans_dropped_total", 1.0);
    collector.await_metric("shoal_edge_tls_handshake_errors_total", 1.0);
    assert_eq!(collector.stop().requests, 0);
}

#[test]
fn a_collector_that_never_answers_does_not_hold_the_drain_for_long() {
    // Connections are queued by the kernel and never taken.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let edge = serve(traced(silent.local_addr().unwrap(), "1"), workload());
    assert_eq!(status(&ask(&edge, "/", "")), 200);
    let began = std::time::Instant::now();
    let served = edge.stop();
    assert_eq!(served.requests, 1);
    assert!(began.elapsed() < crate::support::PATIENCE / 3, "{:?}", began.elapsed());
}
