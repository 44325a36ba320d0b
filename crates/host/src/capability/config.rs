//! `wasi:config`: named values, fixed for the life of the workload.
//!
//! The interface has had four names with one and the same shape; guests of each are served.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use self::generated::wasi::config::store::Error;

#[allow(missing_docs, unreachable_pub, dead_code, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({ path: "../../wit", world: "wasi:config/imports@0.2.0-rc.1" });
}

/// The names under which guests import the interface: the release candidate (Wasmtime, wasmCloud 2), the draft
/// before it, the draft that Spin's SDKs froze, and the first name (wasmCloud 1).
pub(crate) const INTERFACES: [&str; 4] = [
    "wasi:config/store@0.2.0-rc.1",
    "wasi:config/store@0.2.0-draft",
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "wasi:config/runtime@0.2.0-draft",
];

/// What a call of `wasi:config` works on.
#[derive(Clone, Copy)]
pub(crate) struct ConfigView<'a> {
    /// The granted values, in the order of the grants; of two with one name the later counts.
    pub(crate) values: &'a [(String, String)],
}

impl ConfigView<'_> {
    fn get(self, key: &str) -> Option<String> {
        self.values.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }

    /// Each name once, in the order of the grants.
    fn all(self) -> Vec<(String, String)> {
        let is_last =
            |index: usize, name: &str| !self.values[index + 1..].iter().any(|(later, _)| later == name);
        let pairs = self.values.iter().enumerate();
        pairs.filter(|(index, (name, _))| is_last(*index, name)).map(|(_, pair)| pair.clone()).collect()
    }
}

type Answer<R> = wasmtime::Result<(Result<R, Error>,)>;

/// Links `wasi:config` under every name in [`INTERFACES`].
///
/// # Errors
/// When one of them is linked already.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> ConfigView<'_>,
) -> wasmtime::Result<()> {
    for interface in INTERFACES {
        let mut instance = linker.instance(interface)?;
        instance.func_wrap(
            "get",
            move |mut store: StoreContextMut<'_, T>, (key,): (String,)| -> Answer<Option<String>> {
                Ok((Ok(get(store.data_mut()).get(&key)),))
            },
        )?;
        instance.func_wrap(
            "get-all",
            move |mut store: StoreContextMut<'_, T>, (): ()| -> Answer<Vec<(String, String)>> {
                Ok((Ok(get(store.data_mut()).all()),))
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wasmtime::Store;
    use wasmtime::component::Component;

    use super::*;
    use crate::capability::testing::engines;

    /// Gives the first byte of the value of `mode`, -1 when it is absent, -2 on an error; and the number of values.
    const READER: &str = r#"
    (component
      (import "INTERFACE" (instance $config
        (type $variant (variant (case "upstream" string) (case "io" string)))
        (export "error" (type $error (eq $variant)))
        (export "get" (func (param "key" string) (result (result (option string) (error $error)))))
        (export "get-all" (func (result (result (list (tuple string string)) (error $error)))))))
      (core module $libc
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
          (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
          (i32.sub (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
      (core instance $libc (instantiate $libc))
      (core func $get (canon lower (func $config "get") (memory $libc "memory") (realloc (func $libc "realloc"))))
      (core func $all (canon lower (func $config "get-all") (memory $libc "memory") (realloc (func $libc "realloc"))))
      (core module $main
        (import "libc" "memory" (memory 1))
        (import "host" "get" (func $get (param i32 i32 i32)))
        (import "host" "all" (func $all (param i32)))
        (data (i32.const 0) "mode")
        (func (export "mode") (result i32)
          (call $get (i32.const 0) (i32.const 4) (i32.const 16))
          (if (i32.load8_u (i32.const 16)) (then (return (i32.const -2))))
          (if (i32.eqz (i32.load8_u (i32.const 20))) (then (return (i32.const -1))))
          (i32.load8_u (i32.load (i32.const 24))))
        (func (export "count") (result i32)
          (call $all (i32.const 32))
          (if (i32.load8_u (i32.const 32)) (then (return (i32.const -2))))
          (i32.load (i32.const 40))))
      (core instance $main (instantiate $main
        (with "libc" (instance $libc))
        (with "host" (instance (export "get" (func $get)) (export "all" (func $all))))))
      (func (export "mode") (result s32) (canon lift (core func $main "mode")))
      (func (export "count") (result s32) (canon lift (core func $main "count"))))
    "#;

    type Values = Vec<(String, String)>;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn read(engine: &wasmtime::Engine, interface: &str, values: Values) -> (i32, i32) {
        let component = Component::new(engine, READER.replace("INTERFACE", interface)).expect("it compiles");
        let mut linker = Linker::<Values>::new(engine);
        add_to_linker(&mut linker, |values| ConfigView { values }).expect("all names link");
        let mut store = Store::new(engine, values);
        let instance = linker.instantiate(&mut store, &component).expect("an instance");
        let mut call = |name: &str| {
            let function = instance.get_typed_func::<(), (i32,)>(&mut store, name).expect("the export");
            function.call(&mut store, ()).expect("it runs").0
        };
        (call("mode"), call("count"))
    }

    #[test]
    fn components_of_every_name_read_what_was_granted_on_both_engines() {
        for engine in engines() {
            for interface in INTERFACES {
                let granted = values(&[("mode", "x"), ("other", "1")]);
                assert_eq!(read(&engine, interface, granted), (i32::from(b'x'), 2), "{interface}");
                assert_eq!(read(&engine, interface, values(&[])), (-1, 0), "{interface}");
            }
        }
    }

    #[test]
    fn without_the_grant_the_component_cannot_be_linked() {
        for engine in engines() {
            let component =
                Component::new(&engine, READER.replace("INTERFACE", INTERFACES[0])).expect("it compiles");
            let error = Linker::<()>::new(&engine)
                .instantiate_pre(&component)
                .map(drop)
                .expect_err("nothing is linked");
            assert!(format!("{error:?}").contains(INTERFACES[0]), "{error:?}");
        }
    }

    #[test]
    fn of_two_values_with_one_name_the_later_counts() {
        let granted = values(&[("a", "1"), ("b", "2"), ("a", "3")]);
        let view = ConfigView { values: &granted };
        assert_eq!(view.get("a").as_deref(), Some("3"));
        assert_eq!(view.get("A"), None);
        assert_eq!(view.all(), values(&[("b", "2"), ("a", "3")]));
    }
}
