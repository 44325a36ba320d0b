//! Small things that clients of kube-apiserver see, and that are easily different.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Answer, header};
use crate::server::Server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

async fn made(server: &Server, path: &str, object: &Value) -> Value {
    let answer = server.send(Method::POST, path, Some(object)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

async fn sent(server: &Server, method: Method, path: &str, content_type: &str, body: &str) -> Answer {
    server.client.send(method, path, &[("content-type", content_type)], body.as_bytes().to_vec()).await
}

fn message(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap_or_default().to_owned()
}

/// A Deployment or ReplicaSet of the name `web`.
fn workload(kind: &str, replicas: Option<u32>) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "c"}]},
            },
        },
    });
    if let Some(replicas) = replicas {
        workload["spec"]["replicas"] = json!(replicas);
    }
    workload
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_whose_revision_is_gone_can_be_gone_on_with() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        made(&server, MAPS, &map(name)).await;
    }
    let first = server.send(Method::GET, &format!("{MAPS}?limit=1"), None).await.json();
    let token = first["metadata"]["continue"].as_str().expect("there are more").to_owned();
    made(&server, MAPS, &map("d")).await;
    let store = server.store();
    store.compact(store.progress().await.expect("a revision")).await.expect("compacted");

    let gone = server.send(Method::GET, &format!("{MAPS}?limit=1&continue={token}"), None).await;
    assert_eq!((gone.status, gone.json()["reason"].as_str()), (410, Some("Expired")), "{}", gone.text());
    assert!(message(&gone).contains("or use the continue token in this response"), "{}", gone.text());
    let token = gone.json()["metadata"]["continue"].as_str().expect("a token").to_owned();
    let rest = server.send(Method::GET, &format!("{MAPS}?limit=9&continue={token}"), None).await.json();
    let names: Vec<&Value> =
        rest["items"].as_array().expect("items").iter().map(|one| &one["metadata"]["name"]).collect();
    assert_eq!(names, ["b", "c", "d", "kube-root-ca.crt"]);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_none_are_refused_in_the_words_of_kubernetes() {
    let server = Server::start().await;
    for (body, shown) in
        [("", "unexpected end of JSON input (<empty>)"), ("{", "unexpected end of JSON input ({)")]
    {
        let answer = sent(&server, Method::POST, MAPS, "application/json", body).await;
        let words = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: ";
        assert_eq!((answer.status, message(&answer)), (400, format!("{words}{shown}")));
    }
    made(&server, MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    let answer = sent(&server, Method::PATCH, &path, "application/strategic-merge-patch+json", "[]").await;
    let words = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    assert_eq!((answer.status, message(&answer).as_str()), (400, words));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_says_so_and_what_is_known_is_not_sent_again() {
    let server = Server::start().await;
    let answer = server.send(Method::GET, "/api/v1/componentstatuses", None).await;
    assert_eq!(header(&answer.headers, "warning"), "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    for (path, has, asks) in
        [("/apis", "etag", "if-none-match"), ("/openapi/v3", "last-modified", "if-modified-since")]
    {
        let whole = server.send(Method::GET, path, None).await;
        let known = header(&whole.headers, has);
        assert!(!known.is_empty(), "{path} has {has}");
        let answer = server.client.send(Method::GET, path, &[(asks, &known)], Vec::new()).await;
        assert_eq!(
            (answer.status, answer.content_type(), answer.body.len()),
            (304, String::new(), 0),
            "{path}"
        );
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_looks_as_in_kubernetes() {
    let server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "c"}]},
    });
    made(&server, pods, &pod).await;
    let gone = server.send(Method::DELETE, &format!("{pods}/p"), None).await.json();
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 0, "{gone}");
    assert!(gone["metadata"]["deletionTimestamp"].is_string(), "{gone}");

    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "xs.example.com", "finalizers": ["example.com/held"]},
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "xs", "kind": "X"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "deprecated": true,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    });
    made(&server, crds, &crd).await;
    let listed = server.until("/apis/example.com/v1/xs", |answer| answer.status == 200).await;
    assert_eq!(header(&listed.headers, "warning"), "299 - \"example.com/v1 X is deprecated\"");
    server.send(Method::DELETE, &format!("{crds}/xs.example.com"), None).await;
    let held = server.send(Method::GET, &format!("{crds}/xs.example.com"), None).await.json();
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    assert_eq!(held["metadata"]["generation"], 1);
    assert_eq!(held["metadata"].get("deletionGracePeriodSeconds"), None);
    let path = format!("{crds}/xs.example.com");
    let freed = sent(
        &server,
        Method::PATCH,
        &path,
        "application/merge-patch+json",
        r#"{"metadata":{"finalizers":null}}"#,
    );
    assert_eq!(freed.await.status, 200);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_are_owned_by_whom_kubernetes_names() {
    let server = Server::start().await;
    let managers = |object: &Value| -> Vec<String> {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["manager"].as_str().unwrap_or_default().to_owned()).collect()
    };
    for (path, manager) in [
        ("/api/v1/namespaces/default", "kube-apiserver"),
        ("/api/v1/namespaces/default/services/kubernetes", "kube-apiserver"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin", "kube-apiserver"),
        ("/api/v1/namespaces/default/configmaps/kube-root-ca.crt", "kube-controller-manager"),
    ] {
        let object = server.until(path, |answer| answer.status == 200).await.json();
        assert_eq!(managers(&object).first().map(String::as_str), Some(manager), "{path}: {object}");
    }
    let path = "/apis/apps/v1/namespaces/default/deployments";
    made(&server, path, &workload("Deployment", None)).await;
    let merge = "application/merge-patch+json";
    let scale =
        sent(&server, Method::PATCH, &format!("{path}/web/scale"), merge, r#"{"spec":{"replicas":3}}"#).await;
    assert_eq!(scale.status, 200, "{}", scale.text());
    let scaled = server.send(Method::GET, &format!("{path}/web"), None).await.json();
    let entries = scaled["metadata"]["managedFields"].as_array().expect("entries");
    let of_scale =
        entries.iter().find(|entry| entry["subresource"] == "scale").expect("an entry of the scale");
    assert_eq!(of_scale.get("time"), None);
    assert_eq!(entries[0], *of_scale, "an entry without a time stands first");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_applies_a_scale_owns_the_replicas() {
    let server = Server::start().await;
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    made(&server, &format!("{sets}?fieldManager=maker"), &workload("ReplicaSet", Some(0))).await;
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "fleets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "fleets", "kind": "Fleet"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"boats": {"type": "integer"}}},
                    "status": {"type": "object", "properties": {"boats": {"type": "integer"}}},
                }}},
                "subresources": {"scale": {"specReplicasPath": ".spec.boats", "statusReplicasPath": ".status.boats"}},
            }],
        },
    });
    made(&server, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await;
    let fleets = "/apis/example.com/v1/namespaces/default/fleets";
    server.until(fleets, |answer| answer.status == 200).await;
    let fleet = json!({
        "apiVersion": "example.com/v1", "kind": "Fleet", "metadata": {"name": "web"}, "spec": {"boats": 1},
    });
    made(&server, &format!("{fleets}?fieldManager=maker"), &fleet).await;

    for (path, field) in [(sets, "f:replicas"), (fleets, "f:boats")] {
        let apply = async |options: &str| {
            let scale = r#"{"apiVersion":"autoscaling/v1","kind":"Scale","spec":{"replicas":3}}"#;
            let path = format!("{path}/web/scale?fieldManager=scaler{options}");
            sent(&server, Method::PATCH, &path, "application/apply-patch+yaml", scale).await
        };
        let refused = apply("").await;
        assert_eq!(refused.status, 409, "{}", refused.text());
        assert!(message(&refused).contains("conflict with \"maker\""), "{}", refused.text());
        let scale = apply("&force=true").await;
        assert_eq!((scale.status, &scale.json()["spec"]["replicas"]), (200, &json!(3)), "{}", scale.text());
        let scaled = server.send(Method::GET, &format!("{path}/web"), None).await.json();
        let entries = scaled["metadata"]["managedFields"].as_array().expect("entries");
        let owners = entries.iter().filter(|entry| entry["fieldsV1"]["f:spec"].get(field).is_some());
        let owners: Vec<_> =
            owners.map(|entry| (&entry["manager"], &entry["operation"], &entry["subresource"])).collect();
        assert_eq!(owners, [(&json!("scaler"), &json!("Apply"), &json!("scale"))], "{scaled}");
        assert!(entries.iter().any(|entry| entry["manager"] == "maker") || path == fleets, "{scaled}");
        // It is its own, so it needs no force any more.
        assert_eq!(apply("").await.status, 200);
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balanced_service_gets_a_port_for_health_checks() {
    let server = Server::start().await;
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, port: u32| {
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]},
        });
        if port > 0 {
            service["spec"]["healthCheckNodePort"] = json!(port);
        }
        service
    };
    let made_one = made(&server, services, &service("a", 0)).await;
    let port = made_one["spec"]["healthCheckNodePort"].as_u64().expect("a port");
    assert!((30000..=32767).contains(&port), "{port}");
    assert_ne!(made_one["spec"]["ports"][0]["nodePort"], port);
    let taken =
        server.send(Method::POST, services, Some(&service("b", u32::try_from(port).expect("a port")))).await;
    assert!(
        taken.status == 500 && message(&taken).ends_with("provided port is already allocated"),
        "{}",
        taken.text()
    );
    let outside = server.send(Method::POST, services, Some(&service("b", 80))).await;
    assert!(message(&outside).contains("The range of valid ports is 30000-32767"), "{}", outside.text());
    let path = format!("{services}/a");
    let changed = sent(
        &server,
        Method::PATCH,
        &path,
        "application/merge-patch+json",
        r#"{"spec":{"type":"ClusterIP"}}"#,
    );
    let changed = changed.await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["spec"].get("healthCheckNodePort"), None);
    made(&server, services, &service("b", u32::try_from(port).expect("a port"))).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_sealed_anew_while_the_server_runs() {
    let server = Server::start().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": "hunter2"}});
    for number in 0..3 {
        made(&server, secrets, &secret(&format!("s{number}"))).await;
    }
    let file = server.dir().join("secrets.keys");
    let before = std::fs::read_to_string(&file).expect("the keys");
    let mut watch =
        server.client.stream(Method::GET, &format!("{secrets}?watch=true"), &[], Vec::new()).await;
    let answer = server.send(Method::POST, "/rotate-keys", None).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"sealed": 3})), "{}", answer.text());
    let after = std::fs::read_to_string(&file).expect("the keys");
    assert_eq!(after.lines().count(), 1, "the old keys are gone");
    assert_ne!(before, after);
    let id = after.split(' ').next().expect("a name").to_owned();
    for number in 0..3 {
        let key = format!("/registry/core/secrets/default/s{number}");
        let stored = server.store().get(key.as_bytes(), None).await.expect("read").object.expect("there");
        assert!(stored.value.starts_with(format!("shoal:enc:v1:{id}:").as_bytes()), "{key}");
        let read = server.send(Method::GET, &format!("{secrets}/s{number}"), None).await.json();
        assert_eq!(read["data"]["password"], "aHVudGVyMg==");
    }
    // A watch that began before goes on.
    made(&server, secrets, &secret("s9")).await;
    let mut last = Value::Null;
    while last["object"]["metadata"]["name"] != "s9" {
        last = watch.next(std::time::Duration::from_secs(30)).await.expect("an event");
        assert_ne!(last["type"], "ERROR", "{last}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_patch_makes_of_an_object_is_refused_as_a_patch() {
    let server = Server::start().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    made(&server, deployments, &workload("Deployment", Some(2))).await;
    let path = format!("{deployments}/web");
    let [json, merge, strategic] =
        ["json-patch", "merge-patch", "strategic-merge-patch"].map(|form| format!("application/{form}+json"));
    for (query, form, patch, said) in [
        (
            "",
            &strategic,
            r#"{"spec":{"replicas":"x"}}"#,
            r#""map[spec:map[replicas:x]]": unrecognized type: int32"#,
        ),
        (
            "",
            &merge,
            r#"{"spec":{"replicas":"x"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        ("", &json, r#"[{"op":"replace","path":"/spec/replicas","value":"x"}]"#, r#"\"replicas\":\"x\""#),
        (
            "?fieldValidation=Strict",
            &strategic,
            r#"{"spec":{"foo":1}}"#,
            r#""map[spec:map[foo:1]]": strict decoding error: unknown field "spec.foo""#,
        ),
        (
            "?fieldValidation=Strict",
            &merge,
            r#"{"spec":{"replicas":1,"replicas":3}}"#,
            r#": strict decoding error: duplicate field "spec.replicas""#,
        ),
        (
            "?fieldValidation=Strict",
            &json,
            r#"[{"op":"test","op":"test","path":"/kind","value":"Deployment"}]"#,
            r#": strict decoding error: json patch duplicate field "[0].op""#,
        ),
        (
            "/scale",
            &merge,
            r#"{"spec":{"replicas":"five"}}"#,
            "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32",
        ),
        (
            "/scale?fieldValidation=Strict",
            &strategic,
            r#"{"spec":{"replica":5}}"#,
            r#""map[spec:map[replica:5]]": strict decoding error: unknown field "spec.replica""#,
        ),
    ] {
        let answer = sent(&server, Method::PATCH, &format!("{path}{query}"), form, patch).await;
        let told = message(&answer);
        assert_eq!(
            (answer.status, answer.json()["reason"].as_str()),
            (422, Some("Invalid")),
            "{patch}: {told}"
        );
        assert!(
            told.starts_with(" \"\" is invalid: patch: Invalid value: \"") && told.contains(said),
            "{patch}: {told}"
        );
        assert_eq!(answer.json()["details"]["causes"][0]["field"], "patch", "{patch}");
    }
    let kept = server.send(Method::GET, &path, None).await.json();
    assert_eq!((&kept["spec"]["replicas"], &kept["metadata"]["generation"]), (&json!(2), &json!(1)));

    for (patch, said) in [
        (
            r#"{"metadata":{"name":"other"}}"#,
            "the name of the object (other) does not match the name on the URL (web)",
        ),
        (
            r#"{"metadata":{"namespace":"other"}}"#,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let answer = sent(&server, Method::PATCH, &path, &merge, patch).await;
        assert_eq!((answer.status, message(&answer).as_str()), (400, said));
    }
    let doubled =
        sent(&server, Method::PATCH, &path, &merge, r#"{"spec":{"replicas":1,"replicas":3}}"#).await;
    assert_eq!(header(&doubled.headers, "warning"), r#"299 - "duplicate field \"spec.replicas\"""#);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_patched_secret_is_said_without_it() {
    let server = Server::start().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aHVudGVyMg=="}});
    made(&server, secrets, &secret).await;
    for (form, patch) in [
        ("application/merge-patch+json", r#"{"immutable":"hunter3"}"#),
        ("application/strategic-merge-patch+json", r#"{"immutable":"hunter3"}"#),
        ("application/json-patch+json", r#"[{"op":"add","path":"/immutable","value":"hunter3"}]"#),
    ] {
        let answer = sent(&server, Method::PATCH, &format!("{secrets}/s"), form, patch).await;
        let told = message(&answer);
        assert!(
            answer.status == 422 && told.starts_with(" \"\" is invalid: patch: Invalid value: \"\": "),
            "{told}"
        );
        assert!(!told.contains("aHVudGVyMg") && !told.contains("hunter"), "{told}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_is_gone_is_told_of_as_what_was_asked_for() {
    let server = Server::start().await;
    let asked = made(&server, MAPS, &map("a")).await["metadata"]["resourceVersion"]
        .as_str()
        .expect("text")
        .to_owned();
    made(&server, MAPS, &map("b")).await;
    let store = server.store();
    store.compact(store.progress().await.expect("a revision")).await.expect("compacted");
    let path = format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion={asked}");
    let gone = server.send(Method::GET, &path, None).await;
    let said = "The resourceVersion for the provided list is too old.";
    assert_eq!((gone.status, message(&gone).as_str()), (410, said));
    let all = server.send(Method::GET, &format!("{MAPS}?limit=-1"), None).await.json();
    assert!(all["items"].as_array().is_some_and(|items| items.len() >= 2), "{all}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_of_a_kind_whose_definition_is_being_deleted() {
    let server = Server::start().await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "parts.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"kind": "Part", "plural": "parts"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    made(&server, definitions, &definition).await;
    let parts = "/apis/example.com/v1/namespaces/default/parts";
    server.until(parts, |answer| answer.status == 200).await;
    let part = |name: &str| {
        json!({
            "apiVersion": "example.com/v1", "kind": "Part",
            "metadata": {"name": name, "finalizers": ["example.com/held"]},
        })
    };
    made(&server, parts, &part("held")).await;
    let definition = format!("{definitions}/parts.example.com");
    assert_eq!(server.send(Method::DELETE, &definition, None).await.status, 200);
    let late = server.send(Method::POST, parts, Some(&part("late"))).await;
    let said = "create not allowed while custom resource definition is terminating";
    assert_eq!((late.status, message(&late).as_str()), (405, said));
    assert_eq!(late.json()["reason"], "MethodNotAllowed");
    // What is there can be let go.
    let free = r#"{"metadata":{"finalizers":null}}"#;
    let freed =
        sent(&server, Method::PATCH, &format!("{parts}/held"), "application/merge-patch+json", free).await;
    assert_eq!(freed.status, 200, "{}", freed.text());
    server.until(&definition, |answer| answer.status == 404).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_makes_an_object_by_a_change_needs_the_right_to_make_it() {
    let server = Server::start().await;
    let (rbac, leases) = (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default",
        "/apis/coordination.k8s.io/v1/namespaces/default/leases",
    );
    let role = |verbs: &[&str]| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
            "rules": [{"apiGroups": ["", "coordination.k8s.io"], "resources": ["configmaps", "leases"], "verbs": verbs}],
        })
    };
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "pat"}],
    });
    // Both are made by an update, as Kubernetes makes them.
    for (path, object) in
        [(format!("{rbac}/roles/r"), role(&["patch", "update"])), (format!("{rbac}/rolebindings/r"), binding)]
    {
        let answer = server.send(Method::PUT, &path, Some(&object)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}});
    let tries = [
        (Method::PUT, format!("{leases}/l"), "application/json", lease.to_string()),
        (
            Method::PATCH,
            format!("{MAPS}/m?fieldManager=pat"),
            "application/apply-patch+yaml",
            map("m").to_string(),
        ),
    ];
    let send = async |(method, path, form, body): &(Method, String, &str, String)| {
        let headers = [("impersonate-user", "pat"), ("content-type", *form)];
        server.client.send(method.clone(), path, &headers, body.clone().into_bytes()).await
    };
    for one in &tries {
        let answer = send(one).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(message(&answer).contains("User \"pat\" cannot create resource"), "{}", answer.text());
    }
    let answer = server
        .send(Method::PUT, &format!("{rbac}/roles/r"), Some(&role(&["create", "patch", "update"])))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (one, again) in tries.iter().zip([422, 200]) {
        let answer = send(one).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        // What is there is changed by the right to change it, and a Lease must say which one is meant.
        assert_eq!(send(one).await.status, again, "{}", one.1);
    }
    // Other kinds are not made so.
    let answer = server.send(Method::PUT, &format!("{MAPS}/gone"), Some(&map("gone"))).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_bound_through_the_collection_of_bindings_too() {
    let server = Server::start().await;
    let namespace = "/api/v1/namespaces/default";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "c"}]},
    });
    server.until(&format!("{namespace}/serviceaccounts/default"), |answer| answer.status == 200).await;
    made(&server, &format!("{namespace}/pods"), &pod).await;
    let binding = |pod: &str| {
        json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"kind": "Node", "name": "n1"},
        })
    };
    for (name, status) in [("p", 201), ("p", 409), ("gone", 404)] {
        let answer = server.send(Method::POST, &format!("{namespace}/bindings"), Some(&binding(name))).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let bound = server.send(Method::GET, &format!("{namespace}/pods/p"), None).await.json();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    server.end().await;
}
