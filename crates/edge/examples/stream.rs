//! Bodies through hyper alone, to compare with bodies through a guest: sent back, or handed on to another server.
//!
//! ```text
//! cargo run --profile dist -p shoal-edge --example stream -- echo  127.0.0.1:8080
//! cargo run --profile dist -p shoal-edge --example stream -- proxy 127.0.0.1:8081 127.0.0.1:8080
//! ```
//!
//! HTTP/1.1, one thread, nothing buffered beyond what hyper itself keeps.
#![allow(clippy::print_stderr, reason = "an example talks to whoever runs it")]

use std::error::Error;
use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (address, upstream) = match words.as_slice() {
        ["echo", address] => (address.parse()?, None),
        ["proxy", address, upstream] => (address.parse()?, Some(upstream.parse()?)),
        _ => return Err("usage: stream echo ADDRESS | proxy ADDRESS UPSTREAM".into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(address, upstream))
}

async fn serve(address: SocketAddr, upstream: Option<SocketAddr>) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await?;
    eprintln!("listens on {}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service_fn(move |request| answer(request, upstream));
        tokio::spawn(async move {
            // A client that breaks off is no business of this example.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    upstream: Option<SocketAddr>,
) -> Result<Response<Incoming>, Failure> {
    let Some(upstream) = upstream else { return Ok(Response::new(request.into_body())) };
    let socket = TcpStream::connect(upstream).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
