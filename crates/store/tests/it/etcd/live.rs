//! An etcd that lives as long as a test.

use std::future::Future;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use shoal_store::etcd::{EtcdOptions, EtcdStore, Tls};
use tempfile::TempDir;

use crate::support::DEADLINE;

/// Where tests must not be skipped.
const REQUIRED: &str = "SHOAL_CI";

/// A running etcd.
pub(crate) struct Live {
    child: Option<Child>,
    name: String,
    client: String,
    peer: String,
    /// All members with their peer URLs.
    cluster: String,
    tls: Option<Tls>,
    /// Certificates of the server, below the directory.
    has_tls: bool,
    dir: TempDir,
}

impl Live {
    /// Starts an etcd of its own for the test; none where etcd is not installed, unless it must be.
    pub(crate) fn start() -> Option<Self> {
        Self::begin(None)
    }

    /// The same with mutual TLS. Also gives the options of someone without a certificate.
    pub(crate) fn start_with_tls() -> Option<(Self, EtcdOptions)> {
        let dir = tempfile::tempdir().expect("a directory");
        let tls = certificates(dir.path());
        let live = Self::begin(Some((dir, tls.clone())))?;
        let mut stranger = live.options("/tls/");
        stranger.tls = Some(Tls { identity_pem: None, ..tls });
        Some((live, stranger))
    }

    fn begin(tls: Option<(TempDir, Tls)>) -> Option<Self> {
        let is_there = Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !is_there {
            assert!(
                std::env::var_os(REQUIRED).is_none(),
                "etcd is not installed: apt-get install etcd-server"
            );
            #[expect(clippy::print_stderr, reason = "whoever runs the test is told")]
            {
                eprintln!("skipped: etcd is not installed (apt-get install etcd-server)");
            }
            return None;
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (dir, tls) = match tls {
            Some((dir, tls)) => (dir, Some(tls)),
            None => (tempfile::tempdir().expect("a directory"), None),
        };
        let peer = format!("http://127.0.0.1:{}", free_port());
        let mut live = Self {
            child: None,
            name: "one".into(),
            client: format!("{scheme}://127.0.0.1:{}", free_port()),
            cluster: format!("one={peer}"),
            peer,
            has_tls: tls.is_some(),
            tls,
            dir,
        };
        live.restart();
        Some(live)
    }

    /// Starts three members of one etcd.
    pub(crate) fn start_three() -> Option<Vec<Self>> {
        // Says so where etcd is missing.
        drop(Self::start()?);
        let names = ["one", "two", "three"];
        let peers: Vec<_> = names.iter().map(|_| format!("http://127.0.0.1:{}", free_port())).collect();
        let cluster: Vec<_> = names.iter().zip(&peers).map(|(name, peer)| format!("{name}={peer}")).collect();
        let mut members: Vec<_> = names
            .iter()
            .zip(peers)
            .map(|(name, peer)| Self {
                child: None,
                name: (*name).into(),
                client: format!("http://127.0.0.1:{}", free_port()),
                peer,
                cluster: cluster.join(","),
                tls: None,
                has_tls: false,
                dir: tempfile::tempdir().expect("a directory"),
            })
            .collect();
        // None answers before a second is there.
        members.iter_mut().for_each(Self::spawn);
        members.iter_mut().for_each(Self::wait);
        Some(members)
    }

    /// How to reach it, with keys below `root`.
    pub(crate) fn options(&self, root: &str) -> EtcdOptions {
        EtcdOptions {
            endpoints: vec![self.client.clone()],
            root: Bytes::copy_from_slice(root.as_bytes()),
            tls: self.tls.clone(),
        }
    }

    /// Starts it, again with the same data, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.spawn();
        self.wait();
    }

    fn spawn(&mut self) {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let log = std::fs::File::create(self.dir.path().join("log")).expect("a log");
        let mut command = Command::new("etcd");
        command
            .args(["--name", &self.name, "--initial-cluster", &self.cluster])
            .args(["--data-dir", &path("data")])
            .args(["--listen-client-urls", &self.client, "--advertise-client-urls", &self.client])
            .args(["--listen-peer-urls", &self.peer, "--initial-advertise-peer-urls", &self.peer])
            .stdout(Stdio::null())
            .stderr(log);
        if self.has_tls {
            command.args(["--cert-file", &path("server.pem"), "--key-file", &path("server.key")]);
            command.args(["--trusted-ca-file", &path("ca.pem"), "--client-cert-auth"]);
        }
        self.child = Some(command.spawn().expect("etcd starts"));
    }

    /// Waits until it answers.
    fn wait(&mut self) {
        let options = self.options("/ready/");
        let ends = Instant::now() + DEADLINE;
        while self.try_on_other_thread(&options).is_none() {
            // It leaves the processor to the one that is waited for.
            self.on_other_thread(async || tokio::time::sleep(Duration::from_millis(20)).await);
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < ends, "etcd does not answer:\n{}", log());
        }
    }

    /// Where clients reach it.
    pub(crate) fn endpoint(&self) -> String {
        self.client.clone()
    }

    /// Kills it as a crash would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }

    /// Connects from inside or outside a runtime.
    pub(crate) fn block_on_other_thread(&self, options: &EtcdOptions) -> EtcdStore {
        self.try_on_other_thread(options).expect("etcd answers")
    }

    fn try_on_other_thread(&self, options: &EtcdOptions) -> Option<EtcdStore> {
        self.on_other_thread(async || EtcdStore::open(options).await.ok())
    }

    /// Runs something on a runtime that outlives it: connections belong to where they were opened.
    pub(crate) fn on_other_thread<R: Send, F: Future<Output = R>>(
        &self,
        run: impl FnOnce() -> F + Send,
    ) -> R {
        static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> = std::sync::LazyLock::new(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime")
        });
        std::thread::scope(|scope| scope.spawn(|| RUNTIME.block_on(run())).join().expect("it does not panic"))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that nobody uses now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").port()
}

/// An authority, a server and a client, for one test.
fn certificates(dir: &Path) -> Tls {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca_pem = authority.self_signed(&key).expect("a certificate").pem();
    let issuer = Issuer::new(authority, key);
    let signed = |names: Vec<String>, usage: &[ExtendedKeyUsagePurpose]| {
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = usage.to_vec();
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &issuer).expect("a certificate").pem(), key.serialize_pem())
    };
    // etcd's own gateway calls it with the server's certificate.
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let (server, server_key) = signed(vec!["127.0.0.1".into(), "localhost".into()], &both);
    let identity = signed(vec!["shoal".into()], &both[1..]);
    for (name, text) in [("ca.pem", &ca_pem), ("server.pem", &server), ("server.key", &server_key)] {
        std::fs::write(dir.join(name), text).expect("it is written");
    }
    Tls { ca_pem, identity_pem: Some(identity) }
}
