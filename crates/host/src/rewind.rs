//! Rewinding: a fresh instance for each request without making one.
//!
//! Making an instance and dropping it again costs more than most requests do, and nearly all of that is the
//! page faults, mappings and bookkeeping of things that end up just as they were. So an instance that has
//! answered is brought back to the state that it was made in: its memory page by page, its globals, the
//! size of its heap. It is kept only when it is certain that nothing else differs:
//!
//! - it ended well;
//! - no table of it was written and no segment dropped, which code that is added to it watches;
//! - it has no state of a kind that cannot be brought back (see [`NotRewindable`]).
//!
//! Else it is dropped, and the next request gets a new one. A guest cannot tell a rewound instance from a new
//! one, but for what it drew while it was made (a constructor that asks for randomness runs once for the
//! instance), and for the numbers of its handles: a handle that it left open stays taken, though the resource
//! behind it is gone. What answers under such a number is at most another resource of the same request.

mod component;
mod memory;
mod module;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc, WasmList};

pub(crate) use self::memory::PAGE_BYTES;
use self::memory::{Image, Memory};
use crate::faults::{Faults, Watch};
use crate::pagemap::Pagemap;
use crate::state::State;

/// Begins the names of what is exported in addition.
const EXPORT_PREFIX: &str = "shoal-";
const MEMORY_EXPORT: &str = "shoal-memory";

fn save_export(module: usize) -> String {
    format!("{EXPORT_PREFIX}save-{module}")
}

fn rewind_export(module: usize) -> String {
    format!("{EXPORT_PREFIX}rewind-{module}")
}

/// Why instances of a component cannot be rewound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotRewindable(String);

impl From<wasmparser::BinaryReaderError> for NotRewindable {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self(format!("it is not valid: {error}"))
    }
}

/// A component whose instances can be rewound, made of one of the outside.
///
/// # Errors
/// When that cannot be; the component is then used as it is.
pub(crate) fn rewindable(component: &[u8]) -> Result<Vec<u8>, NotRewindable> {
    component::rewritten(component)
}

/// How instances of one component are rewound.
pub(crate) struct Rewinder {
    save: Vec<ComponentExportIndex>,
    /// None for a component that rewinds itself when it is called.
    rewind: Vec<ComponentExportIndex>,
    memory: Option<ComponentExportIndex>,
    image: Image,
    pagemap: Arc<Pagemap>,
    faults: Option<Faults>,
}

/// Handles that requests may leave open in one instance before it is dropped: each stays taken.
const LEFT_OPEN_MAX: usize = 256;

/// The first state of an instance.
pub(crate) struct Mark {
    rewind: Vec<TypedFunc<(), (u32,)>>,
    memory: Option<Memory>,
    left_open: usize,
    /// The page faults before the request that it answers; none: nobody counts.
    watch: Option<Watch>,
}

impl Rewinder {
    /// How instances of a component are rewound that was made by [`rewindable`]; none for others.
    pub(crate) fn of(component: &Component, pagemap: &Arc<Pagemap>) -> Option<Self> {
        let export = |name: &str| component.get_export_index(None, name);
        let save: Vec<_> = (0..).map_while(|module| export(&save_export(module))).collect();
        let rewind = (0..).map_while(|module| export(&rewind_export(module))).collect();
        if save.is_empty() || rustix::param::page_size() != PAGE_BYTES {
            return None;
        }
        let memory = export(MEMORY_EXPORT);
        let (image, pagemap, faults) = (Image::default(), Arc::clone(pagemap), Faults::of_kernel());
        Some(Self { save, rewind, memory, image, pagemap, faults })
    }

    /// Notes the state of an instance that was just made; none when it is too large to be brought back.
    ///
    /// # Errors
    /// When the instance does not do as it was rewritten to, or the kernel refuses.
    pub(crate) async fn mark(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> wasmtime::Result<Option<Mark>> {
        for save in &self.save {
            let save: TypedFunc<(), ()> = instance.get_typed_func(&mut *store, save)?;
            save.call_async(&mut *store, ()).await?;
        }
        let rewind: wasmtime::Result<_> =
            self.rewind.iter().map(|rewind| instance.get_typed_func(&mut *store, rewind)).collect();
        let rewind = rewind?;
        let mark = |memory| Mark { rewind, memory, left_open: 0, watch: None };
        let Some(memory) = &self.memory else { return Ok(Some(mark(None))) };
        let memory: TypedFunc<(), (WasmList<u8>,)> = instance.get_typed_func(&mut *store, memory)?;
        let (memory,) = memory.call_async(&mut *store, ()).await?;
        let bytes = memory.as_le_slice(&*store);
        wasmtime::ensure!(
            bytes.as_ptr().addr().is_multiple_of(PAGE_BYTES)
                && bytes.len() == store.data().limiter.memory_bytes(),
            "the memory that was given is not the whole memory"
        );
        #[allow(unsafe_code, reason = "the wall between guests is kept up by this module")]
        // SAFETY: the store owns the instance, and whoever keeps the mark keeps it with its store and uses it
        // only between two calls.
        let memory = unsafe { Memory::mark(bytes, &self.pagemap) }?;
        Ok(memory.map(|memory| mark(Some(memory))))
    }

    /// An instance that was brought back to its mark begins to work for a request.
    pub(crate) fn begin(&self, mark: &mut Mark) {
        mark.watch = self.faults.and_then(Faults::watch);
    }

    /// Brings the instance of `store` back to its mark; false when that is not to be had.
    ///
    /// # Errors
    /// As [`Rewinder::mark`].
    pub(crate) async fn rewind(&self, store: &mut Store<State>, mark: &mut Mark) -> wasmtime::Result<bool> {
        mark.left_open += store.data_mut().forget();
        if mark.left_open > LEFT_OPEN_MAX {
            return Ok(false);
        }
        for rewind in &mark.rewind {
            if rewind.call_async(&mut *store, ()).await? != (0,) {
                return Ok(false);
            }
        }
        if let Some(memory) = &mut mark.memory {
            let without_faults =
                self.faults.zip(mark.watch.take()).is_some_and(|(faults, watch)| faults.none_since(watch));
            let bytes = store.data().limiter.memory_bytes();
            memory.rewind(bytes, without_faults, &self.image, &self.pagemap)?;
        }
        Ok(true)
    }
}
