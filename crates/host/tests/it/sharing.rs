//! What workloads of one artifact share, and what they do not.

use std::path::Path;

use shoal_base::units::Bytes;
use shoal_runtime::{Grants, WorkloadSpec};

use crate::world::{World, get, spec};

/// Mappings of compiled code from this data directory in this process.
fn mapped(data: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux says it");
    let is_code =
        |line: &&str| line.contains(" r-xp ") && line.contains(data.to_str().expect("a plain path"));
    maps.lines().filter(is_code).count()
}

#[tokio::test]
async fn workloads_of_one_artifact_share_its_code_and_keep_their_grants() {
    let world = World::new();
    let of_colour = |colour: &str| {
        let config = vec![("colour".into(), colour.into())];
        WorkloadSpec { grants: Grants { config, ..Grants::default() }, ..spec("config") }
    };
    let [red, blue] = ["red", "blue"].map(|colour| world.serve(&of_colour(colour)));
    assert_eq!(mapped(world.data()), 1);
    for (invoke, colour) in [(&red, "red"), (&blue, "blue"), (&red, "red")] {
        let answer = get(invoke, "/").await.expect("an answer");
        assert!(answer.contains(colour), "{answer}");
    }
    let other = world.serve(&spec("hello"));
    assert_eq!(mapped(world.data()), 2, "another artifact has code of its own");
    drop((red, blue, other));
}

#[test]
fn code_goes_with_the_last_workload_that_has_it() {
    let world = World::new();
    let [first, second] = [(); 2].map(|()| world.serve(&spec("hello")));
    drop(first);
    assert_eq!(mapped(world.data()), 1);
    drop(second);
    assert_eq!(mapped(world.data()), 0);
    let _again = world.serve(&spec("hello"));
    assert_eq!(mapped(world.data()), 1);
}

#[test]
fn a_workload_without_room_to_rewind_has_another_form_of_the_code() {
    let world = World::new();
    let small = || {
        let mut small = spec("stateful");
        // The 17 pages that it begins with fit, the room to grow in beside them does not.
        small.limits.serving.memory = Bytes::kib(18 * 64);
        small
    };
    // Whichever comes first, each gets its own.
    let all = [small(), spec("stateful"), small(), spec("stateful")].map(|spec| world.serve(&spec));
    assert_eq!(mapped(world.data()), 2);
    drop(all);
}
