//! From objects in an API to requests that are answered, and back to the status of the objects.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::{Value, json};
use shoal_client::fake::Fake;
use shoal_client::{Client, Deletion, Patch, Resource, Select, kinds};
use shoal_edge::{Cluster, Follow, Settings, follow};
use shoal_runtime::Endpoints;
use shoal_runtime::fake::always;

use crate::cluster::get;
use crate::support::{Running, block_on, config, eventually, serve_routes};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An API, and an edge that follows it.
struct World {
    endpoints: Endpoints,
    edge: Running,
    following: Option<JoinHandle<()>>,
}

impl World {
    fn new(api: &Fake) -> Self {
        let endpoints = Endpoints::default();
        let settings = Settings {
            endpoints: endpoints.clone(),
            node: "here".into(),
            taken: BTreeSet::new(),
            https_port: 443,
        };
        let cluster = Cluster::new(settings).unwrap();
        let edge = serve_routes(config(), cluster.routes());
        let (client, ports, drain) = (api.client(), edge.ports.clone(), edge.drain.clone());
        let following = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let at = Follow { bind: LOCAL, address: Some("192.0.2.7".into()), web_ports: vec![8080, 8443] };
            runtime.block_on(movable(follow(&client, &cluster, &ports, &at, &drain)));
        });
        Self { endpoints, edge, following: Some(following) }
    }

    fn eventually_answers(&self, host: &str, code: u16) {
        eventually(&format!("{host} answers {code}"), || get(self.edge.address(), host, "/").0 == code);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.edge.drain.begin();
        let following = self.following.take().unwrap().join();
        assert!(following.is_ok() || std::thread::panicking());
    }
}

/// Whoever follows may do so in a task of any runtime.
fn movable<F: Future + Send>(work: F) -> F {
    work
}

fn create(client: &Client, of: &Resource, name: &str, mut object: Value) {
    object["apiVersion"] = json!(of.api_version);
    object["kind"] = json!(of.kind);
    object["metadata"]["namespace"] = json!("shop");
    object["metadata"]["name"] = json!(name);
    block_on(client.create(of, &object)).unwrap();
}

/// Service, slice and Ingress of a pod whose uid, and whose host, are the name.
fn create_app(client: &Client, name: &str) {
    create(client, &kinds::SERVICES, name, json!({"spec": {"ports": [{"port": 80}]}}));
    let labels = json!({"kubernetes.io/service-name": name});
    let endpoints = json!([{"targetRef": {"uid": name}, "nodeName": "here"}]);
    let slice = json!({"metadata": {"labels": labels}, "ports": [{"name": ""}], "endpoints": endpoints});
    create(client, &kinds::ENDPOINT_SLICES, name, slice);
    let backend = json!({"service": {"name": name, "port": {"number": 80}}});
    let rule = json!({"host": name, "http": {"paths": [{"pathType": "Prefix", "backend": backend}]}});
    create(client, &kinds::INGRESSES, name, json!({"spec": {"rules": [rule]}}));
}

fn status(client: &Client, of: &Resource, name: &str) -> Value {
    block_on(client.get(of, "shop", name)).unwrap()["status"]["loadBalancer"]["ingress"].clone()
}

#[test]
fn what_the_api_has_is_served_and_told_until_it_is_gone() {
    let api = Fake::new();
    let client = api.client();
    create_app(&client, "first");
    let world = World::new(&api);
    world.endpoints.insert("first", Arc::new(always("hello")));
    world.eventually_answers("first", 200);
    create_app(&client, "second");
    world.endpoints.insert("second", Arc::new(always("hello")));
    world.eventually_answers("second", 200);
    for name in ["first", "second"] {
        eventually("the address is told", || {
            let ports = json!([{"port": 8080, "protocol": "TCP"}, {"port": 8443, "protocol": "TCP"}]);
            status(&client, &kinds::INGRESSES, name) == json!([{"ip": "192.0.2.7", "ports": ports}])
        });
    }
    // While the API is away everything is as it was, and goes on when it is back.
    api.set_away(true);
    assert_eq!(get(world.edge.address(), "first", "/").0, 200);
    api.set_away(false);
    block_on(client.delete(&kinds::INGRESSES, "shop", "first", &Deletion::default())).unwrap();
    world.eventually_answers("first", 404);
    assert_eq!(get(world.edge.address(), "second", "/").0, 200);
}

