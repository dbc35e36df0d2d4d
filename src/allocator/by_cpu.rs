//! Blocks by way of the CPU caches, where threads are too many for caches of their own.
//!
//! ```text
//! alloc ── the thread's bin may hold none ── the processor's stack ── a batch from a bin
//!       └─ it is empty ───────────────────── as many as it wants from there, or from a bin
//! free ─── the thread's bin may hold none ── the processor's stack ── half of it to a depot
//!       └─ it is full ────────────────────── its oldest half to there, the rest to a depot
//! ```

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::Allocator;
use super::small::ArenaClosed;
use crate::arena::{BinContext, Refill};
use crate::cpu_caches::BATCH_MAX;
use crate::os::restartable;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::slab::Slab;

/// Caches in use for each arena that may be open beyond which they are a crowd; or sooner, where the
/// budget leaves no share of use to each.
const CROWD_PER_ARENA: usize = 16;

/// Other arenas tried where somebody has the bin that a refill or a flush is for.
const OTHER_ARENAS: usize = 3;

impl<S: PageSource> Allocator<S> {
    /// A block from the processor's cache, for a bin that would have to borrow first and cannot.
    ///
    /// Before the thread's own cache is opened, for there is nothing in it.
    #[inline]
    pub(super) fn take_unlent(&self, class: SizeClass) -> Option<NonNull<u8>> {
        if self.budget.has_left(class.block_bytes()) {
            return None;
        }
        self.cpu_caches.take_one(class)
    }

    /// Puts a block into the processor's cache, for a bin as above; `false` where there is no room.
    #[inline]
    pub(super) fn put_unlent(&self, class: SizeClass, block: NonNull<u8>) -> bool {
        !self.budget.has_left(class.block_bytes()) && self.put_to_cpu(class, &[block.as_ptr()]) == 1
    }

    /// A block by way of the processor's cache, which is filled from the bin where it is empty.
    pub(super) fn take_one_by_cpu(
        &self,
        context: &BinContext<'_, S>,
    ) -> Result<Option<NonNull<u8>>, ArenaClosed> {
        let class = context.class;
        if let Some(block) = self.cpu_caches.take_one(class) {
            return Ok(Some(block));
        }
        self.grow_cpu_cache(class);
        let mut blocks = [core::ptr::null_mut(); BATCH_MAX];
        let wanted = self.cpu_caches.batch(class).max(1);
        match self.refill_from(context, &mut blocks[..wanted]) {
            Refill::Got { count, .. } => {
                let rest = &mut blocks[1..count];
                // So that the lowest comes out first.
                rest.reverse();
                self.flush_by_cpu(class, rest);
                Ok(NonNull::new(blocks[0]))
            }
            Refill::Refused => Ok(None),
            Refill::Closed => Err(ArenaClosed),
        }
    }

    /// Fills a thread's bin from the processor's cache, or from the bin of its arena.
    pub(super) fn refill_by_cpu(
        &self,
        context: &BinContext<'_, S>,
        into: &mut [*mut u8],
    ) -> Refill {
        let count = self.cpu_caches.take(context.class, into);
        if count > 0 {
            return Refill::Got { count, contended: false };
        }
        self.grow_cpu_cache(context.class);
        self.refill_from(context, into)
    }

    /// Puts a block into the processor's cache, half of which goes to a depot where it is full.
    pub(super) fn put_one_by_cpu(&self, class: SizeClass, block: NonNull<u8>) {
        let mut blocks = [core::ptr::null_mut(); BATCH_MAX + 1];
        blocks[0] = block.as_ptr();
        if self.cpu_caches.batch(class) == 0 {
            self.grow_cpu_cache(class);
        }
        if self.put_to_cpu(class, &blocks[..1]) == 1 {
            return;
        }
        // One that must not go there makes no room there either.
        if self.is_any_sealed(class, &blocks[..1]) {
            return self.put_back_one(class, block);
        }
        let half = self.cpu_caches.batch(class);
        match self.cpu_caches.take(class, &mut blocks[1..=half]) {
            0 if self.budget.is_crowded() => self.flush(class, &mut blocks[..1]),
            0 => self.put_back_one(class, block),
            count => self.flush(class, &mut blocks[..=count]),
        }
    }

    /// Gives blocks of one class to the processor's cache as far as that has room, or else up to a
    /// depot or their slabs.
    pub(super) fn flush_by_cpu(&self, class: SizeClass, blocks: &mut [*mut u8]) {
        let count = self.put_to_cpu(class, blocks);
        self.flush(class, &mut blocks[count..]);
    }

