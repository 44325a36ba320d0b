//! Every kind's cells, and the tables that a real server was recorded to print.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::golden;
use crate::resources::BUILT_IN;

/// 2026-01-01T01:00:00Z.
const NOW: i64 = 1_767_229_200;
/// An hour before.
const BORN: &str = "2026-01-01T00:00:00Z";

/// The cells of an object that is an hour old, as text.
fn shown(group: &str, kind: &str, mut object: Value) -> String {
    object["metadata"]["name"] = "it".into();
    object["metadata"]["creationTimestamp"] = BORN.into();
    let kind = GroupVersionKind::new(group, "v1", kind);
    let row = row(&kind, None, &object, Include::None, NOW);
    assert_eq!(row["cells"].as_array().expect("cells").len(), columns(&kind).len(), "{kind}");
    let cells = row["cells"].as_array().expect("cells").iter();
    cells
        .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), Into::into))
        .collect::<Vec<_>>()
        .join(" | ")
}

#[test]
fn an_empty_object_fills_each_column() {
    for (group, kind) in columns::kinds() {
        assert!(!shown(group, kind, json!({})).is_empty(), "{group}/{kind}");
        for column in columns(&GroupVersionKind::new(group, "v1", kind)) {
            assert!(["string", "integer", "boolean", "date"].contains(&column.ty.as_str()), "{column:?}");
        }
    }
    assert_eq!(shown("", "Binding", json!({})), format!("it | {BORN}"));
}

