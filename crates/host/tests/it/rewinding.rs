//! Instances that answer one request after another, and what the next one finds.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use shoal_base::units::Bytes;
use shoal_runtime::{Failure, FailureKind, Instances, Invoke, WorkloadSpec};

use crate::world::{World, get, spec};

/// A workload of `stateful` whose instances come from where `instances` says.
fn stateful(instances: Instances) -> WorkloadSpec {
    WorkloadSpec { instances, ..spec("stateful") }
}

/// The answer to a request, when its instance has come to rest.
async fn answer(world: &World, invoke: &Arc<dyn Invoke>, path: &str) -> Result<String, Failure> {
    let answer = get(invoke, path).await;
    world.idle().await;
    answer
}

/// How many instances were made, and how many were taken from those at rest.
fn made_and_taken(world: &World) -> (u64, u64) {
    let count = |from: &str| world.metric(&format!("shoal_instances_total{{from=\"{from}\"}}"));
    (count("new"), count("rest"))
}

#[tokio::test]
async fn an_instance_answers_as_many_requests_as_reuse_grants() {
    let world = World::new();
    let invoke = world.serve(&stateful(Instances::Reused(NonZeroU32::new(3).expect("three"))));
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(answer(&world, &invoke, "/").await.expect("an answer"));
    }
    let expected = [0, 1, 2, 0, 1, 2].map(|before| format!("{before} requests before this one"));
    assert_eq!(answers, expected);
    assert_eq!(made_and_taken(&world), (2, 4));
}

#[tokio::test]
async fn whatever_a_request_does_the_next_finds_a_new_instance() {
    let world = World::new();
    let new = world.serve(&stateful(Instances::New));
    let rewound = world.serve(&stateful(Instances::Rewound));
    let digest = answer(&world, &new, "/memory").await.expect("an answer");
    for path in
        ["/", "/grow?1", "/grow?40", "/scribble?10", "/scribble?3000", "/leak", "/end", "/scribble?30"]
    {
        for _ in 0..3 {
            // An answer, or a failure: what counts is what the next request finds.
            let _ = answer(&world, &rewound, path).await;
            assert_eq!(
                answer(&world, &rewound, "/memory").await.expect("an answer"),
                digest,
                "the memory after {path}"
            );
            assert_eq!(
                answer(&world, &rewound, "/pages").await.expect("an answer"),
                "17",
                "its size after {path}"
            );
            let visits = answer(&world, &rewound, "/").await.expect("an answer");
            assert_eq!(visits, "0 requests before this one", "after {path}");
        }
    }
}

#[tokio::test]
async fn an_instance_is_rewound_unless_it_failed() {
    let world = World::new();
    let invoke = world.serve(&stateful(Instances::Rewound));
    let steps = [
        ("/", (1, 0)),
        ("/grow?8", (1, 1)),
        ("/leak", (1, 2)),
        ("/", (1, 3)),
        ("/end", (1, 4)),
        ("/", (2, 4)),
    ];
    for (path, instances) in steps {
        let _ = answer(&world, &invoke, path).await;
        assert_eq!(made_and_taken(&world), instances, "instances made and taken after {path}");
    }
}

#[tokio::test]
async fn an_instance_that_leaves_handles_open_is_rewound_a_limited_number_of_times() {
    const LEFT_OPEN_MAX: u64 = 256;
    let world = World::new();
    let invoke = world.serve(&stateful(Instances::Rewound));
    for _ in 0..LEFT_OPEN_MAX + 1 {
        answer(&world, &invoke, "/leak").await.expect("an answer");
    }
    assert_eq!(made_and_taken(&world), (1, LEFT_OPEN_MAX), "one handle for each of them was left open");
    answer(&world, &invoke, "/leak").await.expect("an answer");
    assert_eq!(made_and_taken(&world), (2, LEFT_OPEN_MAX));
}

#[tokio::test]
async fn every_request_gets_a_new_instance_where_that_is_asked_for() {
    let world = World::new();
    let invoke = world.serve(&stateful(Instances::New));
    for _ in 0..3 {
        answer(&world, &invoke, "/").await.expect("an answer");
    }
    assert_eq!(made_and_taken(&world), (3, 0));
}

#[tokio::test]
async fn a_memory_limit_without_room_beyond_what_the_guest_needs_is_kept() {
    let world = World::new();
    let mut small = stateful(Instances::Rewound);
    // A page more than the 17 that the guest begins with, and fewer than it has room for.
    small.limits.serving.memory = Bytes::kib(18 * 64);
    let invoke = world.serve(&small);
    assert_eq!(answer(&world, &invoke, "/").await.expect("an answer"), "0 requests before this one");
    let failure = answer(&world, &invoke, "/grow?4").await.expect_err("too much");
    assert_eq!(failure.kind, FailureKind::Memory);
}

#[tokio::test]
async fn instances_at_rest_give_way_to_requests_that_need_their_slots() {
    const SLOTS: u32 = 18;
    /// What one workload may have of them.
    const SHARE: u32 = 16;
    let world = World::with_slots(SLOTS);
    let resting: Vec<_> = (0..SLOTS / 2).map(|_| world.serve(&stateful(Instances::Rewound))).collect();
    for invoke in &resting {
        answer(&world, invoke, "/").await.expect("an answer");
    }
    let mut waiting = spec("hostile");
    waiting.limits.serving.timeout = Some(Duration::from_millis(300));
    let waiting = world.serve(&waiting);
    let failures = join_all((0..SHARE).map(|_| get(&waiting, "/never"))).await;
    for failure in failures {
        assert_eq!(failure.expect_err("it never answers").kind, FailureKind::Deadline);
    }
}

#[tokio::test]
async fn real_guests_of_every_toolchain_are_rewound() {
    let world = World::new();
    let names = [
        "hello",
        "hello-small",
        "hello-c",
        "hello-cpp",
        "hello-zig",
        "hello-assemblyscript",
        "hello-wat",
        "echo",
    ];
    for name in names {
        let invoke = world.serve(&spec(name));
        let before = made_and_taken(&world);
        let first = answer(&world, &invoke, "/").await.expect("an answer");
        for _ in 0..3 {
            assert_eq!(answer(&world, &invoke, "/").await.expect("an answer"), first, "{name}");
        }
        let after = made_and_taken(&world);
        assert_eq!((after.0 - before.0, after.1 - before.1), (1, 3), "instances of {name} made and taken");
    }
}
