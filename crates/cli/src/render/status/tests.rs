//! Clusters and what is shown of them.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::render::stripped;

fn check(cluster: &Cluster<'_>, expected: &Expect) {
    let now = "2026-01-01T01:00:00Z".parse::<shoal_api::time::Moment>().expect("a moment").seconds();
    expected.assert_eq(&stripped(&status(cluster, now)));
}

fn object(name: &str, rest: Value) -> Value {
    let metadata = json!({
        "name": name, "namespace": "default", "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z",
    });
    let mut object = rest;
    let given = object["metadata"].take();
    object["metadata"] = metadata;
    for (key, value) in given.as_object().into_iter().flatten() {
        object["metadata"][key] = value.clone();
    }
    object
}

fn deployment(name: &str, wanted: i64, ready: i64) -> Value {
    object(
        name,
        json!({
            "metadata": {"generation": 1},
            "spec": {"replicas": wanted, "template": {"metadata": {"labels": {"app": name, "tier": "web"}}}},
            "status": {
                "observedGeneration": 1, "replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready,
                "availableReplicas": ready,
            },
        }),
    )
}

fn node(name: &str, ready: &str) -> Value {
    let status = json!({
        "conditions": [{"type": "Ready", "status": ready}], "capacity": {"cpu": "2", "memory": "8Gi"},
    });
    object(name, json!({"status": status}))
}

