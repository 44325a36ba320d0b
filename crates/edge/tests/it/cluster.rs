//! The routes of a cluster over real sockets: its objects say where requests go, and change while they are served.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use expect_test::expect;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shoal_edge::{AccessLog, Cluster, Config, Kind, Listener, Settings};
use shoal_runtime::fake::{FakeInvoke, always, fails};
use shoal_runtime::{Account, Body, Call, Endpoints, Failure, FailureKind, Invoke};
use tokio::sync::Semaphore;

use crate::shows::Shared;
use crate::support::{
    Running, ask, block_on, config, connect, eventually, read_response, serve_routes, status,
};
use crate::tls::handshake;

/// Objects and replicas, and an edge that serves them.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) endpoints: Endpoints,
    objects: Mutex<BTreeMap<(&'static str, String), Value>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let endpoints = Endpoints::default();
        let settings = Settings {
            endpoints: endpoints.clone(),
            node: "here".into(),
            taken: BTreeSet::new(),
            https_port: 8443,
        };
        Self { cluster: Cluster::new(settings).unwrap(), endpoints, objects: Mutex::default() }
    }

    /// Makes or replaces an object of namespace `shop`; null removes it.
    pub(crate) fn put(&self, kind: &'static str, name: &str, object: Value) {
        let mut objects = self.objects.lock().unwrap();
        let key = (kind, name.to_owned());
        if object.is_null() {
            objects.remove(&key);
        } else {
            let mut object = object;
            object["metadata"]["namespace"] = json!("shop");
            object["metadata"]["name"] = json!(name);
            objects.insert(key, object);
        }
        let all = objects.iter().filter(|((of, _), _)| *of == kind);
        let all = all.map(|(_, object)| Arc::new(object.clone())).collect();
        let kind = match kind {
            "Service" => Kind::Service,
            "EndpointSlice" => Kind::EndpointSlice,
            "Ingress" => Kind::Ingress,
            _ => Kind::Secret,
        };
        self.cluster.set(kind, all);
        self.cluster.commit();
    }

    /// A Service with one port, and annotations.
    pub(crate) fn service(&self, name: &str, annotations: &Value) {
        let spec = json!({"ports": [{"name": "http", "port": 80}]});
        self.put("Service", name, json!({"metadata": {"annotations": annotations}, "spec": spec}));
    }

    /// The pods of a Service: their uid, and the node where they are.
    pub(crate) fn pods(&self, service: &str, pods: &[(&str, &str)]) {
        let endpoints: Vec<_> = pods
            .iter()
            .map(|(uid, node)| json!({"conditions": {"ready": true}, "nodeName": node, "targetRef": {"uid": uid}}))
            .collect();
        let labels = json!({"kubernetes.io/service-name": service});
        self.put(
            "EndpointSlice",
            &format!("{service}-1"),
            json!({"metadata": {"labels": labels}, "ports": [{"name": "http"}], "endpoints": endpoints}),
        );
    }

    /// Sends a host to a Service.
    pub(crate) fn route(&self, host: &str, service: &str, annotations: &Value) {
        let backend = json!({"service": {"name": service, "port": {"name": "http"}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        let spec = json!({"rules": [{"host": host, "http": {"paths": paths}}]});
        self.put("Ingress", host, json!({"metadata": {"annotations": annotations}, "spec": spec}));
    }

    /// A Service `web` with one replica, at host `web.test`.
    pub(crate) fn web(invoke: impl Invoke, on_service: &Value, on_ingress: &Value) -> Self {
        let world = Self::new();
        world.endpoints.insert("uid-1", Arc::new(invoke));
        world.service("web", on_service);
        world.pods("web", &[("uid-1", "here")]);
        world.route("web.test", "web", on_ingress);
        world
    }

    pub(crate) fn serve(&self, config: Config) -> Running {
        serve_routes(config, self.cluster.routes())
    }
}

/// The answer to a request for this host, and its body alone.
pub(crate) fn get(address: SocketAddr, host: &str, path: &str) -> (u16, String) {
    let text = ask(address, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
    (status(&text), text.split_once("\r\n\r\n").unwrap().1.lines().next().unwrap_or_default().to_owned())
}

/// Says its name.
fn named(name: &'static str) -> Arc<dyn Invoke> {
    Arc::new(always(name))
}

#[test]
fn a_service_answers_as_soon_as_all_of_it_is_there() {
    let world = World::new();
    let edge = world.serve(config());
    let ask = || get(edge.address(), "Web.test:80", "/");
    let refused = |code: u16, why: &str| (code, format!("{code} {why}"));
    assert_eq!(ask(), refused(404, "no route for host web.test"));
    world.route("web.test", "web", &json!({}));
    assert_eq!(ask(), refused(503, "service shop/web does not exist"));
    world.service("web", &json!({}));
    assert_eq!(ask(), refused(503, "service shop/web has no ready endpoint"));
    world.pods("web", &[("uid-2", "node-2"), ("uid-3", "node-3")]);
    let elsewhere =
        "service shop/web has ready endpoints only on node-2, node-3, which this edge does not reach yet";
    assert_eq!(ask(), refused(503, elsewhere));
    world.pods("web", &[("uid-1", "here"), ("uid-2", "node-2")]);
    assert_eq!(ask(), refused(503, "service shop/web has no ready endpoint: 1 on its way"));
    world.endpoints.insert("uid-1", named("hello"));
    assert_eq!(ask(), (200, "hello".into()));
    world.endpoints.remove("uid-1");
    assert_eq!(ask().0, 503);
    world.put("Ingress", "web.test", Value::Null);
    assert_eq!(ask().0, 404);
    assert_eq!(edge.metric("shoal_edge_failures_total{kind=\"no_route\"}"), Some(2.0));
    assert_eq!(edge.metric("shoal_edge_failures_total{kind=\"no_endpoint\"}"), Some(5.0));
}

#[test]
fn each_host_and_path_has_its_service() {
    let world = World::new();
    for name in ["web", "api", "any"] {
        world.service(name, &json!({}));
        world.pods(name, &[(name, "here")]);
        world.endpoints.insert(name, named(name));
    }
    let path = |path: &str, kind: &str, service: &str| {
        let backend = json!({"service": {"name": service, "port": {"number": 80}}});
        json!({"path": path, "pathType": kind, "backend": backend})
    };
    let rules = json!([
        {"host": "a.test", "http": {"paths": [path("/", "Exact", "web"), path("/api", "Prefix", "api")]}},
        {"host": "*.b.test", "http": {"paths": [path("/", "Prefix", "any")]}},
    ]);
    world.put("Ingress", "all", json!({"spec": {"rules": rules}}));
    let edge = world.serve(config());
    for (host, path, answer) in [
        ("a.test", "/", "web"),
        ("a.test", "/?q", "web"),
        ("a.test", "/api/v1", "api"),
        ("x.b.test", "/whatever", "any"),
        ("a.test", "/apis", "404 no route for path /apis on host a.test"),
        ("b.test", "/", "404 no route for host b.test"),
    ] {
        assert_eq!(get(edge.address(), host, path).1, answer, "{host}{path}");
    }
}

#[test]
fn a_slow_or_greedy_request_meets_the_limits_of_its_route() {
    let gate = Arc::new(Semaphore::new(0));
    let (asked, held) = (Arc::new(AtomicUsize::new(0)), gate.clone());
    let count = asked.clone();
    let invoke = FakeInvoke::new(move |request: Request<Body>, _: Call| {
        count.fetch_add(1, SeqCst);
        let held = held.clone();
        async move {
            if request.uri().path() == "/slow" {
                held.acquire().await.unwrap().forget();
            }
            let body = request.into_body().collect().await;
            Ok(Response::new(Body::whole(body.map(http_body_util::Collected::to_bytes).unwrap_or_default())))
        }
    });
    let on_service = json!({"shoal.dev/max-in-flight": "1", "shoal.dev/max-request-body": "1KiB"});
    let world = World::web(invoke, &on_service, &json!({"shoal.dev/max-request-body": "4B"}));
    let edge = world.serve(config());
    let post = |body: &str| {
        let head = "POST / HTTP/1.1\r\nhost: web.test\r\nconnection: close\r\n";
        let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let chunked =
            format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        [whole, chunked].map(|request| status(&ask(edge.address(), request)))
    };
    assert_eq!(post("four"), [200, 200]);
    let before = asked.load(SeqCst);
    assert_eq!(post("fives"), [413, 413]);
    assert_eq!(asked.load(SeqCst), before + 1, "a body that is too long by its own word starts no guest");
    let mut slow = connect(edge.address());
    slow.write_all(b"GET /slow HTTP/1.1\r\nhost: web.test\r\n\r\n").unwrap();
    eventually("it is at work", || asked.load(SeqCst) == before + 2);
    let text = ask(edge.address(), "GET / HTTP/1.1\r\nhost: web.test\r\nconnection: close\r\n\r\n");
    assert!(text.contains("503 service shop/web has the 1 requests in flight that it may have"), "{text}");
    assert!(text.contains("retry-after: 1"), "{text}");
    gate.add_permits(1);
    assert_eq!(status(&read_response(&mut slow)), 200);
    assert_eq!(get(edge.address(), "web.test", "/").0, 200);
    // The Ingress may want an answer sooner.
    world.route("web.test", "web", &json!({"shoal.dev/timeout": "20ms"}));
    assert_eq!(get(edge.address(), "web.test", "/slow").0, 504);
    assert_eq!(get(edge.address(), "web.test", "/").0, 200, "what was given up counts no more");
}

#[test]
fn a_full_replica_is_passed_over_while_the_budget_lasts() {
    let world = World::web(fails(FailureKind::Overloaded), &json!({}), &json!({}));
    world.pods("web", &[("uid-1", "here"), ("uid-2", "here")]);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    world.endpoints.insert(
        "uid-2",
        Arc::new(FakeInvoke::new(move |request: Request<Body>, _: Call| {
            count.fetch_add(1, SeqCst);
            let cookie = request.headers().get("cookie").cloned();
            async move {
                let mut response = Response::new(Body::whole("hello"));
                cookie.map(|cookie| response.headers_mut().insert("x-cookie", cookie));
                Ok(response)
            }
        })),
    );
    let edge = world.serve(config());
    let request = "GET / HTTP/1.1\r\nhost: web.test\r\ncookie: a=b\r\nconnection: close\r\n\r\n";
    let codes: Vec<u16> = (0..10)
        .map(|_| {
            let text = ask(edge.address(), request);
            assert!(text.contains("x-cookie: a=b"), "{text}");
            status(&text)
        })
        .collect();
    assert_eq!(codes, [200; 10]);
    let retries = edge.metric("shoal_edge_service_retries_total{namespace=\"shop\",service=\"web\"}");
    assert_eq!(retries, Some(5.0), "one of two was full each time");
    let failing = (0..200).filter(|_| status(&ask(edge.address(), request)) == 503).count();
    assert!(failing > 0, "no more than the budget is tried again");
    // A body that came by the network is not kept for a second try.
    let post = "POST / HTTP/1.1\r\nhost: web.test\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx";
    let codes: BTreeSet<u16> = (0..4).map(|_| status(&ask(edge.address(), post))).collect();
    assert_eq!(codes, BTreeSet::from([200, 503]));
}

#[test]
fn a_request_is_tried_as_often_as_the_limit() {
    const TRIES_MAX: usize = 3;
    let asked = Arc::new(AtomicUsize::new(0));
    let world = World::new();
    let uids = ["uid-1", "uid-2", "uid-3", "uid-4"];
    for uid in uids {
        let count = asked.clone();
        let full = FakeInvoke::new(move |_, _| {
            count.fetch_add(1, SeqCst);
            async { Err(Failure::new(FailureKind::Overloaded, "full")) }
        });
        world.endpoints.insert(uid, Arc::new(full));
    }
    world.service("web", &json!({}));
    world.pods("web", &uids.map(|uid| (uid, "here")));
    world.route("web.test", "web", &json!({}));
    let edge = world.serve(config());
    assert_eq!(get(edge.address(), "web.test", "/").0, 503);
    assert_eq!(asked.load(SeqCst), TRIES_MAX);
}

/// Clients ask all the time, while one replica after the other makes room for a new one, as a rolling update does.
#[test]
fn a_rolling_update_under_load_loses_no_request() {
    const REPLICAS: usize = 10;
    let replica = |version: &'static str, turns: usize| -> Arc<dyn Invoke> {
        Arc::new(FakeInvoke::new(move |_, _| async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            Ok(Response::new(Body::whole(version)))
        }))
    };
    let world = World::new();
    let uids: Vec<String> = (0..2 * REPLICAS).map(|index| format!("uid-{index}")).collect();
    let pods = |from: usize| -> Vec<(&str, &str)> {
        uids[from..from + REPLICAS].iter().map(|uid| (uid.as_str(), "here")).collect()
    };
    (0..REPLICAS).for_each(|index| world.endpoints.insert(&uids[index], replica("old", index)));
    world.service("web", &json!({}));
    world.pods("web", &pods(0));
    world.route("web.test", "web", &json!({}));
    let edge = world.serve(Config { threads: NonZeroUsize::new(2), ..config() });
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, stop, answered) = (edge.address(), stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut socket = connect(address);
                let mut seen = BTreeMap::<String, usize>::new();
                while !stop.load(SeqCst) {
                    socket.write_all(b"GET / HTTP/1.1\r\nhost: web.test\r\n\r\n").unwrap();
                    let text = read_response(&mut socket);
                    let body = text.split_once("\r\n\r\n").unwrap().1;
                    *seen.entry(format!("{} {}", status(&text), body.trim())).or_default() += 1;
                    answered.fetch_add(1, SeqCst);
                }
                seen
            })
        })
        .collect();
    let more = |count: usize| {
        let before = answered.load(SeqCst);
        eventually("the load is on", || answered.load(SeqCst) > before + count);
    };
    more(50);
    for index in 0..REPLICAS {
        world.endpoints.insert(&uids[REPLICAS + index], replica("new", index));
        world.pods("web", &pods(index + 1));
        more(5);
        let removed = world.endpoints.remove(&uids[index]).unwrap();
        block_on(removed.idle());
        more(5);
    }
    more(50);
    stop.store(true, SeqCst);
    let mut seen = BTreeMap::<String, usize>::new();
    for client in clients {
        client
            .join()
            .unwrap()
            .into_iter()
            .for_each(|(answer, count)| *seen.entry(answer).or_default() += count);
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["200 new", "200 old"], "{seen:?}");
    assert_eq!(get(edge.address(), "web.test", "/").1, "new");
}

