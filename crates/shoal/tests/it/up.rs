//! `shoal up`: from `kubectl apply` to an answer, and what happens to both when something changes, breaks or ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::client::Client;
use crate::process::{Place, Server, built, wait_until};
use crate::signals::end_under_load;

/// A Deployment with its Service and an Ingress, of the built guest `GUEST`.
pub(crate) const SHOP: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers: [{name: web, image: "file://GUEST", ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
  - host: shop.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
"#;

/// The guest `GUEST`, which listens on `PORT`.
const LISTENER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: listener, annotations: {shoal.dev/allow-listen: "PORT"}}
spec:
  containers: [{name: c, image: "file://GUEST", args: [listen, "PORT"]}]
"#;

/// A cluster of one, and kubectl for it.
struct Cluster {
    place: Place,
    server: Server,
}

impl Cluster {
    /// None where there is no kubectl, which is said aloud, and fails where all that tests need must be there.
    fn up() -> Option<Self> {
        if !has_kubectl() {
            return None;
        }
        let place = Place::new();
        let server = start(&place);
        Some(Self { place, server })
    }

    /// What kubectl prints; it must succeed.
    fn kubectl(&self, line: &str) -> String {
        let kubeconfig = self.place.arg("data/kubeconfig");
        kubectl_in(&self.place, &kubeconfig, line).unwrap_or_else(|error| panic!("kubectl {line}: {error}"))
    }

    /// Applies the shop with this guest.
    fn apply_shop(&self, guest: &str) -> String {
        let text = SHOP.replace("GUEST", &built(guest).display().to_string());
        let file = self.place.file("shop.yaml", text);
        self.kubectl(&format!("apply -f {}", file.display()))
    }

    /// Waits until the shop answers this to `GET /`.
    fn wait_for(&self, status: u16, text: &str) {
        wait_until(&format!("the answer {status} {text:?}"), || {
            let (code, body) = self.server.get("/");
            code == status && body.contains(text)
        });
    }
}

/// `kubectl port-forward`, until it is dropped.
struct Forwarding {
    kubectl: Child,
    address: SocketAddr,
}

impl Forwarding {
    /// Forwards a port of this machine to a port of a pod, with more variables of the environment.
    fn start(cluster: &Cluster, pod: &str, port: u16, env: &[(&str, &str)]) -> Self {
        let mut kubectl = Command::new("kubectl")
            .args(["port-forward", pod, &format!(":{port}")])
            .env("KUBECONFIG", cluster.place.path("data").join("kubeconfig"))
            .env("HOME", cluster.place.path(""))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let mut line = String::new();
        BufReader::new(kubectl.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        let address = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split_once(" -> "));
        let Some(address) = address.and_then(|(address, _)| address.parse().ok()) else {
            let mut why = String::new();
            let _ = kubectl.kill();
            kubectl.stderr.take().expect("a pipe").read_to_string(&mut why).expect("UTF-8");
            panic!("kubectl forwards nothing: {line} {why}");
        };
        Self { kubectl, address }
    }

    /// What it says when something has gone wrong.
    fn complaint(mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.kubectl.stderr.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        line
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        // It has ended already where it could not go on.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

/// Whether there is a kubectl; that there is none is said aloud, and fails where all that tests need must be there.
fn has_kubectl() -> bool {
    let is_there = Command::new("kubectl").args(["version", "--client"]).stdout(Stdio::null()).status();
    if is_there.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("SHOAL_CI").is_none(), "kubectl is not on the path");
    eprintln!("SKIPPED: kubectl is not on the path");
    false
}

/// kubectl for a cluster, if there is one.
pub(crate) fn kubectl<'a>(
    place: &'a Place,
    kubeconfig: &'a str,
) -> Option<impl Fn(&str) -> Result<String, String> + 'a> {
    has_kubectl().then_some(move |line: &str| kubectl_in(place, kubeconfig, line))
}

