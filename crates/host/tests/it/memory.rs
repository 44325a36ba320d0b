//! What all guests share: memory, and instances of the pools.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use shoal_base::units::Bytes;
use shoal_host::pool::PoolWish;
use shoal_runtime::{
    Answer, Body, CommandExit, Failure, FailureKind, Instances, Invoke, Workload, WorkloadSpec,
};

use crate::world::{World, call, endless, get, request, spec};

/// A host whose guests may have this much together.
fn world(memory_total: Bytes) -> World {
    World::with_pool(PoolWish {
        slots_max: Some(64),
        memory_total: Some(memory_total),
        ..PoolWish::default()
    })
}

/// What guests are charged now.
fn charged(world: &World) -> u64 {
    world.metric("shoal_guest_memory_bytes")
}

/// A request that holds its instance.
async fn hold(invoke: &Arc<dyn Invoke>) -> Answer {
    invoke.invoke(request("POST", "/", endless()), call()).await
}

/// As many of them as there is room for, and what the next one was told.
async fn fill(invoke: &Arc<dyn Invoke>) -> (Vec<http::Response<Body>>, Failure) {
    let mut held = Vec::new();
    loop {
        assert!(held.len() < 64, "there is no end");
        match hold(invoke).await {
            Ok(answer) => held.push(answer),
            Err(failure) => return (held, failure),
        }
    }
}

#[tokio::test]
async fn instances_are_made_as_long_as_all_together_have_room() {
    for name in ["echo", "echo-p3"] {
        let world = world(Bytes::mib(16));
        let invoke = world.serve(&spec(name));
        let (held, failure) = fill(&invoke).await;
        assert_eq!(failure.kind, FailureKind::Overloaded, "{name}: {failure}");
        assert!(failure.reason.contains("most of the 16MiB of memory"), "{name}: {failure}");
        assert!(failure.reason.contains("(--total-memory)"), "{name}: {failure}");
        // Each has its stack of 512 KiB and begins with 17 pages of 64 KiB.
        assert!((5..=10).contains(&held.len()), "{name}: {} fit", held.len());
        assert!(charged(&world) > Bytes::mib(12).0, "{name}");
        let other = world.serve(&spec("hello-c"));
        assert!(get(&other, "/").await.is_ok(), "{name}: others have the rest");
        drop(held);
        world.idle().await;
        let (held, _) = fill(&invoke).await;
        assert!((5..=10).contains(&held.len()), "{name}: what was given back can be had again");
    }
}

#[tokio::test]
async fn a_guest_may_grow_as_long_as_all_together_have_room() {
    let world = world(Bytes::mib(32));
    let echo = world.serve(&spec("echo"));
    let hostile = world.serve(&spec("hostile"));
    let pages = async || -> usize {
        let answer = get(&hostile, "/memory").await.expect("an answer");
        answer.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number")
    };
    let alone = pages().await;
    world.idle().await;
    assert!((400..512).contains(&alone), "{alone} pages of 64 KiB beside a stack and what it began with");
    assert_eq!(pages().await, alone, "what came to rest gives way");
    world.idle().await;
    // They need more than what was left.
    let held = join_all((0..5).map(|_| hold(&echo))).await;
    let beside = pages().await;
    assert!(beside < alone, "{beside}");
    drop(held);
    world.idle().await;
    assert_eq!(pages().await, alone);
    assert!(world.metric("shoal_guest_memory_refused_total") >= 4);
}

#[tokio::test]
async fn a_guest_that_takes_what_others_need_gives_up_and_says_so() {
    let world = world(Bytes::mib(32));
    let echo = world.serve(&spec("echo"));
    let stateful = world.serve(&spec("stateful"));
    let held = join_all((0..5).map(|_| hold(&echo))).await;
    let failure = get(&stateful, "/grow?24").await.expect_err("there is no room");
    assert_eq!(failure.kind, FailureKind::Memory, "{failure}");
    let told = "all guests together would have more than 32MiB of memory (--total-memory)";
    assert!(failure.reason.contains(told), "{failure}");
    drop(held);
    world.idle().await;
    assert!(get(&stateful, "/grow?24").await.is_ok(), "nobody else needs it now");
    world.idle().await;
    let failure = get(&stateful, "/grow?33").await.expect_err("there never is room");
    assert!(failure.reason.contains("of memory that one workload may have (--total-memory)"), "{failure}");
}

#[tokio::test]
async fn a_guest_that_could_never_start_is_told_so() {
    let world = world(Bytes::mib(1));
    for name in ["hello", "hello-p3"] {
        let invoke = world.serve(&spec(name));
        let failure = get(&invoke, "/").await.expect_err("it begins with 1,088 KiB");
        assert_eq!(failure.kind, FailureKind::Memory, "{failure}");
        assert!(failure.reason.contains("(--total-memory)"), "{failure}");
    }
    let Ok(Workload::Command(command)) = world.load(&spec("cli")) else { panic!("it is a command") };
    let CommandExit::Failed(failure) = command.run(Arc::default()).await else { panic!("there is no room") };
    assert_eq!(failure.kind, FailureKind::Memory, "{failure}");
    assert_eq!(charged(&world), 0, "nothing is left");
}