#[test]
fn a_pod_is_what_its_containers_are() {
    let running = json!({"name": "c", "ready": true, "restartCount": 0, "state": {"running": {}}});
    let done = json!({"name": "d", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let ready = json!([{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]);
    let waiting = |reason: &str| {
        json!({"restartCount": 5, "state": {"waiting": {"reason": reason}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:58:00Z"}}})
    };
    let ended = |code: i64, signal: i64| json!({"restartCount": 0, "state": {"terminated": {"exitCode": code, "signal": signal}}});
    let one = json!([{"name": "c"}]);
    let cases = [
        (json!({"phase": "Pending"}), "0/1 | Pending | 0"),
        (
            json!({"phase": "Running", "containerStatuses": [running], "conditions": ready}),
            "1/1 | Running | 0",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff")]}),
            "0/1 | CrashLoopBackOff | 5 (2m ago)",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [done, running], "conditions": ready}),
            "1/1 | Running | 0",
        ),
        (json!({"phase": "Running", "containerStatuses": [done, running]}), "1/1 | NotReady | 0"),
        (json!({"phase": "Succeeded", "containerStatuses": [done]}), "0/1 | Completed | 0"),
        (json!({"phase": "Failed", "reason": "Evicted"}), "0/1 | Evicted | 0"),
        (json!({"phase": "Failed", "containerStatuses": [ended(3, 0)]}), "0/1 | ExitCode:3 | 0"),
        (json!({"phase": "Failed", "containerStatuses": [ended(137, 9)]}), "0/1 | Signal:9 | 0"),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            "0/1 | SchedulingGated | 0",
        ),
    ];
    for (status, expected) in cases {
        let row = shown("", "Pod", json!({"spec": {"containers": one}, "status": status}));
        assert_eq!(row, format!("it | {expected} | 60m | <none> | <none> | <none> | <none>"), "{status}");
    }
}

#[test]
fn init_containers_come_first() {
    let state = |state: Value| json!({"name": "i", "restartCount": 2, "state": state});
    let sidecar =
        json!({"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}});
    let done = state(json!({"terminated": {"exitCode": 0}}));
    let cases = [
        (json!([state(json!({"running": {}}))]), "0/2 | Init:0/2 | 2"),
        (
            json!([done, sidecar, state(json!({"waiting": {"reason": "PodInitializing"}}))]),
            "1/2 | Init:2/2 | 5",
        ),
        (json!([state(json!({"waiting": {"reason": "ErrImagePull"}}))]), "0/2 | Init:ErrImagePull | 2"),
        (json!([state(json!({"terminated": {"exitCode": 1}}))]), "0/2 | Init:ExitCode:1 | 2"),
        (json!([state(json!({"terminated": {"exitCode": 1, "signal": 9}}))]), "0/2 | Init:Signal:9 | 2"),
        (json!([state(json!({"terminated": {"exitCode": 1, "reason": "Error"}}))]), "0/2 | Init:Error | 2"),
        (json!([done, sidecar]), "1/2 | Pending | 1"),
    ];
    let spec = json!({"containers": [{"name": "c"}],
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]});
    for (statuses, expected) in cases {
        let status = json!({"phase": "Pending", "initContainerStatuses": statuses});
        let row = shown("", "Pod", json!({"spec": spec, "status": status}));
        assert!(row.starts_with(&format!("it | {expected} | 60m | ")), "{row}, not {expected}");
    }
}

#[test]
fn a_pod_goes() {
    let pod = |phase: &str, reason: &str| {
        json!({"metadata": {"deletionTimestamp": BORN}, "spec": {"containers": [{}], "nodeName": "n1",
            "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
            "status": {"phase": phase, "reason": reason, "podIPs": [{"ip": "10.0.0.7"}],
                "conditions": [{"type": "b", "status": "True"}]}})
    };
    assert_eq!(
        shown("", "Pod", pod("Running", "")),
        "it | 0/1 | Terminating | 0 | 60m | 10.0.0.7 | n1 | <none> | 1/2"
    );
    assert!(shown("", "Pod", pod("Running", "NodeLost")).starts_with("it | 0/1 | Unknown | 0 |"));
    assert!(shown("", "Pod", pod("Succeeded", "")).starts_with("it | 0/1 | Succeeded | 0 |"));
    let row = row(&GroupVersionKind::new("", "v1", "Pod"), None, &pod("Failed", ""), Include::None, NOW);
    assert_eq!(
        row["conditions"],
        json!([{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}])
    );
}

#[test]
fn workloads_show_what_is_ready() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}],
        "nodeSelector": {"disk": "ssd"}}, "metadata": {"labels": {"app": "web"}}});
    let spec = json!({"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "web"}}});
    let status = json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2});
    let object = json!({"spec": spec, "status": status});
    let tail = "60m | a,b | x,y";
    assert_eq!(shown("apps", "Deployment", object.clone()), format!("it | 2/3 | 1 | 2 | {tail} | app=web"));
    assert_eq!(shown("apps", "ReplicaSet", object.clone()), format!("it | 3 | 3 | 2 | {tail} | app=web"));
    assert_eq!(shown("apps", "StatefulSet", object), format!("it | 2/3 | {tail}"));
    let status = json!({"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3,
        "updatedNumberScheduled": 2, "numberAvailable": 1});
    assert_eq!(
        shown("apps", "DaemonSet", json!({"spec": spec, "status": status})),
        format!("it | 5 | 4 | 3 | 2 | 1 | disk=ssd | {tail} | app=web")
    );
    assert_eq!(shown("", "PodTemplate", json!({"template": template})), "it | a,b | x,y | app=web");
    let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true});
    assert_eq!(
        shown("apps", "ControllerRevision", json!({"metadata": {"ownerReferences": [owner]}, "revision": 4})),
        "it | daemonset.apps/d | 4 | 60m"
    );
    assert_eq!(
        shown("policy", "PodDisruptionBudget", json!({"spec": {"maxUnavailable": "10%"}})),
        "it | N/A | 10% | 0 | 60m"
    );
}