/// What kubectl prints, or what it complains of.
fn kubectl_in(place: &Place, kubeconfig: &str, line: &str) -> Result<String, String> {
    let output = Command::new("sh")
        .args(["-c", &format!("kubectl {line}")])
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", place.path(""))
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

pub(crate) fn start(place: &Place) -> Server {
    let mut command = place.shoal();
    command.args(["up", "--listen", "127.0.0.1:0", "--http", "0", "--https", "0", "--node", "here"]);
    command.args(["--total-memory", "512MiB"]);
    Server::start(command)
}

#[test]
fn what_is_applied_is_served_scaled_updated_and_taken_away() {
    let Some(cluster) = Cluster::up() else { return };
    assert_eq!(cluster.server.get("/").0, 404, "nothing is served yet");
    // Each of the 2,000 pods that a node takes can have an address.
    let range = "get nodes -o jsonpath={.items[0].spec.podCIDR}";
    wait_until("the range of the node", || cluster.kubectl(range) == "10.128.0.0/21");
    let memory = "get nodes -o jsonpath={.items[0].status.allocatable.memory}";
    assert_eq!(cluster.kubectl(memory), "512Mi", "what all guests together may have");
    let applied = cluster.apply_shop("hello");
    assert!(applied.contains("deployment.apps/shop created"), "{applied}");
    cluster.wait_for(200, "Hello from Shoal");
    cluster.kubectl("rollout status deployment/shop --timeout=120s");
    let ready = "get deployment shop -o jsonpath={.status.readyReplicas}";
    assert_eq!(cluster.kubectl(ready), "2");
    assert!(cluster.kubectl("get nodes").contains("here"), "the node is there");

    cluster.kubectl("scale deployment shop --replicas=5");
    cluster.kubectl("rollout status deployment/shop --timeout=120s");
    assert_eq!(cluster.kubectl(ready), "5");

    let image = built("echo");
    cluster.kubectl(&format!("set image deployment/shop web=file://{}", image.display()));
    cluster.kubectl("rollout status deployment/shop --timeout=120s");
    wait_until("the new version", || {
        let (code, body) = cluster.server.get("/");
        code == 200 && !body.contains("Hello from Shoal")
    });
    cluster.kubectl("rollout undo deployment/shop");
    cluster.kubectl("rollout status deployment/shop --timeout=120s");
    cluster.wait_for(200, "Hello from Shoal");

    cluster.kubectl("delete ingress,service,deployment shop");
    cluster.wait_for(404, "");
    wait_until("the pods' end", || cluster.kubectl("get pods -o name").is_empty());
    let (status, _, lines) = cluster.server.stop();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
}

#[test]
fn a_cluster_that_is_killed_serves_again_when_it_is_up() {
    let Some(cluster) = Cluster::up() else { return };
    cluster.apply_shop("hello");
    cluster.wait_for(200, "Hello from Shoal");
    cluster.kubectl("rollout status deployment/shop --timeout=120s");
    let pods = cluster.kubectl("get pods -o name");
    let Cluster { place, server } = cluster;
    server.kill();
    let cluster = Cluster { server: start(&place), place };
    cluster.wait_for(200, "Hello from Shoal");
    assert_eq!(cluster.kubectl("get pods -o name"), pods, "the same replicas: none lost, none twice");
}

#[test]
fn a_drain_of_a_cluster_under_load_loses_no_request() {
    let Some(cluster) = Cluster::up() else { return };
    cluster.apply_shop("hello");
    cluster.wait_for(200, "Hello from Shoal");
    cluster.kubectl("rollout status deployment/shop --timeout=120s");
    let (status, _, lines, answered) = end_under_load(cluster.server, "Hello from Shoal\n");
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(answered > 200, "{answered} before the end");
}

#[test]
fn an_artifact_that_is_not_there_is_named_in_the_pod() {
    let Some(cluster) = Cluster::up() else { return };
    cluster.kubectl("create deployment gone --image=/nowhere/app.wasm");
    wait_until("a reason", || cluster.kubectl("get pods").contains("ImagePull"));
    let events = || cluster.kubectl("get events -o jsonpath='{.items[*].message}'");
    wait_until("an event that names the file", || events().contains("/nowhere/app.wasm"));
}

#[test]
fn a_port_of_a_pod_is_forwarded() {
    let Some(cluster) = Cluster::up() else { return };
    cluster.apply_shop("hello");
    cluster.kubectl("rollout status deployment/shop --timeout=120s");
    let pod = cluster.kubectl("get pods -o name");
    let pod = pod.lines().next().expect("a pod");
    // As kubectl does it since 1.31, through WebSocket, and as it did before.
    for through in ["true", "false"] {
        let env = [("KUBECTL_PORT_FORWARD_WEBSOCKETS", through)];
        let forwarding = Forwarding::start(&cluster, pod, 80, &env);
        // Two connections at the same time, and a second request on each.
        let mut clients = [Client::connect(forwarding.address), Client::connect(forwarding.address)];
        for client in &mut clients {
            for _ in 0..2 {
                let answer = client.send("GET", "/", &[], b"").expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert!(answer.text().contains("Hello from Shoal"), "{}", answer.text());
            }
        }
    }

    // A command is reached where it may listen, and nowhere else on this machine.
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let text = LISTENER.replace("GUEST", &built("socket").display().to_string());
    let file = cluster.place.file("listener.yaml", text.replace("PORT", &free.to_string()));
    cluster.kubectl(&format!("apply -f {}", file.display()));
    cluster.kubectl("wait --for=condition=Ready pod/listener --timeout=120s");
    wait_until("it listens", || cluster.kubectl("logs listener").contains("listening on"));
    let forwarding = Forwarding::start(&cluster, "pod/listener", free, &[]);
    let mut stream = TcpStream::connect(forwarding.address).expect("a connection");
    stream.write_all(b"hello").expect("written");
    stream.shutdown(Shutdown::Write).expect("closed");
    let mut echo = String::new();
    stream.read_to_string(&mut echo).expect("it is echoed");
    assert_eq!(echo, "hello");
    let other = cluster.server.address.port();
    let forwarding = Forwarding::start(&cluster, "pod/listener", other, &[]);
    let mut stream = TcpStream::connect(forwarding.address).expect("a connection");
    assert_eq!(stream.read(&mut [0]).unwrap_or_default(), 0, "it leads nowhere");
    let complaint = forwarding.complaint();
    assert!(complaint.contains(&format!("has nothing at port {other}")), "{complaint}");

    let (status, _, lines) = cluster.server.stop();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
}
