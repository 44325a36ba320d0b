//! Raw sockets: which addresses a guest may use, asked by `wasmtime-wasi` for each of them.
//!
//! - Connecting and sending need a `tcp` or `udp` pattern with the address, its network, `*` (public addresses
//!   only), or a name. A name is resolved again, by the host, when the guest uses an address; the address must be one
//!   of the answers, and public unless a pattern names it as well. Names with a wildcard cannot be resolved
//!   backwards and grant nothing here.
//! - Listening needs its port granted (`--allow-listen`), for TCP and UDP. Port 0 can be bound, as every client
//!   does; it can be listened on when 0 is granted, which means a port that the system picks. A port of the
//!   guest's own choice needs to be granted by its number.
//! - A UDP socket is a server and a client in one: with a granted port, datagrams from anywhere come in, and
//!   those who sent one may be answered.
//!
//! Which names may be looked up is decided in `capability/lookup.rs`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use shoal_runtime::{OutboundRules, Output};
use wasmtime_wasi::sockets::SocketAddrUse;

use super::Resolve;
use super::denials::Denials;

/// Peers of UDP servers that may still be answered; an answer follows its question closely.
const PEERS_MAX: usize = 1024;

/// What `wasmtime-wasi` asks with.
type Allowed = Pin<Box<dyn Future<Output = bool> + Send + Sync>>;

/// Who sent datagrams lately.
type Peers = Mutex<VecDeque<SocketAddr>>;

/// The closure for `WasiCtxBuilder::socket_addr_check` of one workload. It is asked within a tokio runtime.
pub fn socket_check(
    workload: String,
    rules: Arc<OutboundRules>,
    listen: Vec<u16>,
    resolver: Arc<dyn Resolve>,
    output: Option<Arc<dyn Output>>,
) -> impl Fn(SocketAddr, SocketAddrUse) -> Allowed + Send + Sync + 'static {
    let peers = Peers::default();
    let denials = Denials::new(output);
    let ask = move |scheme, address: SocketAddr, logged: bool| {
        let asked = outgoing(scheme, address, &rules, &resolver);
        asked.unwrap_or_else(|| {
            if logged {
                let grant =
                    format!("{scheme}://{}", SocketAddr::new(address.ip().to_canonical(), address.port()));
                denials.log(&workload, &grant, "no pattern grants it to sockets");
            }
            Box::pin(std::future::ready(false))
        })
    };
    move |address, reason| {
        let served = |port| listen.contains(&port);
        let at_once = |allowed| -> Allowed { Box::pin(std::future::ready(allowed)) };
        match reason {
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                at_once(address.port() == 0 || served(address.port()))
            }
            // A port that is not granted was not bound by its number, so the system picked it.
            SocketAddrUse::TcpListen => at_once(served(address.port()) || served(0)),
            // It came in at a port that was granted when listening began.
            SocketAddrUse::TcpAccept => at_once(!listen.is_empty()),
            SocketAddrUse::TcpConnect => ask("tcp", address, true),
            SocketAddrUse::UdpReceive if !listen.is_empty() => {
                remember(&peers, address);
                at_once(true)
            }
            // Not the guest's doing: anyone can send to it.
            SocketAddrUse::UdpReceive => ask("udp", address, false),
            SocketAddrUse::UdpSend if is_remembered(&peers, address) => at_once(true),
            SocketAddrUse::UdpSend => ask("udp", address, true),
        }
    }
}

/// Whether an address may be sent to; none when certainly not. Only a name takes time.
fn outgoing(
    scheme: &'static str,
    address: SocketAddr,
    rules: &Arc<OutboundRules>,
    resolver: &Arc<dyn Resolve>,
) -> Option<Allowed> {
    let (ip, port) = (address.ip().to_canonical(), address.port());
    if rules.allows_socket(scheme, ip, port) {
        return Some(Box::pin(std::future::ready(true)));
    }
    let allowed = rules.allows_address(scheme, ip, port);
    let names: Vec<String> = rules.socket_names(scheme, port).map(str::to_string).collect();
    if !allowed || names.is_empty() {
        return None;
    }
    let resolver = resolver.clone();
    let lookup = async move {
        for name in names {
            let answers = resolver.resolve(&name, port).await.unwrap_or_default();
            if answers.iter().any(|answer| answer.ip().to_canonical() == ip) {
                return true;
            }
        }
        false
    };
    // A task, since what is asked for is `Sync` and a lookup is not.
    let lookup = tokio::spawn(lookup);
    Some(Box::pin(async move { lookup.await.unwrap_or(false) }))
}

fn remember(peers: &Peers, peer: SocketAddr) {
    let mut peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
    if peers.contains(&peer) {
        return;
    }
    if peers.len() == PEERS_MAX {
        peers.pop_front();
    }
    peers.push_back(peer);
}

fn is_remembered(peers: &Peers, peer: SocketAddr) -> bool {
    peers.lock().unwrap_or_else(PoisonError::into_inner).contains(&peer)
}
