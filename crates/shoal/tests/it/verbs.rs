//! The verbs that speak to a cluster, against a real one: `deploy`, `status`, `logs`, `delete`, and `node`.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc::sync_channel;

use crate::process::{DEADLINE, Ended, Place, Server, built, wait_until};
use crate::up::{self, SHOP};

/// A cluster of this machine, in which nothing runs yet.
struct Cluster {
    server: Server,
    place: Place,
}

impl Cluster {
    fn up() -> Self {
        let place = Place::new();
        Self { server: up::start(&place), place }
    }

    /// What a verb says; it must succeed.
    fn shoal(&self, args: &[&str]) -> Ended {
        let ended = self.place.output(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended
    }

    /// Deploys an artifact; the result is the path in its only URL.
    fn deploy(&self, artifact: &str, flags: &[&str]) -> String {
        let ended = self.shoal(&[&["deploy", artifact], flags].concat());
        let url = ended.stdout.trim_end();
        let path = url.strip_prefix(&format!("http://{}", self.server.address));
        path.unwrap_or_else(|| panic!("{url} is no URL of this edge: {ended:?}")).to_owned()
    }
}

#[test]
fn a_bare_text_is_deployed_seen_and_deleted() {
    let cluster = Cluster::up();
    let text = cluster.shoal(&["inspect", "--wat", &built("hello-wat").display().to_string()]).stdout;
    let file = cluster.place.file("hello.wat", text).display().to_string();
    let ended = cluster.shoal(&["deploy", &file]);
    assert_eq!(ended.stdout, format!("http://{}/\n", cluster.server.address));
    assert!(ended.stderr.contains("app/hello created\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("default/hello: serving\n"), "{}", ended.stderr);
    assert_eq!(cluster.server.get("/"), (200, "Hello from WAT\n".into()), "what was said to serve serves");
    let again = cluster.shoal(&["deploy", &file]);
    assert!(again.stderr.contains("app/hello unchanged\n"), "{}", again.stderr);

    let shown = cluster.shoal(&["status"]).stdout;
    let url = format!("http://{}/", cluster.server.address);
    for part in ["Nodes  1 of 1 ready", "here  ready", "1 of 1 well", "default/hello  1/1  serving", &url] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json = cluster.shoal(&["status", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let workload = serde_json::json!([{
        "kind": "App", "namespace": "default", "name": "hello", "wanted": 1, "ready": 1, "state": "serving",
        "detail": "serving", "urls": [url],
    }]);
    assert_eq!((&json["workloads"], &json["nodes"][0]["ready"]), (&workload, &true.into()));
    assert_eq!(json["troubles"], serde_json::json!([]));

    let ended = cluster.shoal(&["delete", "hello"]);
    assert!(ended.stderr.ends_with("app/hello: deleted\n"), "{}", ended.stderr);
    let json = cluster.shoal(&["status", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["workloads"], serde_json::json!([]), "what it stood for has gone before it");
    assert_eq!(json["nodes"][0]["pods"], 0);
    wait_until("the route is gone", || cluster.server.get("/").0 == 404);
    let gone = cluster.place.output(&["delete", "hello"]);
    assert_eq!(gone.code, Some(66), "{gone:?}");
    assert!(gone.stderr.contains("there is no App, Deployment or Job hello"), "{}", gone.stderr);
}

#[test]
fn a_store_that_is_granted_keeps_what_is_put_there() {
    let cluster = Cluster::up();
    assert_eq!(cluster.deploy(&built("counter").display().to_string(), &["--kv", "default"]), "/");
    for visit in ["1\n", "2\n"] {
        assert_eq!(cluster.server.get("/home"), (200, visit.into()));
    }
}

#[test]
fn a_route_that_another_app_has_is_not_said_to_be_served() {
    let cluster = Cluster::up();
    assert_eq!(cluster.deploy(&built("hello").display().to_string(), &[]), "/");
    let other = built("hello-c").display().to_string();
    let ended = cluster.place.output(&["deploy", &other]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), ""), "{ended:?}");
    let url = format!("http://{}/", cluster.server.address);
    let why =
        format!("error: it runs, and is not reached from outside: {url} is that of ingress default/hello");
    assert!(
        ended.stderr.contains(&why) && ended.stderr.contains("hint: deploy it with a route"),
        "{}",
        ended.stderr
    );
    let shown = cluster.shoal(&["status"]).stdout;
    assert!(shown.contains(&format!("({url} is that of ingress default/hello)")), "{shown}");
    assert_eq!(cluster.deploy(&other, &["--route", "/c"]), "/c");
    assert_eq!(cluster.server.get("/c"), (200, "Hello from C\n".into()));
}

#[test]
fn what_does_not_come_up_is_explained() {
    let cluster = Cluster::up();
    let app =
        "{apiVersion: shoal.dev/v1, kind: App, metadata: {name: gone}, spec: {component: /nowhere/app.wasm}}";
    let file = cluster.place.file("gone.yaml", app).display().to_string();
    let ended = cluster.place.output(&["deploy", &file]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), ""), "{ended:?}");
    for part in
        ["1 of 1 pods", "ImagePull", "/nowhere/app.wasm", "hint: ", "error: app/gone does not come up"]
    {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let shown = cluster.shoal(&["status"]).stdout;
    assert!(shown.contains("Pods in trouble") && shown.contains("/nowhere/app.wasm"), "{shown}");

    // The way out is that of a pod.
    let ended = cluster.place.output(&["deploy", &built("counter").display().to_string()]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    for part in [
        "which is not granted (grant it with the annotation `shoal.dev/keyvalue: NAME` of the pod)",
        "app/counter",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }

    let crash = cluster.place.file("crash.yaml", CRASH.replace("GUEST", &built("cli").display().to_string()));
    let ended = cluster.place.output(&["deploy", &crash.display().to_string()]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    for part in ["last words of crash-", "args: [\"3\"]", "error: deployment/crash does not come up"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

/// A Deployment whose container says something and ends with code 3, again and again; until it has run for 5 seconds, it is not
/// available.
const CRASH: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: crash}
spec:
  minReadySeconds: 5
  selector: {matchLabels: {app: crash}}
  template:
    metadata: {labels: {app: crash}}
    spec: {containers: [{name: main, image: "file://GUEST", args: ["3"]}]}
"#;

#[test]
fn files_of_objects_are_deployed_and_deleted_whole() {
    let cluster = Cluster::up();
    let shop = SHOP.replace("GUEST", &built("hello").display().to_string());
    let file = cluster.place.file("shop.yaml", &shop).display().to_string();
    let ended = cluster.place.output_of(&["deploy", "-"], shop.as_bytes());
    let port = cluster.server.address.port();
    assert_eq!(
        (ended.code, ended.stdout),
        (Some(0), format!("http://shop.test:{port}/\n")),
        "{}",
        ended.stderr
    );
    for line in
        ["deployment/shop created", "service/shop created", "ingress/shop created", "default/shop: serving"]
    {
        assert!(ended.stderr.lines().any(|found| found == line), "{line}: {}", ended.stderr);
    }
    let shown = cluster.shoal(&["status"]).stdout;
    assert!(shown.contains("default/shop  2/2  serving"), "{shown}");
    assert!(shown.contains(&format!("http://shop.test:{port}/")), "{shown}");
    let ended = cluster.shoal(&["delete", "-f", &file]);
    for line in ["ingress/shop: deleted", "service/shop: deleted", "deployment/shop: deleted"] {
        assert!(ended.stderr.lines().any(|found| found == line), "{line}: {}", ended.stderr);
    }
    let again = cluster.shoal(&["delete", &file]);
    assert!(again.stderr.contains("deployment/shop is not there\n"), "{}", again.stderr);
    let named = cluster.place.output(&["delete", "deployment/shop"]);
    assert_eq!(named.code, Some(66), "{named:?}");
    assert!(
        named.stderr.contains("there is no deployment/shop in the namespace default"),
        "{}",
        named.stderr
    );
    let cart = b"{apiVersion: shop.test/v1, kind: Cart, metadata: {name: a}}";
    let ended = cluster.place.output_of(&["delete", "-"], cart);
    let why = "cart/a is not there: the cluster has no kind Cart in shop.test/v1\n";
    assert!(ended.code == Some(0) && ended.stderr.contains(why), "{ended:?}");

    for (text, code, why) in [
        ("services: {web: {image: x}}", 64, "it has no apiVersion"),
        (
            "{apiVersion: shop.test/v1, kind: Cart, metadata: {name: a}}",
            64,
            "the cluster has no kind Cart in shop.test/v1",
        ),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: A_B}}", 64, "cannot apply configmap/A_B: "),
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: none}}",
            66,
            "namespaces \"none\" not found",
        ),
    ] {
        let ended = cluster.place.output_of(&["deploy", "-"], text.as_bytes());
        assert_eq!(ended.code, Some(code), "{text}: {ended:?}");
        assert!(ended.stderr.contains(why), "{text}: {}", ended.stderr);
    }
}

#[test]
fn all_pods_of_an_app_are_heard_as_one() {
    let cluster = Cluster::up();
    let guest = built("logging").display().to_string();
    assert_eq!(cluster.deploy(&guest, &["--replicas", "2"]), "/");
    let mut command = cluster.place.shoal();
    let mut child =
        command.args(["logs", "logging", "-f"]).stdout(Stdio::piped()).spawn().expect("shoal starts");
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let (heard, lines) = sync_channel(1024);
    let reader = std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = heard.send(line);
        }
    });
    let say = |path: &str| {
        cluster.server.client().send("POST", path, &[], b"a word of ours").expect("an answer").status
    };
    wait_until("a request is answered", || say("/error") == 200);
    let line = lines.recv_timeout(DEADLINE).expect("a line that is followed");
    assert!(line.starts_with("[logging-"), "{line}");
    child.kill().expect("a process to end");
    child.wait().expect("a status");
    reader.join().expect("the reader ends");

    let words = cluster.shoal(&["logs", "app/logging", "--since", "1h"]).stdout;
    assert!(words.lines().count() > 0 && words.lines().all(|line| line.starts_with("[logging-")), "{words}");
    assert_eq!(cluster.shoal(&["logs", "logging", "--tail", "0"]).stdout, "");
    let ended = cluster.place.output(&["logs", "nobody"]);
    assert_eq!(ended.code, Some(66), "{ended:?}");
    let ended = cluster.place.output(&["logs", "service/logging"]);
    assert_eq!(ended.code, Some(64), "{ended:?}");
}

