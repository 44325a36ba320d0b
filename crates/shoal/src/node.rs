//! `shoal node`: this machine is a node of a cluster whose API is elsewhere. The agent and the edge are those of `shoal up`.

mod certificate;

use std::net::SocketAddr;

use shoal_cli::{Common, Exit, NodeRequest};
use shoal_client::Client;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cluster;
use crate::here::{self, Ends, Here, Identity, unavailable};
use crate::process::{self, Signals};
use crate::server;

/// Runs the node until the process is asked to end, and requests in flight have ended.
pub(crate) fn node(common: &Common, request: &NodeRequest) -> Result<u8, Exit> {
    process::raise_file_limit();
    process::use_small_pages();
    process::threaded_runtime()?.block_on(run(common, request))
}

async fn run(common: &Common, request: &NodeRequest) -> Result<u8, Exit> {
    let signals = Signals::new().map_err(|error| unavailable(&format!("cannot take signals: {error}")))?;
    let name = here::node_name(request.node.name.as_deref())?;
    let (config, client) = cluster::connect(&request.kubeconfig, "shoal-node")?;
    let edge_client = cluster::client(&request.kubeconfig, &config, "shoal-edge")?;
    let address =
        here::own_address(request.node.ports, cluster::address(&config.server).unwrap_or(here::OTHERS));
    let (listener, listen) = here::listen(request.listen.unwrap_or(SocketAddr::new(address, 0))).await?;
    if listen.ip().is_loopback() && !cluster::is_here(&config.server) {
        tracing::warn!(
            address = %listen,
            "the API at {} cannot reach this node: give --ports an address of this machine that others reach",
            config.server
        );
    }
    let ends = Ends::default();
    let identity = Identity { name: name.clone(), listen, client: client.clone() };
    let here = Here::open(common, &request.node, identity, &[], &ends)?;
    let endpoint = here.endpoint();
    let asked = async {
        let wanted = certificate::Wanted { node: &name, address: listen.ip() };
        let tls = tokio::select! {
            tls = certificate::server_config(&client, &wanted, config.authorities.as_deref()) => tls,
            () = ends.node.begun() => return,
        };
        match tls {
            Ok(tls) => endpoint.serve(listener, TlsAcceptor::from(tls)).await,
            Err(why) => unasked(&listener, &why),
        }
    };
    let ready = |edge: &[SocketAddr]| announce(&client, &name, edge);
    Box::pin(here.run(edge_client, signals, &ends, asked, ready)).await
}

/// Says that nobody can ask the node for logs: it serves and runs all the same.
fn unasked(listener: &TcpListener, why: &str) {
    let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    tracing::warn!(address, "the API server cannot ask this node for logs: {why}");
}

fn announce(client: &Client, name: &str, edge: &[SocketAddr]) {
    here::announce(edge);
    server::said(&format!("Node {name} of {}", client.server()));
}
