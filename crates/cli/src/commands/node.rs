//! `shoal node`: this machine is a node of a cluster whose API is elsewhere. And what every node is told.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use shoal_base::units::Bytes;

use super::registry::{RegistryOptions, TypedReach};
use super::run::limits::TypedTotal;
use super::run::serve::{EdgeOptions, TypedEdge, address, twice};
use crate::data_dir::Surroundings;
use crate::exit::{self, Exit};

/// Where the edge takes plain requests when nothing is said.
const HTTP_DEFAULT: &str = "127.0.0.1:8080";
/// Where the edge takes requests over TLS when nothing is said.
const HTTPS_DEFAULT: &str = "127.0.0.1:8443";

/// How a node and its edge run.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeOptions {
    /// The name of the node; none: the machine's own name.
    pub name: Option<String>,
    /// Where the edge takes plain requests for the hosts of Ingresses.
    pub http: SocketAddr,
    /// Where it takes them over TLS.
    pub https: SocketAddr,
    /// The address of this machine on which ports of Services are opened.
    pub ports: IpAddr,
    /// How the node reaches registries; credentials are those of the pods.
    pub registry: RegistryOptions,
    /// How the edge works.
    pub edge: EdgeOptions,
    /// What all guests of the node together may have; none: a share of what the machine has.
    pub total_memory: Option<Bytes>,
}

impl NodeOptions {
    /// The sockets that were named.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &SocketAddr> {
        [&self.http, &self.https].into_iter().chain(&self.edge.admin)
    }
}

/// Make this machine a node of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRequest {
    /// The file that says where the API is, and who the node is there.
    pub kubeconfig: PathBuf,
    /// Where the API server asks for logs; none: at the address of the node, at a port that the system picks.
    pub listen: Option<SocketAddr>,
    /// How the node and its edge run.
    pub node: NodeOptions,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TypedNodeOptions {
    /// The name of this machine's node [default: the machine's own name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Take plain requests for the hosts of Ingresses here; beyond this machine anybody who reaches it may ask
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = HTTP_DEFAULT)]
    http: SocketAddr,
    /// Take requests for the hosts of Ingresses over TLS here
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = HTTPS_DEFAULT)]
    https: SocketAddr,
    /// The address of this machine on which ports of Services (NodePort, LoadBalancer) are opened
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    ports: IpAddr,
    #[command(flatten)]
    registry: TypedReach,
    #[command(flatten)]
    edge: TypedEdge,
    #[command(flatten)]
    total: TypedTotal,
}

impl TypedNodeOptions {
    pub(crate) fn meaning(self) -> Result<NodeOptions, Exit> {
        let Self { node, http, https, ports, registry, edge, total } = self;
        let (registry, edge) = (registry.meaning()?, edge.meaning()?);
        Ok(NodeOptions { name: node, http, https, ports, registry, edge, total_memory: total.total_memory })
    }
}

/// Make this machine a node of a cluster: the agent and the edge, against any Kubernetes API
#[derive(Debug, clap::Args)]
pub(crate) struct TypedNode {
    /// Where the API is, and who the node is there [env: KUBECONFIG]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Be asked for logs and for what pods use here [default: the address of --ports, or the one that leads to the API;
    /// a port that the system picks]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    node: TypedNodeOptions,
}

impl TypedNode {
    pub(crate) fn meaning(self, around: &Surroundings) -> Result<NodeRequest, Exit> {
        let node = self.node.meaning()?;
        if let Some(twice) = twice(node.sockets().chain(&self.listen)) {
            return Err(Exit::error(exit::USAGE, format!("{twice} is given twice"))
                .hint("give --listen, --http, --https and --admin an address of their own each"));
        }
        if let Some(listen) = self.listen.filter(|listen| listen.ip().is_unspecified()) {
            return Err(Exit::error(exit::USAGE, format!("{listen} is no address at which a node is found"))
                .hint("give --listen an address of this machine that the API server reaches"));
        }
        let Some(kubeconfig) = self.kubeconfig.or_else(|| around.kubeconfig.clone()) else {
            return Err(Exit::error(exit::USAGE, "it is not said of which cluster this is a node").hint(
                "give --kubeconfig FILE or set KUBECONFIG; `shoal up` makes a cluster of this machine",
            ));
        };
        Ok(NodeRequest { kubeconfig, listen: self.listen, node })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        node: TypedNode,
    }

    fn read(line: &str, around: &Surroundings) -> Result<NodeRequest, String> {
        let typed = Line::try_parse_from(std::iter::once("node").chain(line.split_whitespace()));
        let typed = typed.map_err(|error| error.to_string())?;
        typed.node.meaning(around).map_err(|exit| format!("{exit:?}"))
    }

    #[test]
    fn a_node_is_one_of_a_cluster() {
        let nowhere = Surroundings::default();
        let set = Surroundings { kubeconfig: Some("/set".into()), ..Surroundings::default() };
        assert!(read("", &nowhere).is_err_and(|error| error.contains("of which cluster")));
        assert!(read("", &set).is_ok_and(|node| node.kubeconfig.as_os_str() == "/set"));
        let node = read("--kubeconfig k --node one --listen 10.0.0.1:10250", &set).expect("well typed");
        assert_eq!((node.kubeconfig.to_str(), node.node.name.as_deref()), (Some("k"), Some("one")));
        assert_eq!(node.listen, Some(([10, 0, 0, 1], 10250).into()));
    }

    #[test]
    fn each_socket_has_an_address_where_it_is_found() {
        let set = Surroundings { kubeconfig: Some("/set".into()), ..Surroundings::default() };
        for (line, why) in [
            ("--http 8443", "given twice"),
            ("--listen 8080", "given twice"),
            ("--listen 0.0.0.0:10250", "no address at which"),
        ] {
            assert!(read(line, &set).is_err_and(|error| error.contains(why)), "{line}");
        }
        assert!(read("--http 0 --https 0 --listen 127.0.0.1:0", &set).is_ok());
    }
}
