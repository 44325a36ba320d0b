//! What no file tells and has to be tried out: how much address space there is, and what the page table tells.
#![allow(unsafe_code, reason = "reserving address space takes calls that the standard library does not have")]

use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::pagemap::Pagemap;

/// What was found by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Bits of address of user space.
    pub address_bits: u32,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// How it is found which pages were written.
    pub written_pages: WrittenPages,
}

/// How it is found which pages of its memory an instance wrote, which is what rewinding it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenPages {
    /// The kernel lists them: `PAGEMAP_SCAN`, Linux 6.7 and later.
    Scanned,
    /// `/proc/self/pagemap` is read, 8 bytes for each page of the memory.
    Read,
    /// Not at all, since there is no `/proc/self/pagemap`: nothing is rewound.
    Unknown,
}

/// No 64-bit user space is larger than this (five-level page tables).
const ADDRESS_BITS_MAX: u32 = 57;

/// Less than this is not worth searching for: a pool would not fit.
const ADDRESS_BITS_MIN: u32 = 30;

impl Tried {
    /// Tries on the running kernel.
    pub fn now() -> Self {
        let page_bytes = rustix::param::page_size();
        Self {
            address_bits: address_bits(),
            page_bytes: u32::try_from(page_bytes).unwrap_or(4096),
            written_pages: written_pages(),
        }
    }
}

fn written_pages() -> WrittenPages {
    match Pagemap::open() {
        Some(pagemap) if pagemap.scans() => WrittenPages::Scanned,
        Some(_) => WrittenPages::Read,
        None => WrittenPages::Unknown,
    }
}

/// The largest power of two that can be reserved is half of a user space that already holds a program.
/// Nothing is committed: the reservation has no access rights and is given back at once.
fn address_bits() -> u32 {
    let fits = |bits: &u32| reserve(1_usize << bits).is_some();
    let half = (ADDRESS_BITS_MIN..ADDRESS_BITS_MAX).rev().find(fits);
    half.map_or(ADDRESS_BITS_MIN, |bits| bits + 1)
}

/// A mapping that is given back when dropped.
struct Mapping {
    start: *mut core::ffi::c_void,
    bytes: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `bytes` are of a mapping that `reserve` made and nobody else knows.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

fn reserve(bytes: usize) -> Option<Mapping> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new private anonymous mapping at an address that the kernel chooses touches no memory in use.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::empty(), flags) };
    start.ok().map(|start| Mapping { start, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_some_address_space_and_pages() {
        let tried = Tried::now();
        assert!((ADDRESS_BITS_MIN..=ADDRESS_BITS_MAX).contains(&tried.address_bits), "{tried:?}");
        assert!(tried.page_bytes.is_power_of_two() && tried.page_bytes >= 4096, "{tried:?}");
    }
}
