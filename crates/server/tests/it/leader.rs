//! Two servers on one store: one of them runs the controllers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Method;
use serde_json::{Value, json};
use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{
    Count, Got, Lease, LeaseId, ListOptions, Outcome, Page, Result, Revision, Status, Store, Transaction,
    Watch, WatchOptions,
};

use crate::server::Server;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/shoal-controllers";
const LEADS: &str = "leader_election_master_status{name=\"shoal-controllers\"} 1\n";

/// A store of this process that says it is shared, as an etcd is.
struct Shared(SqliteStore);

impl Store for Shared {
    fn get<'a>(&'a self, key: &'a [u8], at: Option<Revision>) -> BoxFuture<'a, Result<Got>> {
        self.0.get(key, at)
    }
    fn list<'a>(&'a self, prefix: &'a [u8], options: ListOptions) -> BoxFuture<'a, Result<Page>> {
        self.0.list(prefix, options)
    }
    fn count<'a>(&'a self, prefix: &'a [u8]) -> BoxFuture<'a, Result<Count>> {
        self.0.count(prefix)
    }
    fn transact(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome>> {
        self.0.transact(transaction)
    }
    fn watch<'a>(&'a self, prefix: &'a [u8], options: WatchOptions) -> BoxFuture<'a, Result<Watch>> {
        self.0.watch(prefix, options)
    }
    fn progress(&self) -> BoxFuture<'_, Result<Revision>> {
        self.0.progress()
    }
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        self.0.compact(revision)
    }
    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        self.0.lease_grant(ttl)
    }
    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Lease>> {
        self.0.lease_keep_alive(id)
    }
    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Revision>> {
        self.0.lease_revoke(id)
    }
    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        self.0.status()
    }
    fn health(&self) -> BoxFuture<'_, Result<Duration>> {
        self.0.health()
    }
    fn is_shared(&self) -> bool {
        true
    }
    fn metrics(&self) -> String {
        self.0.metrics()
    }
}

async fn leads(server: &Server) -> bool {
    server.send(Method::GET, "/metrics", None).await.text().contains(LEADS)
}

async fn lease(server: &Server) -> Value {
    server.send(Method::GET, LEASE, None).await.json()["spec"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_runs_the_controllers_and_hands_over_at_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> =
        Arc::new(Shared(SqliteStore::open(&Options::new(dir.path().join("store"))).expect("a store")));
    let first = Server::start_on(store.clone(), None).await;
    let second = Server::start_on(store, Some(first.dir())).await;
    assert!(leads(&first).await && !leads(&second).await);
    let held = lease(&second).await;
    assert_eq!((&held["leaseDurationSeconds"], &held["leaseTransitions"]), (&json!(15), &json!(0)), "{held}");

    first.end().await;
    // Well before the Lease of the first is over.
    let begun = std::time::Instant::now();
    second.until("/metrics", |answer| answer.text().contains(LEADS)).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "it was handed over, not waited for");
    let taken = lease(&second).await;
    assert_eq!(taken["leaseTransitions"], 1, "{taken}");
    assert_ne!(taken["holderIdentity"], held["holderIdentity"]);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}});
    assert_eq!(second.send(Method::POST, "/api/v1/namespaces", Some(&namespace)).await.status, 201);
    second.until("/api/v1/namespaces/later/serviceaccounts/default", |answer| answer.status == 200).await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_of_somebody_who_broke_off_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> =
        Arc::new(Shared(SqliteStore::open(&Options::new(dir.path().join("store"))).expect("a store")));
    let first = Server::start_on(store.clone(), None).await;
    // Somebody whose clock is a year ahead takes it, and is never heard of again.
    let mut lease = first.send(Method::GET, LEASE, None).await.json();
    lease["spec"]["holderIdentity"] = json!("gone");
    lease["spec"]["leaseDurationSeconds"] = json!(2);
    lease["spec"]["renewTime"] = json!("2099-01-01T00:00:00.000000Z");
    loop {
        lease["metadata"]["resourceVersion"] =
            first.send(Method::GET, LEASE, None).await.json()["metadata"]["resourceVersion"].take();
        if first.send(Method::PUT, LEASE, Some(&lease)).await.status == 200 {
            break;
        }
    }
    first.until("/metrics", |answer| !answer.text().contains(LEADS)).await;
    first.until("/metrics", |answer| answer.text().contains(LEADS)).await;
    first.end().await;
}
