//! Guests that call Services of their cluster: in this process, under the same rules as any other destination.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use shoal_runtime::fake::{FakeInvoke, FakeMesh};
use shoal_runtime::{
    Body, Call, Failure, FailureKind, Grants, HOPS_MAX, Invoke, Mesh, OutboundRules, WorkloadSpec,
};

use crate::world::{World, call, request, send, spec};

/// Guests that fetch, of both versions of WASI, with the words they have for errors.
const FETCHERS: [&str; 2] = ["fetch", "fetch-p3"];

/// A guest of namespace `shop` that may ask for these, in this mesh.
fn fetcher(name: &str, granted: &[&str], mesh: Arc<dyn Mesh>) -> WorkloadSpec {
    let patterns = granted.iter().map(|pattern| pattern.parse().expect("a pattern")).collect();
    WorkloadSpec {
        grants: Grants { outbound: OutboundRules(patterns), ..Grants::default() },
        namespace: "shop".into(),
        mesh: Some(mesh),
        ..spec(name)
    }
}

/// What the guest gives back when it asks for this.
async fn fetch(invoke: &Arc<dyn Invoke>, url: &str) -> (StatusCode, String) {
    let path = format!("/?url={url}");
    let answer = send(invoke, request("GET", &path, Body::empty())).await.expect("an answer");
    (answer.status(), String::from_utf8_lossy(answer.body()).into_owned())
}

#[tokio::test]
async fn a_guest_calls_another_guest() {
    let world = World::new();
    let hello = world.serve(&spec("hello"));
    let expected = send(&hello, request("GET", "/", Body::empty())).await.expect("an answer");
    for name in FETCHERS {
        let mesh = FakeMesh::default().with("shop/web:80", Arc::clone(&hello));
        let caller = world.serve(&fetcher(name, &["http://web"], Arc::new(mesh)));
        let (status, body) = fetch(&caller, "http://web/").await;
        assert_eq!((status, body.as_bytes()), (StatusCode::OK, expected.body().as_slice()), "{name}");
    }
}

#[tokio::test]
async fn a_body_goes_there_and_comes_back() {
    let world = World::new();
    // The guest reads nothing of the answer before it has written all: only one who reads first is patient enough.
    let echo: Arc<dyn Invoke> = Arc::new(FakeInvoke::new(|request: http::Request<Body>, _| async move {
        let body = http_body_util::BodyExt::collect(request.into_body()).await.expect("a body").to_bytes();
        Ok(Response::new(Body::stream(http_body_util::Full::new(body).map_err(|never| match never {}))))
    }));
    let sent = vec![b'x'; 300_000];
    // The other guest asks for things only, and sends nothing.
    let name = "fetch";
    let mesh = FakeMesh::default().with("shop/web.other.svc.cluster.local:8080", Arc::clone(&echo));
    let grant = "http://*.svc.cluster.local:8080";
    let caller = world.serve(&fetcher(name, &[grant], Arc::new(mesh)));
    let path = "/?method=POST&url=http://Web.other.svc.cluster.local.:8080/";
    let answer = send(&caller, request("POST", path, Body::whole(sent.clone()))).await.expect("an answer");
    assert!(*answer.body() == sent, "{name}: {} bytes", answer.body().len());
}

