//! What the edge tells of its work: the access log, metrics, health.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use expect_test::{expect, expect_file};
use http::{Request, Response};
use http_body_util::BodyExt;
use shoal_edge::{AccessLog, Config, MoreMetrics};
use shoal_runtime::fake::{FakeInvoke, always};
use shoal_runtime::{Body, Call, Failure, FailureKind};

use crate::support::{Running, ask, config, connect, read_response, serve, status};

/// A writer that a test can read.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Uses up exact times, and fails where the path says so.
fn workload() -> impl shoal_runtime::Invoke {
    FakeInvoke::new(|request: Request<Body>, call: Call| async move {
        call.account.set_queue(Duration::from_micros(1));
        call.account.add_instantiate(Duration::from_micros(7));
        call.account.set_on_core(Duration::from_micros(47));
        if request.uri().path() == "/trap" {
            return Err(Failure::new(FailureKind::Trap, "unreachable"));
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok(Response::new(Body::whole(body)))
    })
}

/// The requests of the golden logs.
fn ask_some(edge: &Running) {
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    for request in [
        format!(
            "POST /a?b=c HTTP/1.1\r\nhost: a\r\nuser-agent: curl/8 \"x\"\r\n{trace}content-length: 3\r\n\r\nabc"
        ),
        "GET /trap HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET /h%0d%0ai HTTP/1.1\r\nhost: b c\r\n\r\n".to_owned(),
    ] {
        let mut socket = connect(edge.address());
        socket.write_all(request.as_bytes()).unwrap();
        read_response(&mut socket);
    }
}

/// What differs from run to run: the time of day, the time it took, the port of the client.
fn without_chance(log: &str) -> String {
    let json_time = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        for (key, kind) in [("time", "string"), ("peer", "string"), ("total_us", "number")] {
            assert!(if kind == "string" { value[key].is_string() } else { value[key].is_number() }, "{line}");
            value[key] = "*".into();
        }
        value.to_string() + "\n"
    };
    let human_time = |line: &str| {
        let words = line.split(' ').enumerate().map(|(index, word)| match word {
            _ if index < 2 => "*",
            total if total.starts_with("total=") => "total=*",
            word => word,
        });
        words.collect::<Vec<_>>().join(" ") + "\n"
    };
    log.lines().map(|line| if line.starts_with('{') { json_time(line) } else { human_time(line) }).collect()
}

fn logged(log: impl FnOnce(Box<dyn Write + Send>) -> AccessLog) -> String {
    let shared = Shared::default();
    let edge = serve(Config { access_log: log(Box::new(shared.clone())), ..config() }, workload());
    ask_some(&edge);
    edge.stop();
    without_chance(&shared.text())
}

#[test]
fn the_log_for_people() {
    expect![[r#"
        * * POST /a?b=c HTTP/1.1 200 in=3 out=3 total=* queue=0.001ms instantiate=0.007ms guest=0.040ms trace=0af7651916cd43dd8448eb211c80319c "curl/8 \"x\""
        * * GET /trap HTTP/1.1 500 in=0 out=67 total=* queue=0.001ms instantiate=0.007ms guest=0.040ms failure=trap request=0000000000000002
        * * GET /h%0d%0ai HTTP/1.1 400 in=0 out=91 total=* queue=0.000ms instantiate=0.000ms guest=0.000ms failure=malformed request=0000000000000003
    "#]].assert_eq(&logged(AccessLog::Human));
}

#[test]
fn the_log_for_machines() {
    expect![[r#"
        {"bytes_in":3,"bytes_out":3,"failure":null,"guest_us":40.0,"instantiate_us":7.0,"method":"POST","path":"/a?b=c","peer":"*","queue_us":1.0,"request":"0000000000000001","status":200,"time":"*","total_us":"*","trace":"0af7651916cd43dd8448eb211c80319c","user_agent":"curl/8 \"x\"","version":"HTTP/1.1"}
        {"bytes_in":0,"bytes_out":67,"failure":"trap","guest_us":40.0,"instantiate_us":7.0,"method":"GET","path":"/trap","peer":"*","queue_us":1.0,"request":"0000000000000002","status":500,"time":"*","total_us":"*","trace":null,"user_agent":null,"version":"HTTP/1.1"}
        {"bytes_in":0,"bytes_out":91,"failure":"malformed","guest_us":0.0,"instantiate_us":0.0,"method":"GET","path":"/h%0d%0ai","peer":"*","queue_us":0.0,"request":"0000000000000003","status":400,"time":"*","total_us":"*","trace":null,"user_agent":null,"version":"HTTP/1.1"}
    "#]].assert_eq(&logged(AccessLog::Json));
}

#[test]
fn lines_are_written_while_the_edge_serves() {
    let shared = Shared::default();
    let edge =
        serve(Config { access_log: AccessLog::Json(Box::new(shared.clone())), ..config() }, workload());
    ask_some(&edge);
    crate::support::eventually("three lines are there", || shared.text().lines().count() == 3);
}

#[test]
fn the_metrics() {
    let more = MoreMetrics(Arc::new(|| {
        "# HELP shoal_more More.\n# TYPE shoal_more gauge\nshoal_more 1\n".to_owned()
    }));
    let edge = serve(Config { more_metrics: Some(more), ..config() }, workload());
    ask_some(&edge);
    edge.await_metric("shoal_edge_connections_open", 0.0);
    let metrics = edge.metrics();
    // Buckets are tested where they are made; sums of what is measured differ from run to run.
    let is_chance = |line: &&str| {
        line.contains("_bytes_total ")
            || line.contains("_bucket")
            || line.contains("request_duration_seconds_sum")
            || line.contains("phase=\"host\"")
    };
    let golden: String =
        metrics.lines().filter(|line| !is_chance(line)).map(|line| format!("{line}\n")).collect();
    expect_file!["metrics.golden.txt"].assert_eq(&golden);
    for bucket in [
        "shoal_edge_request_phase_seconds_bucket{phase=\"guest\",le=\"0.000032\"} 0\n",
        "shoal_edge_request_phase_seconds_bucket{phase=\"guest\",le=\"0.000064\"} 2\n",
        "shoal_edge_request_phase_seconds_bucket{phase=\"guest\",le=\"+Inf\"} 2\n",
        "shoal_edge_request_duration_seconds_bucket{le=\"+Inf\"} 3\n",
    ] {
        assert!(metrics.contains(bucket), "{bucket} is not in {metrics}");
    }
}

#[test]
fn every_metric_has_help_and_a_type_before_its_lines() {
    let edge = serve(config(), always("hello"));
    let mut described = String::new();
    for line in edge.metrics().lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.'), "{line}");
            described = name.to_owned();
        } else {
            let named = line.trim_start_matches("# TYPE ");
            assert!(named.starts_with(&described), "{line} comes without its help");
        }
    }
}

#[test]
fn health_and_what_else_there_is() {
    let edge = serve(config(), always("hello"));
    let ask_admin =
        |line: &str| ask(edge.admin, format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    assert_eq!(status(&ask_admin("GET /livez")), 200);
    assert_eq!(status(&ask_admin("GET /readyz")), 200);
    assert_eq!(status(&ask_admin("POST /readyz")), 405);
    let nothing = ask_admin("GET /");
    assert_eq!(status(&nothing), 404);
    for path in ["/metrics", "/livez", "/readyz"] {
        assert!(nothing.contains(path), "{nothing}");
    }
    assert!(ask_admin("GET /metrics").contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
}
