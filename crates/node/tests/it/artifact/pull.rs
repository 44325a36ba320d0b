//! Pulling what is as it should be.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use shoal_node::artifact::{Digest, Kind, Policy, Problem, Reason};
use shoal_node::{Fetch, Image};

use super::registry::{Fault, INDEX, MANIFEST, Registry};
use super::support::{Place, module};

#[tokio::test]
async fn an_artifact_is_fetched_once_and_then_known() {
    let (registry, place) = (Registry::start().await, Place::new());
    let content = module(1, 100_000);
    let manifest = registry.wasm("ada/app:1", &content);
    let name = registry.name("ada/app:1");
    let artifact = place.pull(&name).await.unwrap();
    assert_eq!(std::fs::read(&artifact.path).unwrap(), content);
    assert_eq!(
        (artifact.digest, artifact.kind, artifact.size_bytes),
        (Digest::of(&content), Kind::Module, 100_000)
    );
    assert_eq!(artifact.id, format!("{}@{manifest}", registry.name("ada/app")));
    assert_eq!(std::fs::metadata(&artifact.path).unwrap().permissions().mode() & 0o777, 0o400);
    let asked =
        ["GET /v2/ada/app/manifests/1".to_string(), format!("GET /v2/ada/app/blobs/{}", artifact.digest)];
    assert_eq!(registry.asked(), asked);
    registry.forget();
    for known in [&name, &artifact.id] {
        assert_eq!(place.pull(known).await.unwrap().path, artifact.path);
        assert_eq!(place.fetch(known, Policy::Never).await.unwrap().path, artifact.path);
    }
    let same =
        place.again().fetch(&super::support::reference(&name), Policy::Never, &Default::default()).await;
    assert_eq!(same, Ok(artifact));
    assert_eq!(registry.asked(), Vec::<String>::new());
    assert!(place.files("partial").is_empty());
}

#[tokio::test]
async fn policies_ask_as_kubernetes_says() {
    let (registry, place) = (Registry::start().await, Place::new());
    let name = registry.name("app:dev");
    let refused = place.fetch(&name, Policy::Never).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ErrImageNeverPull);
    assert_eq!(refused.what, format!("Container image \"{name}\" is not present with pull policy of Never"));
    assert_eq!(registry.asked(), Vec::<String>::new());
    registry.wasm("app:dev", &module(1, 100));
    let first = place.fetch(&name, Policy::Always).await.unwrap();
    registry.forget();
    assert_eq!(place.fetch(&name, Policy::Always).await.unwrap(), first);
    assert_eq!(registry.asked(), ["HEAD /v2/app/manifests/dev"], "it has not changed");
    let manifest = registry.wasm("app:dev", &module(2, 100));
    assert_eq!(place.pull(&name).await.unwrap(), first, "IfNotPresent does not look");
    let second = place.fetch(&name, Policy::Always).await.unwrap();
    assert_eq!(second.digest, Digest::of(&module(2, 100)));
    assert!(second.id.ends_with(&manifest.to_string()));
    assert_eq!(place.pull(&name).await.unwrap(), second);
    registry.forget();
    assert_eq!(place.fetch(&second.id, Policy::Always).await.unwrap(), second);
    assert_eq!(place.fetch(&first.id, Policy::Always).await.unwrap(), first);
    assert_eq!(registry.asked(), Vec::<String>::new(), "a digest means what it meant");
}

#[tokio::test]
async fn a_registry_that_is_gone_is_told_from_one_that_refuses() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 100));
    let name = registry.name("app:1");
    place.fetch(&name, Policy::Always).await.unwrap();
    drop(registry);
    let error = place.fetch(&name, Policy::Always).await.unwrap_err();
    assert_eq!((error.reason, error.problem), (Reason::ErrImagePull, Problem::Unreachable), "{error}");
    assert!(
        error.what.starts_with(&format!("failed to pull image \"{name}\": cannot connect to 127.0.0.1:"))
    );
    assert!(place.pull(&name).await.is_ok(), "what is here can be used");
}

#[tokio::test]
async fn what_a_container_was_before_is_used_while_its_registry_is_away() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:dev", &module(1, 100));
    let reference = registry.name("app:dev");
    let first = place.fetch(&reference, Policy::Always).await.unwrap();
    let ask = |before: Option<&str>| {
        let before = before.map(str::to_owned);
        Fetch::fetch(
            &place.store,
            Image { reference: reference.clone(), policy: Policy::Always, credentials: Vec::new(), before },
        )
    };
    let found = ask(Some(&first.id)).await.unwrap();
    assert_eq!((found.path, found.unasked), (first.path.clone(), None), "the registry was asked");
    registry.fail(|_| Some(Fault::Status(403, Vec::new())));
    assert!(ask(Some(&first.id)).await.is_err(), "a registry that refuses is obeyed");
    drop(registry);
    let found = ask(Some(&first.id)).await.unwrap();
    assert_eq!((found.path, found.id), (first.path, first.id));
    assert!(found.unasked.is_some_and(|why| why.contains("cannot connect to 127.0.0.1:")));
    for other in [None, Some("127.0.0.1:1/app@sha256:0")] {
        let failure = ask(other).await.unwrap_err();
        assert_eq!(failure.reason, "ErrImagePull", "who did not run this may not now");
    }
}

