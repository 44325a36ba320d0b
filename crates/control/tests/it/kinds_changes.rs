//! What of objects can change, and what a write keeps.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shoal_api::defaults;
use shoal_api::schema::builtin;
use shoal_control::kinds;

use crate::support::{kind_of, lines};

/// An object as it is stored.
fn stored(mut object: Value) -> Value {
    let kind = kind_of(&object);
    let node = builtin::kind(&kind).expect("a built-in kind");
    let meta = json!({
        "name": "a", "namespace": "default", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
    });
    for (field, value) in meta.as_object().expect("an object") {
        if object["metadata"][field].is_null() {
            object["metadata"][field] = value.clone();
        }
    }
    if object["metadata"]["namespace"] == "" {
        object["metadata"].as_object_mut().expect("metadata").remove("namespace");
    }
    defaults::settle(node, &mut object);
    kinds::default(&kind, &mut object);
    let status = object["status"].clone();
    kinds::prepare_create(&kind, &mut object);
    if !status.is_null() {
        object["status"] = status;
    }
    kinds::default(&kind, &mut object);
    defaults::settle(node, &mut object);
    object
}

/// The object after a write of `change` (merged into it), and what is said of it.
fn write(old: &Value, subresource: &str, change: Value) -> (Value, String) {
    let kind = kind_of(old);
    let mut new = old.clone();
    merge(&mut new, change);
    kinds::default(&kind, &mut new);
    kinds::prepare_update(&kind, subresource, &mut new, old);
    kinds::default(&kind, &mut new);
    let errors = lines(&kinds::validate_update(&kind, subresource, &new, old));
    (new, errors)
}

fn check(old: &Value, change: Value, expected: &Expect) {
    expected.assert_eq(&write(old, "", change).1);
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(&field);
        } else {
            merge(&mut target[field], value);
        }
    }
}

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}})
}

fn workload(kind: &str) -> Value {
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template()});
    stored(json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {}, "spec": spec}))
}

