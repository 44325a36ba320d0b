//! A component calls through the linker, on both engines.

use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};

use super::super::{BlobView, Stores, add_to_linker};
use super::run;
use crate::capability::testing::{engines, grant};

/// Asks whether the container `main` exists: 0 no, 1 yes, 2 refused.
const ASKER: &str = r#"
(component
  (import "wasi:blobstore/blobstore@0.2.0-draft" (instance $blobs
    (export "container-exists" (func (param "name" string) (result (result bool (error string)))))))
  (core module $libc
    (memory (export "memory") 1)
    (data (i32.const 0) "main")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (core func $exists (canon lower (func $blobs "container-exists")
    (memory $libc "memory") (realloc (func $libc "realloc"))))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "host" "exists" (func $exists (param i32 i32 i32)))
    (func (export "run") (result i32)
      (call $exists (i32.const 0) (i32.const 4) (i32.const 16))
      (if (i32.load8_u (i32.const 16)) (then (return (i32.const 2))))
      (i32.load8_u (i32.const 20))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance (export "exists" (func $exists))))))
  (func (export "run") (result s32) (canon lift (core func $main "run"))))
"#;

struct State {
    stores: Stores,
    table: ResourceTable,
}

fn ask(engine: &wasmtime::Engine, stores: Stores) -> i32 {
    let component = Component::new(engine, ASKER).expect("the component compiles");
    let mut linker = Linker::<State>::new(engine);
    add_to_linker(&mut linker, |state| BlobView { stores: &state.stores, table: &mut state.table })
        .expect("it links");
    let mut store = Store::new(engine, State { stores, table: ResourceTable::new() });
    run(async {
        let instance = linker.instantiate_async(&mut store, &component).await.expect("an instance");
        let function = instance.get_typed_func::<(), (i32,)>(&mut store, "run").expect("the export");
        function.call_async(&mut store, ()).await.expect("it runs").0
    })
}

#[test]
fn components_ask_on_both_engines() {
    let directory = tempfile::tempdir().expect("a directory");
    for engine in engines() {
        for path in [None, Some(directory.path())] {
            let stores = || Stores::open(&[grant("main", path)]).expect("the store opens");
            assert_eq!(ask(&engine, stores()), 0);
            let made = stores();
            made.find("main").expect("granted").create("main").expect("created");
            assert_eq!(ask(&engine, made), 1);
            stores().find("main").expect("granted").remove("main").ok();
        }
        assert_eq!(ask(&engine, Stores::open(&[grant("other", None)]).expect("it opens")), 2, "not granted");
    }
}

#[test]
fn without_the_grant_the_component_cannot_be_linked() {
    for engine in engines() {
        let component = Component::new(&engine, ASKER).expect("it compiles");
        let error =
            Linker::<()>::new(&engine).instantiate_pre(&component).map(drop).expect_err("nothing is linked");
        assert!(format!("{error:?}").contains("wasi:blobstore/blobstore@0.2.0-draft"), "{error:?}");
    }
}
