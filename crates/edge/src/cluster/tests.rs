//! Objects in, plan out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use expect_test::{Expect, expect};
use serde_json::json;

use super::hosts::PATH_BYTES_MAX;
use super::plan::PORTS_MAX;
use super::*;

/// A cluster with the objects of a YAML list, in namespace `shop` where they name none.
fn cluster(objects: &str) -> Cluster {
    let settings = Settings {
        endpoints: Endpoints::default(),
        node: "here".into(),
        taken: BTreeSet::from([80, 443]),
        https_port: 443,
    };
    let cluster = Cluster::new(settings).unwrap();
    let mut by_kind: HashMap<Kind, Vec<Arc<Value>>> = HashMap::new();
    for mut object in serde_saphyr::from_str::<Vec<Value>>(objects).unwrap() {
        let kind = match object["kind"].as_str().unwrap() {
            "Service" => Kind::Service,
            "EndpointSlice" => Kind::EndpointSlice,
            "Ingress" => Kind::Ingress,
            "IngressClass" => Kind::IngressClass,
            "Secret" => Kind::Secret,
            other => panic!("{other}"),
        };
        if kind != Kind::IngressClass && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!("shop");
        }
        by_kind.entry(kind).or_default().push(Arc::new(object));
    }
    by_kind.into_iter().for_each(|(kind, objects)| cluster.set(kind, objects));
    cluster.commit();
    cluster
}

fn check(objects: &str, plan: &Expect) {
    plan.assert_eq(&cluster(objects).describe());
}

const WEB: &str = "
- {kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80}, {name: admin, port: 81}]}}
- {kind: Service, metadata: {name: api}, spec: {ports: [{port: 8080}]}}";