#[test]
fn watching_ends_when_nobody_reads_it() {
    let cluster = Cluster::up();
    let mut command = cluster.place.shoal();
    let mut child = command.args(["status", "-w"]).stdout(Stdio::piped()).spawn().expect("shoal starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a picture");
    drop(stdout);
    // It is told when there is something new to show.
    cluster.deploy(&built("hello").display().to_string(), &[]);
    let mut code = None;
    wait_until("the watch ends", || {
        code = child.try_wait().expect("a status").and_then(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(0));
}

#[test]
fn a_command_runs_to_its_end_as_a_job() {
    let cluster = Cluster::up();
    let guest = built("cli-wat").display().to_string();
    let ended = cluster.shoal(&["deploy", &guest]);
    assert!(ended.stderr.contains("job/cli-wat created\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("default/cli-wat: done\n"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "it is reached by nobody");
    for flags in [&["logs", "cli-wat"][..], &["logs", "job/cli-wat", "-f"]] {
        let words = cluster.shoal(flags).stdout;
        assert!(words.ends_with("Hello from WAT\n"), "{flags:?}: {words}");
    }
    cluster.shoal(&["delete", "job/cli-wat"]);
}

#[test]
fn a_cluster_that_is_not_there_is_named() {
    let place = Place::new();
    for verb in [&["status"][..], &["logs", "shop"], &["delete", "shop"]] {
        let ended = place.output(verb);
        assert_eq!(ended.code, Some(69), "{verb:?}: {ended:?}");
        assert!(ended.stderr.contains("hint: start one with `shoal up`"), "{}", ended.stderr);
    }
    let kubeconfig = |server: &str| {
        let text = format!(
            "{{current-context: a, contexts: [{{name: a, context: {{cluster: a}}}}], \
             clusters: [{{name: a, cluster: {{server: \"{server}\"}}}}]}}"
        );
        place.file("kubeconfig", text).display().to_string()
    };
    let nobody = kubeconfig("https://127.0.0.1:1");
    let ended = place.output(&["status", "--kubeconfig", &nobody]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.stderr.contains("cannot reach the API at https://127.0.0.1:1"), "{}", ended.stderr);
    let elsewhere = kubeconfig("https://192.0.2.1:6443");
    let ended = place.output(&["deploy", &built("hello").display().to_string(), "--kubeconfig", &elsewhere]);
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(
        ended.stderr.contains("which the nodes of https://192.0.2.1:6443 do not have"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("hint: push it with `shoal push "), "{}", ended.stderr);
}

#[test]
fn a_node_serves_for_an_api_in_another_process() {
    let (place, worker) = (Place::new(), Place::new());
    let mut command = place.shoal();
    command.args(["server", "--listen", "127.0.0.1:0"]);
    let api = Server::start_at(command, "the API server listens on ");
    let kubeconfig = place.arg("kubeconfig");
    let address = api.address.to_string();
    assert_eq!(place.output(&["kubeconfig", "--server", &address, "-o", &kubeconfig]).code, Some(0));
    let mut command = worker.shoal();
    command.args(["node", "--kubeconfig", &kubeconfig, "--node", "worker", "--http", "0", "--https", "0"]);
    let node = Server::start(command);
    node.wait_line("whose node it is", |line| line == format!("Node worker of https://{address}"));

    let shop = SHOP.replace("GUEST", &built("hello").display().to_string());
    let file = place.file("shop.yaml", shop);
    let Some(kubectl) = up::kubectl(&place, &kubeconfig) else { return };
    kubectl(&format!("apply -f {}", file.display())).expect("applied");
    kubectl("rollout status deployment/shop --timeout=120s").expect("rolled out");
    wait_until("the shop is served", || node.get("/") == (200, "Hello from Shoal\n".into()));
    assert!(kubectl("get pods -o wide").expect("pods").contains(" worker "));
    // Its certificate is asked for, approved and signed through the API.
    wait_until("the node can be asked", || {
        kubectl("get --raw /api/v1/nodes/worker/proxy/healthz").is_ok_and(|said| said == "ok")
    });
    kubectl("logs deployment/shop").expect("its log, which is empty");
    let ended = place.output(&["status", "--kubeconfig", &kubeconfig]);
    assert!(ended.stdout.contains("worker  ready") && ended.stdout.contains("2/2  serving"), "{ended:?}");

    // The node serves on while the API is away, and ends when it is asked to.
    api.kill();
    assert_eq!(node.get("/").0, 200);
    let (status, _, lines) = node.stop();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
}
