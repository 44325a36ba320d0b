//! Admission: what is refused, word for word.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_control::access::User;
use shoal_control::admission::{OWNER_REFERENCES_PERMISSION_ENFORCEMENT, Operation, quota};
use shoal_control::known::NAMESPACE;
use shoal_control::world::World;

use crate::certificates::request as signing_request;
use crate::support::{Request, namespace, object, owned, still_world};

use Operation::{Create, Delete, Update};

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "demo"}, "spec": spec});
    if pod["spec"]["containers"].is_null() {
        pod["spec"]["containers"] = json!([{"name": "c"}]);
    }
    pod
}

fn refuse_pods(world: &World, specs: impl IntoIterator<Item = Value>) -> String {
    let request = Request::new(Create, "", "pods");
    specs.into_iter().map(|spec| request.refusal(world, pod(spec), None) + "\n").collect()
}

#[test]
fn nothing_is_made_where_nothing_can_be() {
    let config = || json!({"metadata": {"name": "c", "namespace": "demo"}});
    let request = |operation| Request::new(operation, "", "configmaps");
    let empty = World::new(Vec::new());
    let mut told = request(Create).refusal(&empty, config(), None) + "\n";
    told += &(request(Update).refusal(&empty, config(), None) + "\n");
    let mut world = still_world();
    world.delete(&NAMESPACE, "", "demo", None);
    told += &(request(Create).refusal(&world, config(), None) + "\n");
    for operation in [Update, Delete] {
        assert!(request(operation).admit(&world, config(), None).is_ok(), "what is there may change and go");
    }
    let mut system = Request::new(Delete, "", "namespaces");
    for name in ["default", "kube-system", "kube-public"] {
        system.name = name;
        told += &(system.refusal(&world, Value::Null, None) + "\n");
    }
    system.name = "demo";
    assert!(system.admit(&world, Value::Null, None).is_ok());
    expect![[r#"
        namespaces "demo" not found
        namespaces "demo" not found
        configmaps "c" is forbidden: unable to create new content in namespace demo because it is being terminated
        namespaces "default" is forbidden: this namespace may not be deleted
        namespaces "kube-system" is forbidden: this namespace may not be deleted
        namespaces "kube-public" is forbidden: this namespace may not be deleted
    "#]].assert_eq(&told);
}

#[test]
fn a_dying_namespace_is_a_cause() {
    let mut world = still_world();
    world.delete(&NAMESPACE, "", "demo", None);
    let status = Request::new(Create, "", "configmaps").with(&world, |attributes| {
        let mut config = json!({"metadata": {"generateName": "c-"}});
        shoal_control::admission::mutate(attributes, &mut config, None, &world)
            .expect_err("refused")
            .to_value()
    });
    expect![[r#"{"apiVersion":"v1","code":403,"details":{"causes":[{"field":"metadata.namespace","message":"namespace demo is being terminated","reason":"NamespaceTerminating"}],"kind":"configmaps","name":"c-"},"kind":"Status","message":"configmaps \"c-\" is forbidden: unable to create new content in namespace demo because it is being terminated","metadata":{},"reason":"Forbidden","status":"Failure"}"#]].assert_eq(&status.to_string());
}

#[test]
fn limits_are_kept() {
    let mut world = still_world();
    let mut range = object("v1", "LimitRange", "l");
    range["spec"] = json!({"limits": [
        {"type": "Container", "min": {"cpu": "100m"}, "max": {"memory": "1Gi"}},
        {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}},
        {"type": "Pod", "max": {"cpu": "2"}},
        {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "10Gi"}},
    ]});
    world.apply(range);
    let containers = |list: Value| json!({"containers": list});
    let one = |requests: Value, limits: Value| {
        containers(json!([{"name": "c", "resources": {"requests": requests, "limits": limits}}]))
    };
    let mut told = refuse_pods(
        &world,
        [
            one(json!({}), json!({})),
            one(json!({"cpu": "50m"}), json!({"cpu": "60m", "memory": "2Gi"})),
            one(json!({"cpu": "200m", "memory": "2Gi"}), json!({"cpu": "500m", "memory": "1Gi"})),
            one(json!({"cpu": "200m"}), json!({"cpu": "500m", "memory": "1Gi"})),
            one(json!({"cpu": "3"}), json!({"cpu": "4", "memory": "1Gi"})),
        ],
    );
    let claim = |size: &str| json!({"metadata": {"name": "d"}, "spec": {"resources": {"requests": {"storage": size}}}});
    for size in ["500Mi", "11Gi"] {
        told +=
            &(Request::new(Create, "", "persistentvolumeclaims").refusal(&world, claim(size), None) + "\n");
    }
    expect![[r#"
        pods "p" is forbidden: [minimum cpu usage per Container is 100m.  No request is specified, maximum memory usage per Container is 1Gi.  No limit is specified]
        pods "p" is forbidden: [minimum cpu usage per Container is 100m, but request is 50m, maximum memory usage per Container is 1Gi, but limit is 2Gi]
        pods "p" is forbidden: maximum memory usage per Container is 1Gi, but request is 2Gi
        pods "p" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000
        pods "p" is forbidden: maximum cpu usage per Pod is 2, but limit is 4
        persistentvolumeclaims "d" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi
        persistentvolumeclaims "d" is forbidden: maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 11Gi
    "#]].assert_eq(&told);
}

#[test]
fn pods_name_only_what_there_is() {
    let mut world = still_world();
    let mut strict = object("v1", "ServiceAccount", "strict");
    strict["metadata"]["annotations"] = json!({"kubernetes.io/enforce-mountable-secrets": "true"});
    strict["secrets"] = json!([{"name": "listed"}]);
    world.apply(strict);
    world.apply(json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000,
    }));
    world.apply(json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "wasm"},
        "overhead": {"podFixed": {"memory": "5Mi"}}, "scheduling": {"nodeSelector": {"wasm": "yes"}},
    }));
    let of_strict = |spec: Value| {
        let mut spec = spec;
        spec["serviceAccountName"] = json!("strict");
        spec
    };
    let env = json!([{"name": "E", "valueFrom": {"secretKeyRef": {"name": "other"}}}]);
    let told = refuse_pods(
        &world,
        [
            json!({"serviceAccountName": "nobody"}),
            of_strict(json!({"volumes": [{"name": "v", "secret": {"secretName": "other"}}]})),
            of_strict(json!({"containers": [{"name": "c", "env": env}]})),
            of_strict(json!({"imagePullSecrets": [{"name": "listed"}]})),
            json!({"priorityClassName": "nobody"}),
            json!({"priorityClassName": "high", "priority": 5}),
            json!({"priorityClassName": "high", "preemptionPolicy": "Never"}),
            json!({"runtimeClassName": "nobody"}),
            json!({"runtimeClassName": "wasm", "overhead": {"memory": "1Mi"}}),
            json!({"runtimeClassName": "wasm", "nodeSelector": {"wasm": "no"}}),
            json!({"overhead": {"memory": "1Mi"}}),
        ],
    );
    expect![[r#"
        pods "p" is forbidden: error looking up service account demo/nobody: serviceaccount "nobody" not found
        pods "p" is forbidden: volume with secret.secretName="other" is not allowed because service account strict does not reference that secret
        pods "p" is forbidden: container c with envVar E referencing secret.secretName="other" is not allowed because service account strict does not reference that secret
        pods "p" is forbidden: imagePullSecrets[0].name="listed" is not allowed because service account strict does not reference that imagePullSecret
        pods "p" is forbidden: no PriorityClass with name nobody was found
        pods "p" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name
        pods "p" is forbidden: the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name
        pods "p" is forbidden: pod rejected: RuntimeClass "nobody" not found
        pods "p" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead
        pods "p" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[wasm] = yes; pod.spec.nodeSelector[wasm] = no
        pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead
    "#]].assert_eq(&told);
}

#[test]
fn only_one_class_is_the_default() {
    let mut world = still_world();
    let class = |name: &str| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1,
            "globalDefault": true,
        })
    };
    world.apply(class("a"));
    let request = Request::new(Create, "scheduling.k8s.io", "priorityclasses");
    expect![[r#"priorityclasses.scheduling.k8s.io "b" is forbidden: PriorityClass a is already marked as default. Only one default can exist"#]].assert_eq(&request.refusal(&world, class("b"), None));
    assert!(request.admit(&world, class("a"), None).is_ok(), "its own changes are none of another");
}

#[test]
fn claims_grow_where_their_class_can() {
    let mut world = still_world();
    for (name, grows) in [("fixed", false), ("elastic", true)] {
        world.apply(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "allowVolumeExpansion": grows,
        }));
    }
    let claim = |class: &str, size: &str, phase: &str| {
        json!({
            "metadata": {"name": "d"}, "status": {"phase": phase},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
        })
    };
    let request = Request::new(Update, "", "persistentvolumeclaims");
    let grow = |class: &str, phase: &str| {
        request.admit(&world, claim(class, "2Gi", phase), Some(&claim(class, "1Gi", phase)))
    };
    let told: String = [grow("fixed", "Bound"), grow("elastic", "Pending"), grow("nobody", "Bound")]
        .into_iter()
        .map(|result| result.expect_err("refused") + "\n")
        .collect();
    expect![[r#"
        persistentvolumeclaims "d" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize
        persistentvolumeclaims "d" is forbidden: Only bound persistent volume claims can be expanded
        persistentvolumeclaims "d" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize
    "#]].assert_eq(&told);
    assert!(grow("elastic", "Bound").is_ok());
}

#[test]
fn certificates_are_decided_about_by_who_may() {
    let world = still_world();
    let update = |part: &'static str, allowed: bool| {
        let mut request = Request::new(Update, "certificates.k8s.io", "certificatesigningrequests");
        request.subresource = part;
        if allowed {
            request.allows = |_, access| access.resource == "signers" && access.name == "example.com/*";
        }
        request
    };
    let mut csr = signing_request("example.com/signer", "node");
    let old = csr.clone();
    csr["status"]["certificate"] = json!("c2lnbmVk");
    let mut told = String::new();
    for part in ["approval", "status"] {
        told += &(update(part, false).refusal(&world, csr.clone(), Some(&old)) + "\n");
        assert!(update(part, true).admit(&world, csr.clone(), Some(&old)).is_ok(), "{part}");
    }
    assert!(update("status", false).admit(&world, old.clone(), Some(&old)).is_ok(), "nothing was signed");
    let create = Request::new(Create, "certificates.k8s.io", "certificatesigningrequests");
    let masters = signing_request("kubernetes.io/kube-apiserver-client", "masters");
    told += &create.refusal(&world, masters, None);
    assert!(create.admit(&world, signing_request("example.com/signer", "masters"), None).is_ok());
    expect![[r#"
        certificatesigningrequests.certificates.k8s.io "csr" is forbidden: user not permitted to approve requests with signerName "example.com/signer"
        certificatesigningrequests.certificates.k8s.io "csr" is forbidden: user not permitted to sign requests with signerName "example.com/signer"
        certificatesigningrequests.certificates.k8s.io "csr" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"#]].assert_eq(&told);
}

#[test]
fn owners_are_named_by_who_may() {
    let world = still_world();
    let (_, admit) = OWNER_REFERENCES_PERMISSION_ENFORCEMENT;
    let ask =
        |operation, allows: fn(&User, &shoal_control::rbac::Attributes<'_>) -> bool, old: Option<Value>| {
            let mut request = Request::new(operation, "", "configmaps");
            request.allows = allows;
            let config = json!({"metadata": {"name": "c"}});
            let object = owned(config, &[("ReplicaSet", "rs", true)]);
            request.with(&world, |attributes| admit(attributes, &object, old.as_ref(), &world))
        };
    let before = || Some(json!({"metadata": {"name": "c"}}));
    let told: String = [
        ask(Create, |_, _| false, None),
        ask(Update, |_, access| access.subresource == "finalizers", before()),
        ask(Update, |_, access| access.verb == "delete", before()),
    ]
    .into_iter()
    .map(|result| result.expect_err("refused").message + "\n")
    .collect();
    expect![[r#"
        configmaps "c" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>
        configmaps "c" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>
        configmaps "c" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>
    "#]].assert_eq(&told);
    assert!(ask(Update, |_, _| true, before()).is_ok());
    assert!(ask(Create, |_, access| access.subresource == "finalizers", None).is_ok());
}

/// Requests of the node `n1`.
fn by_node(operation: Operation, group: &'static str, resource: &'static str, name: &'static str) -> Request {
    let mut request = Request::new(operation, group, resource);
    request.name = name;
    request.user =
        User { name: "system:node:n1".into(), groups: vec!["system:nodes".into()], ..User::default() };
    request
}

#[test]
fn a_node_writes_its_own_node() {
    let world = still_world();
    let node = |labels: Value| json!({"metadata": {"name": "n1", "labels": labels}, "spec": {}});
    let mut tainted = node(json!({}));
    tainted["spec"]["taints"] = json!([{"key": "a", "effect": "NoSchedule"}]);
    let mut owned = node(json!({}));
    owned["metadata"]["ownerReferences"] = json!([{}]);
    let old = node(json!({}));
    let reserved = json!({
        "node-restriction.kubernetes.io/a": "b", "foo.k8s.io/x": "y", "free.example/x": "y",
        "topology.kubernetes.io/zone": "z",
    });
    let told = [
        by_node(Create, "", "nodes", "").refusal(&world, json!({"metadata": {"name": "n2"}}), None),
        by_node(Create, "", "nodes", "").refusal(&world, node(reserved.clone()), None),
        by_node(Update, "", "nodes", "n1").refusal(&world, node(reserved), Some(&old)),
        by_node(Update, "", "nodes", "n1").refusal(&world, tainted, Some(&old)),
        by_node(Update, "", "nodes", "n1").refusal(&world, owned, Some(&old)),
        by_node(Delete, "", "nodes", "n2").refusal(&world, Value::Null, Some(&old)),
    ]
    .join("\n");
    expect![[r#"
        nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"
        nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: foo.k8s.io/x, node-restriction.kubernetes.io/a
        nodes "n1" is forbidden: is not allowed to modify labels: foo.k8s.io/x, node-restriction.kubernetes.io/a
        nodes "n1" is forbidden: node "n1" is not allowed to modify taints
        nodes "n1" is forbidden: node "n1" is not allowed to modify ownerReferences
        nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#]].assert_eq(&told);
    let free = node(json!({"free.example/x": "y", "node.kubernetes.io/instance-type": "small"}));
    assert!(by_node(Update, "", "nodes", "n1").admit(&world, free, Some(&old)).is_ok());
}

#[test]
fn a_node_writes_what_concerns_its_pods() {
    let mut world = still_world();
    let mut other = object("v1", "Pod", "other");
    other["spec"] = json!({"nodeName": "n2"});
    world.apply(other.clone());
    let mirror = |change: fn(&mut Value)| {
        let mut pod = pod(json!({"nodeName": "n1"}));
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u", "controller": true}]);
        change(&mut pod);
        pod
    };
    let create = by_node(Create, "", "pods", "");
    let mut told: Vec<String> = [
        mirror(|pod| pod["metadata"]["annotations"] = json!({})),
        mirror(|pod| pod["spec"]["nodeName"] = json!("n2")),
        mirror(|pod| pod["metadata"]["ownerReferences"] = json!([])),
        mirror(|pod| pod["metadata"]["ownerReferences"][0]["name"] = json!("n2")),
        mirror(|pod| pod["spec"]["serviceAccountName"] = json!("default")),
        mirror(|pod| pod["spec"]["volumes"] = json!([{"name": "v", "secret": {}}])),
        mirror(|pod| pod["spec"]["volumes"] = json!([{"name": "v", "configMap": {}}])),
    ]
    .into_iter()
    .map(|pod| create.refusal(&world, pod, None))
    .collect();
    assert!(create.admit(&world, mirror(|_| ()), None).is_ok());
    told.push(by_node(Delete, "", "pods", "other").refusal(&world, Value::Null, Some(&other)));
    told.push(by_node(Update, "", "pods", "other").refusal(&world, other.clone(), Some(&other)));
    let part = |part: &'static str, operation, resource, name| {
        let mut request = by_node(operation, "", resource, name);
        request.subresource = part;
        request
    };
    told.push(part("status", Update, "pods", "other").refusal(&world, other.clone(), Some(&other)));
    told.push(part("eviction", Create, "pods", "other").refusal(&world, json!({}), None));
    let bound = |reference: Value| json!({"spec": {"boundObjectRef": reference}});
    let token = part("token", Create, "serviceaccounts", "default");
    for reference in [
        Value::Null,
        json!({"apiVersion": "v1", "kind": "Pod", "name": "other"}),
        json!({"apiVersion": "v1", "kind": "Pod", "name": "other", "uid": "x"}),
        json!({"apiVersion": "v1", "kind": "Pod", "name": "other", "uid": "other"}),
        json!({"apiVersion": "v1", "kind": "Pod", "name": "gone", "uid": "x"}),
    ] {
        told.push(token.refusal(&world, bound(reference), None));
    }
    expect![[r#"
        pods "p" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods
        pods "p" is forbidden: node "n1" can only create pods with spec.nodeName set to itself
        pods "p" is forbidden: node "n1" can only create pods with a single owner reference set to itself
        pods "p" is forbidden: node "n1" can only create pods with an owner reference set to itself
        pods "p" is forbidden: node "n1" can not create pods that reference a service account
        pods "p" is forbidden: node "n1" can not create pods that reference secrets
        pods "p" is forbidden: node "n1" can not create pods that reference configmaps
        pods "other" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself
        pods "other" is forbidden: unexpected operation "UPDATE", node "n1"
        pods "other" is forbidden: node "n1" can only update pod status for pods with spec.nodeName set to itself
        pods "other" is forbidden: node n1 can only evict pods with spec.nodeName set to itself
        serviceaccounts "default" is forbidden: node requested token not bound to a pod
        serviceaccounts "default" is forbidden: node requested token with a pod binding without a uid
        serviceaccounts "default" is forbidden: the UID in the bound object reference (x) does not match the UID in record (other). The object might have been deleted and then recreated
        serviceaccounts "default" is forbidden: node requested token bound to a pod scheduled on a different node
        serviceaccounts "default" is forbidden: pod "gone" not found"#]].assert_eq(&told.join("\n"));
}

#[test]
fn a_node_renews_its_own_lease() {
    let mut world = still_world();
    let lease = json!({"metadata": {"name": "n1", "namespace": "demo"}});
    let told = by_node(Create, "coordination.k8s.io", "leases", "").refusal(&world, lease, None);
    expect![[r#"leases.coordination.k8s.io "n1" is forbidden: can only access leases in the "kube-node-lease" system namespace"#]].assert_eq(&told);
    let other = by_node(Update, "storage.k8s.io", "csinodes", "n2");
    expect![[r#"csinodes.storage.k8s.io "n2" is forbidden: can only access CSINode with the same name as the requesting node"#]].assert_eq(&other.refusal(&world, json!({"metadata": {"name": "n2"}}), None));
    world.apply(namespace("kube-node-lease"));
}

fn quota_world(hard: Value, used: Value) -> World {
    let mut world = still_world();
    let mut quota = object("v1", "ResourceQuota", "q");
    quota["spec"] = json!({"hard": hard});
    quota["status"] = json!({"hard": hard, "used": used});
    world.apply(quota);
    world
}

/// What the quota becomes, or why the request is refused.
fn charge(world: &World, request: &Request, object: Value, old: Option<&Value>) -> String {
    let result = request.with(world, |attributes| quota::charge(attributes, &object, old, world));
    match result {
        Ok(quotas) => quotas.iter().map(|quota| quota["status"]["used"].to_string()).collect(),
        Err(status) => status.message,
    }
}

#[test]
fn quotas_are_charged_until_nothing_is_left() {
    let create = Request::new(Create, "", "pods");
    let sized =
        |requests: Value| pod(json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}));
    let plenty =
        quota_world(json!({"pods": "2", "requests.cpu": "1"}), json!({"pods": "1", "requests.cpu": "400m"}));
    let full =
        quota_world(json!({"pods": "2", "requests.cpu": "1"}), json!({"pods": "2", "requests.cpu": "900m"}));
    let unknown = quota_world(json!({"pods": "2", "secrets": "1"}), json!({}));
    let mut dry = Request::new(Create, "", "pods");
    dry.dry_run = true;
    let told = [
        charge(&plenty, &create, sized(json!({"cpu": "500m"})), None),
        charge(&plenty, &create, sized(json!({"cpu": "601m"})), None),
        charge(&plenty, &create, sized(json!({})), None),
        charge(&full, &create, sized(json!({"cpu": "200m"})), None),
        charge(&unknown, &create, sized(json!({})), None),
        charge(&full, &dry, sized(json!({"cpu": "200m"})), None),
        charge(&plenty, &dry, sized(json!({"cpu": "500m"})), None),
        charge(&full, &Request::new(Create, "", "configmaps"), json!({}), None),
    ]
    .join("\n");
    expect![[r#"
        {"pods":"2","requests.cpu":"900m"}
        pods "p" is forbidden: exceeded quota: q, requested: requests.cpu=601m, used: requests.cpu=400m, limited: requests.cpu=1
        pods "p" is forbidden: failed quota: q: must specify requests.cpu for: c
        pods "p" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=200m, used: pods=2,requests.cpu=900m, limited: pods=2,requests.cpu=1
        pods "p" is forbidden: status unknown for quota: q, resources: pods
        pods "p" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=200m, used: pods=2,requests.cpu=900m, limited: pods=2,requests.cpu=1

    "#]].assert_eq(&told);
}

#[test]
fn quotas_count_what_an_update_adds_and_objects_by_name() {
    let world = quota_world(
        json!({"services.nodeports": "2", "count/deployments.apps": "1", "requests.storage": "10Gi"}),
        json!({"services.nodeports": "1", "count/deployments.apps": "1", "requests.storage": "5Gi"}),
    );
    let service = |kind: &str, ports: usize| {
        let ports: Vec<Value> = (0..ports).map(|port| json!({"port": port})).collect();
        json!({"metadata": {"name": "s"}, "spec": {"type": kind, "ports": ports}})
    };
    let claim = |size: &str| json!({"metadata": {"name": "d"}, "spec": {"resources": {"requests": {"storage": size}}}});
    let update = |resource| Request::new(Update, "", resource);
    let deployment = json!({"metadata": {"name": "web"}});
    let told = [
        charge(&world, &update("services"), service("NodePort", 2), Some(&service("NodePort", 1))),
        charge(&world, &update("services"), service("NodePort", 3), Some(&service("NodePort", 1))),
        charge(&world, &update("services"), service("ClusterIP", 1), Some(&service("NodePort", 1))),
        charge(&world, &update("persistentvolumeclaims"), claim("11Gi"), Some(&claim("5Gi"))),
        charge(&world, &Request::new(Create, "apps", "deployments"), deployment.clone(), None),
        charge(&world, &Request::new(Update, "apps", "deployments"), deployment.clone(), Some(&deployment)),
        charge(&world, &Request::new(Delete, "apps", "deployments"), deployment, None),
    ]
    .join("\n");
    expect![[r#"
        {"count/deployments.apps":"1","requests.storage":"5Gi","services.nodeports":"2"}
        services "s" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2
        {"count/deployments.apps":"1","requests.storage":"5Gi","services.nodeports":"0"}
        persistentvolumeclaims "d" is forbidden: exceeded quota: q, requested: requests.storage=6Gi, used: requests.storage=5Gi, limited: requests.storage=10Gi
        deployments.apps "web" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1

    "#]].assert_eq(&told);
}
