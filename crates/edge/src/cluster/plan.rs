//! Which requests go to which Service: a pure function of what the objects say. Where its replicas are changes much
//! more often, and is no part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::facts::{Backend, Class, Ingress, Key, Secret, Service, ServiceKind, ServicePort};
use super::hosts::PATH_BYTES_MAX;
use super::options::RouteOptions;

/// The objects that decide where requests go.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) services: BTreeMap<Key, Service>,
    pub(crate) ingresses: BTreeMap<Key, Ingress>,
    pub(crate) classes: BTreeMap<Key, Class>,
    pub(crate) secrets: BTreeMap<Key, Secret>,
}

/// What follows from them.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// No two have the same host, path and kind.
    pub(crate) routes: Vec<Route>,
    /// Where requests go that no route takes.
    pub(crate) default: Option<Aim>,
    /// Ports to open on the node.
    pub(crate) ports: BTreeMap<u16, Port>,
    /// The Secret with the certificate of each host (`*.` for all names one label below).
    pub(crate) certificates: BTreeMap<String, Key>,
    /// Ingresses that are this edge's.
    pub(crate) ingresses: BTreeSet<Key>,
    /// What is wrong with an object, by `Kind namespace/name`.
    pub(crate) problems: BTreeSet<(String, String)>,
}

/// One path of one host.
#[derive(Debug)]
pub(crate) struct Route {
    /// In lower case; `*.` and a name; empty for every host.
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) is_exact: bool,
    pub(crate) aim: Aim,
}

/// A port of the node.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) service: Key,
    pub(crate) aim: Aim,
}

/// A Service that requests go to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) service: Key,
    /// The name of its port, as EndpointSlices have it.
    pub(crate) port: String,
    /// Why nothing can ever come of it, in words for the client.
    pub(crate) broken: Option<String>,
    pub(crate) options: RouteOptions,
}

/// The class of an Ingress that is this edge's even where no IngressClass says so.
const OWN_CLASS: &str = "shoal";

/// Ports of the node that are opened for Services. Each takes a socket for each serving thread, of the files that
/// the process may have open; a cluster that publishes more has Ingresses for it.
pub(crate) const PORTS_MAX: usize = 1024;

/// Makes the plan. `taken`: ports of this node on which the edge serves Ingresses or itself.
pub(crate) fn plan(facts: &Facts, taken: &BTreeSet<u16>) -> Plan {
    let mut plan = Plan::default();
    let mut seen = BTreeSet::new();
    let mut ingresses: Vec<_> =
        facts.ingresses.iter().filter(|(_, ingress)| facts.is_ours(ingress)).collect();
    // What two name, the older one has, whatever order they are read in.
    ingresses.sort_by_key(|(key, ingress)| (&ingress.created, *key));
    for (key, ingress) in ingresses {
        plan.ingresses.insert(key.clone());
        plan.add_ingress(facts, key, ingress, &mut seen);
    }
    let mut services: Vec<_> = facts.services.iter().collect();
    services.sort_by_key(|(key, service)| (&service.created, *key));
    for (key, service) in services {
        plan.note("Service", key, &service.options.mistakes);
        plan.add_ports(key, service, taken);
    }
    plan
}

impl Facts {
    /// An Ingress that names a class is ours if the class is; one that names none, unless another controller's
    /// class is the default.
    fn is_ours(&self, ingress: &Ingress) -> bool {
        let Some(name) = &ingress.class else {
            return !self.classes.values().any(|class| class.is_default && !class.is_ours);
        };
        let class = self.classes.get(&(String::new(), name.clone()));
        class.map_or(name == OWN_CLASS, |class| class.is_ours)
    }

    fn aim(&self, namespace: &str, backend: &Backend, options: &RouteOptions) -> Aim {
        let key = (namespace.to_owned(), backend.service.clone());
        let name = format!("{namespace}/{}", backend.service);
        let broken = |why: String| Aim {
            service: key.clone(),
            port: String::new(),
            broken: Some(why),
            options: RouteOptions::default(),
        };
        match self.services.get(&key) {
            None => broken(format!("service {name} does not exist")),
            Some(service) if service.kind == ServiceKind::ExternalName => {
                broken(format!("service {name} is of type ExternalName, which is not routed to"))
            }
            Some(service) => match service.port(&backend.port) {
                None => broken(format!("service {name} has no TCP port {}", backend.port)),
                Some(port) => aim(&key, service, port, options),
            },
        }
    }
}

/// The aim of requests for this port of a Service.
pub(crate) fn aim(key: &Key, service: &Service, port: &ServicePort, options: &RouteOptions) -> Aim {
    let options = options.over(&service.options);
    Aim { service: key.clone(), port: port.name.clone(), broken: None, options }
}