#[test]
fn metadata_stays() {
    let old = stored(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "deletionTimestamp": null, "finalizers": ["a/b"]}}));
    check(
        &old,
        json!({"metadata": {"name": "b", "namespace": "other", "uid": "v", "resourceVersion": null, "creationTimestamp": "2027-01-01T00:00:00Z"}}),
        &expect![[r#"
            metadata.resourceVersion: Invalid value: "": must be specified for an update
            metadata.name: Invalid value: "b": field is immutable
            metadata.namespace: Invalid value: "other": field is immutable
            metadata.uid: Invalid value: "v": field is immutable
        "#]],
    );
    let mut dying = old;
    dying["metadata"]["deletionTimestamp"] = json!("2026-02-01T00:00:00Z");
    check(
        &dying,
        json!({"metadata": {"finalizers": ["a/b", "c/d"]}}),
        &expect![[r#"
        metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"c/d"}
    "#]],
    );
    let (kept, _) = write(&dying, "", json!({"metadata": {"deletionTimestamp": null, "uid": ""}}));
    assert_eq!(kept["metadata"]["deletionTimestamp"], json!("2026-02-01T00:00:00Z"));
    assert_eq!(kept["metadata"]["uid"], json!("u"));
}

#[test]
fn generations_count_what_was_asked() {
    let old = workload("Deployment");
    let generation = |object: &Value| object["metadata"]["generation"].as_i64();
    assert_eq!(generation(&old), Some(1));
    for (subresource, change, expected) in [
        ("", json!({"metadata": {"labels": {"x": "y"}}}), 1),
        ("", json!({"metadata": {"annotations": {"x": "y"}}}), 2),
        ("", json!({"spec": {"replicas": 2}}), 2),
        ("", json!({"spec": {"replicas": 1}, "status": {"replicas": 7}}), 1),
        ("status", json!({"spec": {"replicas": 2}, "status": {"replicas": 7}}), 1),
    ] {
        let (new, errors) = write(&old, subresource, change.clone());
        assert_eq!((generation(&new), errors.as_str()), (Some(expected), ""), "{change}");
        let status = if subresource.is_empty() { json!({}) } else { json!({"replicas": 7}) };
        assert_eq!(new["status"], status, "{change}");
        assert!(subresource.is_empty() || new["spec"] == old["spec"], "status writes keep the specification");
    }
}

#[test]
fn workloads() {
    let change = json!({"spec": {"selector": {"matchLabels": {"a": "c"}}, "template": {"metadata": {"labels": {"a": "c"}}}}});
    check(
        &workload("Deployment"),
        change.clone(),
        &expect![[r#"
        spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"a":"c"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable
    "#]],
    );
    check(
        &workload("DaemonSet"),
        change.clone(),
        &expect![[r#"
        spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"a":"c"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable
    "#]],
    );
    check(
        &workload("ReplicaSet"),
        change,
        &expect![[r#"
        spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"a":"c"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable
    "#]],
    );
    check(
        &workload("StatefulSet"),
        json!({"spec": {"serviceName": "x"}}),
        &expect![[r#"
        spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden
    "#]],
    );
    check(&workload("StatefulSet"), json!({"spec": {"replicas": 3, "minReadySeconds": 5}}), &expect![[""]]);
    let (_, errors) =
        write(&workload("Deployment"), "status", json!({"status": {"replicas": 1, "readyReplicas": 2}}));
    expect![[r#"
        status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas
    "#]]
    .assert_eq(&errors);
}

#[test]
fn jobs() {
    let mut template = template();
    template["spec"]["restartPolicy"] = json!("Never");
    let old = stored(
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": {"template": template}}),
    );
    check(&old, json!({"spec": {"parallelism": 3}}), &expect![[""]]);
    check(
        &old,
        json!({"spec": {"completions": 3, "completionMode": "Indexed"}}),
        &expect![[r#"
        spec.completions: Invalid value: 3: field is immutable
        spec.completionMode: Invalid value: "Indexed": field is immutable
    "#]],
    );
    let (_, errors) = write(&old, "", json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}));
    assert!(errors.starts_with("spec.template: Invalid value: core.PodTemplateSpec{"), "{errors}");
    assert!(errors.ends_with(": field is immutable\n"), "{errors}");
    let mut waiting = old;
    waiting["spec"]["suspend"] = json!(true);
    check(&waiting, json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}), &expect![[""]]);
}

#[test]
fn pods() {
    let old = stored(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {
        "containers": [{"name": "c", "image": "nginx:1"}], "activeDeadlineSeconds": 10, "tolerations": [{"key": "a", "operator": "Exists"}]}}));
    let image = json!({"spec": {"containers": [{"name": "c", "image": "nginx:2", "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {}}]}});
    check(&old, image, &expect![[""]]);
    check(
        &old,
        json!({"spec": {"nodeName": "n", "hostNetwork": true}}),
        &expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        +	hostNetwork: true
        +	nodeName: "n"

    "#]],
    );
    check(
        &old,
        json!({"spec": {"containers": []}}),
        &expect![[r#"
        spec.containers: Required value
        spec.containers: Forbidden: pod updates may not add or remove containers
    "#]],
    );
    check(
        &old,
        json!({"spec": {"activeDeadlineSeconds": 11}}),
        &expect![[r#"
        spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value
    "#]],
    );
    check(
        &old,
        json!({"spec": {"activeDeadlineSeconds": null}}),
        &expect![[r#"
        spec.activeDeadlineSeconds: Invalid value: "null": must not update from a positive integer to nil value
    "#]],
    );
    check(
        &old,
        json!({"spec": {"tolerations": []}}),
        &expect![[r#"
        spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds
    "#]],
    );
    check(
        &old,
        json!({"spec": {"schedulingGates": [{"name": "g"}]}}),
        &expect![[r#"
        spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'
    "#]],
    );
    let (new, errors) = write(
        &old,
        "status",
        json!({"status": {"phase": "Running", "qosClass": "Guaranteed"}, "spec": {"nodeName": "x"}}),
    );
    expect![[r#"
        status.qosClass: Invalid value: "Guaranteed": field is immutable
    "#]]
    .assert_eq(&errors);
    assert_eq!(new["spec"], old["spec"]);
}

#[test]
fn data() {
    let sealed = |kind: &str| {
        stored(
            json!({"apiVersion": "v1", "kind": kind, "metadata": {}, "immutable": true, "data": {"a": "YQ=="}}),
        )
    };
    check(
        &sealed("ConfigMap"),
        json!({"data": {"a": "x"}, "immutable": null, "binaryData": {"b": ""}}),
        &expect![[r#"
            immutable: Forbidden: field is immutable when `immutable` is set
            data: Forbidden: field is immutable when `immutable` is set
        "#]],
    );
    check(
        &sealed("Secret"),
        json!({"data": {"a": "eA=="}, "type": "other"}),
        &expect![[r#"
        type: Invalid value: "other": field is immutable
        data: Forbidden: field is immutable when `immutable` is set
    "#]],
    );
}

#[test]
fn services() {
    let old = stored(json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {
        "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "type": "NodePort",
        "ports": [{"port": 80, "nodePort": 30080}]}}));
    check(
        &old,
        json!({"spec": {"clusterIP": "10.0.0.2"}}),
        &expect![[r#"
        spec.clusterIPs[0]: Invalid value: []string{"10.0.0.2"}: may not change once set
    "#]],
    );
    let (new, errors) = write(
        &old,
        "",
        json!({"spec": {"clusterIP": null, "clusterIPs": null, "ipFamilies": null, "ports": [{"port": 80}]}}),
    );
    assert_eq!(
        (new["spec"].clone(), errors.as_str()),
        (old["spec"].clone(), ""),
        "what was allocated is kept"
    );
    let (new, errors) = write(&old, "", json!({"spec": {"type": "ClusterIP"}}));
    assert_eq!(errors, "");
    assert_eq!(new["spec"]["ports"][0]["nodePort"], json!(null));
    assert_eq!(new["spec"]["externalTrafficPolicy"], json!(null));
    let (new, errors) = write(&old, "", json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}));
    assert_eq!(errors, "");
    assert_eq!(new["spec"]["clusterIPs"], json!(null));
}

#[test]
fn storage() {
    let old = stored(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "s", "resources": {"requests": {"storage": "2Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}));
    check(&old, json!({"spec": {"volumeName": "v"}}), &expect![[""]]);
    check(&old, json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}), &expect![[""]]);
    check(
        &old,
        json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}}),
        &expect![[r#"
        spec.resources.requests.storage: Forbidden: field can not be less than status.capacity
    "#]],
    );
    check(
        &old,
        json!({"spec": {"accessModes": ["ReadWriteMany"]}}),
        &expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
        -	accessModes[0]: "ReadWriteOnce"
        +	accessModes[0]: "ReadWriteMany"

    "#]],
    );
    let class = stored(
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"namespace": ""}, "provisioner": "p"}),
    );
    check(
        &class,
        json!({"provisioner": "q", "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}),
        &expect![[r#"
            provisioner: Forbidden: updates to provisioner are forbidden.
            reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.
            volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable
        "#]],
    );
    let volume = stored(
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"namespace": ""}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/a"}}}),
    );
    check(
        &volume,
        json!({"spec": {"hostPath": {"path": "/b"}}}),
        &expect![[r#"
        spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation
        -	hostPath.path: "/a"
        +	hostPath.path: "/b"

    "#]],
    );
}

#[test]
fn the_rest() {
    let binding = stored(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {}, "roleRef": {"kind": "Role", "name": "r"}}),
    );
    check(
        &binding,
        json!({"roleRef": {"name": "s"}}),
        &expect![[r#"
        roleRef: Invalid value: rbac.RoleRef{APIGroup:"rbac.authorization.k8s.io", Kind:"Role", Name:"s"}: cannot change roleRef
    "#]],
    );
    let namespace = stored(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"namespace": ""}}));
    let (new, errors) = write(&namespace, "", json!({"spec": {"finalizers": []}}));
    assert_eq!((&new["spec"]["finalizers"], errors.as_str()), (&json!(["kubernetes"]), ""));
    let (new, errors) = write(&namespace, "finalize", json!({"spec": {"finalizers": []}}));
    assert_eq!((&new["spec"]["finalizers"], errors.as_str()), (&json!([]), ""));
    let (_, errors) = write(&namespace, "status", json!({"status": {"phase": "Terminating"}}));
    expect![[r#"
        status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty
    "#]]
    .assert_eq(&errors);
    let node = stored(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"namespace": ""}, "spec": {"podCIDR": "10.0.0.0/24", "providerID": "p"}}),
    );
    assert_eq!(node["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
    check(
        &node,
        json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"], "providerID": "q"}}),
        &expect![[r#"
            spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid
            spec.providerID: Forbidden: node updates may not change providerID except from "" to valid
        "#]],
    );
    let class = stored(
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"namespace": ""}, "value": 1}),
    );
    check(
        &class,
        json!({"value": 2, "preemptionPolicy": "Never"}),
        &expect![[r#"
        value: Forbidden: may not be changed in an update.
        preemptionPolicy: Invalid value: "Never": field is immutable
    "#]],
    );
    let quota = stored(
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {}, "spec": {"scopes": ["BestEffort"]}}),
    );
    check(
        &quota,
        json!({"spec": {"scopes": []}}),
        &expect![[r#"
        spec.scopes: Invalid value: []core.ResourceQuotaScope{}: field is immutable
    "#]],
    );
    let class = stored(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"namespace": ""}, "spec": {"controller": "a.b/c"}}),
    );
    check(
        &class,
        json!({"spec": {"controller": "a.b/d"}}),
        &expect![[r#"
        spec.controller: Invalid value: "a.b/d": field is immutable
    "#]],
    );
}

#[test]
fn warnings() {
    let pod = stored(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {
        "terminationGracePeriodSeconds": -1,
        "nodeSelector": {"beta.kubernetes.io/os": "linux"},
        "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}],
        "volumes": [{"name": "g", "gitRepo": {"repository": "r"}}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "failure-domain.beta.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}, {"name": "A", "value": "$(A)3"}],
            "resources": {"limits": {"memory": "0.5"}}, "ports": [{"containerPort": 80}, {"containerPort": 80}, {"containerPort": 80, "hostPort": 80}]}]}}));
    let said = kinds::warnings(&kind_of(&pod), &pod, None).join("\n");
    expect![[r#"
        spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
        spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead
        spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod
        spec.volumes[0].gitRepo: deprecated in v1.11
        spec.imagePullSecrets[1].name: duplicate name "a"
        spec.imagePullSecrets[2].name: invalid empty name ""
        spec.containers[0].resources.limits[memory]: fractional byte value "500m" is invalid, must be an integer
        spec.containers[0].resources.requests[memory]: fractional byte value "500m" is invalid, must be an integer
        spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply
        spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]
        spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[0]
        spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[1]
        spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"#]].assert_eq(&said);
    assert!(
        kinds::warnings(&kind_of(&pod), &pod, Some(&pod)).is_empty(),
        "nothing new is said of what has not changed"
    );
}
