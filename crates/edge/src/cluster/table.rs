//! One version of the routes of a cluster: made of a plan, never changed, read by every request.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use http::uri::Scheme;
use shoal_runtime::Invoke;

use super::backend::Backend;
use super::bounded::Bounded;
use super::facts::{Key, Service, ServiceKind};
use super::hosts::{Hosts, Match, plain};
use super::options::RouteOptions;
use super::plan::{Aim, Plan, aim};
use super::refuse::{Nowhere, ToHttps};
use super::send::Target;
use crate::routes::{Entry, Found};

/// The routes of a cluster.
#[derive(Debug)]
pub(crate) struct Table {
    hosts: Hosts<Way>,
    default: Option<Way>,
    ports: HashMap<u16, Way>,
    services: HashMap<Box<str>, HashMap<Box<str>, Arc<Inside>>>,
    /// Services by the addresses that they have inside of the cluster.
    addresses: HashMap<IpAddr, Arc<Inside>>,
    to_https: ToHttps,
}

/// Where a route leads.
#[derive(Debug)]
struct Way {
    target: Target,
    redirects: bool,
}

/// A Service as guests call it.
#[derive(Debug)]
struct Inside {
    ports: Vec<(u16, Bounded)>,
    /// Answers for ports that it does not have.
    no_port: Bounded,
}

impl Table {
    /// The table of a plan. `backend` finds the Service of a key, or makes it.
    pub(crate) fn of(
        plan: &Plan,
        services: &BTreeMap<Key, Service>,
        https_port: u16,
        mut backend: impl FnMut(&Key) -> Arc<Backend>,
    ) -> Self {
        let mut way = |aim: &Aim| Way {
            redirects: aim.options.redirects,
            target: Target::new(backend(&aim.service), aim.clone()),
        };
        let mut hosts = Hosts::default();
        for route in &plan.routes {
            hosts.insert(&route.host, &route.path, route.is_exact, way(&route.aim));
        }
        let default = plan.default.as_ref().map(&mut way);
        let ports = plan.ports.iter().map(|(number, port)| (*number, way(&port.aim))).collect();
        let mut table = Self {
            hosts,
            default,
            ports,
            services: HashMap::new(),
            addresses: HashMap::new(),
            to_https: ToHttps::new(https_port),
        };
        for (key, service) in services.iter().filter(|(_, service)| service.kind != ServiceKind::ExternalName)
        {
            table.add_inside(key, service, &backend(key));
        }
        table
    }

    fn add_inside(&mut self, key: &Key, service: &Service, backend: &Arc<Backend>) {
        let wishes = RouteOptions::default();
        let target = |aim: Aim| Bounded(Target::new(backend.clone(), aim));
        let ports = service.ports.iter().filter(|port| port.is_tcp);
        let why = format!("service {} has no such TCP port", backend.name);
        let no_port =
            Aim { service: key.clone(), port: String::new(), broken: Some(why), options: wishes.clone() };
        let inside = Arc::new(Inside {
            ports: ports.map(|port| (port.number, target(aim(key, service, port, &wishes)))).collect(),
            no_port: target(no_port),
        });
        for address in service.addresses.iter().filter_map(|address| address.parse().ok()) {
            self.addresses.insert(address, inside.clone());
        }
        let (namespace, name) = key;
        self.services.entry(namespace.as_str().into()).or_default().insert(name.as_str().into(), inside);
    }

    /// Where a request goes that came in by `entry`.
    pub(crate) fn find(&self, entry: Entry, scheme: &Scheme, host: &str, path: &str) -> Found<'_> {
        let way = match entry {
            Entry::Port(port) => self.ports.get(&port).ok_or(&Nowhere::Port),
            Entry::Ingress => match (self.hosts.find(host, path), &self.default) {
                (Match::Route(way), _) | (Match::NoPath | Match::NoHost, Some(way)) => Ok(way),
                (Match::NoPath, None) => Err(&Nowhere::Path),
                (Match::NoHost, None) => Err(&Nowhere::Host),
            },
        };
        match way {
            Ok(way) if way.redirects && *scheme == Scheme::HTTP => Found::Workload(&self.to_https),
            Ok(way) => Found::Service(&way.target),
            Err(nowhere) => Found::Workload(nowhere),
        }
    }

    /// The Service that a guest of `namespace` means; see [`shoal_runtime::Mesh`].
    pub(crate) fn service(&self, namespace: &str, host: &str, port: u16) -> Option<Arc<dyn Invoke>> {
        let inside = match address(host) {
            Some(address) => self.addresses.get(&address)?,
            None => {
                let host = plain(host);
                let (namespace, name) = named(namespace, &host)?;
                self.services.get(namespace)?.get(name)?
            }
        };
        let of_port = inside.ports.iter().find(|(number, _)| *number == port);
        Some(Arc::new(of_port.map_or(&inside.no_port, |(_, target)| target).clone()))
    }
}

/// The address that a host is, if it is one; IPv6 with brackets or without, however it is spelled.
fn address(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Namespace and name of the Service that a name in the cluster means.
fn named<'a>(namespace: &'a str, host: &'a str) -> Option<(&'a str, &'a str)> {
    let mut labels = host.split('.');
    let name = labels.next()?;
    let namespace = labels.next().unwrap_or(namespace);
    match (labels.next(), labels.next(), labels.next(), labels.next()) {
        (None, ..) | (Some("svc"), None, ..) | (Some("svc"), Some("cluster"), Some("local"), None) => {
            Some((namespace, name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_names() {
        for (host, wanted) in [
            ("10.96.0.7", Some("10.96.0.7")),
            ("fd00::7", Some("fd00::7")),
            ("[FD00:0::0007]", Some("fd00::7")),
            ("::ffff:10.96.0.7", Some("10.96.0.7")),
            ("web", None),
            ("[web]", None),
            ("10.96.0", None),
        ] {
            assert_eq!(address(host), wanted.map(|text| text.parse().expect("an address")), "{host}");
        }
    }

    #[test]
    fn names_of_services_are_those_of_cluster_dns() {
        for (host, wanted) in [
            ("web", Some(("own", "web"))),
            ("web.shop", Some(("shop", "web"))),
            ("web.shop.svc", Some(("shop", "web"))),
            ("web.shop.svc.cluster.local", Some(("shop", "web"))),
            ("web.shop.pod", None),
            ("web.shop.svc.cluster", None),
            ("web.shop.svc.cluster.local.test", None),
            ("api.web.shop.svc", None),
        ] {
            assert_eq!(named("own", host), wanted, "{host}");
        }
    }
}