#[test]
fn a_body_that_still_streams_keeps_its_replica_busy() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let invoke = FakeInvoke::new(move |_, _| {
        let held = held.clone();
        let rest = futures_util::stream::once(async move {
            held.acquire().await.unwrap().forget();
            Ok(http_body::Frame::data(bytes::Bytes::from("rest")))
        });
        let body = Body::stream(http_body_util::StreamBody::new(Box::pin(rest)));
        async move { Ok(Response::new(body)) }
    });
    let world = World::web(invoke, &json!({}), &json!({}));
    let edge = world.serve(config());
    let mut socket = connect(edge.address());
    socket.write_all(b"GET / HTTP/1.0\r\nhost: web.test\r\n\r\n").unwrap();
    // The replica has answered, and only the body is left.
    assert_eq!(status(&read_response(&mut socket)), 200);
    let replica = world.endpoints.remove("uid-1").unwrap();
    assert_eq!(replica.in_flight(), 1);
    gate.add_permits(1);
    assert!(crate::support::read_to_close(&mut socket).ends_with("rest"));
    block_on(replica.idle());
}

#[test]
fn ports_are_opened_and_closed_as_services_come_and_go() {
    let world = World::web(always("hello"), &json!({}), &json!({}));
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let (port, other) = (free(), free());
    let spec = json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": port}]});
    world.put("Service", "web", json!({"spec": spec}));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let edge = world.serve(Config { threads: NonZeroUsize::new(2), ..config() });
    let ports = edge.ports.clone();
    assert!(ports.set(address.ip(), &BTreeSet::from([port, other])).is_empty());
    assert_eq!(get(address, "whatever", "/"), (200, "hello".into()), "no host decides here");
    assert_eq!(get(SocketAddr::from((Ipv4Addr::LOCALHOST, other)), "web.test", "/").0, 404);
    let mut kept = connect(address);
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    kept.write_all(request).unwrap();
    assert_eq!(status(&read_response(&mut kept)), 200);
    assert!(ports.set(address.ip(), &BTreeSet::new()).is_empty());
    eventually("nobody listens", || TcpStream::connect(address).is_err());
    kept.write_all(request).unwrap();
    assert_eq!(status(&read_response(&mut kept)), 200, "open connections stay");
    world.service("web", &json!({}));
    kept.write_all(request).unwrap();
    assert!(read_response(&mut kept).contains("404 no service is published on this port any more"));
    // A port that another has is not opened, and tried again.
    let taken = TcpListener::bind(address).unwrap();
    let failed = ports.set(address.ip(), &BTreeSet::from([port]));
    assert_eq!(failed[&port].to_string(), format!("cannot listen on {address}: another process does"));
    drop(taken);
    assert!(ports.set(address.ip(), &BTreeSet::from([port])).is_empty());
    assert_eq!(ports.open(), BTreeSet::from([port]));
    assert_eq!(edge.stop().drained, shoal_base::drain::Drained::Clean);
}

