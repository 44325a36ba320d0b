//! A component calls both drafts through the linker, on both engines.

use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};

use super::super::{KeyValueView, Stores, add_to_linker};
use super::run;
use crate::capability::testing::{engines, grant};

/// Opens the store `main` and adds 5 to `hits`. Gives the sum, or -1 minus the number of the error of `open`.
const COUNTER: &str = r#"
(component
  (import "wasi:keyvalue/store@VERSION" (instance $store
    (export "bucket" (type $bucket (sub resource)))
    (type $variant (variant (case "no-such-store") (case "access-denied") (case "other" string)))
    (export "error" (type $error (eq $variant)))
    (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))))
  (alias export $store "bucket" (type $bucket))
  (alias export $store "error" (type $error))
  (import "wasi:keyvalue/atomics@VERSION" (instance $atomics
    (alias outer 1 $bucket (type $outer-bucket))
    (export "bucket" (type $b (eq $outer-bucket)))
    (alias outer 1 $error (type $outer-error))
    (export "error" (type $e (eq $outer-error)))
    (export "increment" (func
      (param "bucket" (borrow $b)) (param "key" string) (param "delta" INTEGER)
      (result (result INTEGER (error $e)))))))
  (core module $libc
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.set $next (i32.add (global.get $next) (local.get 3)))
      (i32.sub (global.get $next) (local.get 3))))
  (core instance $libc (instantiate $libc))
  (core func $open (canon lower (func $store "open")
    (memory $libc "memory") (realloc (func $libc "realloc"))))
  (core func $increment (canon lower (func $atomics "increment")
    (memory $libc "memory") (realloc (func $libc "realloc"))))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "host" "open" (func $open (param i32 i32 i32)))
    (import "host" "increment" (func $increment (param i32 i32 i32 i64 i32)))
    (data (i32.const 0) "mainhits")
    (func (export "run") (result i64)
      (call $open (i32.const 0) (i32.const 4) (i32.const 16))
      (if (i32.load8_u (i32.const 16))
        (then (return (i64.sub (i64.const -1) (i64.extend_i32_u (i32.load8_u (i32.const 20)))))))
      (call $increment (i32.load (i32.const 20)) (i32.const 4) (i32.const 4) (i64.const 5) (i32.const 32))
      (if (i32.load8_u (i32.const 32)) (then unreachable))
      (i64.load (i32.const 40))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance (export "open" (func $open)) (export "increment" (func $increment))))))
  (func (export "run") (result s64) (canon lift (core func $main "run"))))
"#;

struct State<'a> {
    stores: &'a Stores,
    table: ResourceTable,
}

/// Runs the component once in a fresh instance.
fn count(engine: &wasmtime::Engine, version: &str, integer: &str, stores: &'static Stores) -> i64 {
    let text = COUNTER.replace("VERSION", version).replace("INTEGER", integer);
    let component = Component::new(engine, text).expect("the component compiles");
    let mut linker = Linker::<State<'static>>::new(engine);
    add_to_linker(&mut linker, |state| KeyValueView { stores: state.stores, table: &mut state.table })
        .expect("both drafts link");
    let mut store = Store::new(engine, State { stores, table: ResourceTable::new() });
    run(async {
        let instance = linker.instantiate_async(&mut store, &component).await.expect("an instance");
        let function = instance.get_typed_func::<(), (i64,)>(&mut store, "run").expect("the export");
        function.call_async(&mut store, ()).await.expect("it runs").0
    })
}

#[test]
fn components_of_both_drafts_count_in_one_store_on_both_engines() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.db");
    for path in [None, Some(file.as_path())] {
        let stores = Stores::open(&[grant("main", path)]).expect("the store opens");
        // The state of a component lives as long as its engine likes.
        let stores: &'static Stores = Box::leak(Box::new(stores));
        let mut sums = Vec::new();
        for engine in engines() {
            sums.push(count(&engine, "0.2.0-draft", "u64", stores));
            sums.push(count(&engine, "0.2.0-draft2", "s64", stores));
        }
        assert_eq!(sums, [5, 10, 15, 20]);
    }
}

#[test]
fn a_component_whose_store_is_not_granted_gets_no_such_store() {
    let stores: &'static Stores =
        Box::leak(Box::new(Stores::open(&[grant("other", None)]).expect("it opens")));
    for engine in engines() {
        assert_eq!(count(&engine, "0.2.0-draft", "u64", stores), -1);
        assert_eq!(count(&engine, "0.2.0-draft2", "s64", stores), -1);
    }
}
