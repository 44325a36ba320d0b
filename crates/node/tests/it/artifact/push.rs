//! Pushing, and pulling what was pushed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use shoal_node::artifact::{Client, Credential, Digest, FetchError, Keyring, Problem, Push, Pushed};
use shoal_runtime::{Import, Inspection, Kind, Wasi};

use super::registry::{Fault, Registry};
use super::support::{Place, image, module, quick};

pub(crate) fn inspection(component: bool) -> Inspection {
    let import = Import { name: "wasi:io/poll@0.2.6".into(), capability: Some("io"), flag: None };
    Inspection {
        kind: component.then_some(Kind::Http(Wasi::P2)),
        component,
        needs_async: false,
        size_bytes: 8,
        digest: "blake3:00".into(),
        imports: vec![import],
        exports: vec!["wasi:http/incoming-handler@0.2.6".into()],
        wasi_versions: Vec::new(),
        language: None,
        producers: Vec::new(),
        custom_sections: Vec::new(),
        modules: Vec::new(),
    }
}

pub(crate) async fn push(
    file: &Path,
    name: &str,
    tags: &[&str],
    component: bool,
    keyring: &Keyring,
) -> Result<Pushed, FetchError> {
    let (image, tags): (_, Vec<String>) = (image(name), tags.iter().map(ToString::to_string).collect());
    let annotations = BTreeMap::from([("org.opencontainers.image.title".to_string(), "app".to_string())]);
    let push = Push {
        file,
        image: &image,
        tags: &tags,
        annotations: &annotations,
        inspection: &inspection(component),
        created: "2026-01-02T03:04:05Z".parse().expect("a time"),
    };
    Client::new(quick()).expect("a client").push(&push, keyring, &|_, _| {}).await
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

#[tokio::test]
async fn a_component_is_pushed_as_an_artifact_and_can_be_pulled() {
    let registry = Registry::start().await;
    let name = registry.name("ada/app:1.2");
    let pushed = push(file(COMPONENT).path(), &name, &["latest"], true, &Keyring::default()).await.unwrap();
    assert!(!pushed.was_there);
    assert_eq!(pushed.image.to_string(), format!("{}@{}", registry.name("ada/app"), pushed.manifest));
    let manifest = registry.pushed("/v2/ada/app/manifests/1.2").unwrap();
    assert_eq!(registry.pushed("/v2/ada/app/manifests/latest"), Some(manifest.clone()));
    let config = registry.content(manifest["config"]["digest"].as_str().unwrap()).unwrap();
    let digest = Digest::of(COMPONENT);
    assert_eq!(
        manifest,
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.wasm.config.v0+json",
                "digest": Digest::of(&config),
                "size": config.len(),
            },
            "layers": [{"mediaType": "application/wasm", "digest": digest, "size": 8}],
            "annotations": {
                "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
                "org.opencontainers.image.title": "app",
            },
        })
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&config).unwrap(),
        json!({
            "created": "2026-01-02T03:04:05Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [digest],
            "component": {
                "exports": ["wasi:http/incoming-handler@0.2.6"],
                "imports": ["wasi:io/poll@0.2.6"],
            },
        })
    );
    let artifact = Place::new().pull(&name).await.unwrap();
    assert_eq!((artifact.digest, artifact.id), (digest, pushed.image.to_string()));
    let again = push(file(COMPONENT).path(), &name, &[], true, &Keyring::default()).await.unwrap();
    assert_eq!((again.was_there, again.manifest), (true, pushed.manifest), "nothing is new");
}

#[tokio::test]
async fn a_module_is_of_preview_1() {
    let registry = Registry::start().await;
    let name = registry.name("app:1");
    push(file(&module(1, 70_000)).path(), &name, &[], false, &Keyring::default()).await.unwrap();
    let manifest = registry.pushed("/v2/app/manifests/1").unwrap();
    let config = registry.content(manifest["config"]["digest"].as_str().unwrap()).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((&config["os"], &config["component"]), (&json!("wasip1"), &Value::Null));
}

#[tokio::test]
async fn uploads_are_tried_again_and_carry_their_credential() {
    let registry = Registry::start().await;
    registry.fail(|seen| {
        if seen.authorization.as_deref() != Some("Basic YWRhOng=") {
            return Some(Fault::Status(401, vec![("www-authenticate", "Basic realm=\"x\"".into())]));
        }
        (seen.is("PUT", "/uploads/") && seen.before == 0).then(|| Fault::Status(502, vec![]))
    });
    let credential = Credential::Basic { username: "ada".into(), password: "x".into() };
    let keyring = Keyring::with(&registry.address.to_string(), credential);
    push(file(COMPONENT).path(), &registry.name("app:1"), &[], true, &keyring).await.unwrap();
    assert!(registry.pushed("/v2/app/manifests/1").is_some());
}

#[tokio::test]
async fn what_cannot_be_pushed_is_told() {
    let registry = Registry::start().await;
    let none = Keyring::default();
    let digest = Digest::of(b"");
    for (content, name, tags, problem) in [
        (&b"(module)"[..], "app:1".to_string(), &[][..], Problem::Unusable),
        (COMPONENT, format!("app@{digest}"), &[], Problem::Request),
        (COMPONENT, "app:1".into(), &["a b"], Problem::Request),
    ] {
        let error = push(file(content).path(), &registry.name(&name), tags, true, &none).await.unwrap_err();
        assert_eq!(error.problem, problem, "{error}");
    }
    assert_eq!(registry.asked(), Vec::<String>::new());
    registry.fail(|seen| (seen.method == "POST").then(|| Fault::Status(403, vec![])));
    let error = push(file(COMPONENT).path(), &registry.name("app:1"), &[], true, &none).await.unwrap_err();
    assert_eq!(error.problem, Problem::Denied, "{error}");
    let gone = Path::new("/absent/app.wasm");
    let error = push(gone, &registry.name("app:1"), &[], true, &none).await.unwrap_err();
    assert_eq!(error.problem, Problem::Disk, "{error}");
}
