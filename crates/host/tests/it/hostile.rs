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
        (
            "/recurse",
            patient(),
            FailureKind::Trap,
            "stack exhausted (in hostile::recurse < hostile::recurse <",
        ),
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
async fn a_guest_that_begins_with_more_than_its_limit_is_refused_when_it_is_loaded() {
    let world = World::new();
    let refusal = |name: &str, limits: Limits| {
        let spec = shoal_runtime::WorkloadSpec { limits: limits.into(), ..spec(name) };
        world.load(&spec).err().unwrap_or_else(|| panic!("{name} is loaded"))
    };
    for (name, first) in [("hostile", "1088KiB"), ("hostile-p3", "1088KiB"), ("cli", "1088KiB")] {
        let refusal = refusal(name, Limits { memory: Bytes::kib(1087), ..patient() });
        let what = format!("`{name}` begins with {first} of memory, and its limit is 1087KiB");
        assert_eq!(refusal.what, what);
        assert!(refusal.hint.is_some_and(|hint| hint.contains("--memory")));
    }
    let refusal = refusal("hostile-table", Limits { table_elements: 0, ..patient() });
    assert!(refusal.what.contains("elements, and its limit is 0"), "{refusal}");
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

/// A guest that loops holds its core for a tick, and then for a slice at a time, however busy the machine is: the
/// CPU time of each stay is measured, and what else wants the core can only make it less.
#[tokio::test]
async fn a_looping_guest_leaves_its_core_after_a_tick_and_then_after_each_slice() {
    const TICK: Duration = Duration::from_millis(1);
    const SLICE: Duration = Duration::from_micros(200);
    const CPU_TIME: Duration = Duration::from_millis(60);
    let world = World::new();
    let invoke = hostile(&world, Limits { cpu_time: Some(CPU_TIME), ..patient() });
    let mut firsts = Vec::new();
    for _ in 0..5 {
        let mut run = invoke.invoke(request("GET", "/loop", Body::empty()), call());
        let mut stays = Vec::new();
        let answer = std::future::poll_fn(|cx| {
            let before = thread_cpu_time();
            let polled = run.as_mut().poll(cx);
            stays.push(thread_cpu_time() - before);
            polled
        });
        assert_eq!(answer.await.err().map(|failure| failure.kind), Some(FailureKind::CpuTime));
        firsts.push(stays[0]);
        // Those that are far shorter only wait for their turn.
        stays.retain(|stay| *stay > SLICE / 4);
        stays.sort_unstable();
        assert!(stays.len() >= 100, "{} slices of 60 ms", stays.len());
        let most = stays[stays.len() * 9 / 10];
        assert!(most < SLICE * 2, "{most:?} of {} stays", stays.len());
    }
    // The machine may take time from any; after the first request no tick is given, and a slice begins with making an
    // instance.
    assert!(firsts.iter().any(|first| *first < TICK * 3 / 2), "{firsts:?}");
    assert!(firsts[1..].iter().any(|first| *first < TICK * 3 / 4), "{firsts:?}");
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("not before the start of the thread")
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