/// A Secret for a name, and its certificate.
fn secret(name: &str) -> (Value, rustls::pki_types::CertificateDer<'static>) {
    use base64::Engine as _;
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let coded = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let data = json!({"tls.crt": coded(made.cert.pem()), "tls.key": coded(made.signing_key.serialize_pem())});
    (json!({"type": "kubernetes.io/tls", "data": data}), made.cert.der().clone())
}

#[test]
fn each_name_has_its_certificate_and_a_new_one_is_used_at_once() {
    let world = World::web(always("hello"), &json!({}), &json!({"shoal.dev/redirect-to-https": "true"}));
    let any = config().listeners[0].address;
    let tls = Listener::tls(any, world.cluster.certificates());
    let edge = world.serve(Config { listeners: vec![Listener::plain(any), tls], ..config() });
    let trusts = |name: &'static str, certificate: &rustls::pki_types::CertificateDer<'static>| {
        block_on(handshake(edge.addresses[1], certificate.clone(), name, &[])).is_ok()
    };
    let (first, first_certificate) = secret("web.test");
    assert!(!trusts("web.test", &first_certificate));
    assert!(
        trusts("localhost", &world.cluster.certificates().leaf()),
        "names without one get that of the edge"
    );
    let (wild, wild_certificate) = secret("*.wild.test");
    world.put("Secret", "web", first);
    world.put("Secret", "wild", wild);
    let entries = json!([
        {"hosts": ["web.test"], "secretName": "web"},
        {"hosts": ["*.wild.test"], "secretName": "wild"},
    ]);
    world.put("Ingress", "tls", json!({"spec": {"tls": entries}}));
    assert!(trusts("web.test", &first_certificate));
    assert!(trusts("a.wild.test", &wild_certificate));
    assert!(!trusts("a.b.wild.test", &wild_certificate));
    let (second, second_certificate) = secret("web.test");
    world.put("Secret", "web", second);
    assert!(trusts("web.test", &second_certificate) && !trusts("web.test", &first_certificate));
    // One that is of no use is as if it were not there, and said so.
    world.put(
        "Secret",
        "web",
        json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "QQ==", "tls.key": "QQ=="}}),
    );
    assert!(!trusts("web.test", &second_certificate));
    let problems = world.cluster.problems();
    let expected = "the Secret web is of no use: tls.crt holds no certificate";
    assert!(problems.contains(&("Ingress shop/tls".into(), expected.into())), "{problems:?}");
    let text = ask(edge.address(), "POST /a?b HTTP/1.1\r\nhost: web.test:80\r\nconnection: close\r\n\r\n");
    assert!(
        text.starts_with("HTTP/1.1 308 ") && text.contains("location: https://web.test:8443/a?b\r\n"),
        "{text}"
    );
}

