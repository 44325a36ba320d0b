//! Bringing a linear memory back to what it was.
//!
//! The kernel says which pages were written. Those that requests write again and again are restored in place
//! from a copy of what they were; the others are given back to the kernel, which restores them from the
//! component's image when they are touched.
#![allow(unsafe_code, reason = "restoring a guest's memory is the purpose of this module")]

use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::{PoisonError, RwLock};

use rustix::mm::{Advice, madvise};

use crate::pagemap::Pagemap;

/// Bytes of a page; where pages are larger nothing is rewound.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Pages of one instance that are restored in place: 4 MiB. An interpreter writes one or two per request.
const PAGES_KEPT_MAX: usize = 1024;

type Page = [u8; PAGE_BYTES];

/// The linear memory of one instance, all of it within the limits of its slot.
#[derive(Debug)]
pub(super) struct Memory {
    start: *mut u8,
    bytes: usize,
    /// Pages that differ from the image since the instance was made, with what they hold.
    own: Vec<(usize, Box<Page>)>,
    /// Bytes of it of which the kernel makes huge pages only at a page fault, never by itself.
    plain_bytes: usize,
    known: Option<Known>,
}

/// The pages that hold memory of their own, as long as there is no page fault.
#[derive(Debug)]
struct Known {
    bytes: usize,
    pages: Vec<Range<usize>>,
}

// SAFETY: the memory belongs to the instance beside it, and is touched only while that does not run.
unsafe impl Send for Memory {}

/// What the pages are that instances of one component write, as the image has them.
#[derive(Debug, Default)]
pub(super) struct Image(RwLock<Vec<(usize, Content)>>);

#[derive(Debug)]
enum Content {
    Zeros,
    Bytes(Box<Page>),
}

impl Memory {
    /// The memory of an instance that was just made, as it is now. None where too much of it was written.
    ///
    /// # Safety
    /// `memory` is the whole linear memory of an instance that outlives the result and does not run while a
    /// method of it does.
    pub(super) unsafe fn mark(memory: &[u8], pagemap: &Pagemap) -> io::Result<Option<Self>> {
        let start = ptr::with_exposed_provenance_mut::<u8>(memory.as_ptr().expose_provenance());
        let mut marked = Self { start, bytes: memory.len(), own: Vec::new(), plain_bytes: 0, known: None };
        let written = marked.written(pagemap)?;
        if written.iter().map(ExactSizeIterator::len).sum::<usize>() > PAGES_KEPT_MAX {
            return Ok(None);
        }
        let before: Vec<_> =
            written.iter().cloned().flatten().map(|page| (page, marked.copy(page))).collect();
        written.iter().try_for_each(|pages| marked.give_back(pages))?;
        for (page, content) in before {
            if *marked.copy(page) != *content {
                marked.restore(page, &content);
                marked.own.push((page, content));
            }
        }
        Ok(Some(marked))
    }

    /// Brings back what it was when it was marked; it has `bytes` bytes now. `without_faults`: whoever wrote to
    /// it since the last time caused no page fault.
    pub(super) fn rewind(
        &mut self,
        bytes: usize,
        without_faults: bool,
        image: &Image,
        pagemap: &Pagemap,
    ) -> io::Result<()> {
        self.bytes = self.bytes.max(bytes);
        let mut cold: Vec<Range<usize>> = Vec::new();
        let written = match self.known.take() {
            Some(known) if without_faults && known.bytes == self.bytes => known.pages,
            Some(_) | None => {
                self.make_plain();
                self.written(pagemap)?
            }
        };
        {
            let image = image.0.read().unwrap_or_else(PoisonError::into_inner);
            let (mut own, mut shared) = (self.own.iter().peekable(), image.iter().peekable());
            for page in written.iter().cloned().flatten() {
                while own.next_if(|(other, _)| *other < page).is_some() {}
                while shared.next_if(|(other, _)| *other < page).is_some() {}
                if let Some((_, content)) = own.next_if(|(other, _)| *other == page) {
                    self.restore(page, content);
                } else if let Some((_, content)) = shared.next_if(|(other, _)| *other == page) {
                    match content {
                        Content::Zeros => self.clear(page),
                        Content::Bytes(content) => self.restore(page, content),
                    }
                } else {
                    match cold.last_mut() {
                        Some(last) if last.end == page => last.end += 1,
                        _ => cold.push(page..page + 1),
                    }
                }
            }
        }
        if !cold.is_empty() {
            return self.chill(&cold, image);
        }
        if self.plain_bytes == self.bytes {
            self.known = Some(Known { bytes: self.bytes, pages: written });
        }
        Ok(())
    }

