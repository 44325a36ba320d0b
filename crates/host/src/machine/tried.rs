//! What no file tells and has to be tried out: how much address space there is, and `PAGEMAP_SCAN`.
#![allow(
    unsafe_code,
    reason = "reserving address space and an ioctl that the standard library does not have"
)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// What was found by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Bits of address of user space.
    pub address_bits: u32,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// `PAGEMAP_SCAN` exists and tells a written page from an untouched one.
    pub pagemap_scan: bool,
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
            pagemap_scan: pagemap_scan_works(page_bytes).unwrap_or(false),
        }
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
        // SAFETY: `start` and `bytes` are of a mapping that `map` made and nobody else knows.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

fn reserve(bytes: usize) -> Option<Mapping> {
    map(bytes, ProtFlags::empty())
}

fn map(bytes: usize, access: ProtFlags) -> Option<Mapping> {
    // SAFETY: a new private anonymous mapping at an address that the kernel chooses touches no memory in use.
    let start =
        unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE | MapFlags::NORESERVE) };
    start.ok().map(|start| Mapping { start, bytes })
}

/// `struct page_region` of `linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_len: u64,
    pages_max: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = (3 << 30) | ((size_of::<ScanArgument>() as u64) << 16) | ((b'f' as u64) << 8) | 16;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_PRESENT: u64 = 1 << 3;

/// Writes the second of three pages and asks the kernel which was written.
fn pagemap_scan_works(page_bytes: usize) -> Option<bool> {
    let pagemap = File::open("/proc/self/pagemap").ok()?;
    let pages = map(3 * page_bytes, ProtFlags::READ | ProtFlags::WRITE)?;
    // SAFETY: the second page lies inside the mapping, which is writable and only ours.
    unsafe { ptr::write_volatile(pages.start.cast::<u8>().add(page_bytes), 1) };
    let start = pages.start as u64;
    let mut regions = [PageRegion::default(); 3];
    let mut argument = ScanArgument {
        size: size_of::<ScanArgument>() as u64,
        start,
        end: start + 3 * page_bytes as u64,
        regions: regions.as_mut_ptr() as u64,
        regions_len: regions.len() as u64,
        category_mask: PAGE_IS_WRITTEN | PAGE_IS_PRESENT,
        return_mask: PAGE_IS_WRITTEN,
        ..ScanArgument::default()
    };
    // SAFETY: the argument has the size it states, and the kernel writes at most `regions_len` regions to an
    // array of that length; both outlive the call.
    let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut argument) };
    let second = start + page_bytes as u64;
    Some(found == 1 && regions[0].start == second && regions[0].end == second + page_bytes as u64)
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

    #[test]
    fn the_ioctl_number_is_that_of_the_kernel_header() {
        assert_eq!(PAGEMAP_SCAN, 0xc060_6610);
    }
}
