//! What the edge costs: the same answer from hyper alone and through the edge, for a load generator.
//!
//! ```text
//! cargo run --profile dist -p shoal-edge --example native -- native 127.0.0.1:8080 1
//! cargo run --profile dist -p shoal-edge --example native -- edge   127.0.0.1:8080 1
//! cargo run --profile dist -p shoal-edge --example native -- cluster 127.0.0.1:8080 1
//! ```
//!
//! The arguments: what to serve with, where, and on how many threads (the native server has one). `cluster` is the
//! edge with the routes of a cluster: 1,000 hosts, `app-0.test` and so on, of three paths each.
#![allow(clippy::print_stderr, reason = "an example talks to whoever runs it")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use shoal_base::drain::Drain;
use shoal_edge::{Cluster, Config, Edge, Kind, Listener, Routes, Settings};
use shoal_runtime::Endpoints;
use shoal_runtime::fake::always;
use tokio::net::TcpListener;

const HELLO: &str = "Hello, world!\n";

/// Hosts of the cluster, each with a Service of its own.
const HOSTS: usize = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, address, threads] = args.as_slice() else {
        return Err("usage: native (native | edge | cluster) ADDRESS THREADS".into());
    };
    let address = address.parse()?;
    match kind.as_str() {
        "native" => native(address),
        "edge" => edge(address, threads.parse()?, &Routes::to(Arc::new(always(HELLO)))),
        "cluster" => edge(address, threads.parse()?, &cluster()?.routes()),
        other => Err(format!("`{other}` is none of `native`, `edge` and `cluster`").into()),
    }
}

/// hyper and nothing else, on one thread.
fn native(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        eprintln!("hyper listens on {}", listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let service = service_fn(|_: Request<Incoming>| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(HELLO.as_bytes()))))
            });
            tokio::spawn(async move {
                // A client that breaks off is no business of this example.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
            });
        }
    })
}

/// The edge with a runtime that does nothing. Ends at the first interrupt.
fn edge(address: SocketAddr, threads: NonZeroUsize, routes: &Routes) -> Result<(), Box<dyn Error>> {
    let config =
        Config { listeners: vec![Listener::plain(address)], threads: Some(threads), ..Config::default() };
    let edge = Edge::bind(config)?;
    eprintln!("the edge listens on {}", edge.local_addrs()[0]);
    let drain = Drain::new();
    let signalled = drain.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(tokio::signal::ctrl_c())?;
        signalled.begin();
        std::io::Result::Ok(())
    });
    let served = edge.serve(routes, &drain)?;
    eprintln!("{} requests, {:?}", served.requests, served.drained);
    Ok(())
}

/// The routes of a cluster, each of its Services with one replica.
fn cluster() -> Result<Cluster, Box<dyn Error>> {
    let endpoints = Endpoints::default();
    let settings = Settings {
        endpoints: endpoints.clone(),
        node: "here".into(),
        taken: std::collections::BTreeSet::new(),
        https_port: 443,
    };
    let cluster = Cluster::new(settings)?;
    let (mut services, mut slices, mut ingresses) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..HOSTS {
        let name = format!("app-{index}");
        let metadata = json!({"namespace": "bench", "name": name});
        services
            .push(Arc::new(json!({"metadata": metadata, "spec": {"ports": [{"name": "http", "port": 80}]}})));
        slices.push(Arc::new(json!({
            "metadata": {"namespace": "bench", "name": name, "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http"}],
            "endpoints": [{"targetRef": {"uid": name}, "nodeName": "here"}],
        })));
        let backend = json!({"service": {"name": name, "port": {"number": 80}}});
        let paths = ["/", "/api", "/static/files"]
            .map(|path| json!({"path": path, "pathType": "Prefix", "backend": backend}));
        let rule = json!({"host": format!("{name}.test"), "http": {"paths": paths}});
        ingresses.push(Arc::new(json!({"metadata": metadata, "spec": {"rules": [rule]}})));
        endpoints.insert(&name, Arc::new(always(HELLO)));
    }
    let began = std::time::Instant::now();
    cluster.set(Kind::Service, services);
    cluster.set(Kind::EndpointSlice, slices.clone());
    cluster.set(Kind::Ingress, ingresses);
    cluster.commit();
    let all = began.elapsed();
    slices[HOSTS / 2] = Arc::new((*slices[HOSTS / 2]).clone());
    let began = std::time::Instant::now();
    cluster.set(Kind::EndpointSlice, slices);
    cluster.commit();
    eprintln!("{HOSTS} hosts: {all:?} for all, {:?} when the pods of one change", began.elapsed());
    Ok(cluster)
}
