//! Asking probes: of an HTTP component in process, of others over the loopback address.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shoal_runtime::{Account, Body, Call, Invoke};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::pod::probe::{self, Ask, Probe, Role, Tally};

/// Findings that nobody has taken yet: probes wait for their pod.
pub(crate) const FINDINGS_MAX: usize = 16;

/// What a probe has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// One answer was bad, for this reason.
    Bad(Role, String),
    /// It is decided, for now.
    Verdict(Role, bool),
}

/// Asks the probes of a container for as long as the future is polled: first the startup probe, then the others.
pub(crate) async fn ask_all(container: &Value, invoke: Option<Arc<dyn Invoke>>, say: &mpsc::Sender<Finding>) {
    if let Some(startup) = probe::of(container, Role::Startup) {
        ask_until(&startup, Role::Startup, invoke.as_ref(), say, |is_good| is_good).await;
    } else {
        tell(say, Finding::Verdict(Role::Startup, true)).await;
    }
    let ask = |role: Role| {
        let (probe, invoke) = (probe::of(container, role), invoke.as_ref());
        async move {
            match probe {
                Some(probe) => ask_until(&probe, role, invoke, say, |_| false).await,
                None => tell(say, Finding::Verdict(role, true)).await,
            }
        }
    };
    tokio::join!(ask(Role::Readiness), ask(Role::Liveness));
}

async fn ask_until(
    probe: &Probe,
    role: Role,
    invoke: Option<&Arc<dyn Invoke>>,
    say: &mpsc::Sender<Finding>,
    is_enough: impl Fn(bool) -> bool,
) {
    let mut tally = Tally::new(probe);
    sleep(probe.delay).await;
    loop {
        let answer = match timeout(probe.timeout, once(&probe.ask, invoke)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer in {} s", probe.timeout.as_secs())),
        };
        let is_good = answer.is_ok();
        if let Err(why) = answer {
            tell(say, Finding::Bad(role, why)).await;
        }
        if let Some(verdict) = tally.count(is_good) {
            tell(say, Finding::Verdict(role, verdict)).await;
            if is_enough(verdict) {
                return;
            }
        }
        sleep(probe.period).await;
    }
}

async fn tell(say: &mpsc::Sender<Finding>, finding: Finding) {
    // When nobody listens any more, the run is over.
    drop(say.send(finding).await);
}

/// Asks once.
async fn once(ask: &Ask, invoke: Option<&Arc<dyn Invoke>>) -> Result<(), String> {
    match (ask, invoke) {
        (Ask::Never(why), _) => Err((*why).to_owned()),
        (Ask::Http { host, path, headers, .. }, Some(invoke)) if host.is_empty() => {
            in_process(&**invoke, path, headers).await
        }
        // What answers requests has no port: that it is there is all that could be asked.
        (Ask::Tcp { host, .. }, Some(_)) if host.is_empty() => Ok(()),
        (Ask::Tcp { host, port }, _) => connect(host, *port).await.map(drop),
        (Ask::Http { is_https: true, .. }, _) => {
            Err("HTTPS is not asked of commands: use HTTP or tcpSocket".into())
        }
        (Ask::Http { host, port, path, headers, .. }, _) => over_socket(host, *port, path, headers).await,
    }
}

async fn in_process(invoke: &dyn Invoke, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let host = host_of(headers);
    let uri = format!("http://{}{path}", host.unwrap_or("localhost"));
    let request = request(&uri, host, headers)?.body(Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let answer = invoke
        .invoke(request, Call::local(0, Instant::now(), Account::default()))
        .await
        .map_err(|failure| failure.to_string())?;
    judged(answer.status())
}

async fn over_socket(host: &str, port: u16, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let stream = connect(host, port).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let host = host_of(headers).unwrap_or("localhost");
    let request = request(path, Some(host), headers)?.body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        drop(answer.into_body().boxed());
        judged(status)
    };
    // The connection is driven until there is an answer.
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.err().map_or_else(|| "the connection ended".into(), |error| error.to_string())),
    }
}

/// The host that a probe names; the first, where it names several.
fn host_of(headers: &[(String, String)]) -> Option<&str> {
    headers.iter().find(|(name, _)| is_host(name)).map(|(_, value)| value.as_str())
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case(http::header::HOST.as_str())
}

