//! Two servers on one store: one of them runs the controllers.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::server::Server;
use crate::store::TestStore;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/shoal-controllers";
const LEADS: &str = "leader_election_master_status{name=\"shoal-controllers\"} 1\n";

async fn leads(server: &Server) -> bool {
    server.send(Method::GET, "/metrics", None).await.text().contains(LEADS)
}

async fn lease(server: &Server) -> Value {
    server.send(Method::GET, LEASE, None).await.json()["spec"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_runs_the_controllers_and_hands_over_at_its_end() {
    let store = TestStore::shared();
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
    let store = TestStore::shared();
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
