//! Registries that fail, lie, or are slow.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use shoal_node::artifact::{ClientOptions, Policy, Problem, StoreOptions};

use super::registry::{Fault, MANIFEST, Registry};
use super::support::{Place, module, quick};

#[tokio::test]
async fn a_wrong_content_is_never_kept() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 1000));
    let name = registry.name("app:1");
    for lie in [module(2, 1000), module(1, 1001), module(1, 5000)] {
        let lie = Bytes::from(lie);
        registry.fail(move |seen| seen.is("GET", "/blobs/").then(|| Fault::Body(lie.clone())));
        let error = place.pull(&name).await.unwrap_err();
        assert_eq!(error.problem, Problem::Corrupt, "{error}");
        assert!(place.files("blobs/sha256").is_empty());
    }
    registry.heal();
    assert!(place.pull(&name).await.is_ok(), "what was wrong is not gone on with");
}

#[tokio::test]
async fn a_wrong_manifest_is_refused() {
    let (registry, place) = (Registry::start().await, Place::new());
    let digest = registry.wasm("app:1", &module(1, 100));
    registry.fail(|seen| seen.is("GET", "/manifests/").then(|| Fault::Body("{}".into())));
    let by_digest = registry.name(&format!("app@{digest}"));
    let error = place.pull(&by_digest).await.unwrap_err();
    assert_eq!(error.problem, Problem::Corrupt, "{error}");
    let error = place.pull(&registry.name("app:1")).await.unwrap_err();
    assert_eq!(error.problem, Problem::Unusable, "{error}");
    let error = place.pull(&registry.name("app:1")).await.unwrap_err();
    assert!(error.what.contains("is not of the form"), "{error}");
    registry
        .fail(|seen| seen.is("GET", "/manifests/").then(|| Fault::Body(vec![b' '; (4 << 20) + 1].into())));
    let error = place.pull(&registry.name("app:1")).await.unwrap_err();
    assert_eq!(error.problem, Problem::TooLarge, "{error}");
}

#[tokio::test]
async fn what_breaks_off_is_gone_on_with() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 1_000_000));
    // Each try has some more; there are more of them than tries without progress would be.
    registry.fail(|seen| (seen.is("GET", "/blobs/") && seen.before < 5).then_some(Fault::Cut(150_000)));
    place.pull(&registry.name("app:1")).await.unwrap();
    let ranges: Vec<Option<String>> =
        registry.seen().into_iter().filter(|seen| seen.is("GET", "/blobs/")).map(|seen| seen.range).collect();
    assert_eq!((ranges.len(), &ranges[0]), (6, &None));
    assert!(ranges[1..].iter().all(|range| range.as_ref().unwrap().starts_with("bytes=")), "{ranges:?}");
}

#[tokio::test]
async fn a_later_fetch_goes_on_and_a_spoilt_part_is_begun_anew() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 100_000));
    let name = registry.name("app:1");
    let only_first = |seen: &super::registry::Seen| seen.is("GET", "/blobs/");
    registry.fail(move |seen| {
        only_first(seen)
            .then(|| if seen.before == 0 { Fault::Cut(50_000) } else { Fault::Status(500, vec![]) })
    });
    let error = place.pull(&name).await.unwrap_err();
    assert_eq!(error.problem, Problem::Registry, "{error}");
    let parts = place.files("partial");
    let have = std::fs::metadata(&parts[0]).unwrap().len();
    assert!(have > 0 && parts.len() == 1);
    registry.heal();
    registry.forget();
    // What the disk lost.
    let mut bytes = std::fs::read(&parts[0]).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&parts[0], bytes).unwrap();
    place.pull(&name).await.unwrap();
    let ranges: Vec<Option<String>> =
        registry.seen().into_iter().filter(only_first).map(|seen| seen.range).collect();
    assert_eq!(ranges, [Some(format!("bytes={have}-")), None]);
}

