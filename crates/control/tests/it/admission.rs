//! Admission: what requests become.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shoal_control::access::User;
use shoal_control::admission::Operation;
use shoal_control::world::World;

use crate::support::{Request, change, golden, object, still_world};

fn becomes(world: &World, request: &Request, given: Value, expected: Expect) {
    let (after, warnings) = request.admit(world, given.clone(), None).expect("it is admitted");
    assert_eq!(warnings, Vec::<String>::new());
    expected.assert_eq(&change(&given, &after).to_string());
}

fn creates(group: &'static str, resource: &'static str) -> Request {
    Request::new(Operation::Create, group, resource)
}

fn pod() -> Value {
    json!({"metadata": {"name": "p", "namespace": "demo"}, "spec": {"containers": [{"name": "c"}]}})
}

#[test]
fn a_pod_gets_what_every_pod_has() {
    becomes(
        &still_world(),
        &creates("", "pods"),
        pod(),
        expect![[
            r#"{"spec":{"containers":[{"name":"c","volumeMounts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","name":"kube-api-access-x6jlv","readOnly":true}]}],"preemptionPolicy":"PreemptLowerPriority","priority":0,"serviceAccount":"default","serviceAccountName":"default","tolerations":[{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}],"volumes":[{"name":"kube-api-access-x6jlv","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"items":[{"key":"ca.crt","path":"ca.crt"}],"name":"kube-root-ca.crt"}},{"downwardAPI":{"items":[{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"},"path":"namespace"}]}}]}}]}}"#
        ]],
    );
}

#[test]
fn a_certificate_request_says_who_made_it_whatever_it_claims() {
    let mut request = creates("certificates.k8s.io", "certificatesigningrequests");
    request.user = User { name: "jane".into(), groups: vec!["dev".into()], ..User::default() };
    let given = json!({"metadata": {"name": "r"}, "spec": {
        "signerName": "kubernetes.io/kubelet-serving", "username": "system:node:a", "uid": "0",
        "groups": ["system:nodes"], "extra": {"scopes": ["all"]},
    }});
    let (after, _) = request.admit(&still_world(), given, None).expect("it is admitted");
    assert_eq!(
        after["spec"],
        json!({"signerName": "kubernetes.io/kubelet-serving", "username": "jane", "groups": ["dev"]})
    );
}

#[test]
fn an_account_decides_about_its_token_and_its_pull_secrets() {
    let mut world = still_world();
    let mut account = object("v1", "ServiceAccount", "quiet");
    account["automountServiceAccountToken"] = json!(false);
    account["imagePullSecrets"] = json!([{"name": "registry"}]);
    world.apply(account);
    let mut quiet = pod();
    quiet["spec"]["serviceAccountName"] = json!("quiet");
    quiet["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    becomes(
        &world,
        &creates("", "pods"),
        quiet,
        expect![[
            r#"{"spec":{"imagePullSecrets":[{"name":"registry"}],"preemptionPolicy":"PreemptLowerPriority","priority":0,"serviceAccount":"quiet"}}"#
        ]],
    );
    // A mount that is there stays, and a volume of an earlier round is used again.
    let mut mounted = pod();
    mounted["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    mounted["spec"]["volumes"] = json!([{"name": "kube-api-access-abcde"}]);
    mounted["spec"]["containers"] = json!([
        {"name": "own", "volumeMounts": [{"name": "x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]},
        {"name": "other"},
    ]);
    becomes(
        &world,
        &creates("", "pods"),
        mounted,
        expect![[
            r#"{"spec":{"containers":[{"name":"own","volumeMounts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","name":"x"}]},{"name":"other","volumeMounts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","name":"kube-api-access-abcde","readOnly":true}]}],"preemptionPolicy":"PreemptLowerPriority","priority":0,"serviceAccount":"default","serviceAccountName":"default"}}"#
        ]],
    );
}

#[test]
fn limits_fill_in_what_containers_leave_out() {
    let mut world = still_world();
    let mut range = object("v1", "LimitRange", "l");
    range["spec"] = json!({"limits": [{
        "type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"},
    }]});
    world.apply(range);
    let mut given = pod();
    given["spec"]["automountServiceAccountToken"] = json!(false);
    given["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    given["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "2Gi"}});
    given["spec"]["initContainers"] = json!([{"name": "i"}]);
    becomes(
        &world,
        &creates("", "pods"),
        given,
        expect![[
            r#"{"metadata":{"annotations":{"kubernetes.io/limit-ranger":"LimitRanger plugin set: cpu request for container c; cpu limit for container c; cpu request for init container i; cpu, memory limit for init container i"}},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1","memory":"2Gi"},"requests":{"cpu":"100m"}}}],"initContainers":[{"name":"i","resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"100m"}}}],"preemptionPolicy":"PreemptLowerPriority","priority":0,"serviceAccount":"default","serviceAccountName":"default"}}"#
        ]],
    );
}

#[test]
fn classes_decide_about_priority_overhead_and_nodes() {
    let mut world = still_world();
    world.apply(json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000,
        "preemptionPolicy": "Never",
    }));
    world.apply(json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "wasm"}, "handler": "wasm",
        "overhead": {"podFixed": {"memory": "5Mi"}},
        "scheduling": {"nodeSelector": {"wasm": "yes"}, "tolerations": [{"key": "wasm", "operator": "Exists"}]},
    }));
    let mut given = pod();
    given["spec"]["automountServiceAccountToken"] = json!(false);
    given["spec"]["priorityClassName"] = json!("high");
    given["spec"]["runtimeClassName"] = json!("wasm");
    becomes(
        &world,
        &creates("", "pods"),
        given,
        expect![[
            r#"{"spec":{"nodeSelector":{"wasm":"yes"},"overhead":{"memory":"5Mi"},"preemptionPolicy":"Never","priority":1000,"serviceAccount":"default","serviceAccountName":"default","tolerations":[{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300},{"key":"wasm","operator":"Exists"}]}}"#
        ]],
    );
}

