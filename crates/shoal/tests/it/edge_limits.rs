//! Limits of the edge, from the command line to what a client meets.

use std::io::{Read as _, Write as _};

use crate::process::{Place, built};

#[test]
fn a_target_may_be_as_long_as_was_said() {
    let place = Place::new();
    let server = place.serve("hello", &["--edge-limit", "uri=16"]);
    assert_eq!(server.get("/56789abcdef0123").0, 200);
    assert_eq!(server.get("/56789abcdef01234").0, 414, "17 bytes");
}

#[test]
fn a_head_may_take_as_long_as_was_said() {
    let place = Place::new();
    let server = place.serve("hello", &["--edge-limit", "header_read=50ms", "--admin", "127.0.0.1:0"]);
    let mut stream = server.client().into_stream();
    // On a busy machine the time may be over before the first byte is sent.
    drop(stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n"));
    let mut text = String::new();
    if let Err(error) = stream.read_to_string(&mut text) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the connection ends");
    }
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text}");
    let mut admin = crate::client::Client::connect(server.admin());
    let metrics = admin.send("GET", "/metrics", &[], b"").expect("metrics").text();
    assert!(metrics.contains("shoal_edge_limits_total{limit=\"header_read\"} 1\n"), "{metrics}");
}

#[test]
fn a_limit_of_zero_is_refused_before_anything_is_served() {
    let place = Place::new();
    let artifact = built("hello").display().to_string();
    let flags = ["--listen", "127.0.0.1:0", "--edge-limit", "connections=0"];
    let ended = place.output(&[&["run", &artifact], &flags[..]].concat());
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert_eq!(ended.stderr, "error: the limit `connections` is zero, so nothing could be served\n");
}
