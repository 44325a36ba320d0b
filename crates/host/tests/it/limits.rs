//! Limits that a guest meets exactly where they are.

use std::sync::Arc;

use shoal_base::drain::Drain;
use shoal_base::units::Bytes;
use shoal_host::pool::PoolWish;
use shoal_host::{Host, HostConfig};
use shoal_runtime::{CommandExit, FailureKind, Limits, Quiet, Runtime, Workload, WorkloadSpec};

use crate::world::spec;

/// A host, and a place for guests that are written as text.
struct Place {
    dir: tempfile::TempDir,
    host: Host,
}

impl Place {
    fn new(stack: Bytes) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let pool = PoolWish { slots_max: Some(4), stack, ..PoolWish::default() };
        let config = HostConfig { data_dir: dir.path().join("data"), key: None, pool, drain: Drain::new() };
        Self { host: Host::new(&config).expect("a host"), dir }
    }

    /// Runs a command that is given as text.
    async fn run(&self, text: &str, limits: Limits) -> CommandExit {
        let artifact = self.dir.path().join("guest.wat");
        std::fs::write(&artifact, text).expect("a file");
        let spec = WorkloadSpec { artifact, limits: limits.into(), ..spec("guest") };
        match self.host.load(&spec, &Quiet).expect("it loads") {
            Workload::Command(command) => command.run(Arc::default()).await,
            Workload::Http(_) => panic!("it is a command"),
        }
    }
}

/// A command of WASI 0.2 whose `run` is that of its last core instance.
fn command(imports: &str, instances: &str, last: &str) -> String {
    format!(
        r#"(component {imports} {instances}
          (func $run (result (result)) (canon lift (core func ${last} "run")))
          (instance $command (export "run" (func $run)))
          (export "wasi:cli/run@0.2.0" (instance $command)))"#
    )
}

#[tokio::test]
async fn a_component_has_as_many_core_instances_as_its_limit() {
    let place = Place::new(Limits::default().stack);
    let component = |count: u32| {
        let module = r#"(core module $m (func (export "run") (result i32) i32.const 0))"#;
        let instances: String =
            (1..=count).map(|number| format!("(core instance $i{number} (instantiate $m))")).collect();
        command(module, &instances, &format!("i{count}"))
    };
    let limits = Limits { instances: 7, ..Limits::for_command() };
    assert_eq!(place.run(&component(7), limits.clone()).await, CommandExit::Code(0));
    let CommandExit::Failed(failure) = place.run(&component(8), limits).await else {
        panic!("8 instances were made");
    };
    assert_eq!(failure.kind, FailureKind::Memory, "{failure}");
    assert!(failure.reason.contains("limit of 7 core instances (--instances)"), "{failure}");
}

#[tokio::test]
async fn an_instance_holds_as_many_resources_as_its_limit() {
    let place = Place::new(Limits::default().stack);
    let component = |count: u32| {
        let imports = r#"(import "wasi:http/types@0.2.0" (instance $http
            (export "fields" (type $fields (sub resource)))
            (export "[constructor]fields" (func (result (own $fields))))))
          (core func $new (canon lower (func $http "[constructor]fields")))"#;
        let instances = format!(
            r#"(core module $m
                (import "host" "new" (func $new (result i32)))
                (func (export "run") (result i32)
                  (local $left i32)
                  (local.set $left (i32.const {count}))
                  (loop $more
                    (drop (call $new))
                    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                    (br_if $more (local.get $left)))
                  i32.const 0))
              (core instance $i (instantiate $m (with "host" (instance (export "new" (func $new))))))"#
        );
        command(imports, &instances, "i")
    };
    let limits = Limits::for_command();
    assert_eq!(place.run(&component(2048), limits.clone()).await, CommandExit::Code(0));
    let CommandExit::Failed(failure) = place.run(&component(2049), limits).await else {
        panic!("2,049 resources were made");
    };
    assert_eq!(failure.kind, FailureKind::Trap, "{failure}");
    assert!(failure.reason.contains("table"), "{failure}");
}

/// How deep a function can call itself within this stack.
async fn deepest(stack: Bytes) -> u64 {
    let place = Place::new(stack);
    let limits = Limits { stack, ..Limits::for_command() };
    let (mut fits, mut traps) = (1, stack.0 / 8);
    while traps - fits > 1 {
        let depth = (fits + traps) / 2;
        let text = format!(
            r#"(module
              (memory (export "memory") 1)
              (func $down (param $left i32) (result i32)
                (if (result i32) (local.get $left)
                  (then (i32.add (i32.const 1) (call $down (i32.sub (local.get $left) (i32.const 1)))))
                  (else (i32.const 0))))
              (func (export "_start") (drop (call $down (i32.const {depth})))))"#
        );
        match place.run(&text, limits.clone()).await {
            CommandExit::Code(0) => fits = depth,
            CommandExit::Failed(failure) if failure.reason.contains("stack") => traps = depth,
            other => panic!("{depth}: {other:?}"),
        }
    }
    fits
}

#[tokio::test]
async fn a_stack_is_as_deep_as_its_limit() {
    let (small, large) = (Bytes::kib(64), Bytes::kib(192));
    let (in_small, in_large) = (deepest(small).await, deepest(large).await);
    // The two differ by nothing but the frames that fit into what one has more.
    let frame = (large.0 - small.0) as f64 / (in_large - in_small) as f64;
    let (used, given) = (in_small as f64 * frame, small.0 as f64);
    assert!(used <= given && used > given - 1024.0, "{in_small} frames of {frame} bytes in {given}");
    assert!((8.0..200.0).contains(&frame), "{frame} bytes are no frame");
}
