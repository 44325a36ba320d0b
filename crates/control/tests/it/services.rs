//! Addresses and ports of Services.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_control::admission::allocate::{Allocator, Holdings};

use crate::support::change;

fn allocator() -> Allocator {
    Allocator::new("10.96.0.0/16".parse().expect("a network"))
}

fn service(spec: Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "demo"}, "spec": spec})
}

/// What the Service gets, or why not.
fn assigned(all: &mut Allocator, spec: Value) -> String {
    let given = service(spec);
    let mut after = given.clone();
    match all.assign(&mut after, None, 77) {
        Ok(_) => change(&given, &after).to_string(),
        Err(status) => status.message,
    }
}

#[test]
fn services_get_what_their_type_needs() {
    let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}, {"port": 81}]);
    let chosen = json!({"app": "web"});
    let told: String = [
        json!({"type": "ClusterIP", "selector": chosen}),
        json!({"type": "NodePort", "ports": ports}),
        json!({"type": "LoadBalancer", "ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
        json!({"type": "LoadBalancer", "ports": [{"port": 80}], "allocateLoadBalancerNodePorts": false}),
        json!({"type": "ClusterIP", "clusterIP": "None", "selector": chosen}),
        json!({"type": "ClusterIP", "clusterIP": "None"}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
        json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}),
        json!({"ipFamilyPolicy": "PreferDualStack"}),
    ]
    .into_iter()
    .map(|spec| assigned(&mut allocator(), spec) + "\n")
    .collect();
    expect![[r#"
        {"spec":{"clusterIP":"10.96.1.78","clusterIPs":["10.96.1.78"],"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack"}}
        {"spec":{"clusterIP":"10.96.1.78","clusterIPs":["10.96.1.78"],"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"nodePort":30163,"port":80,"protocol":"TCP"},{"nodePort":30163,"port":80,"protocol":"UDP"},{"nodePort":30394,"port":81}]}}
        {"spec":{"clusterIP":"10.96.1.78","clusterIPs":["10.96.1.78"],"healthCheckNodePort":32122,"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"nodePort":30163,"port":80}]}}
        {"spec":{"clusterIP":"10.96.1.78","clusterIPs":["10.96.1.78"],"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack"}}
        {"spec":{"clusterIPs":["None"],"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack"}}
        {"spec":{"clusterIPs":["None"],"ipFamilies":["IPv4","IPv6"],"ipFamilyPolicy":"RequireDualStack"}}
        {}
        {"spec":{"clusterIPs":["10.96.0.5"],"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack"}}
        {"spec":{"clusterIP":"10.96.1.78","clusterIPs":["10.96.1.78"],"ipFamilies":["IPv4"]}}
    "#]].assert_eq(&told);
}

#[test]
fn what_cannot_be_given_is_refused_and_nothing_is_taken() {
    let mut all = allocator();
    assigned(
        &mut all,
        json!({"type": "NodePort", "clusterIP": "10.96.0.5", "ports": [{"port": 80, "nodePort": 30080}]}),
    );
    let left = all.left();
    let told: String = [
        json!({"clusterIP": "10.96.0.5"}),
        json!({"clusterIP": "192.0.2.1"}),
        json!({"clusterIP": "nonsense"}),
        json!({"type": "NodePort", "ports": [{"port": 1}, {"port": 80, "nodePort": 30080}]}),
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
        json!({"ipFamilyPolicy": "RequireDualStack"}),
        json!({"ipFamilies": ["IPv6"]}),
    ]
    .into_iter()
    .map(|spec| assigned(&mut all, spec) + "\n")
    .collect();
    expect![[r#"
        Service "web" is invalid: spec.clusterIPs: Invalid value: []string{"10.96.0.5"}: failed to allocate IP 10.96.0.5: provided IP is already allocated
        Service "web" is invalid: spec.clusterIPs: Invalid value: []string{"192.0.2.1"}: failed to allocate IP 192.0.2.1: the provided IP (192.0.2.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16
        Service "web" is invalid: spec.clusterIPs: Invalid value: []string{"nonsense"}: failed to allocate IP nonsense: must be a valid IP address
        Service "web" is invalid: spec.ports[1].nodePort: Invalid value: 30080: provided port is already allocated
        Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767
        Service "web" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services
        Service "web" is invalid: spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster
    "#]].assert_eq(&told);
    assert_eq!(all.left(), left);
}

#[test]
fn an_update_keeps_what_it_needs_and_frees_the_rest() {
    let mut all = allocator();
    let mut old = service(json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}));
    let first = all.assign(&mut old, None, 5).expect("given");
    assert_eq!((first.freed, first.taken.clone()), (Holdings::default(), Holdings::of(&old)));
    let full = all.left();
    // A client that knows nothing of addresses writes the Service anew, with one more port.
    let mut new = service(json!({"type": "NodePort", "ports": [
        {"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"},
    ]}));
    let second = all.assign(&mut new, Some(&old), 9).expect("given");
    assert_eq!(new["spec"]["clusterIP"], old["spec"]["clusterIP"]);
    assert_eq!(new["spec"]["ports"][0], old["spec"]["ports"][0]);
    assert_eq!((second.taken.ports.len(), second.freed), (1, Holdings::default()));
    // The write fails: all is as it was.
    all.release(&second.taken);
    assert_eq!(all.left(), full);
    let mut external = service(json!({"type": "ExternalName", "externalName": "example.com"}));
    let third = all.assign(&mut external, Some(&old), 9).expect("given");
    assert_eq!((third.taken, third.freed.clone()), (Holdings::default(), first.taken));
    all.release(&third.freed);
    assert_eq!(all.left(), allocator().left());
}

#[test]
fn an_allocator_is_rebuilt_from_what_there_is() {
    let mut all = allocator();
    let mut services = Vec::new();
    for seed in 0..50 {
        let mut one = service(json!({"type": "NodePort", "ports": [{"port": 80}]}));
        all.assign(&mut one, None, seed).expect("given");
        services.push(one);
    }
    // Written past us: one address twice, and one of another network.
    services.push(services[0].clone());
    services.push(service(json!({"clusterIP": "192.0.2.1"})));
    let mut again = Allocator::rebuild(all.network(), &services);
    assert_eq!(again.left(), all.left());
    let mut one = service(json!({"clusterIP": services[7]["spec"]["clusterIP"]}));
    assert!(again.assign(&mut one, None, 0).is_err());
}