#[test]
fn jobs_show_how_far_they_are() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "x"}]}});
    let job = |spec: Value, status: Value| {
        let mut spec = spec;
        spec["template"] = template.clone();
        shown("batch", "Job", json!({"spec": spec, "status": status}))
    };
    let running = json!({"startTime": "2026-01-01T00:55:00Z"});
    assert_eq!(
        job(json!({"completions": 3}), running.clone()),
        "it | Running | 0/3 | 5m | 60m | a | x | <none>"
    );
    assert_eq!(
        job(json!({"parallelism": 4}), running),
        "it | Running | 0/1 of 4 | 5m | 60m | a | x | <none>"
    );
    let mut done = json!({"startTime": BORN, "completionTime": "2026-01-01T00:00:08Z", "succeeded": 1});
    done["conditions"] =
        json!([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]);
    assert_eq!(job(json!({"parallelism": 1}), done), "it | Complete | 1/1 | 8s | 60m | a | x | <none>");
    for (ty, state) in [("Failed", "Failed"), ("Suspended", "Suspended"), ("FailureTarget", "FailureTarget")]
    {
        let status = json!({"conditions": [{"type": ty, "status": "True"}]});
        assert_eq!(job(json!({}), status), format!("it | {state} | 0/1 |  | 60m | a | x | <none>"));
    }
    let cron = json!({"spec": {"schedule": "@daily", "suspend": true, "timeZone": "Europe/Rome",
        "jobTemplate": {"spec": {"template": template}}},
        "status": {"active": [{}, {}], "lastScheduleTime": "2026-01-01T00:59:00Z"}});
    assert_eq!(
        shown("batch", "CronJob", cron),
        "it | @daily | Europe/Rome | True | 2 | 60s | 60m | a | x | <none>"
    );
}

#[test]
fn autoscalers_show_their_metrics() {
    let resource =
        |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
    let metrics = |metrics: Value, current: Value| {
        let spec = json!({"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 9, "metrics": metrics});
        let row = shown(
            "autoscaling",
            "HorizontalPodAutoscaler",
            json!({"spec": spec, "status": {"currentReplicas": 2, "currentMetrics": current}}),
        );
        row.strip_prefix("it | Deployment/web | ")
            .and_then(|row| row.strip_suffix(" | <unset> | 9 | 2 | 60m"))
            .expect("the other columns")
            .to_owned()
    };
    let cpu = resource("cpu", json!({"averageUtilization": 80}));
    let memory = resource("memory", json!({"averageValue": "1Gi"}));
    let external = json!({"type": "External", "external": {"target": {"averageValue": "30"}}});
    let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "1k"}}});
    let object = json!({"type": "Object", "object": {"target": {"value": "2k"}}});
    let now = json!([{"resource": {"current": {"averageUtilization": 50, "averageValue": "200Mi"}}}]);
    assert_eq!(metrics(json!([]), json!([])), "<none>");
    assert_eq!(metrics(json!([cpu]), now.clone()), "cpu: 50%/80%");
    assert_eq!(metrics(json!([memory, external]), now), "memory: 200Mi/1Gi, <unknown>/30 (avg)");
    assert_eq!(
        metrics(json!([pods, object, cpu, {"type": "?"}]), json!([])),
        "<unknown>/1k, <unknown>/2k + 2 more..."
    );
    assert_eq!(metrics(json!([{"type": "?"}]), json!([])), "<unknown type>");
    let old = json!({"spec": {"minReplicas": 1, "targetCPUUtilizationPercentage": 80},
        "status": {"currentCPUUtilizationPercentage": 7}});
    assert_eq!(
        shown("autoscaling", "HorizontalPodAutoscaler", old),
        "it | / | cpu: 7%/80% | 1 | 0 | 0 | 60m"
    );
}

#[test]
fn services_show_where_they_are_reached() {
    let service = |spec: Value, points: Value| {
        shown("", "Service", json!({"spec": spec, "status": {"loadBalancer": {"ingress": points}}}))
    };
    let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 30053, "protocol": "UDP"}]);
    let ports_shown = "80/TCP,53:30053/UDP | 60m | a=b";
    let rest = |ty: &str, addresses: Value| json!({"type": ty, "clusterIPs": ["10.0.0.1"], "ports": ports, "selector": {"a": "b"}, "externalIPs": addresses});
    let points = json!([{"ip": "5.6.7.8"}, {"hostname": "lb.example"}, {"ip": "1.2.3.4"}]);
    let cases = [
        ("ClusterIP", json!(null), json!(null), "<none>"),
        ("NodePort", json!(["9.9.9.9"]), json!(null), "9.9.9.9"),
        ("LoadBalancer", json!(null), json!(null), "<pending>"),
        ("LoadBalancer", json!(["9.9.9.9"]), points, "1.2.3.4,5.6.7.8,lb.example,9.9.9.9"),
        ("Other", json!(null), json!(null), "<unknown>"),
    ];
    for (ty, addresses, points, external) in cases {
        assert_eq!(
            service(rest(ty, addresses), points),
            format!("it | {ty} | 10.0.0.1 | {external} | {ports_shown}")
        );
    }
    assert_eq!(
        service(json!({"type": "ExternalName", "externalName": "a.example"}), json!(null)),
        "it | ExternalName | <none> | a.example | <none> | 60m | <none>"
    );
}

