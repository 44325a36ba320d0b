//! What all pods of a node share.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde_json::Value;
use shoal_api::object;
use shoal_base::drain::Drain;
use tokio::sync::{mpsc, watch};

use crate::addresses::Addresses;
use crate::config::Config;
use crate::events::{Happened, Recorder};
use crate::log::writing::Log;
use crate::meter::Meter;
use crate::pod::fields::Facts;
use crate::pod::status::HostFacts;
use crate::sources::Followers;

/// What all pods of a node share.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) events: Recorder,
    pub(crate) followers: Arc<Followers>,
    pub(crate) addresses: Mutex<Addresses>,
    /// What pods are told of the node.
    pub(crate) facts: Facts,
    pub(crate) host: HostFacts,
    pub(crate) drain: Drain,
    /// Logs that are being written, by pod and container.
    pub(crate) logs: Mutex<HashMap<(String, String), Weak<Log>>>,
    /// Pods that run here, by uid.
    pub(crate) pods: Mutex<HashMap<String, Here>>,
    /// Pods that are gone from here, until the watch has told so, too.
    pub(crate) gone: Mutex<HashSet<String>>,
}

/// A pod that runs here, as the agent's endpoints see it.
pub(crate) struct Here {
    pub(crate) wanted: watch::Sender<Wanted>,
    pub(crate) meters: HashMap<String, Arc<Meter>>,
    pub(crate) serves: Option<Arc<dyn shoal_runtime::Invoke>>,
    /// The ports that the commands that run now were granted when they were started.
    pub(crate) listens: Vec<u16>,
}

impl Here {
    /// Nothing of it runs now.
    pub(crate) fn stopped(&mut self) {
        self.serves = None;
        self.listens.clear();
    }
}

/// What is wanted of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its object.
    pub(crate) pod: Arc<Value>,
    /// Whether the API still has it.
    pub(crate) is_there: bool,
}

impl Shared {
    pub(crate) fn new(config: Arc<Config>, drain: Drain) -> (Arc<Self>, mpsc::Receiver<Happened>) {
        let (events, happened) = Recorder::new();
        let host = config.machine.addresses.first().map(ToString::to_string).unwrap_or_default();
        let status =
            crate::node::status(&config.machine, &config.name, config.port, &Value::Null, crate::node::now());
        let shared = Self {
            events,
            followers: Arc::new(Followers::new(config.client.clone(), drain.clone())),
            addresses: Mutex::new(Addresses::new(config.pod_cidr)),
            facts: Facts {
                host: host.clone(),
                address: String::new(),
                allocatable: status["allocatable"].clone(),
            },
            host: HostFacts { address: host },
            drain,
            logs: Mutex::default(),
            pods: Mutex::default(),
            gone: Mutex::default(),
            config,
        };
        (Arc::new(shared), happened)
    }

    /// Where assignments are.
    pub(crate) fn saved_dir(&self) -> PathBuf {
        self.config.data.join("assignments")
    }

    /// Where the volumes and stores of a pod are.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.config.data.join("pods").join(plain(uid))
    }

    /// Where the logs of a pod are.
    pub(crate) fn log_dir(&self, uid: &str) -> PathBuf {
        self.config.data.join("logs").join(plain(uid))
    }

    /// The pod of this name that runs here.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let pods = self.pods.lock();
        let all = pods.values().map(|here| here.wanted.borrow().pod.clone());
        let mut ours = all.filter(|pod| object::namespace(pod) == namespace && object::name(pod) == name);
        let first = ours.next()?;
        // One that was deleted may still end while its successor runs.
        Some(ours.find(|pod| object::deletion_timestamp(pod).is_none()).unwrap_or(first))
    }
}

/// An identity as the name of a file: the API gives nothing else, but this is not the place to trust it.
pub(crate) fn plain(uid: &str) -> String {
    uid.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
