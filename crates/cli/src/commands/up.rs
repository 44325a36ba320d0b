//! `shoal up`: this machine is a cluster: API server, controllers, node and edge in one process.

use super::node::{NodeOptions, TypedNodeOptions};
use super::run::serve::twice;
use super::server::{ServerOptions, TypedPlace};
use crate::exit::{self, Exit};

/// Make this machine a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct UpRequest {
    /// How the API server runs.
    pub server: ServerOptions,
    /// How the node and its edge run.
    pub node: NodeOptions,
}

/// Make this machine a cluster: API server, controllers, node and edge in one process
#[derive(Debug, clap::Args)]
pub(crate) struct TypedUp {
    #[command(flatten)]
    place: TypedPlace,
    #[command(flatten)]
    node: TypedNodeOptions,
}

impl TypedUp {
    pub(crate) fn meaning(self) -> Result<UpRequest, Exit> {
        let (server, node) = (self.place.meaning(true)?, self.node.meaning()?);
        if let Some(twice) = twice(node.sockets().chain([&server.listen])) {
            return Err(Exit::error(exit::USAGE, format!("{twice} is given twice"))
                .hint("give --listen, --http, --https and --admin an address of their own each"));
        }
        Ok(UpRequest { server, node })
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
        for address in [up.server.listen.ip(), up.node.http.ip(), up.node.https.ip(), up.node.ports] {
            assert!(address.is_loopback(), "{address}");
        }
        assert!(up.server.controllers);
        assert_eq!((up.node.name, up.node.edge.admin), (None, None));
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
