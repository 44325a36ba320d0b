//! Deployments on their way, and those that fail.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::render::stripped;

fn deployment(spec: &Value, status: &Value) -> Value {
    let metadata = json!({"name": "shop", "namespace": "default", "uid": "d", "generation": 2});
    json!({"metadata": metadata, "spec": spec, "status": status})
}

#[test]
fn a_rollout_is_followed_as_kubectl_does_it() {
    let status = |all: i64, updated: i64, available: i64| {
        json!({
            "observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "availableReplicas": available,
        })
    };
    for (spec, status, expected) in [
        (json!({"replicas": 3}), json!({"observedGeneration": 1}), "waiting to be seen"),
        (json!({"replicas": 3}), status(3, 1, 3), "1 of 3 new replicas made"),
        (json!({"replicas": 3}), status(4, 3, 3), "1 old replica to end"),
        (json!({"replicas": 3}), status(5, 3, 3), "2 old replicas to end"),
        (json!({"replicas": 3}), status(3, 3, 2), "2 of 3 replicas ready"),
        (json!({"replicas": 3, "paused": true}), status(3, 1, 3), "paused with 1 of 3 new replicas"),
        (json!({"replicas": 3}), status(3, 3, 3), "serving"),
        (json!({"replicas": 0}), status(0, 0, 0), "serving"),
        (json!({}), status(1, 1, 1), "serving"),
    ] {
        let shown = stripped(&progress(&deployment(&spec, &status)));
        assert_eq!(shown, format!("default/shop: {expected}"), "{status}");
    }
}

#[test]
fn what_cannot_be_is_a_failure() {
    let with = |kind: &str, status: &str, reason: &str| {
        let condition = json!({"type": kind, "status": status, "reason": reason, "message": "why"});
        stage(&deployment(
            &json!({"replicas": 1}),
            &json!({"observedGeneration": 2, "conditions": [condition]}),
        ))
    };
    let failed = |reason: &str| Stage::Failed { reason: reason.into(), message: "why".into() };
    let late = with("Progressing", "False", "ProgressDeadlineExceeded");
    assert_eq!(late, failed("ProgressDeadlineExceeded"));
    assert_eq!(with("ReplicaFailure", "True", "FailedCreate"), failed("FailedCreate"));
    assert!(matches!(with("ReplicaFailure", "False", "FailedCreate"), Stage::Going(_)));
    assert!(matches!(with("Progressing", "True", "ReplicaSetUpdated"), Stage::Going(_)));
}

fn set(name: &str, revision: &str) -> Value {
    json!({"metadata": {
        "name": name, "uid": name, "ownerReferences": [{"uid": "d"}],
        "annotations": {"deployment.kubernetes.io/revision": revision},
    }})
}

fn pod(name: &str, set: &str, waiting: &Value) -> Value {
    let metadata = json!({"name": name, "uid": name, "ownerReferences": [{"uid": set}]});
    json!({"metadata": metadata, "status": {"containerStatuses": [{"state": {"waiting": waiting}}]}})
}

fn warning(uid: &str, reason: &str, message: &str, moment: &str) -> Value {
    json!({
        "type": "Warning", "reason": reason, "message": message, "lastTimestamp": moment,
        "involvedObject": {"uid": uid},
    })
}

