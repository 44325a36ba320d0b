//! The API server itself: everything that a request meets, without the socket that it came through.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderName, USER_AGENT};
use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use parking_lot::Mutex;
use shoal_api::printer::Include;
use shoal_api::resources::Verb;
use shoal_api::time::Moment;
use shoal_api::{GroupVersion, Status, openapi};
use shoal_base::drain::Drain;
use shoal_base::splitmix::SplitMix64;
use shoal_control::rbac::User;
use tokio::time::timeout;

use crate::access::Access;
use crate::audit;
use crate::custom::Definitions;
use crate::documents::Documents;
use crate::fair::Fair;
use crate::hooks::Ready;
use crate::lease::EventLeases;
use crate::media::Wanted;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::objects::Objects;
use crate::options::{Query, WriteOptions};
use crate::registry::{Registry, Served};
use crate::target::ResourceTarget;
use crate::world::World;

/// How long a request waits for the world to hold what was written before. It is some milliseconds behind; longer than this
/// the store cannot be followed, and is read anew.
const SETTLE_TIME: Duration = Duration::from_secs(10);

/// An API server.
pub struct Api {
    /// The objects.
    pub objects: Objects,
    /// The objects, at hand.
    pub world: Arc<World>,
    /// What is served.
    pub registry: ArcSwap<Registry>,
    /// What is told about what is served.
    pub documents: ArcSwap<Documents>,
    /// What both were made of.
    pub definitions: Definitions,
    /// Who asks, and what they may do.
    pub access: Access,
    /// Whose turn it is.
    pub fair: Fair,
    /// Webhooks and policies.
    pub hooks: Ready,
    /// What was done.
    pub audit: audit::Log,
    /// The endpoints of nodes.
    pub nodes: Nodes,
    /// What was counted.
    pub metrics: Metrics,
    /// Ends it.
    pub drain: Drain,
    /// Whether this server runs the controllers.
    pub leads: AtomicBool,
    /// Held by whoever rotates keys: one at a time.
    pub rotating: tokio::sync::Mutex<()>,
    /// What new events get.
    pub event_leases: EventLeases,
    /// Where files that nobody keeps are written.
    pub scratch: PathBuf,
    /// `HOST:PORT` where clients reach it.
    pub address: String,
    random: AtomicU64,
}

/// Where a server is.
pub struct Place {
    /// `HOST:PORT` where clients reach it.
    pub address: String,
    /// Where files that nobody keeps are written.
    pub scratch: PathBuf,
    /// For names, not for secrets.
    pub seed: u64,
    /// The endpoints of nodes.
    pub nodes: Nodes,
}

/// A request for objects, from someone who is known and may ask.
pub struct Request {
    /// Who asks.
    pub user: Arc<User>,
    /// By which method.
    pub method: Method,
    /// For what.
    pub target: ResourceTarget,
    /// The query.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The connection behind the request, for those that go on with something else than HTTP.
    pub upgrade: Mutex<Option<OnUpgrade>>,
}

impl Api {
    /// A server of these objects.
    pub fn new(objects: Objects, access: Access, audit: audit::Log, drain: Drain, place: Place) -> Arc<Self> {
        let Place { address, scratch, seed, nodes } = place;
        let api = Arc::new(Self {
            world: Arc::new(World::new(objects.clone())),
            objects,
            registry: ArcSwap::default(),
            documents: ArcSwap::from_pointee(Documents::new(Vec::new(), Vec::new())),
            definitions: Definitions::default(),
            access,
            fair: Fair::default(),
            hooks: Ready::default(),
            audit,
            nodes,
            metrics: Metrics::default(),
            drain,
            leads: AtomicBool::new(false),
            rotating: tokio::sync::Mutex::default(),
            event_leases: EventLeases::default(),
            scratch,
            address,
            random: AtomicU64::new(seed),
        });
        api.serve(Registry::built_in(), Vec::new());
        api
    }

    /// Waits until the world holds all that was written before, also while the server ends.
    ///
    /// # Errors
    /// 503: the store does not answer, or the world does not follow it.
    pub(crate) async fn settle(&self) -> Result<(), Status> {
        let revision = self.objects.store().progress().await.map_err(crate::objects::status)?;
        timeout(SETTLE_TIME, self.world.reached(revision)).await.map_err(|_| {
            let seconds = SETTLE_TIME.as_secs();
            Status::unavailable(format!(
                "this server has not followed its store for {seconds} seconds; try again"
            ))
        })
    }

    /// Waits until rights follow from all that was written before.
    ///
    /// # Errors
    /// 503, as [`Api::settle`].
    pub(crate) async fn settle_rights(&self) -> Result<(), Status> {
        self.settle().await?;
        timeout(SETTLE_TIME, self.access.caught_up()).await.map_err(|_| {
            Status::unavailable("this server ends, or does not follow its own changes; try again".to_owned())
        })
    }

    /// What is served from now on. `custom` are the OpenAPI schemas of custom resources.
    pub fn serve(&self, registry: Registry, custom: Vec<openapi::Custom>) {
        let registry = Arc::new(registry);
        let resources = registry.all().map(|served| served.resource.clone()).collect();
        self.world.set_registry(registry.clone());
        self.registry.store(registry);
        self.documents.store(Arc::new(Documents::new(resources, custom)));
    }

    /// The time, as objects hold it.
    pub fn now(&self) -> String {
        self.moment().to_time()
    }

    /// The time, in whole seconds.
    pub fn moment(&self) -> Moment {
        Moment::from_seconds(self.timestamp().as_second())
    }

    /// The time.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::now()
    }

    /// A number that looks random; not for secrets.
    pub fn random(&self) -> u64 {
        let seed = self.random.fetch_add(1, Ordering::Relaxed);
        SplitMix64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).draw()
    }

    /// The key of a namespace.
    pub fn namespace_key(&self, name: &str) -> Bytes {
        [b"/registry/core/namespaces/", name.as_bytes()].concat().into()
    }
}

impl Request {
    /// A request for one object that the server itself makes in the name of a user.
    pub fn of(user: Arc<User>, served: &Served, namespace: &str, name: &str) -> Self {
        let GroupVersion { group, version } = served.resource.group_version.clone();
        let target = ResourceTarget {
            group,
            version,
            resource: served.resource.plural.clone(),
            namespace: namespace.into(),
            in_namespace: served.resource.namespaced,
            name: name.into(),
            subresource: String::new(),
            rest: String::new(),
            verb: Verb::Get,
        };
        Self {
            user,
            method: Method::GET,
            target,
            query: Query::default(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            upgrade: Mutex::default(),
        }
    }

    /// A header as text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How the answer is wanted.
    ///
    /// # Errors
    /// 406: as nothing that can be made.
    pub fn wanted(&self, served: &Served) -> Result<Wanted, Status> {
        Wanted::read(self.header(&ACCEPT), served.custom.is_none())
    }

    /// What the rows of a table carry beside their cells.
    pub fn include(&self) -> Include {
        self.query.get("includeObject").and_then(Include::of).unwrap_or_default()
    }

    /// How something is to be written.
    ///
    /// # Errors
    /// 422: an option that cannot be.
    pub fn write_options(&self) -> Result<WriteOptions, Status> {
        WriteOptions::read(&self.query, self.header(&USER_AGENT).unwrap_or_default())
    }
}
