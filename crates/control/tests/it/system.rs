//! The whole: all controllers from an empty store on, and the end of a namespace among them.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_control::controllers::aggregation::ClusterRoleAggregation;
use shoal_control::controllers::definitions::{Establishing, Finalizing};
use shoal_control::controllers::protection::Claims;
use shoal_control::custom::definition::CLEANUP_FINALIZER;
use shoal_control::known::{
    CLUSTER_ROLE, CUSTOM_RESOURCE_DEFINITION, ENDPOINTS, FLOW_SCHEMA, NAMESPACE, PERSISTENT_VOLUME_CLAIM,
    POD, SERVICE,
};
use shoal_control::snapshot::Snapshot as _;
use shoal_control::world::World;

use crate::support::{namespace, object, pod, whole_world, world};

#[test]
fn an_empty_store_becomes_a_cluster() {
    let mut world = whole_world();
    expect![[r#"
        bootstrap-controller: create Namespace default
        bootstrap-controller: create Endpoints default/kubernetes
        bootstrap-controller: create Namespace kube-node-lease
        bootstrap-controller: create Namespace kube-public
        bootstrap-controller: create Namespace kube-system
        bootstrap-controller: create Service default/kubernetes
        bootstrap-controller: create EndpointSlice default/kubernetes
        bootstrap-controller: create FlowSchema catch-all
        bootstrap-controller: create FlowSchema endpoint-controller
        bootstrap-controller: create FlowSchema exempt
        bootstrap-controller: create FlowSchema global-default
        bootstrap-controller: create FlowSchema kube-controller-manager
        bootstrap-controller: create FlowSchema kube-scheduler
        bootstrap-controller: create FlowSchema kube-system-service-accounts
        bootstrap-controller: create FlowSchema probes
        bootstrap-controller: create FlowSchema service-accounts
        bootstrap-controller: create FlowSchema system-leader-election
        bootstrap-controller: create FlowSchema system-node-high
        bootstrap-controller: create FlowSchema system-nodes
        bootstrap-controller: create FlowSchema workload-leader-election
        bootstrap-controller: create PriorityLevelConfiguration catch-all
        bootstrap-controller: create PriorityLevelConfiguration exempt
        bootstrap-controller: create PriorityLevelConfiguration global-default
        bootstrap-controller: create PriorityLevelConfiguration leader-election
        bootstrap-controller: create PriorityLevelConfiguration node-high
        bootstrap-controller: create PriorityLevelConfiguration system
        bootstrap-controller: create PriorityLevelConfiguration workload-high
        bootstrap-controller: create PriorityLevelConfiguration workload-low
        bootstrap-controller: create PriorityClass system-cluster-critical
        bootstrap-controller: create PriorityClass system-node-critical
        service-account-controller: create ServiceAccount default/default
        service-account-controller: create ServiceAccount kube-node-lease/default
        service-account-controller: create ServiceAccount kube-public/default
        service-account-controller: create ServiceAccount kube-system/default
        root-ca-certificate-publisher-controller: create ConfigMap default/kube-root-ca.crt
        root-ca-certificate-publisher-controller: create ConfigMap kube-node-lease/kube-root-ca.crt
        root-ca-certificate-publisher-controller: create ConfigMap kube-public/kube-root-ca.crt
        root-ca-certificate-publisher-controller: create ConfigMap kube-system/kube-root-ca.crt
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"
        {"metadata":{"labels":{"component":"apiserver","provider":"kubernetes"},"name":"kubernetes","namespace":"default"},"spec":{"clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"],"internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"name":"https","port":443,"protocol":"TCP","targetPort":6443}],"sessionAffinity":"None","type":"ClusterIP"}}
        {"metadata":{"labels":{"endpointslice.kubernetes.io/skip-mirror":"true"},"name":"kubernetes","namespace":"default"},"subsets":[{"addresses":[{"ip":"192.0.2.1"}],"ports":[{"name":"https","port":6443,"protocol":"TCP"}]}]}
    "#]].assert_eq(&(world.show(&SERVICE) + &world.show(&ENDPOINTS)));
    assert_eq!(world.tick(3600), "", "and then there is peace");
    world.delete(&SERVICE, "default", "kubernetes", None);
    world.change(&FLOW_SCHEMA, "", "probes", |schema| schema["spec"]["matchingPrecedence"] = json!(77));
    world.change(&FLOW_SCHEMA, "", "catch-all", |schema| {
        schema["spec"]["matchingPrecedence"] = json!(77);
        schema["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = json!("false");
    });
    expect![[r#"
        bootstrap-controller: create Service default/kubernetes
        bootstrap-controller: update FlowSchema probes
    "#]]
    .assert_eq(&world.settle());
}

#[test]
fn a_namespace_with_everything_in_it_comes_to_its_end() {
    let mut world = whole_world();
    world.apply(namespace("demo"));
    let mut service = object("v1", "Service", "web");
    service["spec"] = json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ports": [{"port": 80}]});
    world.apply(service);
    world.apply(pod("a", "10.1.0.1", true));
    let mut quota = object("v1", "ResourceQuota", "q");
    quota["spec"] = json!({"hard": {"pods": "5"}});
    world.apply(quota);
    world.settle();
    world.delete(&NAMESPACE, "", "demo", None);
    world.settle();
    let left = world.resources().into_iter().filter(|resource| resource.namespaced);
    let left: usize = left.map(|resource| world.list(&resource.kind, Some("demo")).len()).sum();
    assert_eq!((left, world.get(&NAMESPACE, "", "demo")), (0, None));
}

#[test]
fn aggregated_roles_have_the_rules_of_those_they_choose() {
    let mut world = World::new(vec![Box::new(ClusterRoleAggregation)]);
    let role = |name: &str, label: &str, verbs: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name, "labels": {label: "true"}},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}],
        })
    };
    world.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "all"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "true"}}, {"matchLabels": {"b": "true"}}]},
    }));
    world.apply(role("z", "a", json!(["get"])));
    world.apply(role("y", "b", json!(["list"])));
    world.apply(role("x", "b", json!(["get"])));
    world.apply(role("w", "c", json!(["delete"])));
    expect![[r#"
        clusterrole-aggregation-controller: update ClusterRole all
    "#]]
    .assert_eq(&world.settle());
    let all = world.get(&CLUSTER_ROLE, "", "all").expect("it is there");
    expect![[r#"[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]},{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}]"#]].assert_eq(&all["rules"].to_string());
    world.delete(&CLUSTER_ROLE, "", "y", None);
    expect![[r#"
        clusterrole-aggregation-controller: update ClusterRole all
    "#]]
    .assert_eq(&world.settle());
}

#[test]
fn definitions_are_established_and_take_their_objects_along() {
    let mut world = World::new(vec![
        Box::new(Establishing {
            decide: |definition, _, _| definition["status"].is_null().then(|| json!({"conditions": []})),
        }),
        Box::new(Finalizing),
    ]);
    world.apply(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com", "finalizers": [CLEANUP_FINALIZER]},
        "spec": {"group": "example.com", "names": {"plural": "widgets", "kind": "Widget"}},
    }));
    world.add_resource("example.com/v1", "Widget", "widgets", true);
    world.apply(object("example.com/v1", "Widget", "a"));
    let mut held = object("example.com/v1", "Widget", "held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.apply(held);
    expect![[r#"
        crd-establishing-controller: status CustomResourceDefinition widgets.example.com
    "#]]
    .assert_eq(&world.settle());
    world.delete(&CUSTOM_RESOURCE_DEFINITION, "", "widgets.example.com", None);
    expect![[r#"
        crd-finalizer-controller: delete Widget demo/a Background
        crd-finalizer-controller: delete Widget demo/held Background
        crd-finalizer-controller: status CustomResourceDefinition widgets.example.com
    "#]]
    .assert_eq(&world.settle());
    let widget = shoal_api::GroupVersionKind::new("example.com", "v1", "Widget");
    world.change(&widget, "demo", "held", |widget| widget["metadata"]["finalizers"] = json!([]));
    expect![[r#"
        crd-finalizer-controller: patch CustomResourceDefinition widgets.example.com {"metadata":{"finalizers":[]}}
    "#]].assert_eq(&world.settle());
    assert_eq!(world.show(&CUSTOM_RESOURCE_DEFINITION), "");
}

#[test]
fn a_definition_that_goes_leaves_the_objects_of_another_one_of_its_kind() {
    let mut world = World::new(vec![Box::new(Finalizing)]);
    let definition = |plural: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.com"), "finalizers": [CLEANUP_FINALIZER]},
            "spec": {"group": "example.com", "names": {"plural": plural, "kind": "Widget"}},
        })
    };
    // The kind is that of `widgets`; the other one was never accepted, so nothing is stored by it.
    world.apply(definition("widgets"));
    world.apply(definition("gadgets"));
    world.add_resource("example.com/v1", "Widget", "widgets", true);
    world.apply(object("example.com/v1", "Widget", "a"));
    world.settle();
    world.delete(&CUSTOM_RESOURCE_DEFINITION, "", "gadgets.example.com", None);
    expect![[r#"
        crd-finalizer-controller: patch CustomResourceDefinition gadgets.example.com {"metadata":{"finalizers":[]}}
    "#]]
    .assert_eq(&world.settle());
    let widget = shoal_api::GroupVersionKind::new("example.com", "v1", "Widget");
    assert!(
        world
            .get(&widget, "demo", "a")
            .is_some_and(|widget| widget["metadata"]["deletionTimestamp"].is_null())
    );
}

#[test]
fn nothing_wakes_for_what_does_not_concern_it() {
    let mut world = world(Finalizing);
    world.apply(object("v1", "ConfigMap", "a"));
    assert_eq!(world.settle(), "");
}

#[test]
fn a_claim_is_held_while_a_pod_uses_it() {
    let mut world = World::new(vec![Box::new(Claims)]);
    let (mut claim, mut user) = (object("v1", "PersistentVolumeClaim", "data"), pod("db", "10.0.0.1", true));
    claim["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
    user["spec"]["nodeName"] = "here".into();
    user["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
    let namespace = user["metadata"]["namespace"].as_str().expect("a namespace").to_owned();
    world.apply(claim);
    world.apply(user);
    assert_eq!(world.settle(), "", "nobody deletes it");
    world.delete(&PERSISTENT_VOLUME_CLAIM, &namespace, "data", None);
    assert_eq!(world.settle(), "", "it is in use");
    world.delete(&POD, &namespace, "db", None);
    expect![[r#"
        pvc-protection-controller: patch PersistentVolumeClaim demo/data {"metadata":{"finalizers":[]}}
    "#]]
    .assert_eq(&world.settle());
}