#[test]
fn a_client_stays_with_its_replica_where_its_service_asks_for_it() {
    let world = World::new();
    let names = ["one", "two", "three"];
    names.iter().for_each(|name| world.endpoints.insert(name, named(name)));
    let spec = json!({"sessionAffinity": "ClientIP", "ports": [{"name": "http", "port": 80}]});
    world.put("Service", "web", json!({"spec": spec}));
    world.pods("web", &names.map(|name| (name, "here")));
    world.route("web.test", "web", &json!({}));
    let edge = world.serve(config());
    let answers = || (0..6).map(|_| get(edge.address(), "web.test", "/").1).collect::<BTreeSet<_>>();
    assert_eq!(answers().len(), 1);
    world.service("web", &json!({}));
    assert_eq!(answers().len(), 3, "without it they take turns");
}

#[test]
fn log_and_metrics_name_the_service() {
    let log = Shared::default();
    let world = World::web(always("hello"), &json!({}), &json!({}));
    let edge = world.serve(Config { access_log: AccessLog::Json(Box::new(log.clone())), ..config() });
    assert_eq!(get(edge.address(), "web.test", "/").0, 200);
    assert_eq!(get(edge.address(), "other.test", "/").0, 404);
    eventually("both are in the log", || log.text().lines().count() == 2);
    let field = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        format!("{} {} {}", line["host"], line["service"], line["failure"])
    };
    assert_eq!(
        log.text().lines().map(field).collect::<Vec<_>>(),
        [r#""web.test" "shop/web" null"#, r#""other.test" null "no_route""#]
    );
    let metrics = edge.metrics();
    let shown: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("shoal_edge_service_") && !line.contains("seconds"))
        .collect();
    expect![[r#"
        shoal_edge_service_requests_total{namespace="shop",service="web",class="2xx"} 1
        shoal_edge_service_retries_total{namespace="shop",service="web"} 0
        shoal_edge_service_waiting{namespace="shop",service="web"} 0
        shoal_edge_service_replicas{namespace="shop",service="web"} 1"#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn guests_find_services_by_name_and_address() {
    let world = World::web(always("hello"), &json!({}), &json!({}));
    let addresses = json!(["10.96.0.7", "fd00:10:96::7"]);
    let spec = json!({"clusterIPs": addresses, "ports": [{"name": "http", "port": 80}]});
    world.put("Service", "web", json!({"spec": spec}));
    let mesh = world.cluster.mesh();
    let answer = |namespace: &str, host: &str, port: u16| {
        let invoke = mesh.service(namespace, host, port)?;
        Some(match block_on(invoke.invoke(Request::new(Body::empty()), call())) {
            Ok(response) => response.status().to_string(),
            Err(failure) => failure.reason,
        })
    };
    for (namespace, host, port) in [
        ("shop", "web", 80),
        ("other", "web.shop", 80),
        ("other", "web.shop.svc.cluster.local", 80),
        ("other", "10.96.0.7", 80),
        ("other", "fd00:10:96::7", 80),
        ("other", "[FD00:10:96:0::7]", 80),
    ] {
        assert_eq!(answer(namespace, host, port).as_deref(), Some("200 OK"), "{host}");
    }
    assert_eq!(answer("shop", "web", 81).as_deref(), Some("service shop/web has no such TCP port"));
    for (namespace, host) in
        [("other", "web"), ("shop", "web.test"), ("shop", "10.96.0.8"), ("shop", "fd00:10:96::8")]
    {
        assert_eq!(answer(namespace, host, 80), None, "{host}");
    }
}

/// The context of a request that a guest makes.
fn call() -> Call {
    Call {
        id: 1,
        scheme: http::uri::Scheme::HTTP,
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        received: std::time::Instant::now(),
        account: Arc::new(Account::default()),
    }
}

#[test]
fn guests_are_held_to_the_largest_request_body_of_a_service() {
    // One that makes nothing of a body that breaks off, not even an answer.
    let workload = FakeInvoke::new(|request: Request<Body>, _| async move {
        match request.into_body().collect().await {
            Ok(body) => Ok(Response::new(Body::whole(body.to_bytes()))),
            Err(_) => std::future::pending().await,
        }
    });
    let world = World::web(workload, &json!({"shoal.dev/max-request-body": "4B"}), &json!({}));
    let invoke = world.cluster.mesh().service("shop", "web", 80).unwrap();
    let answer = |body: Body| {
        block_on(async {
            let response = match invoke.invoke(Request::new(body), call()).await {
                Ok(response) => response,
                Err(failure) => {
                    assert_eq!(failure.kind, FailureKind::RequestTooLarge);
                    let status = failure.kind.status().as_u16();
                    return (status, format!("{status} {}\n", failure.reason));
                }
            };
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        })
    };
    let streamed = |text: &'static str| {
        let frames = text.split_inclusive(|_| true).map(|piece| Ok(http_body::Frame::data(piece.into())));
        Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
    };
    for four in [Body::whole("four"), streamed("four")] {
        assert_eq!(answer(four), (200, "four".into()));
    }
    assert_eq!(answer(Body::empty()), (200, String::new()));
    for fives in [Body::whole("fives"), streamed("fives")] {
        assert_eq!(answer(fives), (413, "413 the request body is too large\n".into()));
    }
    let edge = world.serve(config());
    let counted = |class: &str| {
        let labels = format!("namespace=\"shop\",service=\"web\",class=\"{class}\"");
        edge.metric(&format!("shoal_edge_service_requests_total{{{labels}}}"))
    };
    assert_eq!((counted("2xx"), counted("4xx"), counted("cancelled")), (Some(3.0), Some(2.0), None));
}
