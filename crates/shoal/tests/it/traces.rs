//! Traces through the whole of it: from the client, by the guest's own request, to the collector.

use std::net::TcpListener;

use crate::process::Place;
use crate::upstream::Upstream;

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The header that an upstream got.
fn traceparent(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("traceparent: "))
}

#[test]
fn a_guests_own_request_is_a_child_of_the_request_that_it_answers() {
    let place = Place::new();
    let (upstream, collector) = (Upstream::new(TAKEN), Upstream::new(TAKEN));
    let url = format!("http://{}", upstream.address);
    for (number, guest) in ["fetch", "fetch-p3"].into_iter().enumerate() {
        let flags = ["--allow-outbound", &url, "--otlp", &format!("http://{}", collector.address)];
        let server = place.serve(guest, &flags);
        let path = format!("/?url={url}/");
        let response = server.client().send("GET", &path, &[("traceparent", PARENT)], b"");
        assert_eq!(response.expect("an answer").status, 200, "{guest}");
        let (status, ..) = server.stop();
        assert!(status.success(), "{guest}: {status}");
        let upstream = upstream.heads();
        let passed = traceparent(&upstream[number]).expect("the guest's request is part of the trace");
        let (head, body) = collector.messages().remove(number);
        assert!(head.starts_with("POST /v1/traces "), "{guest}: {head}");
        let posted: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let span = &posted["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "0af7651916cd43dd8448eb211c80319c", "{guest}");
        assert_eq!(span["parentSpanId"], "b7ad6b7169203331", "{guest}");
        let id = span["spanId"].as_str().expect("an id");
        assert_eq!(passed, format!("00-0af7651916cd43dd8448eb211c80319c-{id}-01"), "{guest}");
        let attributes = span["attributes"].to_string();
        assert!(attributes.contains(&format!(r#"{{"stringValue":"{guest}"}}"#)), "{attributes}");
    }
}

#[test]
fn a_trace_passes_through_where_none_are_sent() {
    let place = Place::new();
    let upstream = Upstream::new(TAKEN);
    let url = format!("http://{}", upstream.address);
    for (number, guest) in ["fetch", "fetch-p3"].into_iter().enumerate() {
        let server = place.serve(guest, &["--allow-outbound", &url]);
        let path = format!("/?url={url}/");
        let ask = |headers: &[(&str, &str)]| server.client().send("GET", &path, headers, b"");
        assert_eq!(ask(&[("traceparent", PARENT)]).expect("an answer").status, 200);
        assert_eq!(ask(&[]).expect("an answer").status, 200);
        let heads = upstream.heads();
        assert_eq!(traceparent(&heads[2 * number]), Some(PARENT), "{guest}");
        assert_eq!(traceparent(&heads[2 * number + 1]), None, "{guest}");
    }
}

#[test]
fn a_collector_that_is_away_is_said_and_nothing_else() {
    let place = Place::new();
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let server = place.serve("hello", &["--otlp", &format!("http://{gone}"), "--otlp-sample", "1"]);
    for _ in 0..3 {
        assert_eq!(server.get("/").0, 200);
        server.wait_line("what is lost", |line| line.contains("cannot deliver traces to http://127.0.0.1"));
    }
    let (status, _, lines) = server.stop();
    assert!(status.success(), "{status}");
    assert_eq!(lines.iter().filter(|line| line.contains("cannot deliver")).count(), 1, "{lines:#?}");
}
