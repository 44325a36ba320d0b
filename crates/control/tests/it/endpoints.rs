//! Endpoints and EndpointSlices of Services.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_control::controllers::endpoints::{ADDRESSES_MAX, EndpointSlices, Endpoints};
use shoal_control::controllers::mirror::EndpointSliceMirroring;
use shoal_control::controllers::slices::ENDPOINTS_PER_SLICE_MAX;
use shoal_control::known::{ENDPOINT_SLICE, ENDPOINTS, POD, SERVICE};
use shoal_control::snapshot::Snapshot as _;
use shoal_control::world::World;

use crate::support::{object, pod, world};

fn service(ports: Value) -> Value {
    let mut service = object("v1", "Service", "web");
    service["metadata"]["labels"] = json!({"team": "shop"});
    service["spec"] = json!({
        "selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "ports": ports,
    });
    service
}

fn http() -> Value {
    json!([{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "h2c"}])
}

/// How many endpoints each slice has.
fn sizes(world: &World) -> Vec<usize> {
    let size = |slice: &Value| slice["endpoints"].as_array().map_or(0, Vec::len);
    let mut sizes: Vec<usize> = world.list(&ENDPOINT_SLICE, None).iter().map(|slice| size(slice)).collect();
    sizes.sort_unstable();
    sizes
}

fn address(number: usize) -> String {
    format!("10.1.{}.{}", number / 250, number % 250 + 1)
}

