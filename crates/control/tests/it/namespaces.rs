//! The end of namespaces, and what each has from its beginning.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_api::Status;
use shoal_control::controllers::namespace::{DELETIONS_PER_PLAN_MAX, NamespaceDeletion};
use shoal_control::controllers::service_accounts::{DefaultAccounts, RootCa};
use shoal_control::controllers::tokens::{AccountTokens, BootstrapTokens};
use shoal_control::known::{CONFIG_MAP, NAMESPACE, POD, SECRET, SERVICE_ACCOUNT};
use shoal_control::snapshot::Snapshot as _;
use shoal_control::world::World;

use crate::support::{namespace, object, world};

fn conditions(world: &World) -> String {
    let namespace = world.get(&NAMESPACE, "", "demo").expect("it is there");
    let list = namespace["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let line = |condition: Value| {
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_string();
        format!("{}={} {}: {}\n", text("type"), text("status"), text("reason"), text("message"))
    };
    list.into_iter().map(line).collect()
}

#[test]
fn all_content_goes_then_the_namespace() {
    let mut world = world(NamespaceDeletion);
    for name in ["a", "b"] {
        world.apply(object("v1", "ConfigMap", name));
    }
    world.apply(object("apps/v1", "Deployment", "web"));
    let mut held = object("v1", "Pod", "held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.apply(held);
    world.add_resource("example.com/v1", "Widget", "widgets", true);
    world.apply(object("example.com/v1", "Widget", "w"));
    assert_eq!(world.settle(), "");
    world.delete(&NAMESPACE, "", "demo", None);
    expect![[r#"
        namespace-controller: delete ConfigMap demo/a Background
        namespace-controller: delete ConfigMap demo/b Background
        namespace-controller: delete Pod demo/held Background
        namespace-controller: delete Deployment demo/web Background
        namespace-controller: delete Widget demo/w Background
        namespace-controller: status Namespace demo
        namespace-controller: status Namespace demo
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"
        NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered
        NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed
        NamespaceDeletionContentFailure=False ContentDeleted: All content successfully deleted, may be waiting on finalization
        NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: pods. has 1 resource instances
        NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances
    "#]].assert_eq(&conditions(&world));
    world.change(&POD, "demo", "held", |pod| pod["metadata"]["finalizers"] = json!([]));
    expect![[r#"
        namespace-controller: finalize Namespace demo
    "#]]
    .assert_eq(&world.settle());
    assert_eq!(world.show(&NAMESPACE), "");
}

#[test]
fn what_cannot_be_deleted_is_told_until_it_can() {
    let mut world = world(NamespaceDeletion);
    world.apply(object("v1", "ConfigMap", "a"));
    world.refuse_to_delete(&CONFIG_MAP, Status::new(403, "Forbidden", "webhook says no"));
    world.delete(&NAMESPACE, "", "demo", None);
    world.settle();
    world.tick(3);
    expect![[r#"
        NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered
        NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed
        NamespaceDeletionContentFailure=True ContentDeletionFailed: Failed to delete all resource types, 1 remaining: webhook says no
        NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: configmaps. has 1 resource instances
        NamespaceFinalizersRemaining=False ContentHasNoFinalizers: All content-preserving finalizers finished
    "#]].assert_eq(&conditions(&world));
}

#[test]
fn a_large_namespace_goes_in_steps() {
    let mut world = world(NamespaceDeletion);
    for number in 0..=DELETIONS_PER_PLAN_MAX {
        world.apply(object("v1", "ConfigMap", &format!("c{number}")));
    }
    world.delete(&NAMESPACE, "", "demo", None);
    let story = world.settle();
    assert_eq!(story.matches("delete ConfigMap").count(), DELETIONS_PER_PLAN_MAX + 1);
    assert_eq!(world.show(&NAMESPACE), "");
}

#[test]
fn every_namespace_has_an_account_and_the_certificates() {
    let mut world = World::new(vec![Box::new(DefaultAccounts), Box::new(RootCa { bundle: "PEM".into() })]);
    world.apply(namespace("demo"));
    expect![[r#"
        service-account-controller: create ServiceAccount demo/default
        root-ca-certificate-publisher-controller: create ConfigMap demo/kube-root-ca.crt
    "#]]
    .assert_eq(&world.settle());
    world.delete(&SERVICE_ACCOUNT, "demo", "default", None);
    world.change(&CONFIG_MAP, "demo", "kube-root-ca.crt", |map| map["data"] = json!({}));
    expect![[r#"
        service-account-controller: create ServiceAccount demo/default
        root-ca-certificate-publisher-controller: update ConfigMap demo/kube-root-ca.crt
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"
        {"data":{"ca.crt":"PEM"},"metadata":{"annotations":{"kubernetes.io/description":"Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."},"name":"kube-root-ca.crt","namespace":"demo"}}
    "#]].assert_eq(&world.show(&CONFIG_MAP));
    // One that is being deleted gets nothing any more.
    world.delete(&NAMESPACE, "", "demo", None);
    world.delete(&SERVICE_ACCOUNT, "demo", "default", None);
    world.delete(&CONFIG_MAP, "demo", "kube-root-ca.crt", None);
    assert_eq!(world.settle(), "");
}

#[test]
fn tokens_of_accounts_are_made_and_go_with_them() {
    let mut world = world(AccountTokens);
    let token = |name: &str, account: &str| {
        let mut secret = object("v1", "Secret", name);
        secret["type"] = json!("kubernetes.io/service-account-token");
        secret["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": account});
        secret
    };
    world.apply(object("v1", "ServiceAccount", "app"));
    world.apply(token("good", "app"));
    world.apply(token("lost", "nobody"));
    world.apply(object("v1", "Secret", "other"));
    expect![[r#"
        tokens-controller: mint token Secret demo/good
        tokens-controller: delete Secret demo/lost
    "#]]
    .assert_eq(&world.settle());
    world.delete(&SERVICE_ACCOUNT, "demo", "app", None);
    expect![[r#"
        tokens-controller: delete Secret demo/good
    "#]]
    .assert_eq(&world.settle());
}

#[test]
fn tokens_to_join_go_when_their_time_is_over() {
    let mut world = World::new(vec![Box::new(BootstrapTokens)]);
    let token = |name: &str, expiration: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"namespace": "kube-system", "name": name}, "data": {"expiration": expiration},
        })
    };
    // 2026-01-01T00:01:00Z; nothing; no time at all.
    world.apply(token("minute", json!("MjAyNi0wMS0wMVQwMDowMTowMFo=")));
    world.apply(token("forever", Value::Null));
    world.apply(token("broken", json!("eA==")));
    expect![[r#"
        token-cleaner-controller: delete Secret kube-system/broken
    "#]]
    .assert_eq(&world.settle());
    assert_eq!(world.tick(59), "");
    expect![[r#"
        token-cleaner-controller: delete Secret kube-system/minute
    "#]]
    .assert_eq(&world.tick(1));
    assert_eq!(world.list(&SECRET, None).len(), 1);
}
