//! A region's pages: chosen, cleared, given back, and held still for a fork.

use core::ptr::NonNull;

use super::{FixedRegion, LONG_BYTES, Records};
use crate::page_source::PageSource;
use crate::roster::Member;
use crate::units::PAGE_BYTES;

impl Member for Records {
    fn prepare_fork(&self) {
        self.mapped_pages.hold_for_fork();
    }

    unsafe fn finish_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.mapped_pages.release_after_fork() };
    }
}

// SAFETY: pages are handed out while their bits say that nobody has them, under the lock; they lie
// in memory that is the region's, at the alignment asked for, and what is not known to read as zero
// is cleared first. Nothing is ever purged.
unsafe impl PageSource for FixedRegion {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let records = self.records();
        let pages = bytes.div_ceil(PAGE_BYTES);
        let first = {
            let mut mapped_pages = records.mapped_pages.lock();
            let first = match bytes >= LONG_BYTES {
                true => records.find_from_front(pages, align),
                false => records.find_from_back(pages, align),
            }?;
            records.mapped.set(first, pages);
            *mapped_pages += pages;
            first
        };
        // SAFETY: the pages lie in the region, and their bits say that they are ours.
        unsafe {
            records.clear(first, pages);
            Some(records.base.add(first * PAGE_BYTES))
        }
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        let records = self.records();
        let (first, pages) = (records.page_of(base), bytes.div_ceil(PAGE_BYTES));
        let mut mapped_pages = records.mapped_pages.lock();
        records.mapped.unset(first, pages);
        *mapped_pages -= pages;
    }

    unsafe fn purge(&self, _base: NonNull<u8>, _bytes: usize) -> bool {
        false
    }

    unsafe fn remap(
        &self,
        base: NonNull<u8>,
        old_bytes: usize,
        new_bytes: usize,
    ) -> Option<NonNull<u8>> {
        let records = self.records();
        let [old_pages, new_pages] = [old_bytes, new_bytes].map(|bytes| bytes.div_ceil(PAGE_BYTES));
        let (end, more) = (records.page_of(base) + old_pages, new_pages.saturating_sub(old_pages));
        {
            let mut mapped_pages = records.mapped_pages.lock();
            if more > records.pages - end || records.mapped.last_set(end, more).is_some() {
                return None;
            }
            let fewer = old_pages.saturating_sub(new_pages);
            records.mapped.set(end, more);
            records.mapped.unset(end - fewer, fewer);
            *mapped_pages = *mapped_pages + more - fewer;
        }
        // SAFETY: the pages behind lie in the region, and their bits say that they are ours.
        unsafe { records.clear(end, more) };
        Some(base)
    }
}

impl Records {
    fn page_of(&self, base: NonNull<u8>) -> usize {
        (base.addr().get() - self.base.addr().get()) / PAGE_BYTES
    }

    /// The first pages at a multiple of `align` bytes, of so many that nobody has.
    fn find_from_front(&self, pages: usize, align: usize) -> Option<usize> {
        let mut first = self.aligned_from(0, align)?;
        while first.checked_add(pages)? <= self.pages {
            match self.mapped.last_set(first, pages) {
                Some(taken) => first = self.aligned_from(taken + 1, align)?,
                None => return Some(first),
            }
        }
        None
    }

    /// The last pages at a multiple of `align` bytes, of so many that nobody has.
    fn find_from_back(&self, pages: usize, align: usize) -> Option<usize> {
        let mut end = self.pages;
        loop {
            let first = self.aligned_to(end.checked_sub(pages)?, align)?;
            match self.mapped.first_set(first, pages) {
                Some(taken) => end = taken,
                None => return Some(first),
            }
        }
    }

    /// The first aligned page from this one on.
    fn aligned_from(&self, page: usize, align: usize) -> Option<usize> {
        let address = self.base.addr().get().checked_add(page.checked_mul(PAGE_BYTES)?)?;
        let aligned = address.checked_next_multiple_of(align)?;
        Some((aligned - self.base.addr().get()) / PAGE_BYTES)
    }

    /// The last aligned page up to this one.
    fn aligned_to(&self, page: usize, align: usize) -> Option<usize> {
        let address = self.base.addr().get() + page * PAGE_BYTES;
        let aligned = address & !(align - 1);
        Some(aligned.checked_sub(self.base.addr().get())? / PAGE_BYTES)
    }

    /// Makes pages read as zero, where they are not known to, for whoever writes to them next.
    ///
    /// # Safety
    ///
    /// The pages lie in the region and are mapped for the caller, who alone uses them.
    unsafe fn clear(&self, first: usize, pages: usize) {
        for page in first..first + pages {
            if !self.zeroed.is_set(page) {
                // SAFETY: the caller's promise.
                unsafe { self.base.add(page * PAGE_BYTES).write_bytes(0, PAGE_BYTES) };
            }
        }
        self.zeroed.unset(first, pages);
    }
}