impl Plan {
    fn add_ingress(
        &mut self,
        facts: &Facts,
        key: &Key,
        ingress: &Ingress,
        seen: &mut BTreeSet<(String, String, bool)>,
    ) {
        self.note("Ingress", key, &ingress.options.mistakes);
        for rule in &ingress.rules {
            let aim = facts.aim(&key.0, &rule.backend, &ingress.options);
            self.note("Ingress", key, &aim.broken);
            let path = if rule.is_exact { rule.path.as_str() } else { rule.path.trim_end_matches('/') };
            if path.len() > PATH_BYTES_MAX {
                let why = format!("a path has more than {PATH_BYTES_MAX} bytes, and is not served");
                self.note("Ingress", key, &[why]);
                continue;
            }
            if !seen.insert((rule.host.clone(), path.to_owned(), rule.is_exact)) {
                let why = format!("host `{}`, path `{}` is that of an older Ingress", rule.host, rule.path);
                self.note("Ingress", key, &[why]);
                continue;
            }
            let (host, path) = (rule.host.clone(), path.to_owned());
            self.routes.push(Route { host, path, is_exact: rule.is_exact, aim });
        }
        if let Some(backend) = &ingress.default {
            let aim = facts.aim(&key.0, backend, &ingress.options);
            self.note("Ingress", key, &aim.broken);
            if self.default.is_some() {
                self.note("Ingress", key, &["an older Ingress has the default backend".to_owned()]);
            } else {
                self.default = Some(aim);
            }
        }
        self.add_certificates(facts, key, ingress);
    }

    fn add_certificates(&mut self, facts: &Facts, key: &Key, ingress: &Ingress) {
        for tls in ingress.tls.iter().filter(|tls| !tls.secret.is_empty()) {
            let secret = (key.0.clone(), tls.secret.clone());
            let why = match facts.secrets.get(&secret).map(|secret| &secret.0) {
                None => format!("there is no Secret {} of type kubernetes.io/tls", tls.secret),
                Some(Err(why)) => format!("the Secret {} is of no use: {why}", tls.secret),
                Some(Ok(_)) => {
                    let of_rules = ingress.rules.iter().map(|rule| &rule.host);
                    let hosts: Vec<_> =
                        if tls.hosts.is_empty() { of_rules.collect() } else { tls.hosts.iter().collect() };
                    for host in hosts.into_iter().filter(|host| !host.is_empty()) {
                        self.certificates.entry(host.clone()).or_insert_with(|| secret.clone());
                    }
                    continue;
                }
            };
            self.note("Ingress", key, &[why]);
        }
    }

    fn add_ports(&mut self, key: &Key, service: &Service, taken: &BTreeSet<u16>) {
        let on_nodes = matches!(
            service.kind,
            ServiceKind::NodePort | ServiceKind::LoadBalancer | ServiceKind::ForeignBalancer
        );
        if !on_nodes {
            return;
        }
        for port in &service.ports {
            let balanced = (service.kind == ServiceKind::LoadBalancer).then_some(port.number);
            for number in port.node_port.into_iter().chain(balanced) {
                if !port.is_tcp {
                    self.note("Service", key, &[format!("port {number} is not TCP, and is not served")]);
                } else if taken.contains(&number) {
                    self.note("Service", key, &[format!("the edge itself serves on port {number}")]);
                } else if let Some(other) = self.ports.get(&number).filter(|other| other.service != *key) {
                    let (namespace, name) = &other.service;
                    let why = format!("port {number} is that of the older service {namespace}/{name}");
                    self.note("Service", key, &[why]);
                } else if self.ports.len() >= PORTS_MAX && !self.ports.contains_key(&number) {
                    // One sentence, however many ports it is about.
                    let why = format!(
                        "not all of its ports are open: services have {PORTS_MAX} ports of a node at most, the older ones first"
                    );
                    self.note("Service", key, &[why]);
                } else {
                    let aim = aim(key, service, port, &RouteOptions::default());
                    self.ports.insert(number, Port { service: key.clone(), aim });
                }
            }
        }
    }

    fn note<'a>(&mut self, kind: &str, (namespace, name): &Key, why: impl IntoIterator<Item = &'a String>) {
        let object = format!("{kind} {namespace}/{name}");
        self.problems.extend(why.into_iter().map(|why| (object.clone(), why.clone())));
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for route in &self.routes {
            let host = if route.host.is_empty() { "(any)" } else { &route.host };
            let rest = if route.is_exact { "" } else { "/..." };
            writeln!(f, "{host} {}{rest} -> {}", route.path, route.aim)?;
        }
        if let Some(aim) = &self.default {
            writeln!(f, "else -> {aim}")?;
        }
        for (number, port) in &self.ports {
            writeln!(f, "port {number} -> {}", port.aim)?;
        }
        for (host, (namespace, name)) in &self.certificates {
            writeln!(f, "certificate of {host}: {namespace}/{name}")?;
        }
        for (object, why) in &self.problems {
            writeln!(f, "{object}: {why}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RouteOptions { timeout, request_body_bytes, in_flight, redirects, mistakes: _ } = &self.options;
        let (namespace, name) = &self.service;
        match &self.broken {
            Some(why) => write!(f, "503 {why}")?,
            None => write!(f, "{namespace}/{name} `{}`", self.port)?,
        }
        timeout.iter().try_for_each(|timeout| write!(f, " timeout={timeout:?}"))?;
        request_body_bytes.iter().try_for_each(|bytes| write!(f, " body<={bytes}"))?;
        in_flight.iter().try_for_each(|count| write!(f, " in-flight<={count}"))?;
        if *redirects { f.write_str(" https-only") } else { Ok(()) }
    }
}
