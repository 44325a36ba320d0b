//! What an agent is given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ipnet::Ipv4Net;
use shoal_client::Client;
use shoal_runtime::{Endpoints, Mesh, Runtime};

use crate::artifact::Policy;

/// What an agent is given.
pub struct Config {
    /// The name of the node.
    pub name: String,
    /// Where assignments, volumes and logs live. Made when it is not there; for this user alone.
    pub data: PathBuf,
    /// The API, as this node.
    pub client: Client,
    /// Runs guests.
    pub runtime: Arc<dyn Runtime>,
    /// The replicas that this process serves.
    pub endpoints: Endpoints,
    /// The services of the cluster, for guests that call them.
    pub mesh: Option<Arc<dyn Mesh>>,
    /// Finds artifacts.
    pub fetch: Arc<dyn Fetch>,
    /// What the machine is.
    pub machine: Machine,
    /// Out of which pods get their addresses where the cluster does not say (`spec.podCIDR` of the node).
    pub pod_cidr: Ipv4Net,
    /// More labels of the node.
    pub labels: BTreeMap<String, String>,
    /// The port at which the agent's endpoints are served, for the node's status; none: they are not.
    pub port: Option<u16>,
}

/// What a machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its addresses, best first.
    pub addresses: Vec<std::net::IpAddr>,
    /// Processors.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of it that pods may have.
    pub allocatable_bytes: u64,
    /// Pods that may be bound to it.
    pub pods_max: u32,
    /// `Linux version …`: what people know it by.
    pub os_image: String,
    /// `6.1.0-18-amd64`.
    pub kernel: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// Another with each boot.
    pub boot_id: String,
    /// The same as long as the machine is installed.
    pub machine_id: String,
    /// The version of this program.
    pub version: String,
}

/// Pods of one node, where nobody says: a replica at rest takes kilobytes, its object and watches some more.
pub const PODS_MAX: u32 = 2000;

impl Machine {
    /// This machine, as the kernel tells. Its addresses are those that are given, and pods may have `allocatable_bytes`.
    pub fn here(addresses: Vec<std::net::IpAddr>, allocatable_bytes: u64, version: &str) -> Self {
        let first_line = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().next().unwrap_or_default().to_owned()
        };
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Self {
            addresses,
            cpus: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            memory_bytes: kib.unwrap_or_default().saturating_mul(1024),
            allocatable_bytes,
            pods_max: PODS_MAX,
            os_image: pretty.map_or_else(|| "Linux".into(), |text| text.trim_matches('"').to_owned()),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
            .into(),
            boot_id: first_line("/proc/sys/kernel/random/boot_id"),
            machine_id: first_line("/etc/machine-id"),
            version: version.into(),
        }
    }
}

/// Finds what an image reference names.
pub trait Fetch: Send + Sync {
    /// Finds the artifact, and brings it onto this machine where it has to.
    fn fetch(&self, image: Image) -> BoxFuture<'static, Result<Fetched, FetchFailure>>;

    /// Throws away what there is too much of, but nothing that one of these references means: those of the pods that are
    /// here, which may have to start again when no registry can be reached.
    fn tidy(&self, in_use: Vec<String>) -> BoxFuture<'static, ()>;
}

/// What is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The reference, as the pod has it.
    pub reference: String,
    /// When the network is asked.
    pub policy: Policy,
    /// Documents with credentials (`.dockerconfigjson`), in the order in which the pod names them.
    pub credentials: Vec<Vec<u8>>,
    /// What it was when this container was started here the last time: [`Fetched::id`]. Used again when the reference
    /// meant the same the last time and the registry cannot say what it means now.
    pub before: Option<String>,
}

/// An artifact on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The file.
    pub path: PathBuf,
    /// `NAME@sha256:…`, or the reference where it has no digest.
    pub id: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How long it took to bring it here; none: it was here.
    pub pulled: Option<Duration>,
    /// Why the registry could not be asked, where it was to be; then this is what the container was before.
    pub unasked: Option<String>,
}

/// Why there is no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FetchFailure {
    /// `ErrImagePull`, `InvalidImageName`, `ErrImageNeverPull`.
    pub reason: &'static str,
    /// A sentence with the way out.
    pub message: String,
}
