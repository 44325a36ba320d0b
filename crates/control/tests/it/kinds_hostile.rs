//! Objects of the wrong shape: decoding refuses them, and nothing here may depend on that.

use serde_json::{Value, json};
use shoal_api::schema::builtin;
use shoal_control::kinds;

use crate::support::kind_of;

/// Objects that have something in most of the places that are looked at.
fn samples() -> Vec<Value> {
    let pod = json!({
        "restartPolicy": "Never", "nodeName": "n", "hostNetwork": true, "overhead": {"cpu": "1"}, "os": {"name": "windows"},
        "tolerations": [{"key": "a", "operator": "Exists"}], "schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "b"},
        "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b"], "options": [{"name": "x"}]},
        "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}], "readinessGates": [{"conditionType": "a"}],
        "imagePullSecrets": [{"name": "s"}], "securityContext": {"sysctls": [{"name": "a.b"}], "seccompProfile": {"type": "Localhost"}},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}},
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z", "matchLabelKeys": ["a"], "labelSelector": {}}]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 1}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1"}}, {"name": "p", "projected": {"sources": [
            {"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "metadata.labels['a']"}}]}}]}},
            {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}}],
        "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80, "name": "p"}],
            "env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}}}],
            "envFrom": [{"secretRef": {"name": "s"}}], "volumeMounts": [{"name": "v", "mountPath": "/a"}],
            "resources": {"limits": {"cpu": "1", "hugepages-2Mi": "2Mi"}, "requests": {"cpu": "1"}},
            "livenessProbe": {"httpGet": {"port": 80, "httpHeaders": [{"name": "x"}]}}, "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
            "securityContext": {"capabilities": {"add": ["X"]}, "windowsOptions": {"runAsUserName": "u"}}}],
    });
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod});
    let of = |group: &str, kind: &str, rest: Value| {
        let mut object = json!({"apiVersion": group, "kind": kind, "metadata": {
            "name": "a", "namespace": "d", "uid": "u", "resourceVersion": "1", "generation": 1, "labels": {"a": "b"}, "annotations": {"a": "b"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}], "finalizers": ["a/b"]}});
        object.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        object
    };
    let chosen = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let small =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let few = json!({"selector": {"matchLabels": {"a": "b"}}, "template": small});
    vec![
        of(
            "v1",
            "Pod",
            json!({"spec": pod, "status": {"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]}}),
        ),
        of("apps/v1", "Deployment", json!({"spec": chosen})),
        of("apps/v1", "DaemonSet", json!({"spec": few})),
        of("apps/v1", "StatefulSet", json!({"spec": few})),
        of(
            "batch/v1",
            "Job",
            json!({"spec": {"template": small, "podFailurePolicy": {"rules": [{"action": "Count", "onExitCodes": {"operator": "In", "values": [1]}}]}}}),
        ),
        of(
            "batch/v1",
            "CronJob",
            json!({"spec": {"schedule": "* * * * *", "timeZone": "UTC", "jobTemplate": {"spec": {"template": small}}}}),
        ),
        of(
            "v1",
            "Service",
            json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30000}],
            "externalIPs": ["1.1.1.1"], "loadBalancerSourceRanges": ["10.0.0.0/8"], "sessionAffinity": "ClientIP"},
            "status": {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}}}),
        ),
        of(
            "v1",
            "Secret",
            json!({"type": "kubernetes.io/tls", "data": {"a": "AA=="}, "stringData": {"b": "c"}, "immutable": true}),
        ),
        of("v1", "ConfigMap", json!({"data": {"a": "b"}, "binaryData": {"c": "AA=="}, "immutable": true})),
        of("v1", "Namespace", json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})),
        of(
            "v1",
            "Node",
            json!({"spec": {"podCIDRs": ["10.0.0.0/8"], "taints": [{"key": "a", "effect": "NoSchedule"}]}, "status": {
            "capacity": {"cpu": "1"}, "addresses": [{"type": "InternalIP", "address": "1.1.1.1"}]}}),
        ),
        of(
            "v1",
            "PersistentVolumeClaim",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}, "dataSource": {"kind": "X", "name": "y"}},
            "status": {"phase": "Bound", "capacity": {"storage": "1"}}}),
        ),
        of(
            "v1",
            "LimitRange",
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}}]}}),
        ),
        of(
            "v1",
            "ResourceQuota",
            json!({"spec": {"hard": {"pods": "1"}, "scopes": ["BestEffort"], "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["a"]}]}}}),
        ),
        of(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 1, "behavior": {"scaleUp": {"policies": [{"type": "Pods"}]}},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageValue": "1"}}}]}, "status": {"currentMetrics": [{"type": "Resource", "resource": {"current": {}}}]}}),
        ),
        of(
            "autoscaling/v1",
            "HorizontalPodAutoscaler",
            json!({"metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "[{}]"}}, "spec": {"targetCPUUtilizationPercentage": 1}, "status": {}}),
        ),
        of(
            "networking.k8s.io/v1",
            "Ingress",
            json!({"spec": {"tls": [{"hosts": ["a.b"]}], "rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
        ),
        of(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80}]}]}}),
        ),
        of(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "z"}]}}], "ports": [{"port": 1}]}),
        ),
        of(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            json!({"rules": [{"verbs": ["get"]}], "aggregationRule": {"clusterRoleSelectors": [{}]}}),
        ),
        of(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({"roleRef": {"name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}),
        ),
        of(
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            json!({"spec": {"request": "AA==", "usages": ["any"], "signerName": "a.b/c"},
            "status": {"conditions": [{"type": "Approved", "status": "True"}]}}),
        ),
        of(
            "admissionregistration.k8s.io/v1",
            "MutatingWebhookConfiguration",
            json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s"}}, "rules": [{"operations": ["*"]}],
            "matchConditions": [{"name": "a", "expression": "true"}]}]}),
        ),
        of(
            "flowcontrol.apiserver.k8s.io/v1",
            "FlowSchema",
            json!({"spec": {"rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}], "resourceRules": [{"verbs": ["*"]}]}]}}),
        ),
        of(
            "events.k8s.io/v1",
            "Event",
            json!({"eventTime": "2026-01-01T00:00:00Z", "regarding": {"kind": "Pod"}}),
        ),
        of(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({"spec": {"names": {"kind": "A"}, "versions": [{"name": "v1", "storage": true}]}}),
        ),
    ]
}

/// Calls all that there is on an object, as it stands and against another.
fn exercise(object: &Value, other: &Value) {
    let kind = kind_of(other);
    let mut made = object.clone();
    kinds::default(&kind, &mut made);
    kinds::prepare_create(&kind, &mut made);
    kinds::validate_create(&kind, &made);
    for (new, old) in [(object, other), (other, object)] {
        let own = match kind.kind.as_str() {
            "Namespace" => "finalize",
            "CertificateSigningRequest" => "approval",
            "Pod" => "ephemeralcontainers",
            _ => "status",
        };
        for subresource in ["", own] {
            let mut changed = new.clone();
            kinds::prepare_update(&kind, subresource, &mut changed, old);
            kinds::validate_update(&kind, subresource, &changed, old);
        }
        kinds::warnings(&kind, new, Some(old));
    }
    for version in ["v1", "events.k8s.io/v1", "autoscaling/v1", "autoscaling/v2"] {
        kinds::convert(object, &version.parse().expect("a version"));
    }
}

/// Calls `visit` with the object, each of its values in turn replaced by `odd`.
fn each_replaced(object: &Value, odd: &Value, visit: &mut impl FnMut(&Value)) {
    let mut paths = Vec::new();
    collect(object, String::new(), &mut paths);
    for path in paths {
        if matches!(path.as_str(), "" | "/kind" | "/apiVersion") {
            continue;
        }
        let mut changed = object.clone();
        *changed.pointer_mut(&path).expect("it was there") = odd.clone();
        visit(&changed);
    }
}

fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let field = field.replace('~', "~0").replace('/', "~1");
                collect(value, format!("{path}/{field}"), paths);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(value, format!("{path}/{index}"), paths);
            }
        }
        _ => {}
    }
    paths.push(path);
}

#[test]
fn no_value_in_any_place_is_too_much() {
    let odd =
        [json!(null), json!("é-%\u{0}/x"), json!(-1), json!([null, "x", {}]), json!({"x": null, "y": 5})];
    let mut tried = 0;
    for sample in samples() {
        let kind = kind_of(&sample);
        assert!(kinds::knows(&kind) && builtin::kind(&kind).is_some(), "{kind}");
        for odd in &odd {
            each_replaced(&sample, odd, &mut |changed| {
                exercise(changed, &sample);
                tried += 1;
            });
        }
    }
    assert!(tried > 2000, "only {tried} were tried");
    for odd in odd {
        let sample = &samples()[0];
        exercise(sample, sample);
        kinds::validate_create(&kind_of(sample), &odd);
    }
}

#[test]
fn what_is_filled_in_once_is_filled_in() {
    for sample in samples() {
        let kind = kind_of(&sample);
        let mut once = sample.clone();
        kinds::default(&kind, &mut once);
        let mut twice = once.clone();
        kinds::default(&kind, &mut twice);
        assert_eq!(once, twice, "{kind}");
    }
}
