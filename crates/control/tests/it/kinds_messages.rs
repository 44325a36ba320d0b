//! What is wrong with objects, in the words of Kubernetes.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shoal_api::defaults;
use shoal_api::schema::builtin;
use shoal_control::kinds;

use crate::support::{kind_of, lines};

/// Everything that is said of a new object, once it has its defaults.
fn check(object: Value, expected: &Expect) {
    expected.assert_eq(&complaints(object));
}

/// What is wrong with a new object, a line each.
fn complaints(object: Value) -> String {
    let kind = kind_of(&object);
    let mut object = object;
    let meta = json!({"name": "a", "namespace": "default", "uid": "u"});
    for (field, value) in meta.as_object().expect("an object") {
        if object["metadata"][field].is_null() {
            object["metadata"][field] = value.clone();
        }
    }
    let node = builtin::kind(&kind).expect("a built-in kind");
    defaults::settle(node, &mut object);
    kinds::default(&kind, &mut object);
    kinds::prepare_create(&kind, &mut object);
    lines(&kinds::validate_create(&kind, &object))
}

fn pod(spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}});
    pod["spec"] = spec;
    pod
}

fn container(more: Value) -> Value {
    let mut container = json!({"name": "c", "image": "nginx:1"});
    if let Value::Object(more) = more {
        container.as_object_mut().expect("an object").extend(more);
    }
    container
}

#[test]
fn metadata() {
    check(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "A", "labels": {"a b": "c d"}, "annotations": {"/x": "y"}, "finalizers": ["nobody"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "", "uid": "u"}],
        }}),
        &expect![[r#"
            metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            metadata.labels: Invalid value: "c d": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            metadata.annotations: Invalid value: "/x": prefix part must be non-empty
            metadata.ownerReferences.name: Invalid value: "": name must not be empty
            metadata.ownerReferences: Invalid value: {"apiVersion":"v1","kind":"Event","name":"","uid":"u"}: /v1, Kind=Event is disallowed from being an owner
            metadata.finalizers[0]: Invalid value: "nobody": name is neither a standard finalizer name nor is it fully qualified
        "#]],
    );
    check(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true},
                {"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "v", "controller": true},
            ],
        }}),
        &expect![[r#"
            metadata.ownerReferences: Invalid value: [{"apiVersion":"v1","controller":true,"kind":"Pod","name":"p","uid":"u"},{"apiVersion":"v1","controller":true,"kind":"Pod","name":"q","uid":"v"}]: Only one reference can have Controller set to true. Found "true" in references for Pod/p and Pod/q
        "#]],
    );
    check(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "1a"}, "spec": {"ports": [{"port": 1}]}}),
        &expect![[r#"
            metadata.name: Invalid value: "1a": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        "#]],
    );
    check(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "a/b"}}),
        &expect![[r#"
            metadata.name: Invalid value: "a/b": may not contain '/'
        "#]],
    );
}

