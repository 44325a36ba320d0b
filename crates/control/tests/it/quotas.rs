//! ResourceQuotas: what is used, and what is refused.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_control::controllers::quota::ResourceQuotas;
use shoal_control::known::{POD, RESOURCE_QUOTA};
use shoal_control::world::World;

use crate::support::{object, world};

fn quota(hard: Value) -> Value {
    let mut quota = object("v1", "ResourceQuota", "q");
    quota["spec"] = json!({"hard": hard});
    quota
}

fn pod(name: &str, requests: Value) -> Value {
    let mut pod = object("v1", "Pod", name);
    pod["spec"] = json!({"containers": [{"name": "c", "resources": {"requests": requests}}]});
    pod
}

fn used(world: &World) -> String {
    let quota: Value = serde_json::from_str(world.show(&RESOURCE_QUOTA).trim()).expect("one quota");
    quota["status"]["used"].to_string()
}

#[test]
fn what_is_there_is_counted() {
    let mut world = world(ResourceQuotas);
    world.apply(pod("a", json!({"cpu": "500m", "memory": "1Gi", "example.com/gpu": "2"})));
    let mut with_sidecar = pod("b", json!({"cpu": "250m"}));
    with_sidecar["spec"]["initContainers"] = json!([
        {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
        {"name": "first", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}},
    ]);
    with_sidecar["spec"]["overhead"] = json!({"cpu": "10m"});
    world.apply(with_sidecar);
    let mut ended = pod("ended", json!({"cpu": "8"}));
    ended["status"] = json!({"phase": "Succeeded"});
    world.apply(ended);
    let mut balancer = object("v1", "Service", "lb");
    balancer["spec"] = json!({"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]});
    world.apply(balancer);
    let mut claim = object("v1", "PersistentVolumeClaim", "data");
    claim["spec"] = json!({"storageClassName": "fast", "resources": {"requests": {"storage": "10Gi"}}});
    world.apply(claim);
    world.apply(object("apps/v1", "Deployment", "web"));
    world.apply(quota(json!({
        "pods": "10", "count/pods": "10", "cpu": "4", "requests.cpu": "4", "limits.cpu": "4", "requests.memory": "8Gi",
        "requests.example.com/gpu": "4", "services": "5", "services.nodeports": "5", "services.loadbalancers": "1",
        "requests.storage": "1Ti", "fast.storageclass.storage.k8s.io/requests.storage": "20Gi",
        "slow.storageclass.storage.k8s.io/persistentvolumeclaims": "1", "count/deployments.apps": "3",
        "configmaps": "7",
    })));
    expect![[r#"
        resourcequota-controller: status ResourceQuota demo/q
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"{"configmaps":"0","count/deployments.apps":"1","count/pods":"3","cpu":"1610m","fast.storageclass.storage.k8s.io/requests.storage":"10Gi","limits.cpu":"2010m","pods":"2","requests.cpu":"1610m","requests.example.com/gpu":"2","requests.memory":"1Gi","requests.storage":"10Gi","services":"1","services.loadbalancers":"1","services.nodeports":"2","slow.storageclass.storage.k8s.io/persistentvolumeclaims":"0"}"#]].assert_eq(&used(&world));
}

#[test]
fn scopes_choose_pods() {
    let mut world = world(ResourceQuotas);
    world.apply(pod("best-effort", json!({})));
    world.apply(pod("burstable", json!({"cpu": "1"})));
    let mut job = pod("job", json!({"cpu": "1"}));
    job["spec"]["activeDeadlineSeconds"] = json!(5);
    job["spec"]["priorityClassName"] = json!("high");
    world.apply(job);
    let shown = |world: &mut World, scopes: Value| {
        let mut quota = quota(json!({"pods": "5"}));
        if scopes.is_array() {
            quota["spec"]["scopes"] = scopes;
        } else {
            quota["spec"]["scopeSelector"] = json!({"matchExpressions": [scopes]});
        }
        world.apply(quota);
        world.settle();
        used(world)
    };
    let table = [
        (json!(["BestEffort"]), r#"{"pods":"1"}"#),
        (json!(["NotBestEffort"]), r#"{"pods":"2"}"#),
        (json!(["Terminating"]), r#"{"pods":"1"}"#),
        (json!(["NotTerminating", "NotBestEffort"]), r#"{"pods":"1"}"#),
        (json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}), r#"{"pods":"1"}"#),
        (json!({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}), r#"{"pods":"2"}"#),
        (json!({"scopeName": "PriorityClass", "operator": "DoesNotExist"}), r#"{"pods":"2"}"#),
        (json!(["CrossNamespacePodAffinity"]), r#"{"pods":"0"}"#),
    ];
    for (scopes, expected) in table {
        assert_eq!(shown(&mut world, scopes.clone()), expected, "{scopes}");
    }
}

#[test]
fn what_goes_is_counted_no_more() {
    let mut world = world(ResourceQuotas);
    world.apply(pod("a", json!({"cpu": "1"})));
    world.apply(pod("b", json!({"cpu": "1"})));
    world.apply(quota(json!({"pods": "5", "requests.cpu": "5"})));
    world.settle();
    assert_eq!(used(&world), r#"{"pods":"2","requests.cpu":"2"}"#);
    world.delete(&POD, "demo", "a", None);
    world.settle();
    assert_eq!(used(&world), r#"{"pods":"1","requests.cpu":"1"}"#);
    world.change(&POD, "demo", "b", |pod| pod["status"] = json!({"phase": "Failed"}));
    world.settle();
    assert_eq!(used(&world), r#"{"pods":"0","requests.cpu":"0"}"#);
}
