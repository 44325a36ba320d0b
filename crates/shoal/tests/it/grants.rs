//! What is granted works, what is not does not exist; and stores keep what they acknowledged.

use crate::process::{Place, built};
use crate::upstream::Upstream;

#[test]
fn outbound_requests_go_where_they_are_granted() {
    let place = Place::new();
    let upstream = Upstream::new("HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nthere\n");
    let url = format!("http://{}/a", upstream.address);
    for guest in ["fetch", "fetch-p3"] {
        let before = upstream.requests();
        let server = place.serve(guest, &["--allow-outbound", &format!("http://{}", upstream.address)]);
        assert_eq!(server.get(&format!("/?url={url}")), (200, "there\n".into()), "{guest}");
        assert_eq!(upstream.requests(), before + 1, "{guest}");
        drop(server);
        // Another port, and the same port by name, are other grants.
        for pattern in ["http://127.0.0.1:1".into(), format!("http://localhost:{}", upstream.address.port())]
        {
            let server = place.serve(guest, &["--allow-outbound", &pattern]);
            let (status, text) = server.get(&format!("/?url={url}"));
            assert_eq!(status, 502, "{guest} {pattern}: {text}");
            assert!(text.contains("HttpRequestDenied"), "{guest} {pattern}: {text}");
            let line =
                server.wait_line("the grant that is missing", |line| line.contains("--allow-outbound"));
            assert!(line.contains("WARN"), "{line}");
        }
        assert_eq!(upstream.requests(), before + 1, "{guest}");
    }
}

#[test]
fn a_guest_without_room_for_a_request_in_flight_makes_none() {
    let place = Place::new();
    let upstream = Upstream::new("HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nthere\n");
    let url = format!("http://{}", upstream.address);
    for guest in ["fetch", "fetch-p3"] {
        let path = format!("/?url={url}/");
        let server = place.serve(guest, &["--allow-outbound", &url, "--outbound-in-flight", "0"]);
        let (status, text) = server.get(&path);
        assert!(status == 502 && text.contains("ConnectionLimitReached"), "{guest}: {status} {text}");
        let server = place.serve(guest, &["--allow-outbound", &url, "--outbound-in-flight", "1"]);
        assert_eq!(server.get(&path), (200, "there\n".into()), "{guest}");
    }
}