/// A request of a probe, with one `Host` or none.
fn request(
    uri: &str,
    host: Option<&str>,
    headers: &[(String, String)],
) -> Result<http::request::Builder, String> {
    let mut request = Request::builder().uri(uri).header(http::header::USER_AGENT, "kube-probe/1.32");
    if let Some(host) = host {
        request = request.header(http::header::HOST, host);
    }
    for (name, value) in headers.iter().filter(|(name, _)| !is_host(name)) {
        request = request.header(name, value);
    }
    if request.headers_ref().is_none() { Err(format!("the probe cannot ask for {uri}")) } else { Ok(request) }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    TcpStream::connect((host, port))
        .await
        .map_err(|error| format!("cannot connect to {host}:{port}: {error}"))
}

fn judged(status: StatusCode) -> Result<(), String> {
    if (200..400).contains(&status.as_u16()) {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
}

/// Between deletion and the end of a replica: routes learn of it meanwhile, and nobody is turned away.
pub(crate) const LEAVE_TIME: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::json;
    use shoal_runtime::fake::FakeInvoke;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn probes_are_asked_in_process_and_in_turn() {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = asked.clone();
        // Good from the third time on.
        let invoke: Arc<dyn Invoke> = Arc::new(FakeInvoke::new(move |request: Request<Body>, _| {
            assert_eq!(request.uri(), "http://localhost/healthz");
            let status = if counted.fetch_add(1, Ordering::Relaxed) < 2 { 503 } else { 200 };
            async move { Ok(http::Response::builder().status(status).body(Body::empty()).expect("an answer")) }
        }));
        let probe = json!({"httpGet": {"path": "/healthz", "port": 80}, "periodSeconds": 1});
        let container = json!({"startupProbe": probe, "readinessProbe": probe});
        let (say, mut found) = mpsc::channel(FINDINGS_MAX);
        let _ = timeout(Duration::from_secs(5), ask_all(&container, Some(invoke), &say)).await;
        let bad = || Finding::Bad(Role::Startup, "HTTP probe failed with statuscode: 503".into());
        let good = |role| Finding::Verdict(role, true);
        let expected = [bad(), bad(), good(Role::Startup), good(Role::Readiness), good(Role::Liveness)];
        let mut found: Vec<Finding> = std::iter::from_fn(|| found.try_recv().ok()).collect();
        found[3..].sort_by_key(|finding| matches!(finding, Finding::Verdict(Role::Liveness, _)));
        assert_eq!(found, expected);
        assert!(asked.load(Ordering::Relaxed) >= 6, "readiness is asked again and again");
    }

    #[tokio::test]
    async fn a_probe_has_one_host() {
        let table: [(&[(&str, &str)], &str); 3] = [
            (&[], "localhost"),
            (&[("x-one", "1"), ("hOsT", "shop.test"), ("Host", "other.test")], "shop.test"),
            (&[("Host", "shop.test:8080")], "shop.test:8080"),
        ];
        for (headers, expected) in table {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
            let port = listener.local_addr().expect("an address").port();
            let serve = async {
                let (stream, _) = listener.accept().await.expect("a connection");
                let service =
                    hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
                        let hosts: Vec<_> = request.headers().get_all("host").iter().collect();
                        assert_eq!(hosts, [expected]);
                        Ok::<_, std::convert::Infallible>(http::Response::new(Empty::<Bytes>::new()))
                    });
                drop(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            };
            let ask = Ask::Http {
                host: String::new(),
                port,
                path: "/".into(),
                is_https: false,
                headers: headers.clone(),
            };
            assert_eq!(tokio::join!(once(&ask, None), serve).0, Ok(()));
            let count = usize::from(!headers.is_empty());
            let invoke = FakeInvoke::new(move |request: Request<Body>, _| {
                let hosts: Vec<_> = request.headers().get_all("host").iter().collect();
                assert_eq!(hosts, vec![expected; count]);
                assert_eq!(request.uri().authority().map(http::uri::Authority::as_str), Some(expected));
                async move { Ok(http::Response::new(Body::empty())) }
            });
            in_process(&invoke, "/", &headers).await.expect("it is well");
        }
    }

    #[tokio::test]
    async fn commands_are_asked_over_sockets() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let tcp = Ask::Tcp { host: String::new(), port };
        assert_eq!(once(&tcp, None).await, Ok(()));
        drop(listener);
        assert!(once(&tcp, None).await.is_err());
        assert!(once(&Ask::Never("no shell"), None).await.is_err());
    }
}