#[test]
fn endpoints_are_the_pods_of_a_service() {
    let mut world = world(Endpoints);
    world.apply(service(http()));
    expect![[r#"
        endpoint-controller: create Endpoints demo/web
    "#]]
    .assert_eq(&world.settle());
    world.apply(pod("a", "10.1.0.1", true));
    world.apply(pod("b", "10.1.0.2", false));
    let mut done = pod("done", "10.1.0.3", true);
    done["status"]["phase"] = json!("Succeeded");
    world.apply(done);
    let mut other = pod("other", "10.1.0.4", true);
    other["metadata"]["labels"] = json!({"app": "db"});
    world.apply(other);
    expect![[r#"
        endpoint-controller: update Endpoints demo/web
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"
        {"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"labels":{"team":"shop"},"name":"web","namespace":"demo"},"subsets":[{"addresses":[{"ip":"10.1.0.1","nodeName":"n1","targetRef":{"kind":"Pod","name":"a","namespace":"demo","uid":"a"}}],"notReadyAddresses":[{"ip":"10.1.0.2","nodeName":"n1","targetRef":{"kind":"Pod","name":"b","namespace":"demo","uid":"b"}}],"ports":[{"appProtocol":"h2c","name":"http","port":8080,"protocol":"TCP"}]}]}
    "#]].assert_eq(&world.show(&ENDPOINTS));
    world.delete(&SERVICE, "demo", "web", None);
    expect![[r#"
        endpoint-controller: delete Endpoints demo/web
    "#]]
    .assert_eq(&world.settle());
}

#[test]
fn endpoints_share_a_subset_where_they_have_the_same_ports() {
    let mut world = world(Endpoints);
    world.apply(service(json!([
        {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
        {"name": "metrics", "port": 9090, "protocol": "TCP"},
    ])));
    world.apply(pod("a", "10.1.0.1", true));
    let mut plain = pod("b", "10.1.0.2", true);
    plain["spec"]["containers"][0]["ports"] = json!([]);
    world.apply(plain);
    world.settle();
    expect![[r#"
        {"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"labels":{"team":"shop"},"name":"web","namespace":"demo"},"subsets":[{"addresses":[{"ip":"10.1.0.1","nodeName":"n1","targetRef":{"kind":"Pod","name":"a","namespace":"demo","uid":"a"}}],"ports":[{"name":"http","port":8080,"protocol":"TCP"}]},{"addresses":[{"ip":"10.1.0.1","nodeName":"n1","targetRef":{"kind":"Pod","name":"a","namespace":"demo","uid":"a"}},{"ip":"10.1.0.2","nodeName":"n1","targetRef":{"kind":"Pod","name":"b","namespace":"demo","uid":"b"}}],"ports":[{"name":"metrics","port":9090,"protocol":"TCP"}]}]}
    "#]].assert_eq(&world.show(&ENDPOINTS));
}

#[test]
fn endpoints_beyond_what_one_object_holds_are_left_out() {
    let mut world = world(Endpoints);
    world.apply(service(http()));
    for number in 0..=ADDRESSES_MAX {
        world.apply(pod(&format!("p{number}"), &address(number), true));
    }
    world.settle();
    let endpoints = world.get(&ENDPOINTS, "demo", "web").expect("it was made");
    assert_eq!(endpoints["subsets"][0]["addresses"].as_array().map(Vec::len), Some(ADDRESSES_MAX));
    let capacity = &endpoints["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"];
    assert_eq!(capacity, "truncated");
}

#[test]
fn slices_say_of_each_pod_where_it_stands() {
    let mut world = world(EndpointSlices);
    world.apply(service(http()));
    expect![[r#"
        endpointslice-controller: create EndpointSlice demo/web-
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"
        {"addressType":"IPv4","endpoints":null,"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"generateName":"web-","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web","team":"shop"},"name":"web-5","namespace":"demo","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Service","name":"web","uid":"web"}]},"ports":null}
    "#]].assert_eq(&world.show(&ENDPOINT_SLICE));
    let mut node = object("v1", "Node", "n1");
    node["metadata"] = json!({"name": "n1", "labels": {"topology.kubernetes.io/zone": "site-a"}});
    world.apply(node);
    let mut named = pod("a", "10.1.0.1", true);
    named["spec"]["hostname"] = json!("first");
    named["spec"]["subdomain"] = json!("web");
    world.apply(named);
    world.apply(pod("b", "10.1.0.2", false));
    expect![[r#"
        endpointslice-controller: create EndpointSlice demo/web-
        endpointslice-controller: delete EndpointSlice demo/web-5
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"
        {"addressType":"IPv4","endpoints":[{"addresses":["10.1.0.1"],"conditions":{"ready":true,"serving":true,"terminating":false},"hostname":"first","nodeName":"n1","targetRef":{"kind":"Pod","name":"a","namespace":"demo","uid":"a"},"zone":"site-a"},{"addresses":["10.1.0.2"],"conditions":{"ready":false,"serving":false,"terminating":false},"nodeName":"n1","targetRef":{"kind":"Pod","name":"b","namespace":"demo","uid":"b"},"zone":"site-a"}],"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"generateName":"web-","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web","team":"shop"},"name":"web-13","namespace":"demo","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Service","name":"web","uid":"web"}]},"ports":[{"appProtocol":"h2c","name":"http","port":8080,"protocol":"TCP"}]}
    "#]].assert_eq(&world.show(&ENDPOINT_SLICE));
    world.change(&POD, "demo", "a", |pod| {
        pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    world.settle();
    let slice = &world.list(&ENDPOINT_SLICE, None)[0];
    expect![[r#"{"ready":false,"serving":true,"terminating":true}"#]]
        .assert_eq(&slice["endpoints"][0]["conditions"].to_string());
}

#[test]
fn many_pods_fill_slices_and_one_change_writes_one_slice() {
    let mut world = world(EndpointSlices);
    for number in 0..250 {
        world.apply(pod(&format!("p{number:03}"), &address(number), true));
    }
    world.apply(service(http()));
    world.settle();
    assert_eq!(sizes(&world), [50, ENDPOINTS_PER_SLICE_MAX, ENDPOINTS_PER_SLICE_MAX]);
    world.change(&POD, "demo", "p007", |pod| pod["status"]["conditions"][0]["status"] = json!("False"));
    expect![[r#"
        endpointslice-controller: update EndpointSlice demo/web-509
    "#]]
    .assert_eq(&world.settle());
    for number in 0..30 {
        world.apply(pod(&format!("q{number}"), &address(300 + number), true));
    }
    world.settle();
    assert_eq!(sizes(&world), [80, 100, 100]);
    for number in 0..150 {
        world.delete(&POD, "demo", &format!("p{number:03}"), None);
    }
    world.settle();
    assert_eq!(sizes(&world).iter().sum::<usize>(), 130);
}

#[test]
fn a_service_has_slices_of_each_of_its_families() {
    let mut world = world(EndpointSlices);
    let mut service = service(json!([{"port": 80, "protocol": "TCP"}]));
    service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    world.apply(service);
    let mut both = pod("a", "10.1.0.1", true);
    both["status"]["podIPs"] = json!([{"ip": "10.1.0.1"}, {"ip": "fd00::1"}]);
    world.apply(both);
    world.settle();
    let shown = |slice: &Value| format!("{} {}\n", slice["addressType"], slice["endpoints"][0]["addresses"]);
    let shown: String = world.list(&ENDPOINT_SLICE, None).iter().map(|slice| shown(slice)).collect();
    expect![[r#"
        "IPv4" ["10.1.0.1"]
        "IPv6" ["fd00::1"]
    "#]]
    .assert_eq(&shown);
}

#[test]
fn endpoints_written_by_hand_are_mirrored() {
    let mut world = world(EndpointSliceMirroring);
    let mut service = service(json!([{"port": 80}]));
    service["spec"].as_object_mut().expect("an object").remove("selector");
    world.apply(service);
    let mut endpoints = object("v1", "Endpoints", "web");
    endpoints["metadata"]["labels"] = json!({"by": "hand"});
    endpoints["subsets"] = json!([{
        "addresses": [{"ip": "192.0.2.7", "hostname": "db"}], "notReadyAddresses": [{"ip": "fd00::7"}],
        "ports": [{"port": 5432, "protocol": "TCP"}],
    }]);
    world.apply(endpoints);
    expect![[r#"
        endpointslicemirroring-controller: create EndpointSlice demo/web-
        endpointslicemirroring-controller: create EndpointSlice demo/web-
    "#]]
    .assert_eq(&world.settle());
    expect![[r#"
        {"addressType":"IPv4","endpoints":[{"addresses":["192.0.2.7"],"conditions":{"ready":true},"hostname":"db"}],"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"generateName":"web-","labels":{"by":"hand","endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"web"},"name":"web-7","namespace":"demo","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Endpoints","name":"web","uid":"web"}]},"ports":[{"name":"","port":5432,"protocol":"TCP"}]}
        {"addressType":"IPv6","endpoints":[{"addresses":["fd00::7"],"conditions":{"ready":false}}],"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"generateName":"web-","labels":{"by":"hand","endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"web"},"name":"web-9","namespace":"demo","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Endpoints","name":"web","uid":"web"}]},"ports":[{"name":"","port":5432,"protocol":"TCP"}]}
    "#]].assert_eq(&world.show(&ENDPOINT_SLICE));
    world.change(&ENDPOINTS, "demo", "web", |endpoints| {
        endpoints["metadata"]["labels"] = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    });
    expect![[r#"
        endpointslicemirroring-controller: delete EndpointSlice demo/web-7
        endpointslicemirroring-controller: delete EndpointSlice demo/web-9
    "#]]
    .assert_eq(&world.settle());
}