#[test]
fn a_load_balancer_has_its_port_and_its_address_for_as_long_as_it_is_one() {
    let api = Fake::new();
    let client = api.client();
    create_app(&client, "web");
    let world = World::new(&api);
    world.endpoints.insert("web", Arc::new(always("hello")));
    let taken = TcpListener::bind((LOCAL, 0)).unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": address.port()}]});
    let patch = |spec: Value| {
        block_on(client.patch(&kinds::SERVICES, "shop", "web", "", &Patch::Merge(json!({"spec": spec}))))
            .unwrap();
    };
    patch(spec);
    // The Ingress names a port that the Service has no more.
    world.eventually_answers("web", 503);
    assert_eq!(status(&client, &kinds::SERVICES, "web"), Value::Null, "the port is another's");
    drop(taken);
    create_app(&client, "other");
    eventually("the port is open", || TcpStream::connect(address).is_ok());
    assert_eq!(get(address, "whatever", "/"), (200, "hello".into()));
    eventually("the address is told", || {
        status(&client, &kinds::SERVICES, "web") == json!([{"ip": "192.0.2.7"}])
    });
    patch(json!({"type": "ClusterIP"}));
    eventually("the port is closed", || TcpStream::connect(address).is_err());
    eventually("the address is taken back", || status(&client, &kinds::SERVICES, "web") == Value::Null);
}

#[test]
fn many_changes_at_once_are_served_and_each_status_is_written_once() {
    const APPS: usize = 200;
    let api = Fake::new();
    let client = api.client();
    let world = World::new(&api);
    let names: Vec<String> = (0..APPS).map(|index| format!("app-{index}")).collect();
    for name in &names {
        world.endpoints.insert(name, Arc::new(always("hello")));
        create_app(&client, name);
    }
    world.eventually_answers(names.last().unwrap(), 200);
    for name in &names {
        world.eventually_answers(name, 200);
        eventually("the address is told", || !status(&client, &kinds::INGRESSES, name).is_null());
    }
    let writes = api.requests().iter().filter(|request| request.starts_with("PATCH ")).count();
    assert_eq!(writes, APPS);
}

#[test]
fn what_is_wrong_with_an_object_is_an_event_of_it() {
    let api = Fake::new();
    let client = api.client();
    create_app(&client, "web");
    let backend = json!({"service": {"name": "none", "port": {"number": 80}}});
    let rule = json!({"host": "lost", "http": {"paths": [{"pathType": "Prefix", "backend": backend}]}});
    create(&client, &kinds::INGRESSES, "lost", json!({"spec": {"rules": [rule]}}));
    let _world = World::new(&api);
    let told = || block_on(client.list(&kinds::EVENTS, "shop", &Select::default())).unwrap().items;
    eventually("it is told", || !told().is_empty());
    let events = told();
    assert_eq!(events.len(), 1, "{events:?}");
    let parts = ["/involvedObject/kind", "/involvedObject/name", "/type", "/reason", "/message"];
    let said = parts.map(|part| events[0].pointer(part).and_then(Value::as_str).unwrap_or_default());
    assert_eq!(said, ["Ingress", "lost", "Warning", "NotServed", "service shop/none does not exist"]);
    let uid = block_on(client.get(&kinds::INGRESSES, "shop", "lost")).unwrap()["metadata"]["uid"].clone();
    assert_eq!(events[0]["involvedObject"]["uid"], uid);
}