#[test]
fn endpoints_and_hosts_are_cut_short() {
    let addresses = json!([{"ip": "10.0.0.1"}, {"ip": "fd00::2"}]);
    let endpoints = |subsets: Value| shown("", "Endpoints", json!({"subsets": subsets}));
    assert_eq!(endpoints(json!(null)), "it | <none> | 60m");
    assert_eq!(endpoints(json!([{"addresses": addresses}])), "it | 10.0.0.1,fd00::2 | 60m");
    assert_eq!(
        endpoints(json!([{"addresses": addresses, "ports": [{"port": 80}, {"port": 443}]}])),
        "it | 10.0.0.1:80,[fd00::2]:80,10.0.0.1:443 + 1 more... | 60m"
    );
    let slice = json!({"addressType": "IPv4", "ports": [{"port": 80}, {"name": "web"}, {}],
        "endpoints": [{"addresses": ["1", "2"]}, {"addresses": ["3", "4", "5"]}]});
    assert_eq!(
        shown("discovery.k8s.io", "EndpointSlice", slice),
        "it | IPv4 | 80,web,* | 1,2,3 + 2 more... | 60m"
    );
    let ingress = |hosts: &[&str], tls: Value| {
        let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
        shown(
            "networking.k8s.io",
            "Ingress",
            json!({"spec": {"rules": rules, "tls": tls, "ingressClassName": "edge"}}),
        )
    };
    assert_eq!(ingress(&[], json!(null)), "it | edge | * |  | 80 | 60m");
    assert_eq!(ingress(&["", "a", "b", "c"], json!([{}])), "it | edge | a,b,c |  | 80, 443 | 60m");
    assert_eq!(
        ingress(&["a", "b", "c", "", "d"], json!(null)),
        "it | edge | a,b,c + 2 more... |  | 80 | 60m"
    );
    let class =
        json!({"spec": {"controller": "x/y", "parameters": {"apiGroup": "g", "kind": "K", "name": "n"}}});
    assert_eq!(shown("networking.k8s.io", "IngressClass", class), "it | x/y | K.g/n | 60m");
}

#[test]
fn events_of_both_groups_read_the_same() {
    let old = json!({"type": "Normal", "reason": "Pulled", "message": " done\n", "count": 3,
        "firstTimestamp": BORN, "lastTimestamp": "2026-01-01T00:59:30Z",
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.x"},
        "source": {"component": "kubelet", "host": "n1"}});
    let expected = "30s | Normal | Pulled | pod/p | spec.x | kubelet, n1 | done | 60m | 3 | it";
    assert_eq!(shown("", "Event", old), expected);
    let new = json!({"type": "Normal", "reason": "Pulled", "note": "done", "eventTime": "2026-01-01T00:00:00.000000Z",
        "series": {"count": 3, "lastObservedTime": "2026-01-01T00:59:30.000000Z"},
        "regarding": {"kind": "Pod", "name": "p", "fieldPath": "spec.x"},
        "reportingController": "kubelet", "reportingInstance": "n1"});
    assert_eq!(shown("events.k8s.io", "Event", new), expected);
    assert_eq!(shown("", "Event", json!({})), "<unknown> |  |  |  |  |  |  | <unknown> | 1 | it");
}

