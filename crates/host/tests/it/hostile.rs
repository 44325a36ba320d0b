//! Guests that misbehave: each harms its own request only, and the failure says why.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use shoal_base::drain::Drained;
use shoal_base::units::Bytes;
use shoal_runtime::{Body, BodyError, FailureKind, Invoke, Limits};

use crate::world::{Lines, World, call, get, request, spec};

fn hostile(world: &World, limits: Limits) -> Arc<dyn Invoke> {
    world.serve(&shoal_runtime::WorkloadSpec { limits: limits.into(), ..spec("hostile") })
}

/// Limits of time that no guest reaches that ends or is stopped for another reason, however loaded the machine is.
fn patient() -> Limits {
    let long = Some(Duration::from_secs(600));
    Limits { cpu_time: long, timeout: long, memory: Bytes::mib(16), ..Limits::default() }
}

fn little_cpu_time() -> Limits {
    Limits { cpu_time: Some(Duration::from_millis(50)), ..patient() }
}

fn short_deadline() -> Limits {
    Limits { timeout: Some(Duration::from_millis(300)), ..patient() }
}

#[tokio::test]
async fn each_hostile_guest_fails_with_its_own_kind_and_the_next_request_is_served() {
    let world = World::new();
    let neighbour = world.serve(&spec("hello"));
    for (path, limits, kind, reason) in [
        ("/loop", little_cpu_time(), FailureKind::CpuTime, "CPU time of 50ms"),
        ("/recurse", patient(), FailureKind::Trap, "stack"),
        ("/trap", patient(), FailureKind::Trap, "unreachable"),
        ("/panic", patient(), FailureKind::Trap, "unreachable"),
        ("/never", short_deadline(), FailureKind::Deadline, "within 300ms"),
        ("/no-answer", patient(), FailureKind::NoAnswer, "without an answer"),
        ("/drop-body", patient(), FailureKind::NoAnswer, ""),
    ] {
        let invoke = hostile(&world, limits);
        let failure = get(&invoke, path).await.expect_err(path);
        assert_eq!(failure.kind, kind, "{path}: {failure}");
        assert!(failure.reason.contains(reason), "{path}: {failure}");
        assert_eq!(get(&neighbour, "/").await.as_deref(), Ok("Hello from Shoal\n"), "after {path}");
    }
}

/// The first answer may be on its way before the second is tried: that depends on when the guest is interrupted.
#[tokio::test]
async fn a_second_answer_fails_the_guest_and_never_reaches_the_client() {
    let lines = Lines::default();
    let _listening = lines.listen();
    let world = World::new();
    let invoke = hostile(&world, patient());
    match get(&invoke, "/twice").await {
        Ok(answer) => assert_eq!(answer, "first\n"),
        Err(failure) => assert_eq!(failure.kind, FailureKind::Trap, "{failure}"),
    }
    assert_eq!(world.drain.finish(Duration::from_secs(60)).await, Drained::Clean);
    let text = lines.text();
    assert_eq!(text.matches("kind=\"trap\"").count(), 1, "{text}");
}

#[tokio::test]
async fn memory_and_tables_stop_growing_at_their_limits() {
    let world = World::new();
    let limits = Limits { table_elements: 5_000, ..patient() };
    let invoke = hostile(&world, limits.clone());
    let call = call();
    let account = call.account.clone();
    let answer = invoke.invoke(request("GET", "/memory", Body::empty()), call).await.expect("an answer");
    answer.into_body().collect().await.expect("a body");
    let peak = account.usage().memory_bytes_peak;
    assert!((15 << 20..=16 << 20).contains(&peak), "{peak}");
    let table = world.serve(&shoal_runtime::WorkloadSpec { limits: limits.into(), ..spec("hostile-table") });
    let answer = get(&table, "/").await.expect("an answer");
    assert!(answer.contains("refused"), "{answer}");
}

#[tokio::test]
async fn a_guest_that_needs_more_than_its_limit_fails_for_want_of_memory() {
    let world = World::new();
    let invoke = hostile(&world, Limits { memory: Bytes::kib(512), ..patient() });
    let failure = get(&invoke, "/").await.expect_err("512 KiB are too little");
    assert_eq!(failure.kind, FailureKind::Memory, "{failure}");
    assert!(failure.reason.contains("limit of 512 KiB (--memory)"), "{failure}");
}

