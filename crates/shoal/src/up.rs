//! `shoal up`: this machine is a cluster. API server, controllers, node and edge in one process; they speak to the API as
//! they would from anywhere, but without a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shoal_base::drain::{Drain, Drained};
use shoal_base::error_chain::chain;
use shoal_cli::{Common, Exit, UpRequest};
use shoal_client::Client;
use shoal_server::{Local, Running, start};
use tokio_rustls::TlsAcceptor;

use crate::cluster::KUBECONFIG;
use crate::here::{self, Ends, Here, Identity, unavailable};
use crate::process::{self, Signals};
use crate::{serve, server};

/// How long the API has to end once the edge and the agent have.
const DRAIN: Duration = Duration::from_secs(30);

/// Runs the cluster until the process is asked to end, and requests in flight have ended.
pub(crate) fn up(common: &Common, request: &UpRequest) -> Result<u8, Exit> {
    process::raise_file_limit();
    process::use_small_pages();
    process::threaded_runtime()?.block_on(run(common, request))
}

async fn run(common: &Common, request: &UpRequest) -> Result<u8, Exit> {
    let signals = Signals::new().map_err(|error| unavailable(&format!("cannot take signals: {error}")))?;
    let name = here::node_name(request.node.name.as_deref())?;
    let (ends, api_end) = (Ends::default(), Drain::new());
    let store = server::open(common, &request.server.store).await?;
    let server = start(server::config(common, &request.server)?, store, api_end.clone())
        .await
        .map_err(|error| unavailable(&chain(&error).to_string()))?;
    let kubeconfig = write_kubeconfig(common, &server)?;
    let address = here::own_address(request.node.ports, here::OTHERS);
    let (listener, listen) = here::listen(SocketAddr::new(address, 0)).await?;
    let client = Client::new(Arc::new(Local::node(server.api.clone(), &name)), "shoal-node");
    let identity = Identity { name: name.clone(), listen, client };
    let here = Here::open(common, &request.node, identity, &[server.address.port()], &ends)?;
    let tls = server
        .pki
        .node_config(&name, &[address.to_string()], Timestamp::now())
        .map_err(|error| unavailable(&chain(&error).to_string()))?;
    let asked = here.endpoint().serve(listener, TlsAcceptor::from(tls));
    let edge_client = Client::new(Arc::new(Local::master(server.api.clone(), "shoal")), "shoal-edge");
    let ready = |edge: &[SocketAddr]| announce(&server, edge, &kubeconfig);
    let code = Box::pin(here.run(edge_client, signals, &ends, asked, ready)).await?;
    if let Drained::Late { left } = api_end.finish(DRAIN).await {
        tracing::warn!("{left} connections to the API were still open at the end");
    }
    server.ended().await;
    Ok(code)
}

/// Says where it is reached.
fn announce(server: &Running, edge: &[SocketAddr], kubeconfig: &str) {
    here::announce(edge);
    server::said(&format!("Kubernetes API on https://{}", serve::reachable(server.address)));
    server::said(&format!("hint: export KUBECONFIG={kubeconfig}"));
}

/// Writes what kubectl needs, for the administrator of this machine alone; returns its path.
fn write_kubeconfig(common: &Common, server: &Running) -> Result<String, Exit> {
    let url = format!("https://{}", serve::reachable(server.address));
    let text = server
        .pki
        .admin_kubeconfig(&url, Timestamp::now())
        .map_err(|error| unavailable(&chain(&error).to_string()))?;
    let path = common.data_dir.join(KUBECONFIG);
    process::write_file(&path, text.as_bytes())?;
    Ok(path.display().to_string())
}
