//! What is thrown away, and what is not.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use shoal_node::Fetch as _;
use shoal_node::artifact::{Artifact, Collected, Policy, StoreOptions};

use super::registry::Registry;
use super::support::{Place, module, quick};

const HOUR: Duration = Duration::from_secs(3600);

/// Makes a file one that was used an hour ago.
fn age(path: &Path) {
    let file = File::open(path).expect("a file");
    file.set_modified(SystemTime::now() - HOUR).expect("its owner may");
}

async fn filled(keep_bytes: u64) -> (Registry, Place, Vec<Artifact>) {
    let options = StoreOptions { keep_bytes, ..StoreOptions::default() };
    let (registry, place) = (Registry::start().await, Place::with(quick(), options));
    let mut artifacts = Vec::new();
    for number in 0..4 {
        registry.wasm(&format!("app:{number}"), &module(number, 1000));
        artifacts.push(place.pull(&registry.name(&format!("app:{number}"))).await.unwrap());
    }
    (registry, place, artifacts)
}

#[tokio::test]
async fn what_was_used_longest_ago_goes_first() {
    let (registry, place, artifacts) = filled(2000).await;
    // The first was used last.
    place.pull(&registry.name("app:0")).await.unwrap();
    let collected = place.store.collect(&HashSet::new(), SystemTime::now() + HOUR);
    assert_eq!(collected, Collected { removed: 2, removed_bytes: 2000, kept_bytes: 2000 });
    let there: Vec<bool> = artifacts.iter().map(|artifact| artifact.path.exists()).collect();
    assert_eq!(there, [true, false, false, true]);
    assert_eq!(place.files("references").len(), 4, "each has two names");
    registry.forget();
    assert!(place.fetch(&registry.name("app:0"), Policy::Never).await.is_ok());
    assert!(place.fetch(&registry.name("app:1"), Policy::Never).await.is_err());
    assert!(place.pull(&registry.name("app:1")).await.is_ok());
}

#[tokio::test]
async fn what_is_in_use_or_was_just_now_stays() {
    let (_registry, place, artifacts) = filled(0).await;
    let collected = place.store.collect(&HashSet::new(), SystemTime::now());
    assert_eq!(collected, Collected { removed: 0, removed_bytes: 0, kept_bytes: 4000 });
    let in_use = HashSet::from([artifacts[1].digest, artifacts[2].digest]);
    let collected = place.store.collect(&in_use, SystemTime::now() + HOUR);
    assert_eq!(collected, Collected { removed: 2, removed_bytes: 2000, kept_bytes: 2000 });
    assert!(artifacts[1].path.exists() && artifacts[2].path.exists());
}

#[tokio::test]
async fn what_the_pods_of_a_node_name_stays() {
    let (registry, place, artifacts) = filled(0).await;
    let pinned = artifacts[2].id.clone();
    let named =
        [registry.name("app:1"), pinned, registry.name("app:unknown"), "file:///app.wasm".into(), "?".into()];
    let in_use = place.store.meant_by(named.iter().map(String::as_str));
    assert_eq!(in_use, HashSet::from([artifacts[1].digest, artifacts[2].digest]));
    // What was fetched a moment ago stays in any case: nothing is lost, whoever tidies.
    place.store.tidy(Vec::new()).await;
    assert!(artifacts.iter().all(|artifact| artifact.path.exists()));
    for artifact in &artifacts {
        age(&artifact.path);
    }
    place.files("references").iter().for_each(|path| age(path));
    place.store.tidy(named.to_vec()).await;
    let there: Vec<bool> = artifacts.iter().map(|artifact| artifact.path.exists()).collect();
    assert_eq!(there, [false, true, true, false]);
}

#[tokio::test]
async fn the_bound_holds_at_its_edge() {
    let (_registry, place, _) = filled(4000).await;
    assert_eq!(place.store.collect(&HashSet::new(), SystemTime::now() + HOUR).removed, 0);
    let (_registry, place, _) = filled(3999).await;
    assert_eq!(place.store.collect(&HashSet::new(), SystemTime::now() + HOUR).removed, 1);
}

#[tokio::test]
async fn leavings_go_too() {
    let (_registry, place, artifacts) = filled(10_000).await;
    std::fs::write(place.dir.path().join("partial/00"), "part").unwrap();
    std::fs::write(place.dir.path().join("references/x.json"), "{").unwrap();
    std::fs::remove_file(&artifacts[0].path).unwrap();
    place.store.collect(&HashSet::new(), SystemTime::now() + HOUR);
    assert_eq!((place.files("partial").len(), place.files("references").len()), (1, 6));
    place.store.collect(&HashSet::new(), SystemTime::now() + 25 * HOUR);
    assert!(place.files("partial").is_empty());
}