#[test]
fn the_default_priority_is_that_of_the_least_class() {
    let mut world = still_world();
    for (name, value) in [("a", 7), ("b", 3)] {
        world.apply(json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "globalDefault": true,
        }));
    }
    let (pod, _) = creates("", "pods").admit(&world, pod(), None).expect("it is admitted");
    expect![[r#"["b",3]"#]]
        .assert_eq(&json!([pod["spec"]["priorityClassName"], pod["spec"]["priority"]]).to_string());
}

#[test]
fn claims_volumes_nodes_and_ingresses_get_theirs() {
    let mut world = still_world();
    for (name, time) in [("old", "2025-01-01T00:00:00Z"), ("new", "2025-06-01T00:00:00Z")] {
        world.apply(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {
                "name": name, "creationTimestamp": time,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
        }));
    }
    world.apply(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "edge", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
    }));
    let plain = || json!({"metadata": {"name": "x"}, "spec": {}});
    becomes(
        &world,
        &creates("", "persistentvolumeclaims"),
        plain(),
        expect![[
            r#"{"metadata":{"finalizers":["kubernetes.io/pvc-protection"]},"spec":{"storageClassName":"new"}}"#
        ]],
    );
    let mut none = plain();
    none["spec"]["storageClassName"] = json!("");
    becomes(
        &world,
        &creates("", "persistentvolumeclaims"),
        none,
        expect![[r#"{"metadata":{"finalizers":["kubernetes.io/pvc-protection"]}}"#]],
    );
    becomes(
        &world,
        &creates("", "persistentvolumes"),
        plain(),
        expect![[r#"{"metadata":{"finalizers":["kubernetes.io/pv-protection"]}}"#]],
    );
    becomes(
        &world,
        &creates("", "nodes"),
        plain(),
        expect![[r#"{"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready"}]}}"#]],
    );
    becomes(
        &world,
        &creates("networking.k8s.io", "ingresses"),
        plain(),
        expect![[r#"{"spec":{"ingressClassName":"edge"}}"#]],
    );
    let mut annotated = plain();
    annotated["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "other"});
    becomes(&world, &creates("networking.k8s.io", "ingresses"), annotated, expect!["{}"]);
}

/// The pod that `kubectl run` made on a real server: what admission added there is added here.
#[test]
fn a_recorded_pod_becomes_what_it_became() {
    let Some(path) = golden("kubectl/90-run-pod.json") else { return };
    let text = std::fs::read_to_string(path).expect("the recording can be read");
    let recorded: Value = serde_json::from_str(&text).expect("JSON");
    let exchanges = recorded["exchanges"].as_array().expect("exchanges");
    let post = exchanges.iter().find(|exchange| exchange["method"] == "POST").expect("a pod was made");
    let request = post["request_body"].clone();
    let (pod, _) = creates("", "pods").admit(&still_world(), request, None).expect("it is admitted");
    let theirs = &post["response_body"]["spec"];
    for field in ["tolerations", "priority", "preemptionPolicy", "serviceAccountName", "serviceAccount"] {
        assert_eq!(pod["spec"][field], theirs[field], "{field}");
    }
    let mounts = |spec: &Value| {
        let mut mounts = spec["containers"][0]["volumeMounts"].clone();
        mounts[0]["name"] = json!("generated");
        mounts
    };
    assert_eq!(mounts(&pod["spec"]), mounts(theirs));
    let sources = |spec: &Value| {
        let all = spec["volumes"][0]["projected"]["sources"].as_array().cloned().unwrap_or_default();
        // The recorded server was built for a distribution that adds certificates of its own.
        let ours = |source: &Value| source["configMap"]["name"] != "openshift-service-ca.crt";
        all.into_iter().filter(ours).collect::<Vec<Value>>()
    };
    assert_eq!(sources(&pod["spec"]), sources(theirs));
    assert_eq!(pod["spec"]["volumes"][0]["projected"]["defaultMode"], 420);
}