#[tokio::test]
async fn a_service_sees_an_ordinary_request_of_the_same_trace() {
    let world = World::new();
    let shows: Arc<dyn Invoke> =
        Arc::new(FakeInvoke::new(|request: http::Request<Body>, call: Call| async move {
            let field =
                |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
            let trace = call.account.trace().map(|trace| trace.to_string());
            let text = format!(
                "{} {} host={} parent={} same={} hops={}",
                call.scheme,
                request.uri(),
                field("host"),
                field("traceparent"),
                trace.as_deref() == Some(field("traceparent")),
                call.account.hops()
            );
            Ok(Response::new(Body::whole(text)))
        }));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for name in FETCHERS {
        let mesh = FakeMesh::default().with("shop/web:81", Arc::clone(&shows));
        let caller = world.serve(&fetcher(name, &["http://web:81"], Arc::new(mesh)));
        let parent = shoal_runtime::TraceContext::parse(trace.as_bytes());
        let account = Arc::new(shoal_runtime::Account::traced(parent));
        let request = request("GET", "/?url=http://web:81/a", Body::empty());
        let answer = caller.invoke(request, Call { account, ..call() }).await.expect("an answer");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
        let expected = format!("http /a host=web:81 parent={trace} same=true hops=1");
        assert_eq!(String::from_utf8_lossy(&body), expected, "{name}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied_whether_there_is_such_a_service_or_not() {
    let world = World::new();
    let asked = Arc::new(AtomicUsize::new(0));
    for name in FETCHERS {
        let count = Arc::clone(&asked);
        let service = FakeInvoke::new(move |_, _| {
            count.fetch_add(1, SeqCst);
            async { Ok(Response::new(Body::empty())) }
        });
        let mesh = FakeMesh::default().with("shop/web:80", Arc::new(service));
        let caller = world.serve(&fetcher(name, &["https://web", "http://other"], Arc::new(mesh)));
        let (status, body) = fetch(&caller, "http://web/").await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(body.contains("HttpRequestDenied"), "{name}: {body}");
    }
    assert_eq!(asked.load(SeqCst), 0);
}

#[tokio::test]
async fn what_a_service_cannot_answer_comes_back_as_its_status() {
    let world = World::new();
    let fails = |kind: FailureKind, why: &'static str| -> Arc<dyn Invoke> {
        Arc::new(FakeInvoke::new(move |_, _| async move { Err(Failure::new(kind, why)) }))
    };
    for name in FETCHERS {
        let mesh = FakeMesh::default()
            .with("shop/gone:80", fails(FailureKind::NoEndpoint, "service shop/gone has no ready endpoint"))
            .with("shop/trap:80", fails(FailureKind::Trap, "secret: unreachable in guest.rs"));
        let caller = world.serve(&fetcher(name, &["http://gone", "http://trap"], Arc::new(mesh)));
        let gone = fetch(&caller, "http://gone/").await;
        let expected =
            (StatusCode::SERVICE_UNAVAILABLE, "503 service shop/gone has no ready endpoint\n".to_owned());
        assert_eq!(gone, expected, "{name}");
        assert_eq!(
            fetch(&caller, "http://trap/").await,
            (StatusCode::INTERNAL_SERVER_ERROR, "500 trap\n".into())
        );
    }
}

/// A Service that is there as soon as it is known.
#[derive(Default)]
struct Later(OnceLock<Arc<dyn Invoke>>, AtomicUsize);

impl Mesh for Later {
    fn service(&self, _: &str, host: &str, _: u16) -> Option<Arc<dyn Invoke>> {
        self.1.fetch_add(1, SeqCst);
        self.0.get().filter(|_| host == "self").cloned()
    }
}

#[tokio::test]
async fn a_chain_may_be_as_long_as_its_limit_and_a_circle_ends_there() {
    let world = World::new();
    for name in FETCHERS {
        let mesh = Arc::new(Later::default());
        let caller = world.serve(&fetcher(name, &["http://self"], Arc::clone(&mesh) as Arc<dyn Mesh>));
        mesh.0.set(Arc::clone(&caller)).ok().expect("it is set once");
        // Each call takes one address off; the last one asks for nothing and is told so.
        let nested = |calls: usize| "http://self/?url=".repeat(calls);
        let calls = usize::from(HOPS_MAX) - 1;
        let (status, body) = fetch(&caller, nested(calls).trim_end_matches("?url=")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {body}");
        let before = mesh.1.load(SeqCst);
        assert_eq!(before, calls);
        let (status, body) = fetch(&caller, nested(calls + 5).trim_end_matches("?url=")).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(body.contains("LoopDetected"), "{name}: {body}");
        assert_eq!(mesh.1.load(SeqCst) - before, calls + 1, "the last one is found and not called");
    }
}

#[tokio::test]
async fn a_service_that_is_slow_is_given_up_and_stopped() {
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let world = World::new();
    let ended = Arc::new(AtomicUsize::new(0));
    // The other guest sets no times.
    let name = "fetch";
    let count = Arc::clone(&ended);
    let hangs = FakeInvoke::new(move |_, _| {
        let ends = Ends(Arc::clone(&count));
        async move {
            let _ends = ends;
            std::future::pending().await
        }
    });
    let mesh = FakeMesh::default().with("shop/web:80", Arc::new(hangs));
    let caller = world.serve(&fetcher(name, &["http://web"], Arc::new(mesh)));
    let (status, body) = fetch(&caller, "http://web/&first_byte_ms=20").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(body.contains("ConnectionReadTimeout"), "{name}: {body}");
    let stopped = async {
        while ended.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stopped).await.expect("the service is stopped");
}
