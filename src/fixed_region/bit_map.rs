//! Bits of pages.

use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A bit for each page of a region, in the region.
///
/// Atomics, because a word holds bits of pages that different threads have. Relaxed: the region's
/// lock orders one owner of a page after another.
pub(super) struct BitMap {
    words: NonNull<AtomicU64>,
    count: usize,
}

impl BitMap {
    /// # Safety
    ///
    /// There is room for `count` words at `words`, which nobody else uses while the map lives.
    pub(super) unsafe fn new(words: NonNull<AtomicU64>, count: usize, fill: u64) -> BitMap {
        for index in 0..count {
            // SAFETY: the caller's promise.
            unsafe { words.add(index).write(AtomicU64::new(fill)) };
        }
        BitMap { words, count }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `new` wrote so many words, which are the map's for as long as it lives.
        unsafe { core::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }

    pub(super) fn is_set(&self, page: usize) -> bool {
        self.words()[page / 64].load(Relaxed) & (1 << (page % 64)) != 0
    }

    pub(super) fn set(&self, first: usize, count: usize) {
        parts(first, count).for_each(|(word, mask)| {
            self.words()[word].fetch_or(mask, Relaxed);
        });
    }

    pub(super) fn unset(&self, first: usize, count: usize) {
        parts(first, count).for_each(|(word, mask)| {
            self.words()[word].fetch_and(!mask, Relaxed);
        });
    }

    pub(super) fn first_set(&self, first: usize, count: usize) -> Option<usize> {
        parts(first, count).find_map(|(word, mask)| {
            let set = self.words()[word].load(Relaxed) & mask;
            (set != 0).then(|| word * 64 + set.trailing_zeros() as usize)
        })
    }

    pub(super) fn last_set(&self, first: usize, count: usize) -> Option<usize> {
        let last = |(word, mask): (usize, u64)| {
            let set = self.words()[word].load(Relaxed) & mask;
            set.checked_ilog2().map(|bit| word * 64 + bit as usize)
        };
        parts(first, count).filter_map(last).last()
    }
}

/// The words that bits from `first` on lie in, each with a mask of them.
pub(super) fn parts(first: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = first + count;
    (first / 64..end.div_ceil(64)).filter_map(move |word| {
        let low = first.saturating_sub(word * 64).min(64);
        let high = (end - word * 64).min(64);
        (high > low).then(|| (word, (u64::MAX >> (64 - (high - low))) << low))
    })
}
