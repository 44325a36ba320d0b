//! What the edge costs: the same answer from hyper alone and through the edge, for a load generator.
//!
//! ```text
//! cargo run --profile dist -p shoal-edge --example native -- native 127.0.0.1:8080 1
//! cargo run --profile dist -p shoal-edge --example native -- edge   127.0.0.1:8080 1
//! ```
//!
//! The arguments: what to serve with, where, and on how many threads (the native server has one).
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
use shoal_base::drain::Drain;
use shoal_edge::{Config, Edge, Listener, Routes};
use shoal_runtime::fake::always;
use tokio::net::TcpListener;

const HELLO: &str = "Hello, world!\n";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, address, threads] = args.as_slice() else {
        return Err("usage: native (native | edge) ADDRESS THREADS".into());
    };
    let address = address.parse()?;
    match kind.as_str() {
        "native" => native(address),
        "edge" => edge(address, threads.parse()?),
        other => Err(format!("`{other}` is neither `native` nor `edge`").into()),
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
fn edge(address: SocketAddr, threads: NonZeroUsize) -> Result<(), Box<dyn Error>> {
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
    let served = edge.serve(&Routes::to(Arc::new(always(HELLO))), &drain)?;
    eprintln!("{} requests, {:?}", served.requests, served.drained);
    Ok(())
}
