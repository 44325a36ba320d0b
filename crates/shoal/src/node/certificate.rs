//! The certificate with which a node is asked for logs: it is requested of the cluster, as kubelets do it
//! (`kubernetes.io/kubelet-serving`), and approved at once where the node may.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use shoal_api::object;
use shoal_base::backoff::Backoff;
use shoal_client::{Client, Error, Patch, Resource};

const REQUESTS: Resource =
    Resource::new("certificates.k8s.io/v1", "CertificateSigningRequest", "certificatesigningrequests", false);
/// Who signs it.
const SIGNER: &str = "kubernetes.io/kubelet-serving";
/// Between two looks whether it is signed: at first, and in the end, when a person has to approve it.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LONGEST: Duration = Duration::from_secs(10);

/// For whom the certificate is.
pub(super) struct Wanted<'a> {
    pub(super) node: &'a str,
    /// The address under which it is asked.
    pub(super) address: IpAddr,
}

/// TLS for the endpoints of a node, once the cluster has signed its certificate: only clients that `authorities` (PEM) have
/// signed are let in.
///
/// # Errors
/// A sentence: the request was refused, or what came of it cannot be used.
pub(super) async fn server_config(
    client: &Client,
    wanted: &Wanted<'_>,
    authorities: Option<&[u8]>,
) -> Result<Arc<ServerConfig>, String> {
    let authorities = authorities
        .ok_or("the kubeconfig names no certificate authority, by which the API server would be known")?;
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let request = request(wanted, &key)?;
    let certificate = signed(client, wanted, &request).await?;
    config(&certificate, &key, authorities)
}

/// The request as PEM, in base64.
fn request(wanted: &Wanted<'_>, key: &KeyPair) -> Result<String, String> {
    let made = CertificateParams::new([wanted.address.to_string()]).and_then(|mut params| {
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, "system:nodes");
        name.push(DnType::CommonName, format!("system:node:{}", wanted.node));
        params.distinguished_name = name;
        params.serialize_request(key)?.pem()
    });
    made.map(|pem| BASE64_STANDARD.encode(pem)).map_err(|error| error.to_string())
}

/// The certificate as PEM.
async fn signed(client: &Client, wanted: &Wanted<'_>, request: &str) -> Result<Vec<u8>, String> {
    let asked = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": format!("{}-serving-", wanted.node)},
        "spec": {"request": request, "signerName": SIGNER, "usages": ["digital signature", "server auth"]},
    });
    let mut backoff = Backoff::new(LOOK_FIRST, LOOK_LONGEST);
    let made = loop {
        match client.create(&REQUESTS, &asked).await {
            Ok(made) => break made,
            Err(error) if error.may_pass() => tokio::time::sleep(backoff.wait()).await,
            Err(error) => return Err(format!("no certificate can be asked for: {error}")),
        }
    };
    let name = object::name(&made);
    approve(client, name).await;
    backoff.reset();
    loop {
        match client.get(&REQUESTS, "", name).await {
            Ok(found) => {
                if let Some(decided) = decision(&found) {
                    return decided;
                }
            }
            Err(error) if error.may_pass() => {}
            Err(error) => return Err(format!("the request {name} for a certificate is gone: {error}")),
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Approves the request, where the node may do that.
async fn approve(client: &Client, name: &str) {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = json!({
        "type": "Approved", "status": "True", "reason": "ShoalNode", "lastUpdateTime": now, "lastTransitionTime": now,
        "message": "The node that asks has the right to approve it.",
    });
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    match client.patch(&REQUESTS, "", name, "approval", &patch).await {
        Ok(_) => {}
        Err(Error::Refused(refused)) if refused.code == 403 => tracing::warn!(
            "nobody can ask this node for logs until its certificate is approved: kubectl certificate approve {name}"
        ),
        Err(error) => tracing::warn!(%error, "the certificate of this node cannot be approved"),
    }
}

/// What came of a request; none: nothing yet.
fn decision(request: &Value) -> Option<Result<Vec<u8>, String>> {
    let conditions = request["status"]["conditions"].as_array();
    let refused =
        conditions.into_iter().flatten().find(|found| found["type"] == "Denied" || found["type"] == "Failed");
    if let Some(refused) = refused {
        let why = refused["message"].as_str().unwrap_or_default();
        return Some(Err(format!("its certificate was refused: {why}")));
    }
    let certificate = request["status"]["certificate"].as_str()?;
    Some(
        BASE64_STANDARD.decode(certificate).map_err(|error| format!("its certificate is no base64: {error}")),
    )
}

fn config(certificate: &[u8], key: &KeyPair, authorities: &[u8]) -> Result<Arc<ServerConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(authorities).flatten());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|error| error.to_string())?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate).flatten().collect();
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_decided_by_its_conditions_and_its_certificate() {
        let decided = |status: Value| decision(&json!({"status": status}));
        let condition = |kind: &str| json!([{"type": kind, "status": "True", "message": "no"}]);
        assert_eq!(decided(json!({})), None);
        assert_eq!(decided(json!({"conditions": condition("Approved")})), None);
        assert_eq!(decided(json!({"certificate": "Q1JU"})), Some(Ok(b"CRT".to_vec())));
        for wrong in [
            json!({"conditions": condition("Denied")}),
            json!({"conditions": condition("Failed"), "certificate": "Q1JU"}),
            json!({"certificate": "?"}),
        ] {
            assert!(decided(wrong.clone()).is_some_and(|decided| decided.is_err()), "{wrong}");
        }
    }

    #[test]
    fn a_certificate_is_asked_for_in_the_name_of_the_node() {
        let key = KeyPair::generate().expect("a key");
        let wanted = Wanted { node: "one", address: [127, 0, 0, 1].into() };
        let asked = request(&wanted, &key).expect("a request");
        let pem = BASE64_STANDARD.decode(asked).expect("base64");
        assert!(pem.starts_with(b"-----BEGIN CERTIFICATE REQUEST-----"));
        let authority = CertificateParams::default().self_signed(&key).expect("a certificate");
        let pem = authority.pem().into_bytes();
        assert!(config(&pem, &key, &pem).is_ok());
        assert!(config(&pem, &key, b"").is_err(), "nobody would be let in");
        assert!(config(b"", &key, &pem).is_err(), "no certificate");
    }
}
