//! Spans as OTLP writes them in JSON: identifiers in hexadecimal, 64-bit numbers as text.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, Version};
use serde_json::{Value, json};

use super::Span;

/// `SPAN_KIND_SERVER`.
const KIND_SERVER: u32 = 2;

/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: u32 = 2;

/// Flags of a span: whether its parent is on another machine is known, and it is.
const FLAGS_REMOTE_PARENT: u32 = 0x300;

/// The flag of a trace that is recorded.
const FLAG_SAMPLED: u32 = 1;

/// Methods that have a name in the conventions; any other is `_OTHER`, or clients could make as many series.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// An `ExportTraceServiceRequest`.
pub(super) fn request(service: &str, spans: &[Span]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [
        text("service.name", service),
        number("process.pid", u64::from(std::process::id())),
        text("telemetry.sdk.name", "shoal"),
        text("telemetry.sdk.language", "rust"),
        text("telemetry.sdk.version", version),
    ];
    let spans: Vec<Value> = spans.iter().map(|one| span(service, one)).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "shoal.edge", "version": version}, "spans": spans}],
    }]})
    .to_string()
}

fn span(workload: &str, span: &Span) -> Value {
    let context = span.begun.context;
    let began = span.ended.checked_sub(span.timing.total).unwrap_or(span.ended);
    let is_known = METHODS.contains(&span.method);
    let mut value = json!({
        "traceId": format!("{:032x}", context.trace_id),
        "spanId": format!("{:016x}", context.span_id),
        "flags": if span.begun.parent.is_some() { FLAGS_REMOTE_PARENT | FLAG_SAMPLED } else { FLAG_SAMPLED },
        "name": if is_known { span.method.as_str() } else { "HTTP" },
        "kind": KIND_SERVER,
        "startTimeUnixNano": nanos(began),
        "endTimeUnixNano": nanos(span.ended),
        "attributes": attributes(workload, span, is_known),
        "status": {},
    });
    if let Some(parent) = span.begun.parent {
        value["parentSpanId"] = format!("{parent:016x}").into();
    }
    // What the client did wrong is no error of this service (conventions for HTTP servers).
    let is_error = match span.status {
        Some(400..500) => false,
        Some(500..) | None => true,
        Some(_) => span.failure.is_some(),
    };
    if is_error {
        value["status"] = json!({"code": STATUS_ERROR, "message": span.failure.unwrap_or_default()});
    }
    value
}

fn attributes(workload: &str, span: &Span, is_known: bool) -> Vec<Value> {
    let timing = &span.timing;
    let ns = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut attributes = vec![
        text("http.request.method", if is_known { span.method.as_str() } else { "_OTHER" }),
        text("url.scheme", span.scheme.as_str()),
        text("url.path", &span.path),
        text("network.protocol.version", version(span.version)),
        text("client.address", &span.peer.ip().to_canonical().to_string()),
        number("client.port", u64::from(span.peer.port())),
        number("http.request.body.size", span.bytes_in),
        number("http.response.body.size", span.bytes_out),
        text("shoal.workload", span.service.as_deref().unwrap_or(workload)),
        text("shoal.request", &format!("{:016x}", span.request)),
        number("shoal.queue_ns", ns(timing.queue)),
        number("shoal.instantiate_ns", ns(timing.instantiate)),
        number("shoal.guest_ns", ns(timing.guest)),
        number("shoal.host_ns", ns(timing.host())),
    ];
    if !is_known {
        attributes.push(text("http.request.method_original", &super::shorten(span.method.as_str())));
    }
    if let Some(agent) = &span.user_agent {
        attributes.push(text("user_agent.original", agent));
    }
    if let Some(status) = span.status {
        attributes.push(number("http.response.status_code", u64::from(status)));
    }
    if let Some(failure) = span.failure {
        attributes.push(text("error.type", failure));
    }
    attributes
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::span as a_span;
    use super::*;

    #[test]
    fn a_span_is_written_as_the_protocol_has_it() {
        let text = serde_json::to_string_pretty(&span("shop", &a_span())).expect("JSON");
        // An attribute per line.
        let words: Vec<&str> = text.split_whitespace().collect();
        let lines = words.join(" ").replace(" { \"key\"", "\n{ \"key\"");
        expect![[r#"
            { "attributes": [
            { "key": "http.request.method", "value": { "stringValue": "GET" } },
            { "key": "url.scheme", "value": { "stringValue": "https" } },
            { "key": "url.path", "value": { "stringValue": "/a" } },
            { "key": "network.protocol.version", "value": { "stringValue": "2" } },
            { "key": "client.address", "value": { "stringValue": "127.0.0.1" } },
            { "key": "client.port", "value": { "intValue": "5123" } },
            { "key": "http.request.body.size", "value": { "intValue": "3" } },
            { "key": "http.response.body.size", "value": { "intValue": "5" } },
            { "key": "shoal.workload", "value": { "stringValue": "shop" } },
            { "key": "shoal.request", "value": { "stringValue": "00000000000000a1" } },
            { "key": "shoal.queue_ns", "value": { "intValue": "1200" } },
            { "key": "shoal.instantiate_ns", "value": { "intValue": "7000" } },
            { "key": "shoal.guest_ns", "value": { "intValue": "40000" } },
            { "key": "shoal.host_ns", "value": { "intValue": "1451800" } },
            { "key": "user_agent.original", "value": { "stringValue": "curl/8" } },
            { "key": "http.response.status_code", "value": { "intValue": "200" } } ], "endTimeUnixNano": "1795380258123000000", "flags": 769, "kind": 2, "name": "GET", "parentSpanId": "b7ad6b7169203331", "spanId": "0000000000000012", "startTimeUnixNano": "1795380258121500000", "status": {}, "traceId": "0af7651916cd43dd8448eb211c80319c" }"#]].assert_eq(&lines);
    }

    #[test]
    fn an_error_is_of_the_server_or_of_its_guest() {
        let has_error = |status: Option<u16>, failure: Option<&'static str>| {
            span("shop", &Span { status, failure, ..a_span() })["status"] != json!({})
        };
        assert!(!has_error(Some(200), None) && !has_error(Some(404), None));
        assert!(!has_error(Some(413), Some("request_body")), "the client sent too much");
        assert!(has_error(Some(500), Some("trap")) && has_error(Some(503), None));
        assert!(has_error(Some(200), Some("trap")), "its body broke off");
        assert!(has_error(None, Some("cancelled")));
    }

    #[test]
    fn a_method_of_its_own_makes_no_name_of_its_own() {
        let made_up = Span { method: "MADEUP".parse().expect("a method"), ..a_span() };
        let value = span("shop", &made_up);
        assert_eq!(value["name"], "HTTP");
        let attributes = value["attributes"].to_string();
        assert!(attributes.contains("_OTHER") && attributes.contains("MADEUP"), "{attributes}");
    }

    #[test]
    fn a_span_without_a_parent_names_none() {
        let mut root = a_span();
        root.begun.parent = None;
        let value = span("shop", &root);
        assert_eq!((value.get("parentSpanId"), &value["flags"]), (None, &json!(1)));
    }
}