#[test]
fn pods() {
    check(
        pod(json!({})),
        &expect![[r#"
        spec.containers: Required value
    "#]],
    );
    check(
        pod(json!({"containers": [
            container(json!({"name": "C", "image": "", "imagePullPolicy": "Sometimes"})),
            container(json!({"ports": [
                {"containerPort": 0, "name": "UPPER"}, {"containerPort": 70000, "protocol": "tcp"},
                {"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80},
            ]})),
            container(json!({"image": " nginx"})),
        ]})),
        &expect![[r#"
            spec.containers[0].name: Invalid value: "C": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[0].image: Required value
            spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"
            spec.containers[1].ports[0].name: Invalid value: "UPPER": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            spec.containers[1].ports[0].name: Invalid value: "UPPER": must contain at least one letter (a-z)
            spec.containers[1].ports[0].containerPort: Required value
            spec.containers[1].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[1].ports[1].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"
            spec.containers[2].name: Duplicate value: "c"
            spec.containers[1].ports[3].hostPort: Duplicate value: "TCP//80"
            spec.containers[2].image: Invalid value: " nginx": must not have leading or trailing whitespace
        "#]],
    );
    check(
        pod(json!({"containers": [container(json!({
            "env": [
                {"name": ""}, {"name": "A=B"}, {"name": "F", "valueFrom": {}},
                {"name": "G", "valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}},
                {"name": "H", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}},
                {"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1k"}}},
                {"name": "S", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": ""}}},
            ],
            "envFrom": [{"prefix": "ok_"}],
            "volumeMounts": [{"name": "none", "mountPath": "/a"}, {"name": "v", "mountPath": "/a", "subPath": "../b"}],
            "resources": {"requests": {"cpu": "2", "memory": "1", "gpu": "1"}, "limits": {"cpu": "1", "memory": "-1"}},
            "livenessProbe": {"httpGet": {"port": "no_name"}, "successThreshold": 2},
            "readinessProbe": {"timeoutSeconds": -1},
            "lifecycle": {"preStop": {"exec": {}}},
            "securityContext": {"runAsUser": -1, "privileged": true, "allowPrivilegeEscalation": false},
        }))], "volumes": [
            {"name": "v"}, {"name": "v"}, {"name": "Bad", "secret": {}, "configMap": {"name": "x"}},
            {"name": "h", "hostPath": {"path": "/a/../b", "type": "Dir"}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "/t", "expirationSeconds": 5}}, {}]}},
        ]})),
        &expect![[r#"
            spec.volumes[1].name: Duplicate value: "v"
            spec.volumes[2].secret.secretName: Required value
            spec.volumes[2].configMap: Forbidden: may not specify more than 1 volume type
            spec.volumes[2].name: Invalid value: "Bad": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.volumes[3].hostPath.path: Invalid value: "/a/../b": must not contain '..'
            spec.volumes[3].hostPath.type: Unsupported value: "Dir": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
            spec.volumes[4].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes
            spec.volumes[4].projected.sources[0].serviceAccountToken.path: Invalid value: "/t": must be a relative path
            spec.volumes[4].projected.sources[1]: Required value: must specify a volume type
            spec.containers[0].env[0].name: Required value
            spec.containers[0].env[1].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`
            spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Invalid value: "spec.nothing": error converting fieldPath: field label not supported: spec.nothing
            spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"
            spec.containers[0].env[5].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource
            spec.containers[0].env[6].valueFrom.secretKeyRef.key: Required value
            spec.containers[0].env[6].valueFrom: Invalid value: "": may not be specified when `value` is not empty
            spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`
            spec.containers[0].volumeMounts[0].name: Not found: "none"
            spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique
            spec.containers[0].volumeMounts.subPath: Invalid value: "../b": must not contain '..'
            spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0
            spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
            spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified
            spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers
            spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to memory limit of -1
            spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true,"runAsUser":-1}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true
            spec.containers[0].lifecycle.preStop.exec.command: Required value
            spec.containers[0].livenessProbe.httpGet.port: Invalid value: "no_name": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
            spec.containers[0].readinessProbe: Required value: must specify a handler type
            spec.containers[0].readinessProbe.timeoutSeconds: Invalid value: -1: must be greater than or equal to 0
            spec.volumes[4].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set
        "#]],
    );
    check(
        pod(json!({
            "containers": [container(json!({}))], "restartPolicy": "Maybe", "dnsPolicy": "None", "hostNetwork": true,
            "nodeName": "N", "activeDeadlineSeconds": 0, "hostname": "a.b", "priorityClassName": "A_",
            "tolerations": [{"operator": "Equal"}, {"key": "k", "operator": "Exists", "value": "x", "tolerationSeconds": 1}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Near"}]}]}},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 0, "podAffinityTerm": {"topologyKey": ""}}]}},
            "topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "Panic"}],
            "initContainers": [{"name": "c", "image": "i", "livenessProbe": {"exec": {"command": ["x"]}}}],
            "hostAliases": [{"ip": "1.2.3", "hostnames": ["A"]}],
            "securityContext": {"sysctls": [{"name": "net.a"}, {"name": "A"}], "seccompProfile": {"type": "Localhost"}},
            "schedulingGates": [{"name": "g"}],
        })),
        &expect![[r#"
            spec.initContainers[0].name: Duplicate value: "c"
            spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
            spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"
            spec.securityContext.sysctls[0].name: Invalid value: "net.a": may not be specified when 'hostNetwork' is true
            spec.securityContext.sysctls[1].name: Invalid value: "A": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$
            spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].operator: Invalid value: "Near": not a valid selector operator
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Required value: can not be empty
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "": name part must be non-empty
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None
            spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
            spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Panic": supported values: "DoNotSchedule", "ScheduleAnyway"
            spec.nodeName: Invalid value: "N": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
            spec.hostname: Invalid value: "a.b": must not contain dots
            spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
            spec.tolerations[1].effect: Invalid value: "": effect must be 'NoExecute' when `tolerationSeconds` is set
            spec.tolerations[1].operator: Invalid value: "x": value must be empty when `operator` is 'Exists'
            spec.hostAliases[0].ip: Invalid value: "1.2.3": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.hostAliases[0].hostnames[0]: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.priorityClassName: Invalid value: "A_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared
        "#]],
    );
}

#[test]
fn workloads() {
    let workload = |kind: &str, spec: Value| json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {}, "spec": spec});
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container(json!({}))]}});
    check(
        workload("Deployment", json!({})),
        &expect![[r#"
            spec.selector: Required value
            spec.template.metadata.labels: Invalid value: map[string]string(nil): `selector` does not match template `labels`
            spec.template.spec.containers: Required value
        "#]],
    );
    check(
        workload(
            "Deployment",
            json!({
                "replicas": -1, "selector": {"matchLabels": {"a": "c"}}, "template": template, "progressDeadlineSeconds": 5,
                "minReadySeconds": 5, "strategy": {"type": "Recreate", "rollingUpdate": {}},
            }),
        ),
        &expect![[r#"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.template.metadata.labels: Invalid value: map[string]string{"a":"b"}: `selector` does not match template `labels`
            spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'
            spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds
        "#]],
    );
    check(
        workload(
            "Deployment",
            json!({
                "selector": {}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container(json!({}))],
                "restartPolicy": "Never"}}, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}},
            }),
        ),
        &expect![[r#"
            spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: empty selector is invalid for deployment
            spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
            spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:"0%"}: may not be 0 when `maxSurge` is 0
        "#]],
    );
    check(
        workload(
            "DaemonSet",
            json!({"template": template, "updateStrategy": {"rollingUpdate": {"maxSurge": "x"}}}),
        ),
        &expect![[r#"
            spec.template.metadata.labels: Invalid value: map[string]string{"a":"b"}: `selector` does not match template `labels`
            spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:"x"}: a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
        "#]],
    );
    check(
        workload(
            "StatefulSet",
            json!({"template": template, "podManagementPolicy": "Random", "updateStrategy": {"type": "No"},
            "selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
        ),
        &expect![[r#"
            spec.podManagementPolicy: Invalid value: "Random": must be 'OrderedReady' or 'Parallel'
            spec.updateStrategy: Invalid value: {"type":"No"}: must be 'RollingUpdate' or 'OnDelete'
            spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
            spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:[]v1.LabelSelectorRequirement{v1.LabelSelectorRequirement{Key:"a", Operator:"In", Values:[]string(nil)}}}
        "#]],
    );
}

#[test]
fn jobs() {
    let template = json!({"spec": {"containers": [container(json!({}))]}});
    check(
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": {"template": template, "completions": -1,
            "completionMode": "Indexed", "parallelism": 100_001}}),
        &expect![[r#"
            spec.completions: Invalid value: -1: must be greater than or equal to 0
            spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed
            spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
        "#]],
    );
    check(
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x".repeat(53)}, "spec": {
            "schedule": "* * * *", "timeZone": "", "concurrencyPolicy": "Sometimes",
            "jobTemplate": {"spec": {"template": template, "manualSelector": true}}}}),
        &expect![[r#"
            spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]
            spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string
            spec.concurrencyPolicy: Unsupported value: "Sometimes": supported values: "Allow", "Forbid", "Replace"
            spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
            spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"
            metadata.name: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": must be no more than 52 characters
        "#]],
    );
}

