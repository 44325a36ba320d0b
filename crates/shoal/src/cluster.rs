//! Which cluster is meant, and the way to it: what all verbs that speak to one share.

pub(crate) mod apply;
pub(crate) mod documents;
pub(crate) mod find;
pub(crate) mod kinds;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod world;

use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use shoal_cli::cluster::ClusterOptions;
use shoal_cli::{Common, Exit, exit};
use shoal_client::http::Http;
use shoal_client::kubeconfig::Config;
use shoal_client::{Client, Error};

/// What kubectl needs, in the data directory of `shoal up`.
pub(crate) const KUBECONFIG: &str = "kubeconfig";
/// What the API calls this program: in its audit log, and as the owner of the fields that were deployed.
pub(crate) const AGENT: &str = "shoal";
/// Where objects go when nobody says.
const NAMESPACE_DEFAULT: &str = "default";

/// A cluster, and the namespace that is meant.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    config: Config,
}

impl Cluster {
    /// The cluster that was named, or that of this machine. Nothing is asked of it yet.
    pub(crate) fn reach(common: &Common, options: &ClusterOptions) -> Result<Self, Exit> {
        let own = common.data_dir.join(KUBECONFIG);
        let path = options.kubeconfig.as_deref().unwrap_or(&own);
        if !path.exists() {
            let what = format!("no cluster: {} is not there", path.display());
            return Err(Exit::error(exit::UNAVAILABLE, what)
                .hint("start one with `shoal up`, or name another with --kubeconfig FILE"));
        }
        let (config, client) = connect(path, AGENT)?;
        let given = options.namespace.clone().or_else(|| some(&config.namespace));
        Ok(Self { client, namespace: given.unwrap_or_else(|| NAMESPACE_DEFAULT.into()), config })
    }

    /// A cluster behind this client, for tests.
    #[cfg(test)]
    pub(crate) fn of_client(client: Client) -> Self {
        let config = Config {
            server: String::new(),
            server_name: String::new(),
            authorities: None,
            certificate: None,
            token: shoal_client::kubeconfig::Token::None,
            namespace: String::new(),
        };
        Self { client, namespace: NAMESPACE_DEFAULT.into(), config }
    }

    /// Whether the API is on this machine, so that paths of this machine mean something to its nodes.
    pub(crate) fn is_here(&self) -> bool {
        is_here(&self.config.server)
    }
}

/// The way that a kubeconfig leads to.
pub(crate) fn connect(path: &Path, agent: &'static str) -> Result<(Config, Client), Exit> {
    let config = Config::from_file(path, None).map_err(|error| unusable(error.to_string()))?;
    let client = client(path, &config, agent)?;
    Ok((config, client))
}

/// A client of what a kubeconfig says, with connections of its own.
pub(crate) fn client(path: &Path, config: &Config, agent: &'static str) -> Result<Client, Exit> {
    let http = Http::new(config).map_err(|why| unusable(format!("{}: {why}", path.display())))?;
    Ok(Client::new(Arc::new(http), agent))
}

fn unusable(why: String) -> Exit {
    Exit::error(exit::USAGE, why).hint("name another with --kubeconfig FILE, or set KUBECONFIG")
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether a URL leads to this machine: to an address on which a socket can be opened.
pub(crate) fn is_here(url: &str) -> bool {
    addresses(url).into_iter().any(|address| UdpSocket::bind((address.ip(), 0)).is_ok())
}

/// The first address to which a URL leads; none: its host is not known.
pub(crate) fn address(url: &str) -> Option<SocketAddr> {
    addresses(url).into_iter().next()
}

fn addresses(url: &str) -> Vec<SocketAddr> {
    let Ok(uri) = url.parse::<hyper::Uri>() else { return Vec::new() };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(443);
    (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

/// An error of the API, with what it happened to.
pub(crate) fn failed(what: impl std::fmt::Display, error: &Error) -> Exit {
    match error {
        Error::Unreachable { server, .. } => {
            let exit = Exit::error(exit::UNAVAILABLE, format!("{what}: {error}"));
            // Whoever runs the API of another machine starts it some other way.
            if is_here(server) { exit.hint("is `shoal up` running?") } else { exit }
        }
        Error::Refused(refused) => {
            let code = match refused.code {
                404 => exit::NO_INPUT,
                400 | 409 | 422 => exit::USAGE,
                _ => exit::UNAVAILABLE,
            };
            Exit::error(code, format!("{what}: {error}"))
        }
        Error::Answer { .. } => Exit::error(exit::UNAVAILABLE, format!("{what}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_here() {
        for here in ["https://127.0.0.1:6443", "https://[::1]:6443", "https://localhost:6443/api"] {
            // A machine may have no IPv6.
            assert!(is_here(here) || here.contains("::1"), "{here}");
        }
        for elsewhere in ["https://192.0.2.1:6443", "https://[2001:db8::1]", "no url", ""] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_said_with_what_was_asked() {
        for (server, hints) in [("https://127.0.0.1:6443", 1), ("https://192.0.2.1:6443", 0)] {
            let error = Error::Unreachable { server: server.into(), why: "nobody answers".into() };
            let Exit::Error(complaint) = failed("cannot list pods", &error) else { panic!("an error") };
            assert!(complaint.what.starts_with("cannot list pods: "), "{}", complaint.what);
            assert_eq!((complaint.code, complaint.hints.len()), (exit::UNAVAILABLE, hints), "{server}");
        }
    }

    #[test]
    fn a_cluster_that_is_not_there_is_named_with_the_way_out() {
        let common =
            Common { data_dir: "/nowhere".into(), key: None, log: None, color: shoal_cli::Color::default() };
        let Err(Exit::Error(complaint)) = Cluster::reach(&common, &ClusterOptions::default()) else {
            panic!("there is none");
        };
        assert_eq!((complaint.code, complaint.hints.len()), (exit::UNAVAILABLE, 1));
        assert!(complaint.what.contains("/nowhere/kubeconfig"), "{}", complaint.what);
    }
}
