//! What lies unused in the cache of a thread that is at work.
//!
//! A thread's demand moves on: sizes drift, a phase ends. The blocks of classes that it asks for no
//! more stay in its cache, and each may be the last of its page. A reclaim takes whole caches, of
//! threads that do nothing. So once in a period of decay the owner looks at its own bins, on a slow
//! path: one that did not come by since the last look, and holds as many blocks as then, gives these
//! back to their slabs, and at the next look what it borrowed. The fast path counts nothing for this.
//! A bin that is used without ever coming by may be taken for stale, which costs it one refill.

use core::sync::atomic::Ordering::Relaxed;

use super::{LockedCache, Magazines, ThreadCache};
use crate::page_source::PageSource;
use crate::size_class::{CLASS_COUNT, SizeClass};

const WORD_BITS: usize = u64::BITS as usize;

/// What stands for no time at all.
const NEVER_LOOKED: u64 = 0;

/// What a cache remembers of the last look, under its lock.
#[derive(Debug)]
pub(super) struct LastLook {
    /// A bit for each class whose bin came by the slow path since.
    came_by: [u64; CLASS_COUNT.div_ceil(WORD_BITS)],
    /// The length that each bin had, cut to eight bits.
    lengths: [u8; CLASS_COUNT],
}

impl LastLook {
    pub(super) const fn new() -> Self {
        LastLook { came_by: [0; CLASS_COUNT.div_ceil(WORD_BITS)], lengths: [0; CLASS_COUNT] }
    }

    /// Notes that a bin came by the slow path.
    pub(super) fn note(&mut self, class: SizeClass) {
        self.came_by[class.index() / WORD_BITS] |= 1 << (class.index() % WORD_BITS);
    }

    /// Whether a bin came by since the last look; from here on it has not.
    fn take(&mut self, class: SizeClass) -> bool {
        let (word, bit) = (class.index() / WORD_BITS, 1 << (class.index() % WORD_BITS));
        let came_by = self.came_by[word] & bit != 0;
        self.came_by[word] &= !bit;
        came_by
    }
}

impl ThreadCache {
    /// Whether the owner, who is on a slow path, should look for what it does not use: once in
    /// `pause`, and not at its first call, when there is nothing yet.
    #[inline]
    pub(crate) fn is_look_due(&self, now: u64, pause: u64) -> bool {
        let looked_at = self.looked_at.load(Relaxed);
        let is_first = looked_at == NEVER_LOOKED;
        let is_time = now >= looked_at.saturating_add(pause);
        if is_first || is_time {
            // Relaxed, and no exchange: only the owner looks.
            self.looked_at.store(now, Relaxed);
        }
        is_time && !is_first
    }
}

impl LockedCache<'_> {
    /// Hands what lies in unused bins to `flush`; called by the owner. Answers the bytes.
    #[cold]
    #[inline(never)]
    pub(crate) fn give_up_stale<S: PageSource>(
        &mut self,
        magazines: &Magazines<'_, S>,
        mut flush: impl FnMut(SizeClass, &mut [*mut u8]),
    ) -> usize {
        let mut flushed_bytes = 0;
        for class in SizeClass::all() {
            let len = self.cache.bin(class).len();
            let last = &mut self.state.last_look;
            let came_by = last.take(class);
            let seen = core::mem::replace(&mut last.lengths[class.index()], len as u8);
            if came_by || seen != len as u8 {
                continue;
            }
            if len == 0 {
                self.return_capacity(class, magazines);
            }
            self.flush(class, len, |blocks| flush(class, blocks));
            self.state.last_look.lengths[class.index()] = 0;
            flushed_bytes += len * class.block_bytes();
        }
        flushed_bytes
    }

    /// Gives back what an empty bin borrowed.
    fn return_capacity<S: PageSource>(&mut self, class: SizeClass, magazines: &Magazines<'_, S>) {
        let bin = self.cache.bin(class);
        let bytes = bin.capacity() * class.block_bytes();
        self.release_magazine(bin, magazines);
        self.cache.borrowed_bytes.fetch_sub(bytes, Relaxed);
        magazines.budget.return_bytes(bytes);
    }
}