#[test]
fn time_zones() {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container(json!({}))]}});
    let job = |zone: &str| {
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x"}, "spec": {
            "schedule": "* * * * *", "timeZone": zone, "jobTemplate": {"spec": {"template": template}}}})
    };
    for known in ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"] {
        check(job(known), &expect![[""]]);
    }
    for zone in ["Nowhere/City", "europe/berlin"] {
        let errors = format!("spec.timeZone: Invalid value: {zone:?}: unknown time zone {zone}");
        assert_eq!(complaints(job(zone)).trim(), errors);
    }
}

#[test]
fn services() {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": spec});
    check(
        service(json!({})),
        &expect![[r#"
        spec.ports: Required value
    "#]],
    );
    check(
        service(
            json!({"type": "Bad", "sessionAffinity": "Sticky", "clusterIP": "x", "externalIPs": ["127.0.0.1", "y"],
            "ports": [{"port": 0}, {"port": 80, "name": "a", "nodePort": 1}, {"port": 80, "name": "a", "targetPort": "UP"}]}),
        ),
        &expect![[r#"
            spec.ports[0].name: Required value
            spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[2].name: Duplicate value: "a"
            spec.ports[2].targetPort: Invalid value: "UP": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            spec.ports[2].targetPort: Invalid value: "UP": must contain at least one letter (a-z)
            spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"
            spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
            spec.externalIPs[1]: Invalid value: "y": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.type: Unsupported value: "Bad": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"
            spec.ports[2]: Duplicate value: core.ServicePort{Name:"", Protocol:"TCP", AppProtocol:(*string)(nil), Port:80, TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0}
        "#]],
    );
    check(
        service(json!({"type": "ExternalName", "externalName": "", "clusterIP": "10.0.0.1"})),
        &expect![[r#"
            spec.clusterIPs: Forbidden: may not be set for ExternalName services
            spec.externalName: Required value
        "#]],
    );
    check(
        service(json!({"ports": [{"port": 1, "nodePort": 30000}], "loadBalancerSourceRanges": ["10.0.0.0"],
            "healthCheckNodePort": 5, "externalTrafficPolicy": "Local", "ipFamilies": ["IPv4", "IPv4", "IPX"]})),
        &expect![[r#"
            spec.ipFamilies[1]: Duplicate value: "IPv4"
            spec.ipFamilies[2]: Unsupported value: "IPX": supported values: "IPv4", "IPv6"
            spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'
            spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'
            spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
            spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services
            spec.healthCheckNodePort: Invalid value: 5: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'
        "#]],
    );
}

#[test]
fn networks() {
    check(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {}, "spec": {}}),
        &expect![[r#"
            spec: Invalid value: []networking.IngressRule(nil): either `defaultBackend` or `rules` must be specified
        "#]],
    );
    check(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {}, "spec": {
        "tls": [{"hosts": ["*.a.*"], "secretName": "A"}],
        "rules": [{"host": "1.2.3.4"}, {"host": "A", "http": {"paths": [
            {"path": "x//", "pathType": "Exact", "backend": {"service": {"name": "s"}}},
            {"path": "/", "backend": {}},
            {"path": "/", "pathType": "Other", "backend": {"service": {"name": "", "port": {"name": "a", "number": 1}}}},
        ]}}]}}),
        &expect![[r#"
            spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address
            spec.rules[1].host: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.rules[1].http.paths[0].path: Invalid value: "x//": must be an absolute path
            spec.rules[1].http.paths[0].path: Invalid value: "x//": must not contain '//'
            spec.rules[1].http.paths[0].backend: Required value: port name or number is required
            spec.rules[1].http.paths[1].pathType: Required value: pathType must be specified
            spec.rules[1].http.paths[1].backend: Invalid value: "": resource or service backend is required
            spec.rules[1].http.paths[2].pathType: Unsupported value: "Other": supported values: "Exact", "ImplementationSpecific", "Prefix"
            spec.rules[1].http.paths[2].backend.service.name: Required value
            spec.rules[1].http.paths[2].backend: Invalid value: "": cannot set both port name & port number
            spec.tls[0].hosts[0]: Invalid value: "*.a.*": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.tls[0].secretName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        "#]],
    );
    check(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {}, "spec": {
            "podSelector": {}, "policyTypes": ["Sideways"], "ingress": [{"from": [{}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}],
            "ports": [{"port": 80, "endPort": 70}, {"endPort": 1}]}]}}),
        &expect![[r#"
            spec.ingress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`
            spec.ingress[0].ports[1].endPort: Invalid value: 1: may not be specified when `port` is not specified
            spec.ingress[0].from[0]: Required value: must specify a peer
            spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/8": must be a strict subset of `cidr`
            spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer
            spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"
        "#]],
    );
}

#[test]
fn data_and_storage() {
    check(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"a b": "c", "d": "e"}, "binaryData": {"d": "AA=="}}),
        &expect![[r#"
            data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
            data[d]: Invalid value: "d": duplicate of key present in binaryData
        "#]],
    );
    check(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "type": "kubernetes.io/tls", "data": {"tls.crt": "AA=="}}),
        &expect![[r#"
            data[tls.key]: Required value
        "#]],
    );
    check(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "no"}}),
        &expect![[r#"
            data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid character 'n' looking for beginning of value
        "#]],
    );
    check(
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}, "spec": {
            "accessModes": ["ReadWriteOncePod", "ReadWriteMany", "X"], "storageClassName": "A", "volumeMode": "Round"}}),
        &expect![[r#"
            spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
            spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes
            spec.resources[storage]: Required value
            spec.storageClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.volumeMode: Unsupported value: "Round": supported values: "Block", "Filesystem"
        "#]],
    );
    check(
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"namespace": ""}, "spec": {"capacity": {"cpu": "0"}, "local": {"path": "/a"}}}),
        &expect![[r#"
            spec.accessModes: Required value
            spec.capacity: Unsupported value: {"cpu":"0"}: supported values: "storage"
            spec.capacity[cpu]: Invalid value: "0": must be greater than zero
            spec.nodeAffinity: Required value: Local volume requires node affinity
        "#]],
    );
    check(
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"namespace": ""}, "reclaimPolicy": "Shred"}),
        &expect![[r#"
            provisioner: Required value
            reclaimPolicy: Unsupported value: "Shred": supported values: "Delete", "Retain"
        "#]],
    );
}

#[test]
fn limits_and_quotas() {
    check(
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {}, "spec": {
            "hard": {"pods": "1.5", "apples": "1", "cpu": "-1"}, "scopes": ["BestEffort", "NotBestEffort", "Odd"]}}),
        &expect![[r#"
            spec.hard[apples]: Invalid value: "apples": must be a standard resource type or fully qualified
            spec.hard[apples]: Invalid value: "apples": must be a standard resource for quota
            spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0
            spec.hard[pods]: Invalid value: resource.Quantity{i:resource.int64Amount{value:1500, scale:-3}, d:resource.infDecAmount{Dec:(*inf.Dec)(nil)}, s:"", Format:"DecimalSI"}: must be an integer
            spec.scopes: Invalid value: []core.ResourceQuotaScope{"BestEffort", "NotBestEffort", "Odd"}: unsupported scope applied to resource
            spec.scopes: Invalid value: []core.ResourceQuotaScope{"BestEffort", "NotBestEffort", "Odd"}: unsupported scope
            spec.scopes: Invalid value: []core.ResourceQuotaScope{"BestEffort", "NotBestEffort", "Odd"}: conflicting scopes
        "#]],
    );
    check(
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {}, "spec": {"limits": [
            {"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}}, {"type": "Container"}, {"type": "Pot"},
            {"type": "Pod", "default": {"cpu": "1"}}]}}),
        &expect![[r#"
            spec.limits[0].min[cpu]: Invalid value: resource.Quantity{i:resource.int64Amount{value:2, scale:0}, d:resource.infDecAmount{Dec:(*inf.Dec)(nil)}, s:"", Format:"DecimalSI"}: min value 2 is greater than max value 1
            spec.limits[0].defaultRequest[cpu]: Invalid value: resource.Quantity{i:resource.int64Amount{value:1, scale:0}, d:resource.infDecAmount{Dec:(*inf.Dec)(nil)}, s:"", Format:"DecimalSI"}: min value 2 is greater than default request value 1
            spec.limits[0].default[cpu]: Invalid value: resource.Quantity{i:resource.int64Amount{value:2, scale:0}, d:resource.infDecAmount{Dec:(*inf.Dec)(nil)}, s:"", Format:"DecimalSI"}: min value 2 is greater than default value 1
            spec.limits[1].type: Duplicate value: "Container"
            spec.limits[2].type: Invalid value: "Pot": must be a standard limit type or fully qualified
            spec.limits[3].default: Forbidden: may not be specified when `type` is 'Pod'
        "#]],
    );
}

#[test]
fn autoscalers() {
    check(
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {}, "spec": {
            "minReplicas": 0, "maxReplicas": -1, "scaleTargetRef": {"name": "a/b"}, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}},
                {"type": "Pods", "object": {"target": {}}}, {"type": "X"}],
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 4000, "policies": [{"type": "All", "value": 0, "periodSeconds": 2000}]}}}}),
        &expect![[r#"
            spec.minReplicas: Invalid value: 0: must be greater than or equal to 1
            spec.maxReplicas: Invalid value: -1: must be greater than 0
            spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`
            spec.scaleTargetRef.kind: Required value
            spec.scaleTargetRef.name: Invalid value: "a/b": may not contain '/'
            spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization
            spec.metrics[1].object.describedObject.kind: Required value
            spec.metrics[1].object.describedObject.name: Required value
            spec.metrics[1].object.metric.name: Required value: must specify a metric name
            spec.metrics[1].object.target.type: Required value: must specify a metric target type
            spec.metrics[1].object.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue
            spec.metrics[1].object.target.averageValue: Required value: must set either a target value or averageValue
            spec.metrics[1].pods: Required value: must populate information for the given metric source
            spec.metrics[2].type: Unsupported value: "X": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"
            spec.metrics[2].: Required value: must populate information for the given metric source
            spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600
            spec.behavior.scaleUp.policies[0].type: Unsupported value: "All": supported values: "Percent", "Pods"
            spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero
            spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800
        "#]],
    );
}

#[test]
fn roles() {
    check(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {}, "rules": [
            {"verbs": []}, {"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]}]}),
        &expect![[r#"
            rules[0].verbs: Required value: verbs must contain at least one value
            rules[0].apiGroups: Required value: resource rules must supply at least one api group
            rules[0].resources: Required value: resource rules must supply at least one resource
            rules[1].nonResourceURLs: Invalid value: []string{"/x"}: namespaced rules cannot apply to non-resource URLs
            rules[1].nonResourceURLs: Invalid value: []string{"/x"}: rules cannot apply to both regular resources and non-resource URLs
        "#]],
    );
    check(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"namespace": ""},
            "roleRef": {"kind": "Role", "name": ""}, "subjects": [
            {"kind": "ServiceAccount", "name": "x"}, {"kind": "User", "name": "u", "apiGroup": "x"}, {"kind": "Robot", "name": ""}]}),
        &expect![[r#"
            roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"
            roleRef.name: Required value
            subjects[0].namespace: Required value
            subjects[1].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"
            subjects[2].name: Required value
            subjects[2].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"
        "#]],
    );
}

#[test]
fn the_rest() {
    check(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"namespace": ""}, "spec": {"podCIDRs": ["10.0.0.0/8", "x"],
            "taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "Bad"}]}}),
        &expect![[r#"
            metadata.taints[1]: Duplicate value: core.Taint{Key:"a", Value:"", Effect:"NoSchedule", TimeAdded:<nil>}: taints must be unique by key and effect pair
            metadata.taints[2].effect: Unsupported value: "Bad": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
            spec.podCIDRs[1]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
            spec.podCIDRs: Invalid value: []string{"10.0.0.0/8", "x"}: may specify no more than one CIDR for each IP family
        "#]],
    );
    check(
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {}, "spec": {"minAvailable": "x", "maxUnavailable": "110%"}}),
        &expect![[r#"
            spec: Invalid value: policy.PodDisruptionBudgetSpec{"maxUnavailable":"110%","minAvailable":"x"}: minAvailable and maxUnavailable cannot be both set
            spec.minAvailable: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:"x"}: a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
            spec.maxUnavailable: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:"110%"}: must not be greater than 100%
        "#]],
    );
    check(
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "system-x", "namespace": ""}, "value": 1}),
        &expect![[r#"
            metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class
        "#]],
    );
    check(
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"namespace": ""}, "value": 1_000_000_001}),
        &expect![[r#"
            value: Forbidden: maximum allowed value of a user defined priority is 1000000000
        "#]],
    );
    check(
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {}, "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
        &expect![[r#"
            spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0
            spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0
        "#]],
    );
    check(
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {}, "addressType": "IPv4",
            "endpoints": [{"addresses": []}, {"addresses": ["::1", "169.254.0.1"]}], "ports": [{"port": 0}, {"port": 1}]}),
        &expect![[r#"
            endpoints[0].addresses: Required value: must contain at least 1 address
            endpoints[1].addresses[0]: Invalid value: "::1": must be a valid IPv4 address
            endpoints[1].addresses[0]: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)
            endpoints[1].addresses[1]: Invalid value: "169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)
            ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
            ports[1].name: Duplicate value: ""
        "#]],
    );
    check(
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"namespace": ""}, "webhooks": [
            {"name": "a", "timeoutSeconds": 31, "clientConfig": {"url": "http://x"}, "rules": [{"operations": ["*", "GET"]}], "sideEffects": "Some"}]}),
        &expect![[r#"
            webhooks[0].name: Invalid value: "a": should be a domain with at least three segments separated by dots
            webhooks[0].rules[0].apiGroups: Required value
            webhooks[0].rules[0].apiVersions: Required value
            webhooks[0].rules[0].resources: Required value
            webhooks[0].rules[0].operations: Invalid value: []admissionregistration.OperationType{"*", "GET"}: if '*' is present, must not specify other operations
            webhooks[0].rules[0].operations[1]: Unsupported value: "GET": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"
            webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"
            webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds
            webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]
            webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1
        "#]],
    );
    check(
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"namespace": ""}, "webhooks": [
            {"name": "a.b.c", "clientConfig": {"url": "https://x"}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "matchConditions": [
                {"name": "x", "expression": "1"}, {"name": "y", "expression": " "}, {"name": "z", "expression": "objekt.x"}]}]}),
        &expect![[r#"
            webhooks[0].matchConditions[1].expression: Required value
            webhooks[0].matchConditions[0].expression: Invalid value: "1": must evaluate to bool
            webhooks[0].matchConditions[2].expression: Invalid value: "objekt.x": compilation failed: ERROR: <input>:1:1: undeclared reference to 'objekt' (in container '')
             | objekt.x
             | ^
        "#]],
    );
    check(
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"namespace": ""}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]},
            "variables": [{"name": "least", "expression": "1 +"}],
            "validations": [{"expression": "object.spec.replicas <= 5"}, {"expression": "1 + 1"}, {"expression": " "}]}}),
        &expect![[r#"
            spec.validations[2].expression: Required value: expression is not specified
            spec.variables[0].expression: Invalid value: "1 +": compilation failed: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
             | 1 +
             | ...^
            spec.validations[1].expression: Invalid value: "1 + 1": must evaluate to bool
        "#]],
    );
    check(
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"namespace": ""}, "spec": {
            "request": "AA==", "signerName": "x", "usages": ["any", "any", "fun"], "expirationSeconds": 5}}),
        &expect![[r#"
            spec.request: Invalid value: []byte{0x0}: PEM block type must be CERTIFICATE REQUEST
            spec.usages[1]: Duplicate value: "any"
            spec.usages[2]: Unsupported value: "fun": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"
            spec.signerName: Invalid value: "x": must be a fully qualified domain and path of the form 'example.com/signer-name'
            spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)
        "#]],
    );
    check(
        json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"namespace": ""}, "spec": {"type": "Limited"}}),
        &expect![[r#"
            spec.limited: Required value: must not be empty when type is Limited
        "#]],
    );
    check(
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {}, "involvedObject": {"namespace": "other"}}),
        &expect![[r#"
            involvedObject.namespace: Invalid value: "other": does not match event.namespace
        "#]],
    );
    check(
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": {}}),
        &expect![[r#"
            spec.resourceAttributes: Invalid value: "null": exactly one of nonResourceAttributes or resourceAttributes must be specified
            spec.user: Invalid value: "": at least one of user or group must be specified
        "#]],
    );
}