#[test]
fn the_cluster_shows_its_parts() {
    let node = json!({
        "metadata": {"labels": {"node-role.kubernetes.io/edge": "", "kubernetes.io/role": "control"}},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "False"}], "nodeInfo": {"kubeletVersion": "v1.32.0"},
            "addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.1.1.1"}]},
    });
    assert_eq!(
        shown("", "Node", node),
        "it | NotReady,SchedulingDisabled | control,edge | 60m | v1.32.0 | 10.1.1.1 | <none> | <unknown> | <unknown> | <unknown>"
    );
    let quota = json!({"status": {"hard": {"limits.cpu": "2", "pods": "10", "requests.cpu": "1"},
        "used": {"pods": "3", "limits.cpu": "500m"}}});
    assert_eq!(
        shown("", "ResourceQuota", quota),
        "it | pods: 3/10, requests.cpu: 0/1 | limits.cpu: 500m/2 | 60m"
    );
    assert_eq!(
        shown("", "ConfigMap", json!({"data": {"a": ""}, "binaryData": {"b": "", "c": ""}})),
        "it | 3 | 60m"
    );
    assert_eq!(shown("", "Secret", json!({"type": "Opaque", "data": {"a": ""}})), "it | Opaque | 1 | 60m");
    assert_eq!(shown("", "ServiceAccount", json!({})), "it | 0 | 60m");
    assert_eq!(shown("scheduling.k8s.io", "PriorityClass", json!({"value": 5})), "it | 5 | false | 60m | ");
    assert_eq!(
        shown("coordination.k8s.io", "Lease", json!({"spec": {"holderIdentity": "h"}})),
        "it | h | 60m"
    );
    assert_eq!(
        shown(
            "metrics.k8s.io",
            "PodMetrics",
            json!({"window": "30s", "containers": [
        {"usage": {"cpu": "250m", "memory": "1Mi"}}, {"usage": {"cpu": "750m", "memory": "512Ki"}}]})
        ),
        "it | 1 | 1536Ki | 30s"
    );
    let app = json!({"spec": {"component": "hello.wasm", "replicas": 2}, "status": {"readyReplicas": 1, "url": "http://a"}});
    assert_eq!(shown("shoal.dev", "App", app), "it | hello.wasm | 1/2 | http://a | 60m");
}

#[test]
fn storage_shows_its_modes() {
    let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "n", "name": "c"},
        "storageClassName": "fast", "volumeMode": "Block"}, "status": {"phase": "Bound"}});
    assert_eq!(
        shown("", "PersistentVolume", volume),
        "it | 1Gi | RWO,RWX | Retain | Bound | n/c | fast | <unset> |  | 60m | Block"
    );
    let claim = json!({"metadata": {"deletionTimestamp": BORN}, "spec": {"volumeName": "v"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOncePod"]}});
    assert_eq!(
        shown("", "PersistentVolumeClaim", claim),
        "it | Terminating | v | 1Gi | RWOP |  | <unset> | 60m | <unset>"
    );
    let class = json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "p"});
    assert_eq!(
        shown("storage.k8s.io", "StorageClass", class),
        "it (default) | p | Delete | Immediate | false | 60m"
    );
    assert_eq!(
        shown("storage.k8s.io", "CSIDriver", json!({"spec": {"tokenRequests": [{"audience": "a"}]}})),
        "it | true | false | false | a | false | <none> | 60m"
    );
}

