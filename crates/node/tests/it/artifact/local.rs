//! Files of this machine.

use std::path::Path;

use shoal_node::artifact::{Digest, Kind, Policy, Problem, Reason, StoreOptions};

use super::support::{Place, module, quick};

fn write(dir: &Path, name: &str, content: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_file_is_used_where_it_is_and_its_change_is_seen() {
    let (place, dir) = (Place::new(), tempfile::tempdir().unwrap());
    let path = write(dir.path(), "app.wasm", &module(1, 100));
    for policy in [Policy::Always, Policy::IfNotPresent, Policy::Never] {
        let artifact = place.fetch(&path, policy).await.unwrap();
        assert_eq!((artifact.path.display().to_string(), artifact.kind), (path.clone(), Kind::Module));
        assert_eq!(artifact.id, Digest::of(&module(1, 100)).to_string());
    }
    write(dir.path(), "app.wasm", &module(2, 101));
    let artifact = place.pull(&format!("file://{path}")).await.unwrap();
    assert_eq!(artifact.digest, Digest::of(&module(2, 101)));
    assert!(place.files("blobs/sha256").is_empty());
    let text = write(dir.path(), "app.wat", b"(module)");
    assert_eq!(place.pull(&text).await.unwrap().kind, Kind::Text);
}

#[tokio::test]
async fn what_is_no_webassembly_is_refused_without_showing_it() {
    let options = StoreOptions { artifact_bytes_max: 200, ..StoreOptions::default() };
    let (place, dir) = (Place::with(quick(), options), tempfile::tempdir().unwrap());
    let secret = write(dir.path(), "secret", b"password=x");
    let most = write(dir.path(), "most.wasm", &module(1, 200));
    let large = write(dir.path(), "large.wasm", &module(1, 201));
    assert!(place.pull(&most).await.is_ok());
    for (path, problem) in [
        (secret, Problem::Unusable),
        (large, Problem::TooLarge),
        (dir.path().display().to_string(), Problem::Unusable),
        (format!("{most}.gone"), Problem::Missing),
    ] {
        let error = place.pull(&path).await.unwrap_err();
        assert_eq!((error.problem, error.reason), (problem, Reason::ErrImagePull), "{error}");
        assert!(error.to_string().contains(&path) && !error.to_string().contains("password"), "{error}");
    }
    let error = place.fetch(&format!("{most}.gone"), Policy::Never).await.unwrap_err();
    assert_eq!(error.reason, Reason::ErrImageNeverPull);
}