    fn put_to_cpu(&self, class: SizeClass, blocks: &[*mut u8]) -> usize {
        if self.is_any_sealed(class, blocks) {
            return 0;
        }
        // SAFETY: free blocks of this class that their users or a thread's bin gave up.
        unsafe { self.cpu_caches.put(class, blocks) }
    }

    fn is_any_sealed(&self, class: SizeClass, blocks: &[*mut u8]) -> bool {
        let is_sealed = |block: &*mut u8| self.slab_of(*block, class).is_ok_and(Slab::is_sealed);
        // Relaxed: who seals slabs drained the caches before, and those at work may miss it.
        self.has_seals.load(Relaxed) && blocks.iter().any(is_sealed)
    }

    #[inline]
    fn grow_cpu_cache(&self, class: SizeClass) {
        if !self.budget.is_crowded() {
            return;
        }
        if restartable::is_available() {
            self.cpu_caches.grow(class, &self.magazines());
        } else {
            // Nothing is to be kept for caches that there will never be.
            self.budget.set_crowd(0);
        }
    }

    /// Lets processors have caches from here on, once threads are many for the arenas there may be.
    ///
    /// Whether they can is found out then: most programs never come to that, and it takes a look at
    /// pages that nobody else needs.
    pub(crate) fn use_cpu_caches(&self) {
        if restartable::announce() {
            self.budget.set_crowd(self.arenas.cap().saturating_mul(CROWD_PER_ARENA));
        }
    }

    /// Blocks from the bin of an arena, or of another one where somebody has that and no policy was
    /// set: he may have lost the processor, and this thread needs not wait till he has it again.
    pub(super) fn refill_from(&self, context: &BinContext<'_, S>, into: &mut [*mut u8]) -> Refill {
        if self.policy_set().is_some() {
            return context.refill(into);
        }
        if let Some(refill) = context.try_refill(into) {
            return refill;
        }
        let got = self.other_bins(context).find_map(|bin| match bin.try_refill_now(into) {
            Some(got @ Refill::Got { .. }) => Some(got),
            _ => None,
        });
        let refill = got.or_else(|| context.refill_unless_stalled(into));
        refill.unwrap_or_else(|| self.refill_apart(context, into))
    }

    /// Blocks from slabs that nobody has listed yet, where the bins that were tried are all kept.
    #[cold]
    fn refill_apart(&self, context: &BinContext<'_, S>, into: &mut [*mut u8]) -> Refill {
        // The first arena does not close.
        let count = self.bin(0, context.class).map_or(0, |first| first.refill_apart(into));
        if count == 0 { context.refill(into) } else { Refill::Got { count, contended: true } }
    }

    /// The same class in some other arenas.
    fn other_bins(&self, context: &BinContext<'_, S>) -> impl Iterator<Item = BinContext<'_, S>> {
        let (arena, class, open) = (context.arena, context.class, self.arenas.open());
        (1..open.min(OTHER_ARENAS + 1))
            .filter_map(move |step| self.bin((arena + step) % open, class))
    }

    /// Stocks the depot of an arena, or of another one, as in [`refill_from`](Self::refill_from);
    /// `false` where there is no room.
    pub(super) fn stock_in(
        &self,
        context: &BinContext<'_, S>,
        blocks: &[*mut u8],
        mut is_sealed: impl FnMut(&*mut u8) -> bool,
    ) -> bool {
        if self.policy_set().is_some() {
            return context.stock(blocks, is_sealed);
        }
        if let Some(is_stocked) = context.try_stock(blocks, &mut is_sealed) {
            return is_stocked;
        }
        let mut others = self.other_bins(context);
        others.any(|bin| bin.try_stock_now(blocks, &mut is_sealed))
            || context.stock(blocks, is_sealed)
    }

    /// Puts what is in the CPU caches back into the slabs; answers the bytes.
    pub(crate) fn drain_cpu_caches(&self) -> usize {
        self.cpu_caches.drain(&self.budget, |class, blocks| self.put_back(class, blocks))
    }

    /// Puts what nobody touched there for a period back; answers whether another may find more.
    pub(crate) fn settle_cpu_caches(&self) -> bool {
        self.cpu_caches.settle(&self.budget, |class, blocks| self.put_back(class, blocks))
    }
}
