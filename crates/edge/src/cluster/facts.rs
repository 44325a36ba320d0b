//! What routing needs to know of each object, read once when the object changes. Whatever an object holds instead of
//! what it should is as if it were absent: objects come from outside.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use serde_json::Value;

use super::options::RouteOptions;
use crate::tls;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) created: String,
    pub(crate) ports: Vec<ServicePort>,
    /// Its addresses inside of the cluster.
    pub(crate) addresses: Vec<String>,
    pub(crate) kind: ServiceKind,
    /// One client stays with one replica.
    pub(crate) has_affinity: bool,
    pub(crate) options: RouteOptions,
    /// Addresses in its status, for a load balancer.
    pub(crate) published: Vec<String>,
}

/// What a Service is reached by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ServiceKind {
    #[default]
    Inside,
    NodePort,
    LoadBalancer,
    /// Somebody else's load balancer (`loadBalancerClass`).
    ForeignBalancer,
    /// A name elsewhere.
    ExternalName,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) number: u16,
    /// None: it is not open on nodes.
    pub(crate) node_port: Option<u16>,
    pub(crate) is_tcp: bool,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) service: String,
    /// Names of its ports; none: it says nothing of ports, and has all.
    pub(crate) ports: Option<Vec<String>>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The uid of its pod; empty: it is no pod.
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) is_ready: bool,
    /// It ends, and answers until then.
    pub(crate) is_leaving: bool,
}

/// An Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ingress {
    pub(crate) created: String,
    /// None: it names no class.
    pub(crate) class: Option<String>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) default: Option<Backend>,
    pub(crate) tls: Vec<Tls>,
    pub(crate) options: RouteOptions,
    /// Addresses in its status.
    pub(crate) published: Vec<String>,
}

/// One path of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// In lower case; empty: every host.
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) is_exact: bool,
    pub(crate) backend: Backend,
}

/// A Service and its port, as an Ingress names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) service: String,
    pub(crate) port: BackendPort,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BackendPort {
    Number(u16),
    Name(String),
}

/// A certificate for some hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) hosts: Vec<String>,
    pub(crate) secret: String,
}

/// An IngressClass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) is_ours: bool,
    pub(crate) is_default: bool,
}

/// A Secret of type `kubernetes.io/tls`: the key, or why there is none.
#[derive(Clone, Debug)]
pub(crate) struct Secret(pub(crate) Result<Arc<CertifiedKey>, String>);

/// The controller that an IngressClass names when its Ingresses are this edge's.
pub(crate) const CONTROLLER: &str = "shoal.dev/ingress";

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const OLD_CLASS: &str = "kubernetes.io/ingress.class";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl Service {
    pub(crate) fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let kind = match text(&spec["type"]) {
            "NodePort" => ServiceKind::NodePort,
            "LoadBalancer" if text(&spec["loadBalancerClass"]).is_empty() => ServiceKind::LoadBalancer,
            "LoadBalancer" => ServiceKind::ForeignBalancer,
            "ExternalName" => ServiceKind::ExternalName,
            _ => ServiceKind::Inside,
        };
        let addresses = texts(&spec["clusterIPs"]).filter(|address| *address != "None").map(str::to_owned);
        Self {
            created: created(object),
            ports: items(&spec["ports"]).filter_map(ServicePort::of).collect(),
            addresses: addresses.collect(),
            kind,
            has_affinity: spec["sessionAffinity"] == "ClientIP",
            options: RouteOptions::of(object),
            published: published(object),
        }
    }

    /// Whether requests go the same way by both: what its status says is no part of that.
    pub(crate) fn routes_as(&self, other: &Self) -> bool {
        let Self { created, ports, addresses, kind, has_affinity, options, published: _ } = self;
        (created, ports, addresses) == (&other.created, &other.ports, &other.addresses)
            && (kind, has_affinity, options) == (&other.kind, &other.has_affinity, &other.options)
    }

    /// The port that an Ingress names.
    pub(crate) fn port(&self, named: &BackendPort) -> Option<&ServicePort> {
        self.ports.iter().filter(|port| port.is_tcp).find(|port| match named {
            BackendPort::Number(number) => port.number == *number,
            BackendPort::Name(name) => port.name == *name,
        })
    }
}

impl ServicePort {
    fn of(port: &Value) -> Option<Self> {
        Some(Self {
            name: text(&port["name"]).to_owned(),
            number: number(&port["port"])?,
            node_port: number(&port["nodePort"]),
            is_tcp: matches!(text(&port["protocol"]), "" | "TCP"),
        })
    }
}