    /// Sees to it that no page of it becomes memory of its own but by a page fault: without this the kernel may
    /// join pages to a huge one at any time.
    fn make_plain(&mut self) {
        if self.plain_bytes < self.bytes {
            // SAFETY: the range is the memory; what it holds does not change.
            let made = unsafe { madvise(self.start.cast(), self.bytes, Advice::LinuxNoHugepage) };
            self.plain_bytes = if made.is_ok() { self.bytes } else { 0 };
        }
    }

    /// Gives pages back, and learns what they are for the next time.
    #[cold]
    fn chill(&self, cold: &[Range<usize>], image: &Image) -> io::Result<()> {
        cold.iter().try_for_each(|pages| self.give_back(pages))?;
        for (page, content) in &self.own {
            if cold.iter().any(|pages| pages.contains(page)) {
                self.restore(*page, content);
            }
        }
        let mut known = image.0.write().unwrap_or_else(PoisonError::into_inner);
        for page in cold.iter().cloned().flatten() {
            if known.len() >= PAGES_KEPT_MAX {
                break;
            }
            let is_own = self.own.binary_search_by_key(&page, |(page, _)| *page).is_ok();
            if let (false, Err(place)) = (is_own, known.binary_search_by_key(&page, |(page, _)| *page)) {
                let bytes = self.copy(page);
                let content =
                    if bytes.iter().all(|byte| *byte == 0) { Content::Zeros } else { Content::Bytes(bytes) };
                known.insert(place, (page, content));
            }
        }
        Ok(())
    }

    /// Pages that hold memory of their own, by number, ascending.
    fn written(&self, pagemap: &Pagemap) -> io::Result<Vec<Range<usize>>> {
        let first = self.start as usize;
        let mut written = Vec::new();
        pagemap.owned(first..first + self.bytes, |range| {
            written.push((range.start - first) / PAGE_BYTES..(range.end - first) / PAGE_BYTES);
        })?;
        Ok(written)
    }

    fn page(&self, page: usize) -> *mut Page {
        assert!((page + 1) * PAGE_BYTES <= self.bytes, "a page of this memory");
        // SAFETY: within the memory, as was just checked.
        unsafe { self.start.add(page * PAGE_BYTES).cast() }
    }

    fn copy(&self, page: usize) -> Box<Page> {
        let mut content = Box::new([0; PAGE_BYTES]);
        // SAFETY: the page lies in the memory, which is readable and which nobody writes now.
        unsafe { ptr::copy_nonoverlapping(self.page(page), &raw mut *content, 1) };
        content
    }

    fn restore(&self, page: usize, content: &Page) {
        // SAFETY: the page lies in the memory, which is writable and which nobody else touches now.
        unsafe { ptr::copy_nonoverlapping(content, self.page(page), 1) };
    }

    fn clear(&self, page: usize) {
        // SAFETY: as in `restore`.
        unsafe { ptr::write_bytes(self.page(page), 0, 1) };
    }

    fn give_back(&self, pages: &Range<usize>) -> io::Result<()> {
        if pages.is_empty() {
            return Ok(());
        }
        let (first, last) = (self.page(pages.start), self.page(pages.end - 1));
        let bytes = last as usize - first as usize + PAGE_BYTES;
        // SAFETY: the pages lie in the memory, a private mapping whose untouched state is the image's.
        unsafe { madvise(first.cast(), bytes, Advice::LinuxDontNeed) }.map_err(io::Error::from)
    }
}
