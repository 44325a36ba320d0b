//! An API server of its own for a test: a directory that goes away, any port.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::Method;
use jiff::Timestamp;
use serde_json::Value;
use shoal_base::drain::{Drain, Drained};
use shoal_server::pki::Pki;
use shoal_server::{Api, Config, Controllers, Running, start};
use shoal_store::Store;
use shoal_store::sqlite::{Options, SqliteStore};
use tempfile::TempDir;

use crate::client::{Answer, Client};

/// For everything that a cluster has from the start to be there.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// For requests in flight to end.
const END_WITHIN: Duration = Duration::from_secs(20);

/// What the controllers make in every new cluster, the last of each chain.
const MADE_AT_THE_START: [&str; 6] = [
    "/api/v1/namespaces/default/services/kubernetes",
    "/api/v1/namespaces/default/serviceaccounts/default",
    "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
    "/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-admin",
];

/// A server, and the directory that it lives in.
pub(crate) struct Server {
    /// `HOST:PORT`.
    pub(crate) address: String,
    /// What kubectl needs to be its administrator.
    pub(crate) kubeconfig: String,
    /// Speaks as its administrator.
    pub(crate) client: Client,
    drain: Drain,
    running: Running,
    dir: TempDir,
}

impl Server {
    /// A new cluster, with all that the controllers make at the start. Nothing makes workloads run.
    pub(crate) async fn start() -> Self {
        Self::start_with(Controllers::Api).await
    }

    /// The same with these controllers.
    pub(crate) async fn start_with(controllers: Controllers) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&Options::new(dir.path().join("store"))).expect("a store");
        Self::start_in(dir, Arc::new(store), controllers).await
    }

    /// A server on a store that may have others, with the keys of the server that lives in `keys`.
    pub(crate) async fn start_on(store: Arc<dyn Store>, keys: Option<&Path>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        if let Some(keys) = keys {
            std::fs::create_dir(dir.path().join("pki")).expect("a directory");
            for file in ["pki/ca.pem", "pki/service-account.keys", "secrets.keys"] {
                std::fs::copy(keys.join(file), dir.path().join(file)).expect("a copy");
            }
        }
        Self::start_in(dir, store, Controllers::Api).await
    }

    async fn start_in(dir: TempDir, store: Arc<dyn Store>, controllers: Controllers) -> Self {
        let drain = Drain::new();
        let config = Config {
            data: dir.path().to_owned(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            names: Vec::new(),
            issuers: Vec::new(),
            controllers,
        };
        let running = start(config, store, drain.clone()).await.expect("a server");
        let address = running.address.to_string();
        let kubeconfig = running
            .pki
            .admin_kubeconfig(&format!("https://{address}"), Timestamp::now())
            .expect("a kubeconfig");
        let client = Client::of(&kubeconfig, running.address);
        let server = Self { address, kubeconfig, client, drain, running, dir };
        for path in MADE_AT_THE_START {
            server.until(path, |answer| answer.status == 200).await;
        }
        server
    }

    /// The API itself, without the socket.
    pub(crate) fn api(&self) -> &Arc<Api> {
        &self.running.api
    }

    /// Its keys and certificates.
    pub(crate) fn pki(&self) -> &Pki {
        &self.running.pki
    }

    /// Someone who knows it, but shows no certificate.
    pub(crate) fn stranger(&self) -> Client {
        Client::stranger(&self.kubeconfig, self.running.address)
    }

    /// Whoever has a certificate of its authority, and the key to it: PEM.
    pub(crate) fn with_certificate(&self, pem: &[u8]) -> Client {
        let mut kubeconfig = String::new();
        for line in self.kubeconfig.lines() {
            let field = ["client-certificate-data:", "client-key-data:"]
                .into_iter()
                .find(|field| line.contains(field));
            match field {
                Some(field) => kubeconfig.push_str(&format!("{field} {}\n", BASE64_STANDARD.encode(pem))),
                None => kubeconfig.push_str(&format!("{line}\n")),
            }
        }
        Client::of(&kubeconfig, self.running.address)
    }

    /// Its store.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        self.running.api.objects.store()
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sends JSON as its administrator.
    pub(crate) async fn send(&self, method: Method, target: &str, body: Option<&Value>) -> Answer {
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.client.send(method, target, &[("content-type", "application/json")], bytes).await
    }

    /// Asks again and again for what controllers are about to write, until it is as wanted.
    pub(crate) async fn until(&self, target: &str, is_wanted: impl Fn(&Answer) -> bool) -> Answer {
        let asked = async {
            loop {
                let answer = self.send(Method::GET, target, None).await;
                if is_wanted(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(READY_WITHIN, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                let answer = self.send(Method::GET, target, None).await;
                panic!("{target} did not become what was waited for: {} {}", answer.status, answer.text());
            }
        }
    }

    /// Ends it, and sees that all of it ends.
    pub(crate) async fn end(self) {
        assert_eq!(self.drain.finish(END_WITHIN).await, Drained::Clean, "requests were still in flight");
        let ended = tokio::time::timeout(END_WITHIN, self.running.ended()).await;
        assert!(ended.is_ok(), "a part of the server did not end with its drain");
    }
}