#[tokio::test]
async fn a_trap_in_the_middle_of_a_body_is_never_a_clean_end() {
    let world = World::new();
    let invoke = hostile(&world, patient());
    match invoke.invoke(request("GET", "/trap-mid-body", Body::empty()), call()).await {
        Err(failure) => assert_eq!(failure.kind, FailureKind::Trap),
        Ok(answer) => {
            let ended = answer.into_body().collect().await;
            assert!(matches!(ended, Err(BodyError::Failed(f)) if f.kind == FailureKind::Trap));
        }
    }
}

/// The guest runs on after its head until something stops it: the client learns what.
#[tokio::test]
async fn a_body_that_breaks_off_says_why() {
    let world = World::new();
    for (limits, kind) in
        [(little_cpu_time(), FailureKind::CpuTime), (short_deadline(), FailureKind::Deadline)]
    {
        let invoke = hostile(&world, limits);
        let path = if kind == FailureKind::CpuTime { "/loop-mid-body" } else { "/trickle" };
        let answer = invoke.invoke(request("GET", path, Body::empty()), call()).await.expect("a head");
        let ended = answer.into_body().collect().await;
        assert!(matches!(&ended, Err(BodyError::Failed(f)) if f.kind == kind), "{path}: {ended:?}");
    }
}

#[tokio::test]
async fn a_flood_ends_at_the_limit_of_the_response() {
    let world = World::new();
    let invoke = hostile(&world, Limits { response_body: Bytes::mib(1), ..patient() });
    let answer = invoke.invoke(request("GET", "/flood", Body::empty()), call()).await.expect("a head");
    let mut body = answer.into_body();
    let mut read = 0;
    let error = loop {
        match body.frame().await.expect("an error before the end") {
            Ok(frame) => read += frame.into_data().map_or(0, |data| data.len()),
            Err(error) => break error,
        }
    };
    assert!(read <= 1 << 20, "{read} bytes");
    assert!(matches!(error, BodyError::Failed(f) if f.kind == FailureKind::ResponseTooLarge));
}

#[tokio::test]
async fn a_client_that_goes_away_stops_its_guest() {
    let world = World::new();
    let slow = Limits { timeout: Some(Duration::from_secs(600)), cpu_time: None, ..Limits::default() };
    let invoke = hostile(&world, slow);
    let answer = invoke.invoke(request("GET", "/trickle", Body::empty()), call()).await.expect("a head");
    assert_eq!(world.drain.running(), 1, "the guest goes on after its head");
    drop(answer);
    let drained = world.drain.finish(Duration::from_secs(10)).await;
    assert_eq!(drained, Drained::Clean);
}

#[tokio::test]
async fn a_looping_guest_does_not_hold_its_core() {
    let world = World::new();
    let limits = Limits { cpu_time: Some(Duration::from_secs(600)), timeout: None, ..Limits::default() };
    let invoke = hostile(&world, limits);
    let neighbour = world.serve(&spec("hello"));
    let loops: Vec<_> =
        (0..4).map(|_| tokio::spawn(invoke.invoke(request("GET", "/loop", Body::empty()), call()))).collect();
    tokio::task::yield_now().await;
    for _ in 0..20 {
        assert_eq!(get(&neighbour, "/").await.as_deref(), Ok("Hello from Shoal\n"));
    }
    for task in loops {
        assert!(!task.is_finished(), "it loops for ever");
        task.abort();
    }
}

#[tokio::test]
async fn hostile_guests_of_wasi_0_3_fail_with_their_own_kind_too() {
    let world = World::new();
    let neighbour = world.serve(&spec("hello-p3"));
    for (path, limits, kind) in [
        ("/loop", little_cpu_time(), FailureKind::CpuTime),
        ("/loop-mid-body", little_cpu_time(), FailureKind::CpuTime),
        ("/trap", patient(), FailureKind::Trap),
        ("/trap-mid-body", patient(), FailureKind::Trap),
        ("/never", short_deadline(), FailureKind::Deadline),
        ("/error", patient(), FailureKind::GuestError),
    ] {
        let limits = limits.into();
        let invoke = world.serve(&shoal_runtime::WorkloadSpec { limits, ..spec("hostile-p3") });
        let failure = get(&invoke, path).await.expect_err(path);
        assert_eq!(failure.kind, kind, "{path}: {failure}");
        assert_eq!(get(&neighbour, "/").await.as_deref(), Ok("Hello from Shoal\n"), "after {path}");
    }
}