#[test]
fn a_redirect_is_the_guests_to_follow() {
    let place = Place::new();
    let upstream = Upstream::new(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    let server = place.serve("fetch", &["--allow-outbound", &format!("http://{}", upstream.address)]);
    let path = format!("/?url=http://{}/", upstream.address);
    let response = server.client().send("GET", &path, &[], b"").expect("an answer");
    assert_eq!((response.status, response.header("location")), (302, Some("http://127.0.0.1:1/")));
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn an_import_without_its_grant_is_refused_with_the_flag() {
    let place = Place::new();
    for (guest, import, flag) in [
        ("fetch", "wasi:http/outgoing-handler@0.2.12` (outbound HTTP)", "--allow-outbound PATTERN"),
        ("fetch-p3", "wasi:http/client@0.3.2` (outbound HTTP)", "--allow-outbound PATTERN"),
        ("socket", "(sockets)", "--allow-outbound tcp://HOST:PORT or --allow-listen PORT"),
        ("counter", "wasi:keyvalue/store@0.2.0-draft` (key-value)", "--kv NAME[=PATH]"),
        ("counter-draft2", "wasi:keyvalue/store@0.2.0-draft2` (key-value)", "--kv NAME[=PATH]"),
        ("config", "wasi:config/store@0.2.0-rc.1` (config)", "--config NAME=VALUE"),
        ("blobs", "wasi:blobstore/types@0.2.0-draft` (blobs)", "--blobs NAME[=DIR]"),
    ] {
        let ended = place.output(&["run", &built(guest).display().to_string(), "--listen", "127.0.0.1:0"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(65), ""), "{guest}: {}", ended.stderr);
        assert!(ended.stderr.contains(import), "{guest}: {}", ended.stderr);
        assert!(ended.stderr.contains("which is not granted"), "{guest}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("hint: grant it with {flag}")), "{guest}: {}", ended.stderr);
    }
}

#[test]
fn an_acknowledged_increment_survives_a_kill() {
    let place = Place::new();
    let store = format!("default={}", place.arg("store.sqlite"));
    for guest in ["counter", "counter-draft2"] {
        let path = format!("/{guest}");
        let mut count = 0;
        for _ in 0..3 {
            let server = place.serve(guest, &["--kv", &store]);
            for _ in 0..5 {
                count += 1;
                assert_eq!(server.get(&path), (200, format!("{count}\n")), "{guest}");
            }
            server.kill();
        }
    }
}

#[test]
fn a_store_in_memory_ends_with_its_process() {
    let place = Place::new();
    for _ in 0..2 {
        let server = place.serve("counter", &["--kv", "default"]);
        assert_eq!(server.get("/visits"), (200, "1\n".into()));
        assert_eq!(server.get("/visits"), (200, "2\n".into()));
        assert_eq!(server.get("/visits?store=other"), (404, "no-such-store\n".into()));
        server.wait_line("the grant that is missing", |line| line.contains("--kv other"));
    }
}

#[test]
fn a_store_is_for_one_process_at_a_time() {
    let place = Place::new();
    let store = format!("default={}", place.arg("store.sqlite"));
    let server = place.serve("counter", &["--kv", &store]);
    let artifact = built("counter").display().to_string();
    let ended = place.output(&["run", &artifact, "--listen", "127.0.0.1:0", "--kv", &store]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.stderr.contains("store.sqlite"), "{}", ended.stderr);
    assert_eq!(server.get("/visits"), (200, "1\n".into()));
}

#[test]
fn directories_are_granted_read_only_or_whole() {
    let place = Place::new();
    std::fs::create_dir(place.path("files")).expect("a directory");
    place.file("files/a.txt", "of the host\n");
    let grant = format!("{}:/data", place.arg("files"));
    let put = |flags: &str, status: u16| {
        let server = place.serve("reader", &["--dir", flags]);
        assert_eq!(server.get("/data/a.txt"), (200, "of the host\n".into()));
        let response = server.client().send("PUT", "/data/new.txt", &[], b"text").expect("an answer");
        assert_eq!(response.status, status, "{}", response.text());
        let (status, text) = server.get("/?raw=../outside");
        assert!(status >= 400, "{text}");
    };
    place.file("outside", "not granted");
    put(&format!("{grant}:ro"), 403);
    assert!(!place.path("files/new.txt").exists());
    put(&grant, 204);
    assert_eq!(std::fs::read_to_string(place.path("files/new.txt")).ok().as_deref(), Some("text"));
}

#[test]
fn settings_are_what_was_given() {
    let place = Place::new();
    let server = place.serve("config", &["--config", "b=2=3", "--config", "a="]);
    assert_eq!(server.get("/"), (200, "a=\nb=2=3\n".into()));
    assert_eq!(server.get("/absent").0, 404);
}

#[test]
fn blobs_in_a_directory_survive_a_restart() {
    let place = Place::new();
    let grant = format!("photos={}", place.arg("photos"));
    let server = place.serve("blobs", &["--blobs", &grant]);
    let response = server.client().send("PUT", "/photos/a.jpg", &[], b"bytes").expect("an answer");
    assert!(response.status < 300, "{}: {}", response.status, response.text());
    assert!(server.client().send("PUT", "/other/a", &[], b"bytes").expect("an answer").status >= 400);
    server.kill();
    let server = place.serve("blobs", &["--blobs", &grant]);
    assert_eq!(server.get("/photos/a.jpg"), (200, "bytes".into()));
    assert_eq!(server.get("/photos"), (200, "a.jpg\n".into()));
}
