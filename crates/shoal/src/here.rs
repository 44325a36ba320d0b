//! A node and its edge on this machine, whichever API they speak to: what `shoal up` and `shoal node` share.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;

use shoal_api::names::dns1123_subdomain;
use shoal_base::drain::Drain;
use shoal_base::error_chain::chain;
use shoal_cli::render::status::is_ready;
use shoal_cli::{Common, Exit, NodeOptions, exit};
use shoal_client::{Cache, Client, Select, kinds};
use shoal_edge::{Cluster, Edge, Follow, Listener, MoreMetrics, Served, Settings, follow};
use shoal_host::Host;
use shoal_host::pool::PoolWish;
use shoal_node::{Agent, Machine};
use shoal_runtime::{Endpoints, LimitsByKind};

use crate::process::{Asked, Signals};
use crate::{commands, registry, serve};

/// Where everybody else is, for who has no API elsewhere to reach: an address that is nobody's (RFC 5737).
pub(crate) const OTHERS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
/// Where the agent of the node lives, in the data directory.
const NODE_DIR: &str = "node";
/// Pods have their addresses out of this range until the cluster gives the node one; nothing listens there. It is none
/// that a node is given, and none of the addresses of Services.
const POD_CIDR: &str = "10.127.255.0/24";

/// What ends one after the other: who is asked last is needed by those before.
#[derive(Default)]
pub(crate) struct Ends {
    /// Requests at the edge, and the guests that answer them.
    pub(crate) requests: Drain,
    /// The agent of the node, and whoever follows the API.
    pub(crate) node: Drain,
}

/// Who the node is.
pub(crate) struct Identity {
    pub(crate) name: String,
    /// Where it is asked for logs, and the address by which it is reached.
    pub(crate) listen: SocketAddr,
    /// The API, as this node.
    pub(crate) client: Client,
}

/// A node with its edge, whose sockets are open and which runs nothing yet.
pub(crate) struct Here {
    name: String,
    address: IpAddr,
    bind: IpAddr,
    edge: Edge,
    cluster: Cluster,
    agent: Agent,
}

impl Here {
    /// Opens the sockets of the edge, and reads what the agent has to run.
    ///
    /// `taken` are ports of this process that no Service can have.
    pub(crate) fn open(
        common: &Common,
        options: &NodeOptions,
        identity: Identity,
        taken: &[u16],
        ends: &Ends,
    ) -> Result<Self, Exit> {
        let Identity { name, listen, client } = identity;
        let pool = PoolWish { memory_total: options.total_memory, ..PoolWish::default() };
        let host = Arc::new(commands::host(common, pool, &ends.requests)?);
        // What is promised to pods is what their guests can have.
        let allocatable_bytes = host.memory_total().0;
        let machine = Machine::here(vec![listen.ip()], allocatable_bytes, env!("CARGO_PKG_VERSION"));
        let endpoints = Endpoints::default();
        let taken = taken.iter().copied().chain([listen.port()]);
        let (edge, cluster) = open_edge(options, &name, taken, &endpoints, &host)?;
        let config = shoal_node::Config {
            name: name.clone(),
            data: common.data_dir.join(NODE_DIR),
            client,
            runtime: host,
            endpoints,
            mesh: Some(cluster.mesh()),
            fetch: Arc::new(registry::store(common, &options.registry)?),
            machine,
            pod_cidr: POD_CIDR.parse().expect("a range"),
            labels: BTreeMap::new(),
            port: Some(listen.port()),
        };
        let agent =
            Agent::new(config, ends.node.clone()).map_err(|error| unavailable(&chain(&error).to_string()))?;
        Ok(Self { name, address: listen.ip(), bind: options.ports, edge, cluster, agent })
    }

    /// What the node answers when it is asked for logs.
    pub(crate) fn endpoint(&self) -> shoal_node::endpoint::Endpoint {
        self.agent.endpoint()
    }

