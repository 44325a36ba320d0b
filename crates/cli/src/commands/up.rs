//! `shoal up`: this machine is a cluster: API server, controllers, node and edge in one process.

use std::net::{IpAddr, SocketAddr};

use super::registry::{RegistryOptions, TypedReach};
use super::run::serve::{EdgeOptions, TypedEdge, address, twice};
use super::server::{ServerOptions, TypedPlace};
use crate::exit::{self, Exit};

/// Where the edge takes plain requests when nothing is said.
const HTTP_DEFAULT: &str = "127.0.0.1:8080";
/// Where the edge takes requests over TLS when nothing is said.
const HTTPS_DEFAULT: &str = "127.0.0.1:8443";

/// Make this machine a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct UpRequest {
    /// How the API server runs.
    pub server: ServerOptions,
    /// The name of this machine's node; none: the machine's own name.
    pub node: Option<String>,
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
}

/// Make this machine a cluster: API server, controllers, node and edge in one process
#[derive(Debug, clap::Args)]
pub(crate) struct TypedUp {
    #[command(flatten)]
    place: TypedPlace,
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
}

impl TypedUp {
    pub(crate) fn meaning(self) -> Result<UpRequest, Exit> {
        let Self { place, node, http, https, ports, registry, edge } = self;
        let (server, registry, edge) = (place.meaning(true)?, registry.meaning()?, edge.meaning()?);
        if let Some(twice) = twice([&http, &https, &server.listen].into_iter().chain(&edge.admin)) {
            return Err(Exit::error(exit::USAGE, format!("{twice} is given twice"))
                .hint("give --listen, --http, --https and --admin an address of their own each"));
        }
        Ok(UpRequest { server, node, http, https, ports, registry, edge })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: TypedUp,
    }

    fn read(line: &str) -> Result<UpRequest, String> {
        let typed = Line::try_parse_from(std::iter::once("up").chain(line.split_whitespace()));
        typed.map_err(|error| error.to_string())?.up.meaning().map_err(|exit| format!("{exit:?}"))
    }

    #[test]
    fn without_a_word_only_this_machine_is_served() {
        let up = read("").expect("needs nothing");
        for address in [up.server.listen.ip(), up.http.ip(), up.https.ip(), up.ports] {
            assert!(address.is_loopback(), "{address}");
        }
        assert!(up.server.controllers);
        assert_eq!((up.node, up.edge.admin), (None, None));
    }

    #[test]
    fn each_socket_has_an_address_of_its_own() {
        assert!(read("--http 0.0.0.0:80 --https 0.0.0.0:443 --ports 0.0.0.0").is_ok());
        assert!(
            read("--http 0 --https 0 --listen 127.0.0.1:0").is_ok(),
            "three ports of the system's choice"
        );
        for line in ["--http 8443", "--https 6443", "--http 9090 --admin 9090"] {
            assert!(read(line).is_err_and(|error| error.contains("given twice")), "{line}");
        }
    }
}
