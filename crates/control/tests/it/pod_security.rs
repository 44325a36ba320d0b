//! Pod security standards: what each level refuses, and how it is told.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_control::admission::Operation;
use shoal_control::world::World;

use crate::support::{Request, namespace, object, still_world};

fn labelled(labels: Value) -> Value {
    let mut namespace = namespace("demo");
    namespace["metadata"]["labels"] = labels;
    namespace
}

fn world(labels: Value) -> World {
    let mut world = still_world();
    world.apply(labelled(labels));
    world
}

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "demo"}, "spec": spec});
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    pod
}

/// A pod of one container with this security context.
fn contained(context: Value) -> Value {
    pod(json!({"containers": [{"name": "c", "securityContext": context}]}))
}

fn hardened() -> Value {
    json!({
        "containers": [{
            "name": "c",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
    })
}

#[test]
fn baseline_refuses_what_leads_out_of_a_container() {
    let world = world(json!({"pod-security.kubernetes.io/enforce": "baseline"}));
    let request = Request::new(Operation::Create, "", "pods");
    let two = json!([
        {"name": "a", "securityContext": {"privileged": true}}, {"name": "b", "securityContext": {"privileged": true}},
    ]);
    let mut annotated = contained(json!({}));
    annotated["metadata"]["annotations"] =
        json!({"container.apparmor.security.beta.kubernetes.io/c": "unconfined"});
    let told: String = [
        contained(json!({"privileged": true})),
        pod(json!({"containers": two})),
        pod(json!({"hostNetwork": true, "hostPID": true, "containers": [
            {"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 443}]},
        ]})),
        pod(json!({"containers": [{"name": "c"}], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
        contained(json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN", "SYS_ADMIN"]}})),
        contained(json!({"procMount": "Unmasked", "seLinuxOptions": {"type": "spc_t", "user": "u"}})),
        contained(
            json!({"seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}}),
        ),
        annotated,
        pod(json!({"containers": [{"name": "c"}], "securityContext": {
            "sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_syncookies"}],
            "windowsOptions": {"hostProcess": true},
        }})),
    ]
    .into_iter()
    .map(|pod| request.refusal(&world, pod, None) + "\n")
    .collect();
    expect![[r#"
        pods "p" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)
        pods "p" is forbidden: violates PodSecurity "baseline:latest": privileged (containers "a", "b" must not set securityContext.privileged=true)
        pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true, hostPID=true), hostPort (container "c" uses hostPorts 443, 80)
        pods "p" is forbidden: violates PodSecurity "baseline:latest": hostPath volumes (volume "v")
        pods "p" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container "c" must not include "NET_ADMIN", "SYS_ADMIN" in securityContext.capabilities.add)
        pods "p" is forbidden: violates PodSecurity "baseline:latest": procMount (container "c" must not set securityContext.procMount to "Unmasked"), seLinuxOptions (container "c" set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)
        pods "p" is forbidden: violates PodSecurity "baseline:latest": forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined"), seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")
        pods "p" is forbidden: violates PodSecurity "baseline:latest": forbidden AppArmor profile (container.apparmor.security.beta.kubernetes.io/c="unconfined")
        pods "p" is forbidden: violates PodSecurity "baseline:latest": forbidden sysctls (kernel.msgmax), hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)
    "#]].assert_eq(&told);
    assert!(request.admit(&world, contained(json!({})), None).is_ok(), "a plain pod is good enough");
}

#[test]
fn restricted_wants_a_hardened_pod() {
    let world = world(json!({
        "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.32",
    }));
    let request = Request::new(Operation::Create, "", "pods");
    let mut root = hardened();
    root["securityContext"]["runAsUser"] = json!(0);
    root["containers"][0]["securityContext"]["runAsNonRoot"] = json!(false);
    root["volumes"] =
        json!([{"name": "a", "hostPath": {}}, {"name": "b", "nfs": {}}, {"name": "c", "secret": {}}]);
    let mut adds = hardened();
    adds["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["NET_BIND_SERVICE", "CHOWN"]);
    let told: String = [contained(json!({"privileged": true})), pod(root), pod(adds)]
        .into_iter()
        .map(|pod| request.refusal(&world, pod, None) + "\n")
        .collect();
    expect![[r#"
        pods "p" is forbidden: violates PodSecurity "restricted:v1.32": privileged (container "c" must not set securityContext.privileged=true), allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
        pods "p" is forbidden: violates PodSecurity "restricted:v1.32": restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs"), runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set runAsUser=0)
        pods "p" is forbidden: violates PodSecurity "restricted:v1.32": unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)
    "#]].assert_eq(&told);
    assert!(request.admit(&world, pod(hardened()), None).is_ok());
    let old = contained(json!({"privileged": true}));
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    let update = Request::new(Operation::Update, "", "pods");
    assert!(update.admit(&world, new.clone(), Some(&old)).is_ok(), "what is there may be labelled");
    new["spec"]["containers"][0]["image"] = json!("other");
    assert!(update.admit(&world, new, Some(&old)).is_err());
}

#[test]
fn whoever_writes_what_makes_pods_is_warned() {
    let world = world(json!({"pod-security.kubernetes.io/warn": "restricted"}));
    let template = json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}});
    let (_, warnings) = Request::new(Operation::Create, "apps", "deployments")
        .admit(&world, json!({"metadata": {"name": "web"}, "spec": {"template": template}}), None)
        .expect("it is admitted");
    expect![[r#"would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#]].assert_eq(&warnings.join("\n"));
    let (_, warnings) = Request::new(Operation::Create, "batch", "cronjobs")
        .admit(&world, json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": hardened()}}}}}), None)
        .expect("it is admitted");
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn a_namespace_that_becomes_stricter_tells_of_its_pods() {
    let mut world = world(json!({}));
    for name in ["a", "b", "c"] {
        let mut pod = object("v1", "Pod", name);
        pod["spec"] = json!({"containers": [{"name": "c", "securityContext": {"privileged": name == "c"}}]});
        world.apply(pod);
    }
    let update = Request::new(Operation::Update, "", "namespaces");
    let old = labelled(json!({}));
    for level in ["baseline", "restricted", "privileged"] {
        let new = labelled(json!({"pod-security.kubernetes.io/enforce": level}));
        let (_, warnings) = update.admit(&world, new, Some(&old)).expect("it is admitted");
        match level {
            "baseline" => expect![[r#"
                existing pods in namespace "demo" violate the new PodSecurity enforce level "baseline:latest"
                c: privileged"#]].assert_eq(&warnings.join("\n")),
            "restricted" => expect![[r#"
                existing pods in namespace "demo" violate the new PodSecurity enforce level "restricted:latest"
                a (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile
                c: privileged, allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"#]].assert_eq(&warnings.join("\n")),
            _ => assert_eq!(warnings, Vec::<String>::new()),
        }
    }
    let wrong = labelled(json!({
        "pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn-version": "1.32",
    }));
    expect![[r#"Namespace "demo" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.32": must be "latest" or "v1.x"]"#]].assert_eq(&update.refusal(&world, wrong.clone(), Some(&old)));
    assert!(update.admit(&world, wrong.clone(), Some(&wrong)).is_ok(), "what was wrong before may stay");
}