#[test]
fn access_shows_who_and_whether() {
    let binding = json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
        {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"},
        {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]});
    assert_eq!(
        shown("rbac.authorization.k8s.io", "RoleBinding", binding),
        "it | Role/r | 60m | u, v |  | n/s"
    );
    let request = json!({"spec": {"signerName": "s", "username": "u", "expirationSeconds": 86400},
        "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="}});
    assert_eq!(
        shown("certificates.k8s.io", "CertificateSigningRequest", request),
        "it | 60m | s | u | 24h | Approved,Issued"
    );
    let policies = "admissionregistration.k8s.io";
    let binding = |reference: Value| {
        shown(
            policies,
            "ValidatingAdmissionPolicyBinding",
            json!({"spec": {"policyName": "p", "paramRef": reference}}),
        )
    };
    assert_eq!(binding(json!(null)), "it | p | <unset> | 60m");
    assert_eq!(binding(json!({"name": "x"})), "it | p | */x | 60m");
    assert_eq!(
        binding(json!({"selector": {"matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}})),
        "it | p | &LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement\
         {LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},} | 60m"
    );
    let service = |condition: Value| {
        shown("apiregistration.k8s.io", "APIService", json!({"status": {"conditions": [condition]}}))
    };
    assert_eq!(
        service(json!({"type": "Available", "status": "True", "reason": "Local"})),
        "it | Local | True | 60m"
    );
    assert_eq!(
        service(json!({"type": "Available", "status": "False", "reason": "MissingEndpoints"})),
        "it | Local | False (MissingEndpoints) | 60m"
    );
}

#[test]
fn flow_schemas_stand_in_the_order_of_their_precedence() {
    let kind = GroupVersionKind::new("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema");
    let schema = |name: &str, precedence: i64| json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": precedence}});
    let list = [schema("a", 900), schema("c", 1), schema("b", 900)];
    let table = table(&kind, None, &list, Include::Metadata, NOW, &json!({"resourceVersion": "7"}));
    let names: Vec<&Value> =
        table["rows"].as_array().expect("rows").iter().map(|row| &row["cells"][0]).collect();
    assert_eq!(names, ["c", "a", "b"]);
    assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
    assert_eq!(
        table["rows"][0]["object"],
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "c"}})
    );
}

#[test]
fn custom_columns_follow_their_paths() {
    let kind = GroupVersionKind::new("example.com", "v1", "Widget");
    let object = json!({
        "metadata": {"name": "w", "creationTimestamp": BORN, "resourceVersion": "5"},
        "spec": {"size": 3, "ratio": 2.5, "whole": 3.0, "on": true, "list": [1, {"a": 2}], "none": null, "bad": "x"},
    });
    let column = |ty: &str, path: &str| json!({"name": "C", "type": ty, "jsonPath": path, "priority": 1});
    let declared = json!([
        column("integer", ".spec.size"),
        column("integer", ".spec.ratio"),
        column("number", ".spec.ratio"),
        column("number", ".spec.whole"),
        column("boolean", ".spec.on"),
        column("string", ".spec.list"),
        column("string", ".spec.whole"),
        column("string", ".spec.none"),
        column("string", ".spec.missing"),
        column("integer", ".spec.bad"),
        column("date", ".metadata.creationTimestamp"),
        column("date", ".spec.bad"),
        column("string", ".spec["),
    ]);
    let custom = CustomColumns::new(&declared);
    let table = table_of_one(&kind, Some(&custom), &object, Include::Object, NOW, true);
    assert_eq!(
        table["rows"][0]["cells"],
        json!([
            "w",
            3,
            2,
            2.5,
            3,
            true,
            "[1,{\"a\":2}]",
            "3",
            "<no value>",
            null,
            null,
            "60m",
            "<invalid>",
            null
        ])
    );
    assert_eq!(table["rows"][0]["object"], object);
    assert_eq!(table["metadata"], json!({"resourceVersion": "5"}));
    assert_eq!(
        table["columnDefinitions"][1],
        json!({"name": "C", "type": "integer", "format": "", "priority": 1,
            "description": "Custom resource definition column (in JSONPath format): .spec.size"})
    );
    let age = CustomColumns::new(&Value::Null);
    let later = table_of_one(&kind, Some(&age), &object, Include::None, NOW, false);
    assert_eq!(later["columnDefinitions"], Value::Null);
    assert_eq!(later["rows"][0], json!({"cells": ["w", "60m"], "object": null}));
    let types: Vec<&str> = age.columns().iter().map(|column| column.ty.as_str()).collect();
    assert_eq!(types, ["string", "date"]);
}

/// Objects that were recorded as JSON, by identity and version.
type Objects = BTreeMap<(String, String), Value>;

