//! `shoal up`: this machine is a cluster. API server, controllers, node and edge in one process; they speak to the API as
//! they would from anywhere, but without a socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use shoal_api::names::dns1123_subdomain;
use shoal_base::drain::{Drain, Drained};
use shoal_base::error_chain::chain;
use shoal_cli::{Common, Exit, UpRequest, exit};
use shoal_client::{Cache, Client, Select, kinds};
use shoal_edge::{Cluster, Edge, Follow, Listener, MoreMetrics, Served, Settings, follow};
use shoal_host::Host;
use shoal_node::{Agent, Machine};
use shoal_runtime::{Endpoints, LimitsByKind};
use shoal_server::{Local, Running, start};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::process::{self, Asked, Signals};
use crate::{commands, registry, serve, server};

/// Where the agent of the node lives, in the data directory.
const NODE_DIR: &str = "node";
/// What kubectl needs, in the data directory.
const KUBECONFIG: &str = "kubeconfig";
/// How long the agent and the API have to end once the edge has.
const DRAIN: Duration = Duration::from_secs(30);
/// Pods have their addresses out of this range until the cluster gives the node one; nothing listens there.
const POD_CIDR: &str = "10.244.0.0/24";

/// Runs the cluster until the process is asked to end, and requests in flight have ended.
pub(crate) fn up(common: &Common, request: &UpRequest) -> Result<u8, Exit> {
    process::raise_file_limit();
    process::use_small_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| unavailable(&format!("cannot start a runtime: {error}")))?;
    runtime.block_on(run(common, request))
}

async fn run(common: &Common, request: &UpRequest) -> Result<u8, Exit> {
    let mut signals =
        Signals::new().map_err(|error| unavailable(&format!("cannot take signals: {error}")))?;
    let name = node_name(request.node.as_deref())?;
    let ends = Ends::default();
    let store = server::open(common, &request.server.store).await?;
    let server = start(server::config(common, &request.server)?, store, ends.api.clone())
        .await
        .map_err(|error| unavailable(&chain(&error).to_string()))?;
    let kubeconfig = write_kubeconfig(common, &server)?;
    let host = Arc::new(commands::host(common, shoal_host::pool::PoolWish::default(), &ends.requests)?);
    let edge = FrontDoor::open(request, &server, &name, &host)?;
    let client = |agent| Client::new(Arc::new(Local::master(server.api.clone(), "shoal")), agent);
    let address = own_address(request.ports);
    let agent = agent((common, request), (&name, address), (&server, &edge, &host), &ends.node).await?;
    let (cluster, ports) = (edge.cluster.clone(), edge.edge.ports());
    let published = Follow { bind: request.ports, address: Some(address.to_string()) };
    let addresses = edge.edge.local_addrs();
    let serving = edge.serve(&ends.requests)?;
    let follower = client("shoal-edge");
    let followed = async { follow(&follower, &cluster, &ports, &published, &ends.node).await };
    let watcher = client("shoal-up");
    let work = async { tokio::join!(agent.run(), followed) };
    let until_asked = async {
        tokio::select! {
            () = asked_to_end(&mut signals) => {}
            // A thread of the edge that ends by itself has said so, and ends the others.
            () = ends.requests.begun() => {}
            () = async {
                ready(&watcher, &name, &ends.node).await;
                announce(&server, &addresses, &kubeconfig);
                std::future::pending::<()>().await;
            } => {}
        }
        ends.requests.begin();
        tracing::info!(target: "shoal", "draining; a second signal ends at once");
        tokio::spawn(async move {
            signals.next().await;
            serve::end_at_once()
        });
        let served = serving.end().await;
        ends.node.begin();
        served
    };
    let (served, _) = tokio::join!(until_asked, work);
    let code = serve::farewell(&served?);
    if let Drained::Late { left } = ends.api.finish(DRAIN).await {
        tracing::warn!("{left} connections to the API were still open at the end");
    }
    server.ended().await;
    Ok(code)
}

/// Waits for a signal to end.
async fn asked_to_end(signals: &mut Signals) {
    while signals.next().await != Asked::End {
        tracing::info!(target: "shoal", "SIGHUP: nothing to read again; certificates come from Secrets");
    }
}

/// The parts end one after the other: who is asked last is needed by those before.
#[derive(Default)]
struct Ends {
    /// Requests at the edge, and the guests that answer them.
    requests: Drain,
    /// The agent of the node, and whoever follows the API.
    node: Drain,
    /// The API server.
    api: Drain,
}

/// The edge of this machine, with its sockets open.
struct FrontDoor {
    edge: Edge,
    cluster: Cluster,
    endpoints: Endpoints,
}

/// An edge that serves on threads of its own.
struct Serving(JoinHandle<Result<Served, shoal_edge::Error>>);

impl FrontDoor {
    fn open(request: &UpRequest, server: &Running, node: &str, host: &Arc<Host>) -> Result<Self, Exit> {
        let endpoints = Endpoints::default();
        let (http, https) = (free_port(request.http)?, free_port(request.https)?);
        let admin = request.edge.admin.map(|address| address.port());
        let taken = [http.port(), https.port(), server.address.port()].into_iter().chain(admin).collect();
        let settings =
            Settings { endpoints: endpoints.clone(), node: node.into(), taken, https_port: https.port() };
        let cluster = Cluster::new(settings).map_err(|error| unavailable(&chain(&error).to_string()))?;
        let listeners = vec![Listener::plain(http), Listener::tls(https, cluster.certificates())];
        let host = Arc::clone(host);
        let metrics = MoreMetrics(Arc::new(move || host.metrics()));
        let limits = LimitsByKind::default().serving;
        let config = serve::config(&request.edge, listeners, &limits, "shoal", metrics);
        let edge = Edge::bind(config).map_err(|error| serve::edge_error(&error))?;
        Ok(Self { edge, cluster, endpoints })
    }