impl Slice {
    pub(crate) fn of(object: &Value) -> Self {
        let names = |ports: &Vec<Value>| ports.iter().map(|port| text(&port["name"]).to_owned()).collect();
        Self {
            service: text(&object["metadata"]["labels"][SERVICE_NAME]).to_owned(),
            ports: object["ports"].as_array().filter(|ports| !ports.is_empty()).map(names),
            endpoints: items(&object["endpoints"]).map(Endpoint::of).collect(),
        }
    }
}

impl Endpoint {
    /// Absent conditions mean what the API says: ready unless told otherwise, serving as ready.
    fn of(endpoint: &Value) -> Self {
        let conditions = &endpoint["conditions"];
        let is_ready = conditions["ready"].as_bool().unwrap_or(true);
        let serves = conditions["serving"].as_bool().unwrap_or(is_ready);
        let terminates = conditions["terminating"].as_bool().unwrap_or(false);
        Self {
            uid: text(&endpoint["targetRef"]["uid"]).to_owned(),
            node: text(&endpoint["nodeName"]).to_owned(),
            is_ready,
            is_leaving: !is_ready && serves && terminates,
        }
    }
}

impl Ingress {
    pub(crate) fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let old = object["metadata"]["annotations"][OLD_CLASS].as_str();
        let tls = |tls: &Value| Tls {
            hosts: texts(&tls["hosts"]).map(str::to_ascii_lowercase).collect(),
            secret: text(&tls["secretName"]).to_owned(),
        };
        Self {
            created: created(object),
            class: spec["ingressClassName"].as_str().or(old).map(str::to_owned),
            rules: items(&spec["rules"]).flat_map(rules).collect(),
            default: Backend::of(&spec["defaultBackend"]),
            tls: items(&spec["tls"]).map(tls).collect(),
            options: RouteOptions::of(object),
            published: published(object),
        }
    }

    /// Whether requests go the same way by both: what its status says is no part of that.
    pub(crate) fn routes_as(&self, other: &Self) -> bool {
        let Self { created, class, rules, default, tls, options, published: _ } = self;
        (created, class, rules) == (&other.created, &other.class, &other.rules)
            && (default, tls, options) == (&other.default, &other.tls, &other.options)
    }
}

/// The paths of one host. A rule without paths sends everything to the default backend, which it gets anyway.
fn rules(rule: &Value) -> impl Iterator<Item = Rule> {
    let host = text(&rule["host"]).to_ascii_lowercase();
    items(&rule["http"]["paths"]).filter_map(move |path| {
        Some(Rule {
            host: host.clone(),
            path: Some(text(&path["path"])).filter(|path| !path.is_empty()).unwrap_or("/").to_owned(),
            is_exact: path["pathType"] == "Exact",
            backend: Backend::of(&path["backend"])?,
        })
    })
}

impl Backend {
    fn of(backend: &Value) -> Option<Self> {
        let service = &backend["service"];
        let port = match (number(&service["port"]["number"]), service["port"]["name"].as_str()) {
            (Some(number), _) => BackendPort::Number(number),
            (None, Some(name)) => BackendPort::Name(name.to_owned()),
            (None, None) => return None,
        };
        Some(Self { service: service["name"].as_str()?.to_owned(), port })
    }
}

impl std::fmt::Display for BackendPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Class {
    pub(crate) fn of(object: &Value) -> Self {
        Self {
            is_ours: object["spec"]["controller"] == CONTROLLER,
            is_default: object["metadata"]["annotations"][DEFAULT_CLASS] == "true",
        }
    }
}

impl Secret {
    pub(crate) fn of(object: &Value) -> Self {
        let data = &object["data"];
        Self(tls::from_secret(text(&data["tls.crt"]), text(&data["tls.key"])))
    }

    /// Whether both are of the same use. The key need not be compared: it was found to be that of the certificate.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Ok(one), Ok(other)) => one.cert == other.cert,
            (Err(one), Err(other)) => one == other,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }
}

/// When an object was made, as its text: RFC 3339 in UTC, which sorts by itself.
fn created(object: &Value) -> String {
    text(&object["metadata"]["creationTimestamp"]).to_owned()
}

/// An address with its ports, as a status names them, in one text to be compared.
pub(crate) fn said(address: &str, ports: impl Iterator<Item = u16>) -> String {
    ports.fold(address.to_owned(), |text, port| format!("{text} {port}"))
}

fn published(object: &Value) -> Vec<String> {
    let address = |ingress: &Value| {
        let address = ingress["ip"].as_str().or_else(|| ingress["hostname"].as_str()).unwrap_or_default();
        let ports = items(&ingress["ports"]).filter_map(|port| port["port"].as_u64()?.try_into().ok());
        said(address, ports)
    };
    items(&object["status"]["loadBalancer"]["ingress"]).map(address).collect()
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    items(value).filter_map(Value::as_str)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
