//! Pages of a slab that hold no part of a used block, given back one by one.

use core::sync::atomic::Ordering::Relaxed;

use super::{Slab, blocks_on, low_bits};
use crate::counted_source::CountedSource;
use crate::page_source::PageSource;
use crate::size_class::SlabShape;
use crate::units::PAGE_BYTES;

/// Which word of a wide slab's descriptor holds its purged pages: bitmaps of slabs of several
/// pages need the first word alone.
const PURGED_WORD: usize = 1;

impl Slab {
    /// Gives the pages of this slab that hold no part of a used block back; answers the bytes.
    ///
    /// The lock of the slab's bin is held, so nobody takes a block meanwhile.
    pub(crate) fn purge_free_pages<S: PageSource>(
        self,
        shape: &SlabShape,
        source: &CountedSource<S>,
    ) -> usize {
        if shape.pages().count() < 2 || self.free_blocks() == 0 {
            return 0;
        }
        let mut purged_bytes = 0;
        let mut page = 0;
        while page < shape.pages().count() {
            let run = (page..shape.pages().count())
                .take_while(|&page| self.is_purgeable(shape, page))
                .count();
            if run > 0 && self.purge_run(page, run, source) {
                purged_bytes += run * PAGE_BYTES;
            }
            page += run.max(1);
        }
        purged_bytes
    }

    fn purge_run<S: PageSource>(self, page: usize, run: usize, source: &CountedSource<S>) -> bool {
        // SAFETY: the run lies within the slab's pages.
        let base = unsafe { self.0.base().add(page * PAGE_BYTES) };
        let unit = source.granularity_bytes();
        if !base.addr().get().is_multiple_of(unit) || !(run * PAGE_BYTES).is_multiple_of(unit) {
            return false;
        }
        // SAFETY: no used block reaches into these pages, and under the bin's lock none comes to.
        if !unsafe { source.purge(base, run * PAGE_BYTES) } {
            return false;
        }
        let word = self.0.inline_word(PURGED_WORD);
        word.store(word.load(Relaxed) | low_bits(run) << page, Relaxed);
        source.limits().subtract_resident(run * PAGE_BYTES);
        true
    }

    /// Whether the page is resident for all that is known, and every block on it free.
    fn is_purgeable(self, shape: &SlabShape, page: usize) -> bool {
        !self.is_page_purged(shape, page)
            && blocks_on(shape, page).all(|block| self.is_block_free(block))
    }

    /// Whether the page was given back and not handed out since.
    pub(crate) fn is_page_purged(self, shape: &SlabShape, page: usize) -> bool {
        let purged = self.0.inline_word(PURGED_WORD).load(Relaxed);
        shape.pages().count() > 1 && purged & (1 << page) != 0
    }

    /// Bytes of this slab's pages that were given back and not handed out since.
    pub(crate) fn purged_bytes(self, shape: &SlabShape) -> usize {
        if shape.pages().count() < 2 {
            return 0;
        }
        self.0.inline_word(PURGED_WORD).load(Relaxed).count_ones() as usize * PAGE_BYTES
    }

    /// Notes that the pages under blocks just taken will be touched.
    pub(super) fn note_touched(self, shape: &SlabShape, blocks: &[*mut u8]) {
        let word = self.0.inline_word(PURGED_WORD);
        let mut purged = word.load(Relaxed);
        if purged == 0 {
            return;
        }
        for block in blocks {
            let offset = block.addr() - self.0.base().addr().get();
            let first = offset / PAGE_BYTES;
            let last = (offset + shape.block_bytes as usize - 1) / PAGE_BYTES;
            purged &= !(low_bits(last + 1 - first) << first);
        }
        word.store(purged, Relaxed);
    }
}
