//! Starting a server: its keys, its objects, its controllers, its socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shoal_base::drain::Drain;
use shoal_control::bootstrap::ApiServer;
use shoal_control::controllers::{self, Surroundings};
use shoal_control::custom::definition::conditions;
use shoal_store::{Compactor, Store, limits};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::access::{Access, Accounts, Gate};
use crate::allocate::API_SERVICE;
use crate::api::{Api, Place};
use crate::audit;
use crate::auth::{Authenticator, Oidc, ServiceAccounts};
use crate::files::FileError;
use crate::nodes::Nodes;
use crate::objects::Objects;
use crate::pki::{Pki, PkiError};
use crate::seal::{SealError, Sealer};
use crate::{custom, http, leader, rights};

/// The issuer of the tokens of ServiceAccounts, as every cluster has it.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Between looks at whether the server's certificate is due.
const RENEW_EVERY: Duration = Duration::from_secs(60 * 60);

/// What a server needs to know.
pub struct Config {
    /// Keys, certificates, audit log.
    pub data: PathBuf,
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// Names and addresses under which clients reach it, besides those that it always has.
    pub names: Vec<String>,
    /// Other issuers of tokens.
    pub issuers: Vec<Oidc>,
    /// Which controllers run.
    pub controllers: Controllers,
}

/// Which controllers run in the process of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controllers {
    /// None: it only keeps objects.
    None,
    /// Those that the API itself promises: endpoints, garbage collection, namespaces, quotas, certificates.
    Api,
    /// Those that make workloads run as well: Deployments and their like, the scheduler, the life of nodes.
    All,
}

/// A server that runs.
pub struct Running {
    /// The server.
    pub api: Arc<Api>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its keys and certificates.
    pub pki: Pki,
    tasks: JoinSet<()>,
    world: World,
}

/// Keeps the world, and the rights that follow from it, up to date for longer than all who look at it: what they are at when
/// the drain begins is finished.
struct World {
    ends: Drain,
    tasks: JoinSet<()>,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its keys or certificates cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The keys that seal Secrets cannot be used.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The roles that every cluster has cannot be written.
    #[error("cannot write the roles that every cluster has")]
    Rights(#[from] shoal_api::Status),
    /// The definitions of custom resources cannot be read.
    #[error("cannot read the definitions of custom resources")]
    Definitions(#[source] shoal_api::Status),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] FileError),
    /// It cannot listen.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Starts a server of the objects in `store`. It is ready when this returns.
///
/// # Errors
/// What it needs cannot be read, made or used.
pub async fn start(config: Config, store: Arc<dyn Store>, drain: Drain) -> Result<Running, StartError> {
    let now = Timestamp::now();
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| StartError::Listen { address: config.listen, source })?;
    let address =
        listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
    let pki = Pki::open(&config.data.join("pki"), &config.names, now)?;
    let sealer = Arc::new(Sealer::open(&config.data.join("secrets.keys"))?);
    let objects = Objects::new(store.clone(), sealer);
    let reach = reachable(address);
    let access = access(config.issuers, &pki, &objects, reach)?;
    let audit = audit::Log::open(audit::Options::new(config.data.join("audit.log")))?;
    let seed = u64::from_le_bytes(crate::random::bytes());
    let nodes = Nodes::new(pki.kubelets());
    let place = Place { address: reach.to_string(), scratch: config.data.clone(), seed, nodes };
    let api = Api::new(objects, access, audit, drain.clone(), place);
    let mut tasks = JoinSet::new();
    let world = World::follow(&api);
    api.world.reached(shoal_store::Revision(1)).await;
    custom::settle(&api).await.map_err(StartError::Definitions)?;
    rights::reconcile(&api).await?;
    run(&api, &pki, config.controllers, reach, &mut tasks);
    let compactor = Compactor::new(store, limits::COMPACT_KEEPS);
    tasks.spawn(compactor.run(limits::COMPACT_EVERY, drain));
    let (server, tls) = (api.clone(), TlsAcceptor::from(pki.server_config()));
    tasks.spawn(async move { http::serve(server, listener, tls).await });
    Ok(Running { api, address, pki, tasks, world })
}

impl Running {
    /// Waits until all that was started has ended; they end when the drain begins. Whoever wants requests to be finished
    /// waits for the drain before.
    pub async fn ended(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            tell(ended);
        }
        self.world.ends.begin();
        while let Some(ended) = self.world.tasks.join_next().await {
            tell(ended);
        }
        self.api.audit.close();
    }
}

fn tell(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a part of the server has failed");
    }
}

impl World {
    fn follow(api: &Arc<Api>) -> Self {
        let (ends, mut tasks) = (Drain::new(), JoinSet::new());
        let (world, until) = (api.world.clone(), ends.clone());
        tasks.spawn(async move { world.run(&until).await });
        let (followed, until) = (api.clone(), ends.clone());
        tasks.spawn(async move { followed.access.follow(&followed.world, &until).await });
        Self { ends, tasks }
    }
}

/// A server that cannot start, or that nobody waits for, leaves nothing behind.
impl Drop for World {
    fn drop(&mut self) {
        self.ends.begin();
    }
}

fn access(issuers: Vec<Oidc>, pki: &Pki, objects: &Objects, reach: SocketAddr) -> Result<Access, StartError> {
    let accounts = Arc::new(ServiceAccounts::new(ISSUER, pki.service_account_keys()?));
    let mut authenticator = Authenticator::new(accounts, Arc::new(Accounts(objects.clone())));
    for issuer in issuers {
        authenticator = authenticator.with_issuer(issuer);
    }
    Ok(Access::new(authenticator, pki.authority().clone(), &format!("https://{reach}")))
}

/// Starts what runs beside the socket.
fn run(api: &Arc<Api>, pki: &Pki, with: Controllers, reach: SocketAddr, tasks: &mut JoinSet<()>) {
    let followed = api.clone();
    tasks.spawn(async move { custom::follow(&followed).await });
    let (serving, ends) = (pki.serving().clone(), api.drain.clone());
    tasks.spawn(async move { renew(&serving, &ends).await });
    if with == Controllers::None {
        return;
    }
    let surroundings = Surroundings {
        root_ca: pki.authority().pem().to_owned(),
        server: ApiServer {
            addresses: published(reach.ip()),
            port: reach.port(),
            service_ip: IpAddr::V4(API_SERVICE),
        },
        authorizer: Arc::new(Gate(api.access.authorizer.clone())),
        definition_status: |definition, all, now| {
            let taken = conditions::Taken::by(definition, all.iter().map(AsRef::as_ref));
            conditions::plan(definition, &taken, &now.to_time()).map(|mut next| next["status"].take())
        },
    };
    let workloads =
        if with == Controllers::All { controllers::of_workloads(api.moment()) } else { Vec::new() };
    let all = controllers::of_the_api(surroundings).into_iter().chain(workloads);
    tasks.spawn(leader::run(api.clone(), all.map(Arc::from).collect()));
}

/// Renews the certificate of the server when it is due.
async fn renew(serving: &crate::pki::Serving, drain: &Drain) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            () = drain.begun() => return,
        }
        if let Err(error) = serving.renew(Timestamp::now()) {
            tracing::error!(%error, "the certificate of the server cannot be renewed");
        }
    }
}

/// The addresses that endpoints may name: not those of this machine alone.
fn published(address: IpAddr) -> Vec<IpAddr> {
    if address.is_loopback() { Vec::new() } else { vec![address] }
}

/// Where clients on this machine reach a socket that may listen everywhere.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        return SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port());
    }
    address
}