    /// Runs until the process is asked to end, and requests in flight have ended. The `client` is the edge's; `beside` is
    /// what else has to run as long as the node does; `ready` is called with the addresses of the edge once the node is.
    pub(crate) async fn run(
        self,
        client: Client,
        mut signals: Signals,
        ends: &Ends,
        beside: impl Future<Output = ()>,
        ready: impl FnOnce(&[SocketAddr]),
    ) -> Result<u8, Exit> {
        let Self { name, address, bind, edge, cluster, agent } = self;
        let (ports, addresses) = (edge.ports(), edge.local_addrs());
        let web_ports = addresses.iter().map(SocketAddr::port).collect();
        let published = Follow { bind, address: Some(address.to_string()), web_ports };
        let serving = Serving::start(edge, &cluster, &ends.requests)?;
        let followed = async { follow(&client, &cluster, &ports, &published, &ends.node).await };
        let work = async { tokio::join!(agent.run(), followed, beside) };
        let until_asked = async {
            tokio::select! {
                () = asked_to_end(&mut signals) => {}
                // A thread of the edge that ends by itself has said so, and ends the others.
                () = ends.requests.begun() => {}
                () = async {
                    is_up(&client, &name, &ends.node).await;
                    ready(&addresses);
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
        Ok(serve::farewell(&served?))
    }
}

/// Waits for a signal to end.
async fn asked_to_end(signals: &mut Signals) {
    while signals.next().await != Asked::End {
        tracing::info!(target: "shoal", "SIGHUP: nothing to read again; certificates come from Secrets");
    }
}

/// The edge with its sockets open, and the routes that it will have.
fn open_edge(
    options: &NodeOptions,
    node: &str,
    taken: impl Iterator<Item = u16>,
    endpoints: &Endpoints,
    host: &Arc<Host>,
) -> Result<(Edge, Cluster), Exit> {
    let (http, https) = (free_port(options.http)?, free_port(options.https)?);
    let admin = options.edge.admin.map(|address| address.port());
    let taken = taken.chain([http.port(), https.port()]).chain(admin).collect();
    let settings =
        Settings { endpoints: endpoints.clone(), node: node.into(), taken, https_port: https.port() };
    let cluster = Cluster::new(settings).map_err(|error| unavailable(&chain(&error).to_string()))?;
    let listeners = vec![Listener::plain(http), Listener::tls(https, cluster.certificates())];
    let host = Arc::clone(host);
    let metrics = MoreMetrics(Arc::new(move || host.metrics()));
    let limits = LimitsByKind::default().serving;
    let config = serve::config(&options.edge, listeners, &limits, "shoal", metrics);
    let edge = Edge::bind(config).map_err(|error| serve::edge_error(&error))?;
    Ok((edge, cluster))
}

/// An edge that serves on threads of its own.
struct Serving(JoinHandle<Result<Served, shoal_edge::Error>>);

impl Serving {
    /// Accepts from now on.
    fn start(edge: Edge, cluster: &Cluster, drain: &Drain) -> Result<Self, Exit> {
        let (routes, drain) = (cluster.routes(), drain.clone());
        std::thread::Builder::new()
            .name("edge".into())
            .spawn(move || edge.serve(&routes, &drain))
            .map(Self)
            .map_err(|error| unavailable(&format!("cannot start a thread: {error}")))
    }

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

/// Waits until the node says that it is ready, or all is to end.
async fn is_up(client: &Client, name: &str, drain: &Drain) {
    let nodes = Cache::new(client.clone(), kinds::NODES, "", Select::named(name));
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

/// The name of the node: what was given, else the machine's own, as objects may be named.
pub(crate) fn node_name(given: Option<&str>) -> Result<String, Exit> {
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
/// that it would call `towards` from; a machine without a way there has its own only.
pub(crate) fn own_address(address: IpAddr, towards: SocketAddr) -> IpAddr {
    if !address.is_unspecified() {
        return address;
    }
    // Who calls from this machine reaches it by any of its addresses, others do not; nor does who speaks IPv6 where only IPv4 is
    // listened to.
    let is_of_use = !towards.ip().is_loopback() && (towards.is_ipv4() || address.is_ipv6());
    let way = way_to(if is_of_use { towards } else { OTHERS });
    way.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The address from which this machine calls another one. Connecting a UDP socket sends nothing: the kernel picks the way.
fn way_to(other: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr =
        if other.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(other)?;
    Ok(socket.local_addr()?.ip())
}

/// Says where the edge takes requests. The first line is for scripts, too.
pub(crate) fn announce(edge: &[SocketAddr]) {
    for (scheme, address) in ["http", "https"].into_iter().zip(edge) {
        crate::server::said(&format!("Serving on {scheme}://{}", serve::reachable(*address)));
    }
}

/// Opens the socket on which the node is asked for logs.
pub(crate) async fn listen(address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr), Exit> {
    let opened = async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        std::io::Result::Ok((listener, address))
    };
    opened.await.map_err(|error| unavailable(&format!("cannot listen on {address} for the node: {error}")))
}

pub(crate) fn unavailable(what: &str) -> Exit {
    Exit::error(exit::UNAVAILABLE, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_reached_by_an_address_of_its_own() {
        let given = IpAddr::from([192, 0, 2, 7]);
        assert_eq!(own_address(given, OTHERS), given);
        for everywhere in ["0.0.0.0", "::"] {
            assert!(!own_address(everywhere.parse().expect("an address"), OTHERS).is_unspecified());
        }
        let [here, sixth] =
            ["127.0.0.1:6443", "[2001:db8::1]:6443"].map(|text| text.parse().expect("an address"));
        assert!(way_to(here).is_ok_and(|from| from == here.ip()), "where it leads decides");
        let everywhere = Ipv4Addr::UNSPECIFIED.into();
        for other in [here, sixth] {
            assert_eq!(own_address(everywhere, other), own_address(everywhere, OTHERS), "{other}");
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