    /// Accepts from now on.
    fn serve(self, drain: &Drain) -> Result<Serving, Exit> {
        let (edge, routes, drain) = (self.edge, self.cluster.routes(), drain.clone());
        std::thread::Builder::new()
            .name("edge".into())
            .spawn(move || edge.serve(&routes, &drain))
            .map(Serving)
            .map_err(|error| unavailable(&format!("cannot start a thread: {error}")))
    }
}

impl Serving {
    /// Waits until the last request has ended, or its deadline.
    async fn end(self) -> Result<Served, Exit> {
        let joined = tokio::task::spawn_blocking(|| self.0.join()).await;
        match joined {
            Ok(Ok(served)) => served.map_err(|error| serve::edge_error(&error)),
            // A thread that panicked has said so itself.
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(unavailable(&format!("the edge has failed: {error}"))),
        }
    }
}

/// The agent of this machine's node; the server asks it for logs on a socket of its own.
async fn agent(
    (common, request): (&Common, &UpRequest),
    (name, address): (&str, IpAddr),
    (server, edge, host): (&Running, &FrontDoor, &Arc<Host>),
    drain: &Drain,
) -> Result<Agent, Exit> {
    let listener = TcpListener::bind(SocketAddr::new(address, 0))
        .await
        .map_err(|error| unavailable(&format!("cannot listen on {address} for the node: {error}")))?;
    let port = listener.local_addr().map(|address| address.port()).ok();
    let artifacts = registry::store(common, &request.registry)?;
    let config = shoal_node::Config {
        name: name.into(),
        data: common.data_dir.join(NODE_DIR),
        client: Client::new(Arc::new(Local::node(server.api.clone(), name)), "shoal-node"),
        runtime: host.clone(),
        endpoints: edge.endpoints.clone(),
        mesh: Some(edge.cluster.mesh()),
        fetch: Arc::new(artifacts),
        machine: Machine::here(vec![address], env!("CARGO_PKG_VERSION")),
        pod_cidr: POD_CIDR.parse().expect("a range"),
        labels: std::collections::BTreeMap::new(),
        port,
    };
    let agent = Agent::new(config, drain.clone()).map_err(|error| unavailable(&chain(&error).to_string()))?;
    let tls = server
        .pki
        .node_config(name, &[address.to_string()], Timestamp::now())
        .map_err(|error| unavailable(&chain(&error).to_string()))?;
    tokio::spawn(agent.endpoint().serve(listener, TlsAcceptor::from(tls)));
    Ok(agent)
}

/// Waits until the node says that it is ready, or all is to end.
async fn ready(client: &Client, name: &str, drain: &Drain) {
    let of_this_name = Select::fields(format!("metadata.name={name}"));
    let nodes = Cache::new(client.clone(), kinds::NODES, "", of_this_name);
    let mut changes = nodes.changes();
    let seen = async {
        while !nodes.get("", name).is_some_and(|node| is_ready(&node)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = nodes.run(drain) => {}
        () = seen => {}
    }
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Says where it is reached. The first line is for scripts, too.
fn announce(server: &Running, edge: &[SocketAddr], kubeconfig: &str) {
    for (scheme, address) in ["http", "https"].into_iter().zip(edge) {
        server::said(&format!("Serving on {scheme}://{}", serve::reachable(*address)));
    }
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

/// The name of the node: what was given, else the machine's own, as objects may be named.
fn node_name(given: Option<&str>) -> Result<String, Exit> {
    let own = rustix::system::uname();
    let name = given.map_or_else(|| own.nodename().to_string_lossy().to_lowercase(), str::to_owned);
    if dns1123_subdomain(&name).is_empty() {
        return Ok(name);
    }
    Err(Exit::error(exit::USAGE, format!("`{name}` cannot name a node"))
        .hint("give --node NAME: lower-case letters, digits, `-` and `.`"))
}

/// The address with a port that nobody has, where the choice was left to the system: redirects have to name it before
/// the socket is open.
fn free_port(address: SocketAddr) -> Result<SocketAddr, Exit> {
    if address.port() != 0 {
        return Ok(address);
    }
    std::net::TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map_err(|error| unavailable(&format!("cannot listen on {address}: {error}")))
}

/// The address by which this machine is reached where it listens on `address`. Where that is every address, it is the one
/// that it would call others from; a machine without a way to others has its own only.
fn own_address(address: IpAddr) -> IpAddr {
    if !address.is_unspecified() {
        return address;
    }
    // Connecting a UDP socket sends nothing: the kernel picks the way. The address is one that is nobody's (RFC 5737).
    let way = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    way.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |from| from.ip())
}

fn unavailable(what: &str) -> Exit {
    Exit::error(exit::UNAVAILABLE, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_reached_by_an_address_of_its_own() {
        let given = IpAddr::from([192, 0, 2, 7]);
        assert_eq!(own_address(given), given);
        for everywhere in ["0.0.0.0", "::"] {
            assert!(!own_address(everywhere.parse().expect("an address")).is_unspecified());
        }
    }

    #[test]
    fn a_node_is_named_as_objects_are() {
        assert!(node_name(Some("edge-1.shop")).is_ok_and(|name| name == "edge-1.shop"));
        assert!(node_name(None).is_ok_and(|name| !name.is_empty()));
        for wrong in ["", "Edge", "a_b", "-a", "a.", &"a".repeat(254)] {
            assert!(node_name(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
