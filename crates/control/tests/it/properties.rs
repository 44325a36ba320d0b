//! What holds whatever happens: slices hold each endpoint once, no garbage stays.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;
use shoal_control::controllers::endpoints::EndpointSlices;
use shoal_control::controllers::garbage::GarbageCollector;
use shoal_control::controllers::slices::ENDPOINTS_PER_SLICE_MAX;
use shoal_control::known::{CONFIG_MAP, ENDPOINT_SLICE, POD};
use shoal_control::plan::Propagation;
use shoal_control::snapshot::Snapshot as _;
use shoal_control::world::World;

use crate::support::{object, pod, world};

/// Pods that the story of slices is about.
const PODS: usize = 260;

fn address(number: usize) -> String {
    format!("10.1.{}.{}", number / 250, number % 250 + 1)
}

/// Every endpoint of every slice by its address, with whether it is ready.
fn endpoints(world: &World) -> Vec<(String, bool)> {
    let slices = world.list(&ENDPOINT_SLICE, None);
    let all = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    let mut all: Vec<(String, bool)> = all
        .map(|endpoint| {
            let address = endpoint["addresses"][0].as_str().expect("an address").to_string();
            (address, endpoint["conditions"]["ready"] == true)
        })
        .collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn slices_hold_each_endpoint_once(
        steps in prop::collection::vec(prop::collection::vec((0..PODS, any::<bool>(), any::<bool>()), 1..120), 1..6),
    ) {
        let mut world = world(EndpointSlices);
        let mut service = object("v1", "Service", "web");
        service["spec"] = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "protocol": "TCP"}]});
        world.apply(service);
        let mut model: BTreeMap<usize, bool> = BTreeMap::new();
        for step in steps {
            for (number, stays, ready) in step {
                let name = format!("p{number}");
                if stays {
                    world.apply(pod(&name, &address(number), ready));
                    model.insert(number, ready);
                } else if model.remove(&number).is_some() {
                    world.delete(&POD, "demo", &name, None);
                }
            }
            world.settle();
            let mut expected: Vec<(String, bool)> =
                model.iter().map(|(number, ready)| (address(*number), *ready)).collect();
            expected.sort();
            prop_assert_eq!(endpoints(&world), expected);
            for slice in world.list(&ENDPOINT_SLICE, None) {
                let size = slice["endpoints"].as_array().map_or(0, Vec::len);
                prop_assert!(size <= ENDPOINTS_PER_SLICE_MAX, "{}", size);
                prop_assert!(size > 0 || model.is_empty(), "an empty slice stays only alone");
            }
            prop_assert_eq!(world.settle(), "", "and nothing is left to do");
        }
    }

    #[test]
    fn no_garbage_stays(
        owners in prop::collection::vec(prop::collection::vec((0..14_usize, any::<bool>()), 0..3), 14),
        deleted in 0..14_usize,
        how in 0..3_usize,
    ) {
        let mut world = world(GarbageCollector);
        let name = |number: usize| format!("c{number}");
        for (number, owners) in owners.iter().enumerate() {
            let mut map = object("v1", "ConfigMap", &name(number));
            let references: BTreeMap<usize, bool> = owners.iter().copied().collect();
            map["metadata"]["ownerReferences"] = references
                .into_iter()
                .map(|(owner, blocks)| {
                    json!({
                        "apiVersion": "v1", "kind": "ConfigMap", "name": name(owner), "uid": name(owner),
                        "blockOwnerDeletion": blocks,
                    })
                })
                .collect();
            world.apply(map);
        }
        prop_assert_eq!(world.settle(), "", "all owners are there");
        let how = [Propagation::Background, Propagation::Foreground, Propagation::Orphan][how];
        world.delete(&CONFIG_MAP, "demo", &name(deleted), Some(how));
        world.settle();
        let left = world.list(&CONFIG_MAP, None);
        let there: BTreeSet<&str> = left.iter().map(|map| shoal_api::object::name(map)).collect();
        prop_assert!(!there.contains(name(deleted).as_str()), "what was deleted is gone");
        for map in &left {
            let shown = map.to_string();
            prop_assert!(map["metadata"]["deletionTimestamp"].is_null(), "half deleted: {shown}");
            let mut owners = shoal_api::object::owners(map);
            prop_assert!(owners.all(|owner| there.contains(owner["uid"].as_str().expect("text"))), "dangling: {shown}");
        }
        if how == Propagation::Orphan {
            prop_assert_eq!(left.len(), 13, "nothing else goes");
        }
    }
}