#[tokio::test]
async fn who_does_not_know_ranges_sends_all_of_it() {
    let (registry, place) = (Registry::start().await, Place::new());
    let content = Bytes::from(module(1, 100_000));
    registry.wasm("app:1", &content);
    registry.fail(move |seen| {
        let fault = || if seen.before == 0 { Fault::Cut(50_000) } else { Fault::Body(content.clone()) };
        seen.is("GET", "/blobs/").then(fault)
    });
    assert!(place.pull(&registry.name("app:1")).await.is_ok());
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 100));
    registry.fail(|seen| {
        let busy =
            || Fault::Status(if seen.before == 0 { 429 } else { 503 }, vec![("retry-after", "3600".into())]);
        (seen.before < 2).then(busy)
    });
    assert!(place.pull(&registry.name("app:1")).await.is_ok());
    registry.fail(|seen| seen.is("GET", "/manifests/").then(|| Fault::Status(429, vec![])));
    registry.forget();
    let error = place.pull(&registry.name("app:2")).await.unwrap_err();
    assert!(error.what.ends_with("answers 429 Too Many Requests (tried 3 times)"), "{error}");
    assert_eq!(registry.asked().len(), 3);
}

#[tokio::test]
async fn a_registry_that_stalls_is_not_waited_for() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 100_000));
    registry.fail(|seen| (seen.is("GET", "/blobs/") && seen.before == 0).then_some(Fault::Stall(50_000)));
    assert!(place.pull(&registry.name("app:1")).await.is_ok());
    let options = ClientOptions { blob: Duration::from_millis(500), ..quick() };
    let place = Place::with(options, StoreOptions::default());
    registry.fail(|seen| seen.is("GET", "/blobs/").then_some(Fault::Stall(1)));
    let error = place.pull(&registry.name("app:1")).await.unwrap_err();
    assert_eq!(error.problem, Problem::Registry, "{error}");
}

#[tokio::test]
async fn sizes_are_limited_before_anything_is_sent() {
    let options =
        StoreOptions { artifact_bytes_max: 1000, layers_bytes_max: 2000, ..StoreOptions::default() };
    let (registry, place) = (Registry::start().await, Place::with(quick(), options));
    registry.wasm("most:1", &module(1, 1000));
    registry.wasm("large:1", &module(1, 1001));
    assert!(place.pull(&registry.name("most:1")).await.is_ok());
    registry.forget();
    let error = place.pull(&registry.name("large:1")).await.unwrap_err();
    assert_eq!(error.problem, Problem::TooLarge, "{error}");
    assert!(error.what.ends_with("it has 1001 bytes, and an artifact may have 1000"), "{error}");
    assert_eq!(registry.asked().len(), 1, "the manifest only");
    let mut layer = registry.blob(vec![0; 2001]);
    layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
    registry.document("image:1", MANIFEST, &json!({"config": layer, "layers": [layer]}));
    let error = place.pull(&registry.name("image:1")).await.unwrap_err();
    assert!(error.what.ends_with("it has 2001 bytes, and an image may have 2000"), "{error}");
}

#[tokio::test]
async fn what_is_no_webassembly_is_not_kept() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", b"#!/bin/sh\n");
    let error = place.pull(&registry.name("app:1")).await.unwrap_err();
    assert_eq!(error.problem, Problem::Unusable, "{error}");
    assert!(place.files("blobs/sha256").is_empty());
}

#[tokio::test]
async fn a_spoilt_file_of_the_store_is_fetched_anew() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 1000));
    let name = registry.name("app:1");
    let artifact = place.pull(&name).await.unwrap();
    std::fs::remove_file(&artifact.path).unwrap();
    std::fs::write(&artifact.path, module(2, 1000)).unwrap();
    let error = place.fetch(&name, Policy::Never).await.unwrap_err();
    assert_eq!(error.problem, Problem::Request, "{error}");
    let again = place.pull(&name).await.unwrap();
    assert_eq!(std::fs::read(&again.path).unwrap(), module(1, 1000));
    // The same content in another file is read, and right.
    std::fs::remove_file(&again.path).unwrap();
    std::fs::write(&again.path, module(1, 1000)).unwrap();
    assert!(place.fetch(&name, Policy::Never).await.is_ok());
}

#[tokio::test]
async fn a_fetch_that_is_given_up_leaves_room_for_the_next() {
    let (registry, place) = (Registry::start().await, Place::new());
    registry.wasm("app:1", &module(1, 100_000));
    registry.fail(|seen| (seen.is("GET", "/blobs/") && seen.before == 0).then_some(Fault::Stall(50_000)));
    let name = registry.name("app:1");
    {
        let fetch = place.pull(&name);
        let begun = async {
            while !registry.asked().iter().any(|asked| asked.contains("/blobs/")) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            result = fetch => panic!("it was stalled: {result:?}"),
            () = begun => {}
        }
    }
    let within = Duration::from_secs(20);
    tokio::time::timeout(within, place.pull(&name)).await.expect("in time").unwrap();
}