#[test]
fn an_empty_cluster_is_said_to_be() {
    check(
        &Cluster::default(),
        &expect![[r#"
        nothing is here yet
    "#]],
    );
}

#[test]
fn what_is_wrong_stands_first_and_is_explained() {
    let nodes = [node("one", "True"), node("two", "Unknown")];
    let mut failed = deployment("cart", 3, 0);
    failed["status"]["conditions"] = json!([{
        "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too long",
    }]);
    let deployments = [deployment("shop", 2, 2), failed, deployment("idle", 0, 0), deployment("new", 2, 1)];
    let apps = [object("later", json!({}))];
    let pods = [
        object("shop-1", json!({"spec": {"nodeName": "one"}, "status": {"phase": "Running"}})),
        object("new-1", json!({"spec": {"nodeName": "one"}, "status": {"phase": "Pending"}})),
        object(
            "cart-1",
            json!({"spec": {"nodeName": "two"}, "status": {"containerStatuses": [{
                "state": {"waiting": {"reason": "ErrImagePull", "message": "failed to pull\n\u{1b}[2Jimage"}},
            }]}}),
        ),
    ];
    let ingress = object(
        "shop",
        json!({"spec": {
            "tls": [{"hosts": ["shop.example.com"]}],
            "rules": [
                {"host": "shop.example.com", "http": {"paths": [{"path": "/", "backend": {"service": {"name": "shop"}}}]}},
                {"http": {"paths": [{"path": "/new", "backend": {"service": {"name": "new-web"}}}]}},
            ],
        }}),
    );
    let service = |name: &str, app: &str| object(name, json!({"spec": {"selector": {"app": app}}}));
    let services = [service("shop", "shop"), service("new-web", "new"), object("none", json!({"spec": {}}))];
    let jobs = [object(
        "migrate",
        json!({
            "spec": {"completions": 1}, "status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]},
        }),
    )];
    let events = [
        json!({
            "type": "Warning", "reason": "Failed", "message": "failed to pull image", "lastTimestamp": "2026-01-01T00:59:00Z",
            "involvedObject": {"kind": "Pod", "name": "cart-1"},
        }),
        json!({"type": "Normal", "reason": "Pulled", "message": "pulled"}),
    ];
    let cluster = Cluster {
        nodes: &nodes,
        apps: &apps,
        deployments: &deployments,
        jobs: &jobs,
        pods: &pods,
        services: &services,
        ingresses: std::slice::from_ref(&ingress),
        events: &events,
    };
    check(
        &cluster,
        &expect![[r#"
        Nodes  1 of 2 ready
          two  not ready  1 pod   2 cpu, 8Gi memory  60m
          one  ready      2 pods  2 cpu, 8Gi memory  60m

        Apps and Deployments  2 of 5 well
          default/cart   0/3  ProgressDeadlineExceeded  60m
          default/new    1/2  1 of 2 replicas ready     60m  http://*/new
          default/later  -    not expanded yet
          default/shop   2/2  serving                   60m  https://shop.example.com/
          default/idle   0/0  scaled to zero            60m

        Jobs
          default/migrate  done  1 of 1  60m

        Pods in trouble
          default/cart-1  ErrImagePull  failed to pull \u{1b}[2Jimage

        Last warnings
          60s  pod/cart-1  Failed  failed to pull image
    "#]],
    );
}

#[test]
fn memory_is_shown_for_people() {
    for (quantity, shown) in [("24684084Ki", "23.5GiB"), ("8Gi", "8Gi"), ("", ""), ("xKi", "xKi")] {
        assert_eq!(memory(quantity), shown);
    }
}

#[test]
fn long_lists_are_counted() {
    let deployments: Vec<Value> =
        (0..ROWS_MAX + 2).map(|number| deployment(&format!("app-{number:02}"), 1, 1)).collect();
    let cluster = Cluster { deployments: &deployments, ..Cluster::default() };
    let shown = stripped(&status(&cluster, 0));
    assert!(shown.starts_with("Apps and Deployments  17 of 17 well\n  default/app-00"), "{shown}");
    assert!(shown.ends_with("  and 2 more\n"), "{shown}");
}

#[test]
fn messages_are_cut_to_a_line() {
    assert_eq!(short("a\n b\u{1b}"), "a b\\u{1b}");
    let long = "é".repeat(MESSAGE_MAX + 1);
    assert_eq!(short(&long), format!("{}…", "é".repeat(MESSAGE_MAX)));
    assert_eq!(short(&"é".repeat(MESSAGE_MAX)), "é".repeat(MESSAGE_MAX));
}

#[test]
fn a_url_has_the_port_at_which_the_edge_is() {
    let url = |host: &str, reached: Value| {
        let rule = json!({"host": host, "http": {"paths": [{"path": "/x", "backend": {"service": {"name": "shop"}}}]}});
        let ingress = json!({
            "spec": {"rules": [rule], "tls": [{"hosts": ["s.test"]}]},
            "status": {"loadBalancer": {"ingress": [reached]}},
        });
        urls_of(&ingress, &[], |service| service == "shop")
            .iter()
            .map(Url::shown)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let ports = |plain: u16, secured: u16| json!([{"port": plain}, {"port": secured}]);
    for (host, reached, expected) in [
        ("", json!({}), "http://*/x"),
        ("", json!({"ip": "127.0.0.1"}), "http://127.0.0.1/x"),
        ("", json!({"ip": "127.0.0.1", "ports": ports(8080, 8443)}), "http://127.0.0.1:8080/x"),
        ("", json!({"ip": "::1", "ports": ports(80, 443)}), "http://[::1]/x"),
        ("", json!({"hostname": "edge.test", "ports": ports(81, 443)}), "http://edge.test:81/x"),
        ("a.test", json!({"ip": "127.0.0.1", "ports": ports(8080, 8443)}), "http://a.test:8080/x"),
        ("s.test", json!({"ip": "127.0.0.1", "ports": ports(8080, 8443)}), "https://s.test:8443/x"),
        ("s.test", json!({"ip": "127.0.0.1", "ports": ports(80, 443)}), "https://s.test/x"),
    ] {
        assert_eq!(url(host, reached), expected);
    }
    let taken = Url { url: "http://a.test/".into(), taken_by: Some("shop/first".into()) };
    assert_eq!(taken.shown(), "(http://a.test/ is that of ingress shop/first)");
}
