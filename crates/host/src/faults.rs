//! Page faults of the calling thread: a guest that ran without any wrote no page that was not its own before.
//!
//! A page becomes memory of a process's own only by a page fault of the thread that writes it. (The kernel may
//! also make huge pages of a region by itself; it is told not to where this matters, see `rewind/memory.rs`.)
//! Asking how many there were costs a tenth of what it costs to look through the page table.
#![allow(unsafe_code, reason = "a system call that neither the standard library nor rustix has")]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use crate::guest::Slice;

/// A kernel that counts page faults by thread, as was tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults(());

/// The page faults of a thread as an instance begins to work for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    slice: Slice,
    faults: u64,
}

/// What a thread knew of its page faults when it last asked.
#[derive(Clone, Copy)]
struct Known {
    faults: u64,
    /// Whether there had been none since it asked before.
    calm: bool,
}

thread_local! {
    static KNOWN: Cell<Known> = const { Cell::new(Known { faults: 0, calm: false }) };
}

impl Faults {
    /// None where the kernel does not count them, which some that only look like Linux do not.
    pub(crate) fn of_kernel() -> Option<Self> {
        static COUNTED: OnceLock<Option<Faults>> = OnceLock::new();
        *COUNTED.get_or_init(Self::try_out)
    }

    fn try_out() -> Option<Self> {
        let page_bytes = rustix::param::page_size();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let program = std::fs::File::open("/proc/self/exe").ok()?;
        // SAFETY: new private mappings, one page each, at addresses that the kernel chooses.
        let pages = unsafe {
            [
                mmap_anonymous(ptr::null_mut(), page_bytes, access, MapFlags::PRIVATE).ok()?,
                mmap(ptr::null_mut(), page_bytes, access, MapFlags::PRIVATE, &program, 0).ok()?,
            ]
        };
        let counts = pages.into_iter().all(|page| {
            let page = page.cast::<u8>();
            // SAFETY: the first byte of a mapping that is readable and writable and known to nobody else.
            let byte = unsafe { page.read_volatile() };
            let before = faults();
            // SAFETY: as above.
            unsafe { page.write_volatile(byte) };
            faults().zip(before).is_some_and(|(after, before)| after > before)
        });
        for page in pages {
            // SAFETY: mapped above, and nobody uses it any more.
            let _ = unsafe { munmap(page, page_bytes) };
        }
        counts.then_some(Self(()))
    }

    /// An instance begins to work; none where no guest is being run.
    pub(crate) fn watch(self) -> Option<Watch> {
        let slice = Slice::now()?;
        let known = KNOWN.get();
        // On a calm thread the last answer still holds, and an older one errs on the safe side.
        let faults = if known.calm { known.faults } else { faults()? };
        Some(Watch { slice, faults })
    }

    /// Whether the thread had no page fault since, and the guest did not leave it meanwhile.
    pub(crate) fn none_since(self, watch: Watch) -> bool {
        let Some(faults) = faults() else { return false };
        let calm = faults == watch.faults;
        KNOWN.set(Known { faults, calm });
        calm && Slice::now() == Some(watch.slice)
    }
}

/// Page faults of this thread since it began; none where the kernel refuses to tell.
fn faults() -> Option<u64> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills the structure, which is valid whatever it holds.
    let (told, usage) = unsafe {
        let told = libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        (told, usage.assume_init())
    };
    (told == 0).then(|| (usage.ru_minflt as u64).wrapping_add(usage.ru_majflt as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::in_slice;
    use crate::ticker::TICK;

    /// Touches memory for the first time.
    fn touch() {
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert_eq!(memory.len(), 64 << 20);
    }

    #[test]
    fn linux_counts_them() {
        assert!(Faults::of_kernel().is_some());
        let before = faults();
        touch();
        assert!(faults() > before);
    }

    #[test]
    fn nothing_is_said_outside_of_guests() {
        assert!(Faults::of_kernel().expect("Linux").watch().is_none());
    }

    #[test]
    fn a_fault_or_another_slice_is_seen_and_calm_is_too() {
        let faults = Faults::of_kernel().expect("Linux");
        let none_in = |work: fn()| {
            let watched = in_slice(TICK, || {
                let watch = faults.watch().expect("a guest runs");
                work();
                (watch, faults.none_since(watch))
            });
            watched.0
        };
        // What the test itself needs is touched in its first rounds.
        assert!((0..100).any(|_| none_in(|| {}).1), "calm");
        assert!(!none_in(touch).1, "a fault");
        let (earlier, _) = none_in(|| {});
        let (calm, _) = in_slice(TICK, || faults.none_since(earlier));
        assert!(!calm, "the guest left its core meanwhile");
        assert!(!faults.none_since(earlier), "no guest runs");
    }
}
