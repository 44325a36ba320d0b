//! Debian's `docker-registry`, a real registry, with passwords. Skipped where it is not installed; fails without it where
//! `SHOAL_CI` is set.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use shoal_node::artifact::{Credential, Digest, Keyring, Policy, Problem};
use tokio::process::{Child, Command};

use super::push::push;
use super::support::{Place, module, reference};

/// Until it answers: it is small, but the machine may be busy.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Ada's password is `secret` (bcrypt, 4 rounds).
const HTPASSWD: &str = "ada:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

struct DockerRegistry {
    port: u16,
    _dir: tempfile::TempDir,
    _child: Child,
}

impl DockerRegistry {
    async fn start(with_passwords: bool) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let port =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a port").port();
        let root = dir.path().display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n"
        );
        if with_passwords {
            std::fs::write(dir.path().join("htpasswd"), HTPASSWD).expect("a file");
            config += &format!("auth: {{htpasswd: {{realm: x, path: {root}/htpasswd}}}}\n");
        }
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).expect("a file");
        let command = Command::new("docker-registry")
            .arg("serve")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let Ok(child) = command else {
            assert!(std::env::var_os("SHOAL_CI").is_none(), "docker-registry is not installed");
            #[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
            {
                eprintln!("skipped: docker-registry is not installed");
            }
            return None;
        };
        let answers = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(START_WITHIN, answers).await.expect("it answers");
        Some(Self { port, _dir: dir, _child: child })
    }

    fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }
}

#[tokio::test]
async fn what_is_pushed_can_be_pulled() {
    let Some(registry) = DockerRegistry::start(false).await else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let content = module(1, 2_000_000);
    std::fs::write(file.path(), &content).unwrap();
    let name = registry.name("team/app:1");
    let pushed = push(file.path(), &name, &["stable"], false, &Keyring::default()).await.unwrap();
    let again = push(file.path(), &name, &[], false, &Keyring::default()).await.unwrap();
    assert_eq!((pushed.was_there, again.was_there, again.manifest), (false, true, pushed.manifest));
    let place = Place::new();
    for name in [name, registry.name("team/app:stable"), pushed.image.to_string()] {
        let artifact = place.fetch(&name, Policy::Always).await.unwrap();
        assert_eq!(
            (artifact.digest, &artifact.id),
            (Digest::of(&content), &pushed.image.to_string()),
            "{name}"
        );
    }
    let error = place.pull(&registry.name("team/app:2")).await.unwrap_err();
    assert_eq!(error.problem, Problem::Missing);
    assert!(error.what.ends_with("answers 404 Not Found: manifest unknown"), "{error}");
}

#[tokio::test]
async fn a_password_is_asked_for_and_taken() {
    let Some(registry) = DockerRegistry::start(true).await else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), module(1, 1000)).unwrap();
    let name = registry.name("app:1");
    let keyring = |password: &str| {
        let credential = Credential::Basic { username: "ada".into(), password: password.into() };
        Keyring::with(&registry.name("app"), credential)
    };
    let place = Place::new();
    for wrong in [Keyring::default(), keyring("guess")] {
        let error = push(file.path(), &name, &[], false, &wrong).await.unwrap_err();
        assert_eq!(error.problem, Problem::Denied, "{error}");
    }
    push(file.path(), &name, &[], false, &keyring("secret")).await.unwrap();
    assert_eq!(place.pull(&name).await.unwrap_err().problem, Problem::Denied);
    place.store.fetch(&reference(&name), Policy::IfNotPresent, &keyring("secret")).await.unwrap();
}