/// All objects within a document.
fn collect(document: &Value, into: &mut Objects) {
    let metadata = &document["metadata"];
    if let (Some(uid), Some(version)) = (metadata["uid"].as_str(), metadata["resourceVersion"].as_str())
        && document["kind"] != "PartialObjectMetadata"
    {
        into.insert((uid.into(), version.into()), document.clone());
    }
    match document {
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, into)),
        _ => {}
    }
}

/// `Sun, 22 Nov 2026 10:54:04 GMT` in seconds since 1970.
fn date_seconds(date: &str) -> i64 {
    let words: Vec<&str> = date.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { panic!("{date} is no date of HTTP") };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month).expect("a month") + 1;
    text::seconds(&format!("{year}-{month:02}-{day}T{time}Z").into()).expect("a moment")
}

/// The tables of an answer: itself, or those of the events of a watch.
fn tables(body: &Value) -> Vec<&Value> {
    let events = body["_json_stream"].as_array().into_iter().flatten().map(|event| &event["object"]);
    std::iter::once(body).chain(events).filter(|document| document["kind"] == "Table").collect()
}

/// The kind that a path lists, and its own columns.
fn kind_of(path: &str, objects: &Objects) -> (GroupVersionKind, Option<CustomColumns>) {
    let plural = path.rsplit('/').next().unwrap_or_default();
    let group_version = path.split('/').skip(2).take(if path.starts_with("/api/") { 1 } else { 2 });
    let group_version = group_version.collect::<Vec<_>>().join("/");
    let built_in = BUILT_IN
        .iter()
        .find(|one| one.plural == plural && one.group_version.to_string() == group_version)
        .map(|resource| (resource.group_version_kind(), None));
    built_in.unwrap_or_else(|| {
        let definition = objects
            .values()
            .find(|object| object["spec"]["names"]["plural"] == plural)
            .unwrap_or_else(|| panic!("{path} lists no kind that is known"));
        let version = &definition["spec"]["versions"][0];
        let kind = definition["spec"]["names"]["kind"].as_str().expect("a kind");
        let kind = group_version.parse::<crate::GroupVersion>().expect("a version").kind(kind);
        (kind, Some(CustomColumns::new(&version["additionalPrinterColumns"])))
    })
}

#[test]
fn tables_are_those_of_a_real_server() {
    let Some(directory) = golden::path("kubectl") else { return };
    let mut recordings = Vec::new();
    let mut objects = Objects::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a file of text");
        let recording: Value = serde_json::from_str(&text).expect("a JSON document");
        collect(&recording["exchanges"], &mut objects);
        recordings.push(recording);
    }
    let exchanges = recordings.iter().filter_map(|recording| recording["exchanges"].as_array()).flatten();
    let (mut tables_seen, mut rows_seen) = (0, 0);
    for exchange in exchanges {
        let date = exchange["response_headers"]["Date"].as_str().unwrap_or_default();
        for table in tables(&exchange["response_body"]) {
            let (kind, custom) = kind_of(exchange["path"].as_str().expect("a path"), &objects);
            if !table["columnDefinitions"].is_null() {
                assert_eq!(table["columnDefinitions"], definitions(&kind, custom.as_ref()), "{kind}");
            }
            tables_seen += 1;
            let now = date_seconds(date);
            for recorded in table["rows"].as_array().expect("rows") {
                let metadata = &recorded["object"]["metadata"];
                let version =
                    ["uid", "resourceVersion"].map(|field| metadata[field].as_str().unwrap_or_default());
                let Some(object) = objects.get(&(version[0].into(), version[1].into())) else { continue };
                // The header is in whole seconds, and the answer to a watch begins long before its events.
                let later = if exchange["query"]["watch"].is_null() { 1 } else { 120 };
                let matches = |at| row(&kind, custom.as_ref(), object, Include::Metadata, at) == *recorded;
                assert!(
                    (now - 1..=now + later).any(matches),
                    "{kind}: {} is not {}",
                    row(&kind, custom.as_ref(), object, Include::Metadata, now),
                    recorded
                );
                rows_seen += 1;
            }
        }
    }
    assert!(tables_seen >= 30 && rows_seen >= 20, "{tables_seen} tables and {rows_seen} rows were compared");
}