/// What this process has in memory of its own.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// A command that has the host hold 2,000 header lists of 60,000 bytes for it, and then stays.
const HOARDER: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $http
    (export "fields" (type $fields (sub resource)))
    (type $error (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $header-error (eq $error)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]fields.append" (func (param "self" (borrow $fields)) (param "name" string)
      (param "value" (list u8)) (result (result (error $header-error)))))))
  (core module $memory (memory (export "memory") 2))
  (core instance $memory (instantiate $memory))
  (core func $new (canon lower (func $http "[constructor]fields")))
  (core func $append (canon lower (func $http "[method]fields.append") (memory $memory "memory")))
  (core module $m
    (import "host" "new" (func $new (result i32)))
    (import "host" "append" (func $append (param i32 i32 i32 i32 i32 i32)))
    (import "memory" "memory" (memory 2))
    (data (i32.const 100) "x-hoard")
    (func (export "run") (result i32)
      (local $left i32)
      (local.set $left (i32.const 2000))
      (memory.fill (i32.const 1000) (i32.const 97) (i32.const 60000))
      (loop $more
        (call $append (call $new) (i32.const 100) (i32.const 7) (i32.const 1000) (i32.const 60000) (i32.const 0))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if $more (local.get $left)))
      (loop $stay (br $stay))
      i32.const 0))
  (core instance $i (instantiate $m
    (with "host" (instance (export "new" (func $new)) (export "append" (func $append))))
    (with "memory" (instance $memory))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))"#;

#[tokio::test]
async fn what_guests_make_the_host_hold_ends_them_before_the_process() {
    let bound = resident_bytes() + Bytes::mib(256).0;
    let world = World::with_pool(PoolWish { memory_process: Some(Bytes(bound)), ..PoolWish::default() });
    let hello = world.serve(&spec("hello"));
    let artifact = world.data().join("hoarder.wat");
    std::fs::write(&artifact, HOARDER).expect("written");
    let mut hoarder = WorkloadSpec { artifact, ..spec("hoarder") };
    hoarder.limits.command.cpu_time = Some(Duration::from_millis(500));
    let runs = (0..8).map(|_| match world.load(&hoarder) {
        Ok(Workload::Command(command)) => command.run(Arc::default()),
        Ok(Workload::Http(_)) => panic!("it is a command"),
        Err(refusal) => panic!("{refusal}"),
    });
    let ends = join_all(runs.collect::<Vec<_>>()).await;
    let mut ended = 0;
    for end in &ends {
        match end {
            CommandExit::Failed(failure) if failure.kind == FailureKind::CpuTime => {}
            CommandExit::Failed(failure) if failure.kind == FailureKind::Memory => {
                assert!(failure.reason.contains("the process has more than"), "{failure}");
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(ended >= 4, "two of eight have room, and {ended} were ended");
    // What they had reaches the kernel some time later.
    for _ in 0..200 {
        if get(&hello, "/").await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("there is no room again: {:?}", get(&hello, "/").await);
}

#[tokio::test]
async fn a_workload_leaves_instances_to_others() {
    for (name, other) in [("echo", "hello"), ("echo-p3", "hello-p3")] {
        let world = World::with_slots(18);
        let invoke = world.serve(&spec(name));
        let (held, failure) = fill(&invoke).await;
        assert_eq!(held.len(), 16, "{name}: eight times the two that are left");
        assert_eq!(failure.kind, FailureKind::Overloaded, "{name}: {failure}");
        assert!(failure.reason.contains("most of the 18 instances of the pool"), "{name}: {failure}");
        let other = world.serve(&spec(other));
        assert_eq!(get(&other, "/").await.as_deref(), Ok("Hello from Shoal\n"), "{name}");
    }
}

#[tokio::test]
async fn a_full_process_takes_no_request_and_gives_it_back() {
    for name in ["hello", "hello-p3"] {
        let world = World::with_pool(PoolWish { memory_process: Some(Bytes(1)), ..PoolWish::default() });
        let invoke = world.serve(&spec(name));
        let call = call();
        let account = Arc::clone(&call.account);
        let failure = invoke.invoke(request("GET", "/", Body::empty()), call).await.expect_err("it is full");
        assert_eq!(failure.kind, FailureKind::Overloaded, "{failure}");
        assert!(account.take_back().is_some(), "another node may have room");
    }
}

/// What is charged no more has to be gone: otherwise the next guests come on top of it.
#[tokio::test]
async fn what_a_guest_wrote_is_given_back_when_it_ends() {
    let world = World::with_slots(64);
    let invoke = world.serve(&WorkloadSpec { instances: Instances::New, ..spec("stateful") });
    get(&invoke, "/").await.expect("an answer");
    world.idle().await;
    let before = resident_bytes();
    for _ in 0..8 {
        get(&invoke, "/grow?64").await.expect("an answer");
        world.idle().await;
    }
    let left = resident_bytes().saturating_sub(before);
    assert!(left < Bytes::mib(16).0, "{left} bytes are left of eight guests with 64 MiB");
    let hostile = world.serve(&spec("hostile"));
    let before = resident_bytes();
    for failure in join_all((0..32).map(|_| get(&hostile, "/recurse"))).await {
        failure.expect_err("no stack is deep enough");
    }
    let left = resident_bytes().saturating_sub(before);
    assert!(left < Bytes::mib(8).0, "{left} bytes are left of 32 stacks of 512 KiB");
}
