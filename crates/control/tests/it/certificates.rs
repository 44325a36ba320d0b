//! CertificateSigningRequests: approved, signed, removed.

use std::sync::Arc;

use base64::Engine as _;
use expect_test::expect;
use serde_json::{Value, json};
use shoal_control::certificates::Asked;
use shoal_control::controllers::certificates::{
    CertificateCleaning, CertificateSigning, NodeCertificateApproval,
};
use shoal_control::known::CERTIFICATE_SIGNING_REQUEST;
use shoal_control::world::World;

use crate::support::Rule;

/// Requests in DER, base64: `node` is that of the node `n1`, `plain` has a name that is none of a node's, `masters`
/// asks for the group `system:masters`, `hosts` for a host name and an address besides.
const REQUESTS: &str = include_str!("requests.txt");

/// The object that carries one of [`REQUESTS`].
pub(crate) fn request(signer: &str, which: &str) -> Value {
    let found = REQUESTS.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(' '));
    let der = found.expect("there is one of this name");
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{der}\n-----END CERTIFICATE REQUEST-----\n");
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "csr"},
        "spec": {
            "request": base64::engine::general_purpose::STANDARD.encode(pem), "signerName": signer,
            "usages": ["client auth", "digital signature"],
            "username": "system:node:n1", "groups": ["system:nodes"],
        },
    })
}

const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

fn world() -> World {
    let authorizer = Rule(|user, access| {
        let who = user.name.as_str();
        access.subresource == "selfnodeclient"
            || (who == "system:bootstrap:x" && access.subresource == "nodeclient")
    });
    World::new(vec![
        Box::new(NodeCertificateApproval { authorizer: Arc::new(authorizer) }),
        Box::new(CertificateSigning),
        Box::new(CertificateCleaning),
    ])
}

fn story(request: Value) -> String {
    let mut world = world();
    world.apply(request);
    world.settle()
}

#[test]
fn a_node_gets_its_certificate() {
    let node = || request(NODE_CLIENT, "node");
    expect![[r#"
        certificatesigningrequest-approving-controller: approval CertificateSigningRequest csr
        certificatesigningrequest-signing-controller: sign CertificateSigningRequest csr
    "#]]
    .assert_eq(&story(node()));
    let mut joining = node();
    joining["spec"]["username"] = json!("system:bootstrap:x");
    expect![[r#"
        certificatesigningrequest-approving-controller: approval CertificateSigningRequest csr
        certificatesigningrequest-signing-controller: sign CertificateSigningRequest csr
    "#]]
    .assert_eq(&story(joining));
}

#[test]
fn whatever_is_no_node_is_left_to_people() {
    let mut stranger = request(NODE_CLIENT, "node");
    stranger["spec"]["username"] = json!("jane");
    let mut serving = request(NODE_CLIENT, "node");
    serving["spec"]["usages"] = json!(["server auth", "client auth"]);
    let mut broken = request(NODE_CLIENT, "node");
    broken["spec"]["request"] = json!("eA==");
    for other in [
        stranger,
        serving,
        broken,
        request("kubernetes.io/kube-apiserver-client", "node"),
        request(NODE_CLIENT, "plain"),
        request(NODE_CLIENT, "masters"),
        request(NODE_CLIENT, "hosts"),
    ] {
        assert_eq!(story(other.clone()), "", "{other}");
    }
}

#[test]
fn requests_are_removed_when_they_are_done_or_forgotten() {
    let told = |change: fn(&mut Value)| {
        let mut world = world();
        let mut request = request("example.com/signer", "node");
        change(&mut request);
        world.apply(request);
        world.settle();
        [59 * 60, 60, 23 * 60 * 60 - 60, 60].map(|seconds| {
            world.tick(seconds);
            world.show(&CERTIFICATE_SIGNING_REQUEST).lines().count()
        })
    };
    assert_eq!(told(|_| {}), [1, 1, 1, 0], "nobody decided");
    assert_eq!(
        told(|it| it["status"]["conditions"] =
            json!([{"type": "Denied", "lastUpdateTime": "2026-01-01T00:00:00Z"}])),
        [1, 0, 0, 0]
    );
    assert_eq!(
        told(|it| it["status"]["conditions"] =
            json!([{"type": "Approved", "lastUpdateTime": "2026-01-01T00:00:00Z"}])),
        [1, 1, 1, 1],
        "it waits for its signer"
    );
}

#[test]
fn a_request_says_what_it_asks_for() {
    let asked = Asked::of(&request(NODE_CLIENT, "hosts")).expect("a request");
    assert_eq!((asked.common_name.as_str(), asked.alternative_names), ("system:node:n1", 2));
    assert_eq!(asked.organizations, ["system:nodes"]);
    for broken in [json!(""), json!("!"), json!("LS0t"), Value::Null] {
        assert_eq!(Asked::of(&json!({"spec": {"request": broken}})), None);
    }
}