#[test]
fn hosts_and_paths_lead_to_ports_of_services() {
    check(
        &format!(
            "{WEB}
- kind: Ingress
  metadata: {{name: shop, annotations: {{shoal.dev/timeout: 5s, shoal.dev/redirect-to-https: 'true'}}}}
  spec:
    defaultBackend: {{service: {{name: web, port: {{name: admin}}}}}}
    rules:
    - host: Shop.test
      http:
        paths:
        - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{name: http}}}}}}}}
        - {{path: /api/, pathType: ImplementationSpecific, backend: {{service: {{name: api, port: {{number: 8080}}}}}}}}
        - {{path: /exact/, pathType: Exact, backend: {{service: {{name: web, port: {{number: 81}}}}}}}}
    - host: '*.shop.test'
      http: {{paths: [{{pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
    - http: {{paths: [{{path: /healthz, pathType: Exact, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}"
        ),
        &expect![[r#"
            shop.test /... -> shop/web `http` timeout=5s https-only
            shop.test /api/... -> shop/api `` timeout=5s https-only
            shop.test /exact/ -> shop/web `admin` timeout=5s https-only
            *.shop.test /... -> shop/web `http` timeout=5s https-only
            (any) /healthz -> shop/web `http` timeout=5s https-only
            else -> shop/web `admin` timeout=5s https-only
        "#]],
    );
}

#[test]
fn what_is_missing_is_said_and_the_rest_is_served() {
    check(
        &format!(
            "{WEB}
- {{kind: Service, metadata: {{name: far}}, spec: {{type: ExternalName, externalName: a.test}}}}
- {{kind: Secret, type: kubernetes.io/tls, metadata: {{name: bad}}, data: {{tls.crt: '!', tls.key: ''}}}}
- {{kind: Secret, type: Opaque, metadata: {{name: opaque}}, data: {{tls.crt: '', tls.key: ''}}}}
- kind: Ingress
  metadata: {{name: shop, annotations: {{shoal.dev/timeout: soon}}}}
  spec:
    tls: [{{hosts: [a], secretName: bad}}, {{hosts: [a], secretName: opaque}}, {{hosts: [b], secretName: none}}, {{hosts: [c]}}]
    rules:
    - host: a
      http:
        paths:
        - {{path: /1, pathType: Prefix, backend: {{service: {{name: nobody, port: {{number: 80}}}}}}}}
        - {{path: /2, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 82}}}}}}}}
        - {{path: /3, pathType: Prefix, backend: {{service: {{name: web, port: {{name: none}}}}}}}}
        - {{path: /4, pathType: Prefix, backend: {{service: {{name: far, port: {{number: 80}}}}}}}}
        - {{path: /5, pathType: Prefix, backend: {{resource: {{kind: Bucket, name: a}}}}}}
        - {{path: /6, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}
    - {{host: 7, http: {{paths: {{}}}}}}
    - 8"
        ),
        &expect![[r#"
            a /1/... -> 503 service shop/nobody does not exist
            a /2/... -> 503 service shop/web has no TCP port 82
            a /3/... -> 503 service shop/web has no TCP port none
            a /4/... -> 503 service shop/far is of type ExternalName, which is not routed to
            a /6/... -> shop/web `http`
            Ingress shop/shop: service shop/far is of type ExternalName, which is not routed to
            Ingress shop/shop: service shop/nobody does not exist
            Ingress shop/shop: service shop/web has no TCP port 82
            Ingress shop/shop: service shop/web has no TCP port none
            Ingress shop/shop: the Secret bad is of no use: tls.crt is no base64
            Ingress shop/shop: the annotation shoal.dev/timeout is `soon`, which is not a time above zero such as 5s
            Ingress shop/shop: there is no Secret none of type kubernetes.io/tls
            Ingress shop/shop: there is no Secret opaque of type kubernetes.io/tls
        "#]],
    );
}

fn ingress(name: &str, class: &str, more: &str) -> String {
    format!(
        "
- kind: Ingress
  metadata: {{name: {name}, creationTimestamp: '2026-11-23T07:00:00Z'{more}}}
  spec: {{{class} rules: [{{host: {name}, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}"
    )
}

fn class(name: &str, controller: &str, is_default: bool) -> String {
    format!(
        "
- kind: IngressClass
  metadata: {{name: {name}, annotations: {{ingressclass.kubernetes.io/is-default-class: '{is_default}'}}}}
  spec: {{controller: {controller}}}"
    )
}

#[test]
fn an_ingress_is_served_if_its_class_is_ours() {
    let ingresses = [
        ingress("none", "", ""),
        ingress("own", "ingressClassName: shoal,", ""),
        ingress("other", "ingressClassName: nginx,", ""),
        ingress("old", "", ", annotations: {kubernetes.io/ingress.class: nginx}"),
        ingress("edge", "ingressClassName: edge,", ""),
        ingress("unknown", "ingressClassName: unknown,", ""),
    ]
    .concat();
    let served = |classes: &str| {
        let text = cluster(&format!("{WEB}{ingresses}{classes}")).describe();
        let hosts = text.lines().map(|line| line.split(' ').next().unwrap().to_owned());
        hosts.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(served(""), "none own");
    let nginx = class("nginx", "k8s.io/ingress-nginx", true);
    let edge = class("edge", "shoal.dev/ingress", false);
    assert_eq!(served(&edge), "edge none own");
    assert_eq!(served(&format!("{nginx}{edge}")), "edge own", "another's class is the default");
    assert_eq!(served(&class("shoal", "someone.else/ingress", false)), "none", "the class says whose it is");
}

#[test]
fn what_two_ingresses_name_the_older_one_has() {
    let rule = |name: &str, created: &str, path: &str| {
        format!(
            "
- kind: Ingress
  metadata: {{name: {name}, creationTimestamp: '{created}'}}
  spec:
    defaultBackend: {{service: {{name: {name}, port: {{number: 80}}}}}}
    rules: [{{host: a, http: {{paths: [{{path: {path}, pathType: Prefix, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}]}}}}]"
        )
    };
    let services = "
- {kind: Service, metadata: {name: young}, spec: {ports: [{port: 80}]}}
- {kind: Service, metadata: {name: aged}, spec: {ports: [{port: 80}]}}";
    check(
        &format!(
            "{services}{}{}",
            rule("young", "2026-11-23T08:00:00Z", "/x/"),
            rule("aged", "2026-11-23T07:00:00Z", "/x")
        ),
        &expect![[r#"
            a /x/... -> shop/aged ``
            else -> shop/aged ``
            Ingress shop/young: an older Ingress has the default backend
            Ingress shop/young: host `a`, path `/x/` is that of an older Ingress
        "#]],
    );
}

#[test]
fn services_have_ports_of_the_node() {
    check(
        "
- kind: Service
  metadata: {name: young, creationTimestamp: '2026-11-23T08:00:00Z'}
  spec: {type: LoadBalancer, ports: [{port: 8080}, {name: web, port: 80, nodePort: 30080}]}
- kind: Service
  metadata: {name: aged, creationTimestamp: '2026-11-23T07:00:00Z', annotations: {shoal.dev/max-in-flight: '2'}}
  spec: {type: LoadBalancer, ports: [{port: 8080, nodePort: 30000}]}
- {kind: Service, metadata: {name: node}, spec: {type: NodePort, ports: [{port: 1, nodePort: 30001}, {port: 2, nodePort: 30002, protocol: UDP}]}}
- {kind: Service, metadata: {name: foreign}, spec: {type: LoadBalancer, loadBalancerClass: x/y, ports: [{port: 9000, nodePort: 30003}]}}
- {kind: Service, metadata: {name: inside}, spec: {type: ClusterIP, ports: [{port: 9001, nodePort: 30004}]}}
- {kind: Service, metadata: {name: odd}, spec: {type: NodePort, ports: [{port: 1, nodePort: 70000}, {port: 0, nodePort: 30005}, {}]}}",
        &expect![[r#"
            port 8080 -> shop/aged `` in-flight<=2
            port 30000 -> shop/aged `` in-flight<=2
            port 30001 -> shop/node ``
            port 30003 -> shop/foreign ``
            port 30080 -> shop/young `web`
            Service shop/node: port 30002 is not TCP, and is not served
            Service shop/young: port 8080 is that of the older service shop/aged
            Service shop/young: the edge itself serves on port 80
        "#]],
    );
}

#[test]
fn so_many_ports_are_opened_and_the_older_services_have_them() {
    let service = |name: &str, created: &str, numbers: std::ops::Range<usize>| {
        let ports: Vec<Value> = numbers.map(|number| json!({"port": 80, "nodePort": number})).collect();
        let metadata = json!({"namespace": "shop", "name": name, "creationTimestamp": created});
        Arc::new(json!({"metadata": metadata, "spec": {"type": "NodePort", "ports": ports}}))
    };
    let aged = service("aged", "2026-11-23T07:00:00Z", 20_000..20_000 + PORTS_MAX - 1);
    let young = service("young", "2026-11-23T08:00:00Z", 30_000..30_003);
    let cluster = cluster("[]");
    let set = |services: Vec<Arc<Value>>| {
        cluster.set(Kind::Service, services);
        cluster.commit();
        (cluster.ports(), cluster.problems())
    };
    let last = service("last", "2026-11-23T08:00:00Z", 30_000..30_001);
    let (ports, problems) = set(vec![aged.clone(), last]);
    assert_eq!((ports.len(), problems.len()), (PORTS_MAX, 0), "as many as the limit");
    let (ports, problems) = set(vec![aged, young]);
    assert_eq!((ports.len(), ports.last()), (PORTS_MAX, Some(&30_000)));
    expect![[r#"
        {
            (
                "Service shop/young",
                "not all of its ports are open: services have 1024 ports of a node at most, the older ones first",
            ),
        }
    "#]]
    .assert_debug_eq(&problems);
}

#[test]
fn a_path_may_be_as_long_as_the_limit() {
    let paths: Vec<Value> = [("a", PATH_BYTES_MAX), ("b", PATH_BYTES_MAX + 1)]
        .into_iter()
        .flat_map(|(name, length)| {
            let path = format!("/{}", name.repeat(length - 1));
            let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
            ["Exact", "Prefix"].map(|kind| json!({"path": path, "pathType": kind, "backend": backend}))
        })
        .collect();
    let ingress =
        json!({"metadata": {"name": "long"}, "spec": {"rules": [{"host": "a", "http": {"paths": paths}}]}});
    let cluster = cluster("[]");
    cluster.set(Kind::Ingress, vec![Arc::new(ingress)]);
    cluster.commit();
    let text = cluster.describe();
    assert_eq!(text.lines().filter(|line| line.starts_with("a /aaa")).count(), 2, "{text}");
    assert!(!text.contains("/bbb"), "{text}");
    let why = "a path has more than 1024 bytes, and is not served";
    assert!(cluster.problems().contains(&("Ingress /long".into(), why.into())), "{text}");
}

#[test]
fn a_change_on_which_no_route_depends_makes_no_table() {
    let cluster = cluster("[]");
    let is_stale_after = |kind: Kind, object: &Value| {
        cluster.set(kind, vec![Arc::new(object.clone())]);
        let is_stale = cluster.0.world.lock().is_stale;
        cluster.commit();
        is_stale
    };
    let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
    let coded = |text: String| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let data = json!({"tls.crt": coded(made.cert.pem()), "tls.key": coded(made.signing_key.serialize_pem())});
    for (kind, spec) in [
        (Kind::Service, json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 8080}]}})),
        (Kind::Ingress, json!({"spec": {"tls": [{"hosts": ["a"], "secretName": "a"}]}})),
        (Kind::IngressClass, json!({"spec": {"controller": "shoal.dev/ingress"}})),
        (Kind::Secret, json!({"type": "kubernetes.io/tls", "data": data})),
    ] {
        let mut object = spec;
        object["metadata"] = json!({"namespace": "shop", "name": "a"});
        assert!(is_stale_after(kind, &object), "{kind:?} is new");
        object["metadata"]["labels"] = json!({"x": "1"});
        object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}});
        assert!(!is_stale_after(kind, &object), "only labels and status of {kind:?} have changed");
    }
    let says: Vec<_> = cluster.publications().into_iter().map(|publication| publication.says).collect();
    assert_eq!(says, [["10.0.0.9"], ["10.0.0.9"]], "what the status says is known all the same");
    let metadata = json!({"namespace": "shop", "name": "a"});
    for (kind, changed) in [
        (Kind::Service, json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 8081}]}})),
        (Kind::Ingress, json!({"spec": {}})),
        (Kind::IngressClass, json!({"spec": {"controller": "another"}})),
        (Kind::Secret, json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "QQ==", "tls.key": "QQ=="}})),
    ] {
        let mut object = changed;
        object["metadata"] = metadata.clone();
        assert!(is_stale_after(kind, &object), "{kind:?} says something else");
    }
    // No Secret for TLS, before and after.
    let opaque = json!({"metadata": metadata, "type": "Opaque"});
    assert!(
        is_stale_after(Kind::Secret, &opaque)
            && !is_stale_after(Kind::Secret, &json!({"metadata": metadata}))
    );
}

#[test]
fn a_status_is_written_only_where_all_ports_are_to_be_had() {
    let cluster = cluster(
        "
- kind: Service
  metadata: {name: lb, creationTimestamp: '2026-11-23T07:00:00Z'}
  spec: {type: LoadBalancer, ports: [{port: 8080, nodePort: 30000}]}
  status: {loadBalancer: {ingress: [{ip: 10.0.0.9}]}}
- {kind: Service, metadata: {name: was}, spec: {ports: [{port: 80}]}, status: {loadBalancer: {ingress: [{ip: 10.0.0.9}]}}}
- {kind: Service, metadata: {name: taken}, spec: {type: LoadBalancer, ports: [{port: 80}]}}
- {kind: Ingress, metadata: {name: web}, spec: {}}
- {kind: Ingress, metadata: {name: foreign}, spec: {ingressClassName: nginx}}",
    );
    let shown = |one: &Publication| format!("{:?} {} {:?} {:?}", one.kind, one.name, one.says, one.ports);
    let publications: Vec<_> = cluster.publications().iter().map(shown).collect();
    assert_eq!(
        publications,
        [
            "Ingress web [] Some({})",
            r#"Service lb ["10.0.0.9"] Some({8080})"#,
            "Service taken [] None",
            r#"Service was ["10.0.0.9"] None"#,
        ]
    );
}

/// Every value of an object in turn becomes something that it must not be.
#[test]
fn no_object_makes_it_panic() {
    let objects = format!(
        "{WEB}{}{}
- {{kind: Service, metadata: {{name: lb}}, spec: {{type: LoadBalancer, clusterIPs: [10.0.0.1], sessionAffinity: ClientIP, ports: [{{port: 8080, nodePort: 30000, protocol: TCP}}]}}, status: {{loadBalancer: {{ingress: [{{ip: 10.0.0.9}}]}}}}}}
- {{kind: EndpointSlice, metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}, ports: [{{name: http}}], endpoints: [{{nodeName: here, targetRef: {{uid: a}}, conditions: {{ready: true, serving: true, terminating: false}}}}]}}
- {{kind: Secret, type: kubernetes.io/tls, metadata: {{name: tls}}, data: {{tls.crt: QQ==, tls.key: QQ==}}}}
- {{kind: Ingress, metadata: {{name: tls, annotations: {{shoal.dev/timeout: 5s}}}}, spec: {{defaultBackend: {{service: {{name: web, port: {{name: http}}}}}}, tls: [{{hosts: [a], secretName: tls}}]}}}}",
        class("shoal", "shoal.dev/ingress", true),
        ingress("a", "ingressClassName: shoal,", ""),
    );
    let whole: Vec<Value> = serde_saphyr::from_str(&objects).unwrap();
    let cluster = cluster(&objects);
    let odd = [
        json!(null),
        json!("ü"),
        json!(0),
        json!(-1),
        json!(1e300),
        json!([]),
        json!([null, {}]),
        json!({"a": {}}),
    ];
    let mut tried = 0;
    for object in &whole {
        let kinds = [Kind::Service, Kind::EndpointSlice, Kind::Ingress, Kind::IngressClass, Kind::Secret];
        let kind = kinds.into_iter().find(|kind| object["kind"] == format!("{kind:?}")).unwrap();
        for path in paths(object) {
            for odd in &odd {
                let mut changed = object.clone();
                *changed.pointer_mut(&path).unwrap() = odd.clone();
                cluster.set(kind, vec![Arc::new(changed)]);
                cluster.commit();
                cluster.publications();
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

/// The JSON pointers of all values in a value.
fn paths(value: &Value) -> Vec<String> {
    let within = |key: &str, value: &Value| {
        let key = key.replace('~', "~0").replace('/', "~1");
        paths(value).into_iter().map(move |rest| format!("/{key}{rest}")).collect::<Vec<_>>()
    };
    let mut all = vec![String::new()];
    match value {
        Value::Object(fields) => all.extend(fields.iter().flat_map(|(key, value)| within(key, value))),
        Value::Array(items) => {
            all.extend(items.iter().enumerate().flat_map(|(index, value)| within(&index.to_string(), value)));
        }
        _ => {}
    }
    all
}
