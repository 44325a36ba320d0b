//! What an operator sees: metrics, the access log, `shoal doctor`, `shoal version`.

use crate::client::Client;
use crate::process::Place;

#[test]
fn metrics_count_requests_and_show_the_pools() {
    let place = Place::new();
    let server = place.serve("hostile", &["--admin", "127.0.0.1:0"]);
    for (path, status) in [("/hello", 200), ("/hello", 200), ("/trap", 500)] {
        assert_eq!(server.get(path).0, status);
    }
    let mut admin = Client::connect(server.admin());
    let mut get = |path: &str| admin.send("GET", path, &[], b"").expect("an answer");
    let text = get("/metrics").text();
    for line in [
        "shoal_edge_requests_total{class=\"2xx\",code=\"200\"} 2",
        "shoal_edge_requests_total{class=\"5xx\",code=\"500\"} 1",
        "shoal_edge_failures_total{kind=\"trap\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in {text}");
    }
    for start in
        ["shoal_pool_slots ", "shoal_pool_instances{wasi=\"0.2\"} ", "shoal_pool_instances{wasi=\"0.3\"} "]
    {
        let number = text.lines().find_map(|line| line.strip_prefix(start)).map(str::parse::<u64>);
        assert!(matches!(number, Some(Ok(_))), "no `{start}` with a number in {text}");
    }
    assert_eq!((get("/livez").status, get("/readyz").status), (200, 200));
}

#[test]
fn the_access_log_is_a_json_object_for_each_request() {
    let place = Place::new();
    let server = place.serve("hostile", &["--access-log", "json"]);
    let mut client = server.client();
    client.send("GET", "/hello?a=b", &[("user-agent", "a \"test\"")], b"").expect("an answer");
    let failed = client.send("GET", "/trap", &[], b"").expect("an answer");
    let id = failed.header("x-request-id").expect("an id").to_owned();
    let (status, log, _) = server.stop();
    assert_eq!(status.code(), Some(0));
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [first, second] = lines.as_slice() else { panic!("two requests: {log}") };
    assert_eq!(first["status"], 200);
    assert_eq!(first["method"], "GET");
    assert_eq!(first["path"], "/hello?a=b");
    assert_eq!(first["user_agent"], "a \"test\"");
    assert_eq!(first["bytes_out"], 17);
    assert!(first["failure"].is_null());
    assert_eq!(second["status"], 500);
    assert_eq!(second["failure"], "trap");
    assert_eq!(second["request"], id.as_str());
}

#[test]
fn the_access_log_for_people_is_a_line_for_each_request() {
    let place = Place::new();
    let server = place.serve("hello", &["--access-log", "human"]);
    assert_eq!(server.get("/a").0, 200);
    let (_, log, _) = server.stop();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("\"GET /a HTTP/1.1\" 200") || log.contains("GET /a"), "{log}");
}

#[test]
fn doctor_finds_no_fault_in_a_data_directory_that_is_not_made_yet() {
    let place = Place::new();
    let ended = place.output(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let row = find(&report, "data directory").unwrap_or_else(|| panic!("no such row in {}", ended.stdout));
    assert_ne!(row["verdict"], "bad", "{row}");
    // A directory that cannot be made is bad, and the exit code says so.
    let file = place.file("file", "").display().to_string();
    let ended = place.output(&["doctor", "--json", "--data-dir", &format!("{file}/below")]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(ended.code, Some(69));
    assert_eq!(find(&report, "data directory").expect("a row")["verdict"], "bad");
}

/// The row of this name, wherever it stands.
fn find<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(fields) => {
            let is_it = fields.contains_key("verdict") && fields.values().any(|field| field == name);
            if is_it { Some(value) } else { fields.values().find_map(|field| find(field, name)) }
        }
        serde_json::Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}