#[tokio::test]
async fn many_who_want_the_same_share_one_download() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 1_000_000));
    registry.wasm("other:1", &module(1, 1_000_000));
    let (one, other) = (registry.name("app:1"), registry.name("other:1"));
    let names = [&one, &other, &one, &one, &other, &one];
    let all = futures_util::future::join_all(names.iter().map(|name| place.pull(name))).await;
    assert!(
        all.iter().all(|artifact| artifact.as_ref().unwrap().digest == Digest::of(&module(1, 1_000_000)))
    );
    let blobs = registry.asked().iter().filter(|asked| asked.contains("/blobs/")).count();
    assert_eq!(blobs, 1, "{:?}", registry.asked());
    assert_eq!(place.files("blobs/sha256").len(), 1);
}

#[tokio::test]
async fn a_failure_is_shared_too() {
    let (registry, place) = (Registry::start().await, Place::new());
    let name = registry.name("absent:1");
    let all = futures_util::future::join_all((0..5).map(|_| place.pull(&name))).await;
    for error in all {
        let error = error.unwrap_err();
        assert_eq!(error.problem, Problem::Missing);
        assert!(error.what.ends_with("answers 404 Not Found: manifest unknown"), "{error}");
    }
    assert_eq!(registry.asked().len(), 1);
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_webassembly() {
    let (registry, place) = (Registry::start().await, Place::new());
    let describe = |digest: Digest, os: &str| json!({"mediaType": MANIFEST, "digest": digest, "size": 1, "platform": {"os": os, "architecture": "wasm"}});
    let (old, new) = (registry.wasm("app:old", &module(1, 50)), registry.wasm("app:new", &module(2, 50)));
    let index = json!({"schemaVersion": 2, "manifests": [describe(old, "wasip1"), describe(new, "wasip2")]});
    let top = registry.document("app:1", INDEX, &index);
    let artifact = place.pull(&registry.name("app:1")).await.unwrap();
    assert_eq!(artifact.digest, Digest::of(&module(2, 50)));
    assert!(artifact.id.ends_with(&format!("app@{top}")), "{}", artifact.id);
    let nested = json!({"manifests": [{"mediaType": INDEX, "digest": top, "size": 1}]});
    registry.document("app:nested", INDEX, &nested);
    let error = place.pull(&registry.name("app:nested")).await.unwrap_err();
    assert_eq!((error.problem, error.what.ends_with("it is an index of indexes")), (Problem::Unusable, true));
}

/// A layer with these files.
fn layer(registry: &Registry, files: &[(&str, &[u8])], gzip: bool) -> Value {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[148..156].fill(b' ');
        block[156] = b'0';
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend_from_slice(&block);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.extend_from_slice(&[0; 1024]);
    let media_type = if gzip { "tar+gzip" } else { "tar" };
    if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&archive).unwrap();
        archive = encoder.finish().unwrap();
    }
    let mut layer = registry.blob(archive);
    layer["mediaType"] = json!(format!("application/vnd.oci.image.layer.v1.{media_type}"));
    layer
}

fn container(registry: &Registry, name: &str, config: &Value, layers: &[Value]) {
    let mut config = registry.blob(config.to_string());
    config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    registry.document(name, MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": layers}));
}

#[tokio::test]
async fn a_container_image_may_hold_the_webassembly() {
    let (registry, place) = (Registry::start().await, Place::new());
    let (one, two) = (module(1, 3000), module(2, 2000));
    let base = layer(&registry, &[("etc/motd", b"hello"), ("one.wasm", &one)], true);
    let config = json!({"config": {"Entrypoint": ["/two.wasm"]}});
    container(&registry, "only:1", &config, std::slice::from_ref(&base));
    let artifact = place.pull(&registry.name("only:1")).await.unwrap();
    assert_eq!(std::fs::read(&artifact.path).unwrap(), one);
    let top = layer(&registry, &[("./two.wasm", &two)], false);
    container(&registry, "named:1", &config, &[base.clone(), top.clone()]);
    assert_eq!(place.pull(&registry.name("named:1")).await.unwrap().digest, Digest::of(&two));
    container(&registry, "both:1", &json!({}), &[base.clone(), top.clone()]);
    let error = place.pull(&registry.name("both:1")).await.unwrap_err();
    assert!(error.what.ends_with("starts none of them: one.wasm, two.wasm"), "{error}");
    let gone = layer(&registry, &[(".wh.one.wasm", b"")], true);
    container(&registry, "none:1", &json!({}), &[base, gone]);
    let error = place.pull(&registry.name("none:1")).await.unwrap_err();
    assert_eq!(error.problem, Problem::Unusable, "{error}");
    assert!(place.files("partial").is_empty(), "layers are not kept");
    assert_eq!(place.files("blobs/sha256").len(), 2);
}

#[tokio::test]
async fn progress_ends_at_the_whole() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 300_000));
    registry.fail(|seen| (seen.is("GET", "/blobs/") && seen.before == 0).then_some(Fault::Cut(100_000)));
    let told = parking_lot::Mutex::new(Vec::new());
    let tell = |done, total| told.lock().push((done, total));
    let reference = super::support::reference(&registry.name("app:1"));
    place.store.fetch_with(&reference, Policy::Always, &Default::default(), &tell).await.unwrap();
    let told = told.into_inner();
    assert_eq!(told.last(), Some(&(300_000, 300_000)));
    assert!(told.is_sorted(), "a part that is gone on with is not counted twice");
}
