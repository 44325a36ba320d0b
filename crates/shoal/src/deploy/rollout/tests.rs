//! Rollouts in clusters where not all may be read, and those that no edge serves.

use serde_json::json;

use super::*;
use crate::cluster::testing::{Api, refused};

const WAIT: Duration = Duration::from_secs(60);

/// A Deployment that serves, as the API has it.
fn deployment(namespace: &str) -> Value {
    json!({
        "kind": "Deployment", "metadata": {"name": "shop", "namespace": namespace, "generation": 1},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    })
}

fn placed(resource: Resource, object: Value) -> Placed {
    Placed { resource, object }
}

async fn rolled_out(api: &Api, applied: &[Placed]) -> Result<Served, Exit> {
    let cluster = Cluster::of_client(api.client());
    for Placed { resource, object } in applied {
        cluster.client.create(resource, object).await.expect("an object");
    }
    until_served(&cluster, applied, WAIT, false).await
}

#[tokio::test]
async fn two_namespaces_are_watched_each_by_itself() {
    // Only objects of these two may be read, and no evidence.
    let api = Api::new(|request| {
        let path = request.uri().path();
        let is_whole = request.method() == "GET" && !path.contains("/namespaces/");
        let is_evidence = path.ends_with("/events") || path.ends_with("/replicasets");
        (is_whole || is_evidence).then(|| refused(403))
    });
    let applied = ["a", "b"].map(|namespace| placed(kinds::DEPLOYMENTS, deployment(namespace)));
    assert_eq!(rolled_out(&api, &applied).await, Ok(Served::default()));
}

#[tokio::test]
async fn what_may_not_be_watched_is_said_at_once() {
    for plural in ["/deployments", "/pods"] {
        let api = Api::new(move |request| {
            (request.method() == "GET" && request.uri().path().ends_with(plural)).then(|| refused(403))
        });
        let ended = rolled_out(&api, &[placed(kinds::DEPLOYMENTS, deployment("a"))]).await;
        let Err(Exit::Error(complaint)) = ended else { panic!("{plural} may not be read") };
        assert_eq!(
            (complaint.code, complaint.what.as_str()),
            (exit::UNAVAILABLE, &*format!("cannot list {}: no", &plural[1..]))
        );
    }
}

#[tokio::test]
async fn an_ingress_that_nobody_serves_is_named() {
    let rule = |host: &str| json!({"host": host, "http": {"paths": [{"path": "/"}]}});
    let ingress = |name: &str, host: &str, reached: Value| {
        let metadata = json!({"name": name, "namespace": "a"});
        let status = json!({"loadBalancer": {"ingress": reached}});
        placed(
            kinds::INGRESSES,
            json!({"metadata": metadata, "spec": {"rules": [rule(host)]}, "status": status}),
        )
    };
    let applied = [
        ingress("anywhere", "", json!([])),
        ingress("named", "shop.test", json!([])),
        ingress("served", "", json!([{"ip": "192.0.2.1"}])),
    ];
    let served = rolled_out(&Api::new(|_| None), &applied).await.expect("it ends");
    assert_eq!(served.urls, ["http://shop.test/", "http://192.0.2.1/"]);
    assert_eq!(served.unserved, ["ingress/anywhere", "ingress/named"]);
}

#[test]
fn what_waits_for_somebody_is_not_waited_for() {
    let tracked = |of: Resource, spec: Value| {
        Tracked::of(&placed(of, json!({"metadata": {"name": "shop"}, "spec": spec}))).is_some()
    };
    for (of, spec, expected) in [
        (kinds::DEPLOYMENTS, json!({}), true),
        (kinds::DEPLOYMENTS, json!({"paused": true}), false),
        (kinds::JOBS, json!({"suspend": false}), true),
        (kinds::JOBS, json!({"suspend": true}), false),
        (kinds::APPS, json!({"schedule": ""}), true),
        (kinds::APPS, json!({"schedule": "0 * * * *"}), false),
        (kinds::PODS, json!({}), false),
    ] {
        assert_eq!(tracked(of.clone(), spec.clone()), expected, "{} {spec}", of.kind);
    }
}

#[tokio::test]
async fn the_words_of_an_app_and_the_way_out_are_safe_to_read() {
    let app = json!({
        "metadata": {"name": "shop", "namespace": "team", "generation": 1},
        "status": {"observedGeneration": 1, "conditions": [
            {"type": "Failed", "status": "True", "reason": "FailedExpand", "message": "why\u{1b}[2J"},
        ]},
    });
    let ended = rolled_out(&Api::new(|_| None), &[placed(kinds::APPS, app)]).await;
    let Err(Exit::Error(complaint)) = ended else { panic!("it has failed") };
    assert_eq!(complaint.what, "app/shop has failed; the cluster goes on trying");
    assert_eq!(
        complaint.hints,
        ["mend it and deploy again, or take it away with `shoal delete app/shop -n team`"]
    );
    assert_eq!(show::reason("why\u{1b}[2J"), "why\\u{1b}[2J");
}
