//! Which pages of this process hold memory of their own: `/proc/self/pagemap`.
#![allow(unsafe_code, reason = "an ioctl that the standard library does not have")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr;

/// The page table of this process.
#[derive(Debug)]
pub(crate) struct Pagemap {
    file: File,
    page_bytes: usize,
    scans: bool,
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
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// Regions that one call returns; a guest that wrote more places costs another call.
const REGIONS: usize = 64;

/// Bits of an entry of `/proc/self/pagemap`.
const ENTRY_FILE: u64 = 1 << 61;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_PRESENT: u64 = 1 << 63;

/// Entries that are read at once: those of 2 MiB.
const ENTRIES: usize = 512;

impl Pagemap {
    /// Opens the page table, to be scanned where the kernel can do that, else to be read.
    pub(crate) fn open() -> Option<Self> {
        let pagemap = Self::open_to_read()?;
        // An empty range is scanned by every kernel that can (Linux 6.7 and later).
        let scans = pagemap.scan(0..0, &mut |_| {}).is_ok();
        Some(Self { scans, ..pagemap })
    }

    /// Opens the page table, to be read entry by entry.
    pub(crate) fn open_to_read() -> Option<Self> {
        let file = File::open("/proc/self/pagemap").ok()?;
        Some(Self { file, page_bytes: rustix::param::page_size(), scans: false })
    }

    /// Whether the kernel scans it; else it is read entry by entry.
    pub(crate) fn scans(&self) -> bool {
        self.scans
    }

    /// Calls `each` with every range of pages in `range` (whole pages, by address) that holds memory of its
    /// own: neither untouched nor a page of a file. A page that is swapped out counts, and one that the kernel
    /// is just moving, which it shows as swapped out.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(crate) fn owned(&self, range: Range<usize>, mut each: impl FnMut(Range<usize>)) -> io::Result<()> {
        if self.scans { self.scan(range, &mut each) } else { self.read(range, &mut each) }
    }

    fn scan(&self, range: Range<usize>, each: &mut dyn FnMut(Range<usize>)) -> io::Result<()> {
        let mut regions = [PageRegion::default(); REGIONS];
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            start: range.start as u64,
            end: range.end as u64,
            regions: regions.as_mut_ptr() as u64,
            regions_len: REGIONS as u64,
            category_inverted: PAGE_IS_FILE | PAGE_IS_PFNZERO,
            category_mask: PAGE_IS_FILE | PAGE_IS_PFNZERO,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            ..ScanArgument::default()
        };
        loop {
            // SAFETY: the argument has the size it states, and the kernel writes at most `regions_len` regions
            // to an array of that length; both outlive the call.
            let found = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut argument) };
            let found = usize::try_from(found).map_err(|_| io::Error::last_os_error())?;
            for region in regions.iter().take(found) {
                // SAFETY: an entry of the array; a volatile read, for the kernel wrote it behind the compiler.
                let region = unsafe { ptr::from_ref(region).read_volatile() };
                each(region.start as usize..region.end as usize);
            }
            if found < REGIONS || argument.walk_end >= argument.end {
                return Ok(());
            }
            argument.start = argument.walk_end;
        }
    }

    fn read(&self, range: Range<usize>, each: &mut dyn FnMut(Range<usize>)) -> io::Result<()> {
        let mut entries = [0_u8; ENTRIES * 8];
        let (mut page, end) = (range.start / self.page_bytes, range.end / self.page_bytes);
        while page < end {
            let count = ENTRIES.min(end - page);
            let read = &mut entries[..count * 8];
            self.file.read_exact_at(read, page as u64 * 8)?;
            for (entry, page) in read.as_chunks::<8>().0.iter().zip(page..) {
                let entry = u64::from_ne_bytes(*entry);
                if entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0 && entry & ENTRY_FILE == 0 {
                    each(page * self.page_bytes..(page + 1) * self.page_bytes);
                }
            }
            page += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    #[test]
    fn the_ioctl_number_is_that_of_the_kernel_header() {
        assert_eq!(PAGEMAP_SCAN, 0xc060_6610);
    }

    /// `cargo nextest run -p shoal-host --run-ignored only no_page_is_missed`, as root.
    #[test]
    #[ignore = "makes the kernel compact all memory for seconds, which needs root"]
    fn no_page_is_missed_while_the_kernel_moves_them() {
        const PAGES: usize = 32_768;
        const SCANS: usize = 500;
        let page_bytes = rustix::param::page_size();
        let mut memory = vec![0_u8; (PAGES + 1) * page_bytes];
        let first = memory.as_ptr().addr().next_multiple_of(page_bytes) - memory.as_ptr().addr();
        let start = memory.as_ptr().addr() + first;
        memory[first..].iter_mut().step_by(page_bytes).for_each(|byte| *byte = 1);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    std::fs::write("/proc/sys/vm/compact_memory", "1").expect("root");
                }
            });
            for pagemap in [Pagemap::open(), Pagemap::open_to_read()] {
                let pagemap = pagemap.expect("Linux");
                for _ in 0..SCANS {
                    let mut found = 0;
                    let all = start..start + PAGES * page_bytes;
                    pagemap.owned(all, |range| found += range.len() / page_bytes).expect("the kernel tells");
                    if found != PAGES {
                        done.store(true, Relaxed);
                    }
                    assert_eq!(found, PAGES);
                }
            }
            done.store(true, Relaxed);
        });
    }
}