#[test]
fn a_failure_is_explained_from_pods_events_and_logs() {
    let crash = json!({"reason": "CrashLoopBackOff", "message": "back-off 20s restarting"});
    let pull = json!({"reason": "ErrImagePull", "message": "failed to pull image \"x\": no such\nimage"});
    let pods = [
        pod("shop-b-1", "b", &crash),
        pod("shop-b-2", "b", &crash),
        pod("shop-b-3", "b", &pull),
        pod("shop-a-1", "a", &json!({"reason": "Old", "message": "of the revision before"})),
    ];
    let events = [
        warning("shop-b-1", "BackOff", "back-off restarting failed container", "2026-01-01T00:00:02Z"),
        warning("shop-b-2", "BackOff", "back-off restarting failed container", "2026-01-01T00:00:03Z"),
        warning("b", "FailedCreate", "quota exceeded", "2026-01-01T00:00:01Z"),
        warning("stranger", "Failed", "of another", "2026-01-01T00:00:04Z"),
    ];
    let long: String = (1..=12).map(|number| format!("line {number}\n")).collect();
    let logs = [
        ("shop-a-1".to_string(), "old words".to_string()),
        ("shop-b-3".into(), " \n".into()),
        ("shop-b-1".into(), long),
    ];
    let sets = [set("a", "9"), set("b", "10")];
    let condition = json!({
        "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
        "message": "ReplicaSet \"b\" has timed out progressing.",
    });
    let late =
        deployment(&json!({"replicas": 3}), &json!({"observedGeneration": 2, "conditions": [condition]}));
    let evidence = Evidence { replica_sets: &sets, pods: &pods, events: &events, logs: &logs };
    expect![[r#"
          ReplicaSet "b" has timed out progressing.
          2 of 3 pods CrashLoopBackOff: back-off 20s restarting
          1 of 3 pods ErrImagePull: failed to pull image "x": no such image
          event BackOff: back-off restarting failed container
          event FailedCreate: quota exceeded
          last words of shop-b-1
            line 3
            line 4
            line 5
            line 6
            line 7
            line 8
            line 9
            line 10
            line 11
            line 12
        hint: `shoal logs NAME --previous` has all that the last run said
    "#]]
    .assert_eq(&stripped(&explain(&late, &evidence)));
}

#[test]
fn a_reason_is_told_to_its_end_where_the_way_out_is() {
    let sets = [set("b", "10")];
    for (words, is_whole) in [(100, true), (1000, false)] {
        let message = format!("{}grant it", "why ".repeat(words));
        let pods = [pod("shop-b-1", "b", &json!({"reason": "CreateContainerError", "message": message}))];
        let going = deployment(&json!({"replicas": 1}), &json!({"observedGeneration": 2}));
        let evidence = Evidence { replica_sets: &sets, pods: &pods, ..Evidence::default() };
        let shown = stripped(&explain(&going, &evidence));
        assert_eq!(shown.contains("grant it"), is_whole, "{shown}");
        assert_eq!(shown.contains('…'), !is_whole, "{shown}");
    }
}

#[test]
fn nothing_known_is_nothing_said() {
    let going = deployment(&json!({"replicas": 1}), &json!({"observedGeneration": 2}));
    assert_eq!(explain(&going, &Evidence::default()), "");
}

#[test]
fn a_job_is_done_or_has_failed() {
    let job = |spec: Value, status: Value| {
        let metadata = json!({"name": "move", "namespace": "default"});
        json!({"kind": "Job", "metadata": metadata, "spec": spec, "status": status})
    };
    let with = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "why"}]});
    for (spec, status, expected) in [
        (json!({}), json!({}), "0 of 1 done"),
        (json!({"completions": 3}), json!({"succeeded": 2}), "2 of 3 done"),
        (json!({"suspend": true}), json!({}), "suspended"),
        (json!({}), with("Complete"), "done"),
        (json!({}), with("Failed"), "BackoffLimitExceeded"),
    ] {
        assert_eq!(stripped(&progress(&job(spec, status))), format!("default/move: {expected}"));
    }
}

#[test]
fn what_cannot_go_on_is_told_from_what_begins() {
    let of = |reason: &str| {
        let pods = [pod("shop-a-1", "a", &json!({"reason": reason}))];
        let (sets, going) = ([set("a", "1")], deployment(&json!({}), &json!({})));
        let evidence = Evidence { replica_sets: &sets, pods: &pods, ..Evidence::default() };
        assert_eq!(pods_of(&going, &evidence), ["shop-a-1"]);
        is_stuck(&going, &evidence)
    };
    for reason in STUCK {
        assert!(of(reason), "{reason}");
    }
    for reason in ["ContainerCreating", "PodInitializing", ""] {
        assert!(!of(reason), "{reason}");
    }
    let other = [pod("cart-1", "other", &json!({"reason": "ErrImagePull"}))];
    let evidence = Evidence { pods: &other, ..Evidence::default() };
    assert!(!is_stuck(&deployment(&json!({}), &json!({})), &evidence), "a pod of somebody else");
}

#[test]
fn an_ingress_has_urls_once_it_is_published() {
    let paths = json!([{"path": "/api", "backend": {"service": {"name": "shop"}}}]);
    let mut ingress = json!({"spec": {
        "tls": [{"hosts": ["a.example.com"]}],
        "rules": [{"http": {"paths": paths}}, {"host": "a.example.com", "http": {"paths": paths}}],
    }});
    assert!(!is_published(&ingress));
    ingress["status"] =
        json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1", "ports": [{"port": 8080}, {"port": 443}]}]}});
    assert!(is_published(&ingress));
    let shown = |all: &[Value]| {
        urls(&ingress, all).into_iter().map(|url| (url.url, url.taken_by)).collect::<Vec<_>>()
    };
    let both = ["http://127.0.0.1:8080/api", "https://a.example.com/api"].map(|url| (url.to_owned(), None));
    assert_eq!(shown(&[]), both);

    // Of two that name the same, the older one has it, whichever namespace it is in.
    let dated = |name: &str, created: &str, path: &str| {
        let mut other = ingress.clone();
        other["metadata"] = json!({"name": name, "namespace": "other", "creationTimestamp": created});
        other["spec"]["rules"] = json!([{"http": {"paths": [{"path": path}]}}]);
        other
    };
    let mut own = ingress.clone();
    own["metadata"] =
        json!({"name": "own", "namespace": "shop", "creationTimestamp": "2026-01-02T00:00:00Z"});
    let taken = |other: &Value| {
        let urls = urls(&own, &[own.clone(), other.clone()]);
        urls.into_iter().map(|url| url.taken_by).collect::<Vec<_>>()
    };
    let older = dated("first", "2026-01-01T00:00:00Z", "/api/");
    assert_eq!(taken(&older), [Some("other/first".into()), None], "of the host that is left open");
    assert_eq!(taken(&dated("later", "2026-01-03T00:00:00Z", "/api")), [None, None]);
    assert_eq!(taken(&dated("first", "2026-01-01T00:00:00Z", "/ap")), [None, None]);
    let mut unserved = older;
    unserved["status"] = json!({});
    assert_eq!(taken(&unserved), [None, None], "that of another controller, perhaps");
}
