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
