//! The allocator of the binaries.

pub use mimalloc::MiMalloc as Allocator;

/// Gives memory that was freed back to the kernel, which [`Allocator`] does some time after. Takes up to some
/// milliseconds.
#[allow(unsafe_code, reason = "there is no safe way to ask")]
pub fn give_back() {
    // SAFETY: it may be called from any thread at any time, and touches nothing that is in use.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
