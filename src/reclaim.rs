//! Reclaim: taking the caches of idle threads from outside.
//!
//! One batch hides up to [`BATCH`] caches from their owners, makes one fence on every thread, and
//! drains those whose owners were not at work at that moment; the handshake is told in
//! `thread_cache/slot.rs`. An owner that was at work keeps its cache, and meets nothing worse than
//! one call of the slow path. Owners of drained caches begin anew, with small magazines.
//!
//! The registry's lock is held while a batch is chosen, hidden and fenced, and no longer (for parked
//! caches until they are freed): threads that come, end or come back need it, and where a thousand do,
//! one of them who lost the processor with it would hold them all up. From there on each cache of the
//! batch is kept by its own lock, without which no thread frees or hands on its cache.

use crate::allocator::Allocator;
use crate::page_source::PageSource;
use crate::sync::membarrier;
use crate::thread_cache::{LockedCache, ThreadCache, ThreadSlot};

/// Caches reclaimed with one fence.
const BATCH: usize = 16;

/// Milliseconds between two reclaims for the budget's sake.
const BUDGET_PAUSE_MILLISECONDS: u64 = 4;

/// Milliseconds after which a thread that did not come by counts as idle, and its cache as there for
/// others to take: longer than a busy thread waits for a processor, as a rule.
pub(crate) const IDLE_MILLISECONDS: u64 = 100;

/// The same for a thread that is at work without a pause, and can do more with what others only keep
/// for the time when they get a processor again.
const IDLE_FOR_PRESSED_MILLISECONDS: u64 = 5;

/// The part of what caches have that is reclaimed for the budget's sake at a time, and for a thread
/// that is at work without a pause.
const RECLAIM_PART: usize = 16;
const RECLAIM_PART_FOR_PRESSED: usize = 2;

/// What a batch is to look at: a cache is chosen, passed over, or ends the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Choice {
    Take,
    Pass,
    Stop,
}

impl<S: PageSource> Allocator<S> {
    /// Reclaims every cache whose owner is not at work this moment; answers the bytes.
    pub(crate) fn reclaim_all(&self) -> usize {
        self.reclaim(&Self::drain, &mut |_| Choice::Take)
    }

    /// Reclaims the caches whose owners have not come by since `moment`; answers the bytes.
    pub(crate) fn reclaim_unused_since(&self, moment: u64) -> usize {
        self.reclaim(&Self::drain, &mut |cache| {
            if cache.used_at() < moment { Choice::Take } else { Choice::Pass }
        })
    }

    /// Makes room in the budget for a cache that has less than its share, or whose owner is at work
    /// without a pause, at the cost of those that lie idle and those that hold more than theirs.
    ///
    /// A part of the budget at a time, and not at every call, so that threads who all want more
    /// than there is do not spend their time taking it from each other.
    pub(crate) fn reclaim_for_budget(&self, slot: &ThreadSlot, now: u64) {
        // First of all, for where there is no budget every call comes here.
        if !self.budget().is_time_to_reclaim(now, BUDGET_PAUSE_MILLISECONDS) {
            return;
        }
        let Some(own) = ThreadCache::of(slot) else { return };
        let share_bytes = self.budget().share_bytes();
        let has_share = |cache: &ThreadCache| {
            share_bytes.is_some_and(|share_bytes| cache.borrowed_bytes() >= share_bytes)
        };
        let is_pressed = own.lock().is_pressed();
        if has_share(own) && !is_pressed
            || !self.budget().may_reclaim(now, BUDGET_PAUSE_MILLISECONDS)
        {
            return;
        }
        let (idle_milliseconds, part) = match (share_bytes, is_pressed) {
            (None, _) => (IDLE_MILLISECONDS, RECLAIM_PART_FOR_PRESSED),
            (_, true) => (IDLE_FOR_PRESSED_MILLISECONDS, RECLAIM_PART_FOR_PRESSED),
            (_, false) => (IDLE_MILLISECONDS, RECLAIM_PART),
        };
        let idle_since = now.saturating_sub(idle_milliseconds);
        let mut wanted_bytes = self.budget().caches_lent_bytes() / part;
        // To depots: others are about to ask for such blocks.
        self.reclaim(&Self::drain_to_depots, &mut |cache| {
            if wanted_bytes == 0 {
                return Choice::Stop;
            }
            let is_idle = cache.used_at() <= idle_since;
            let has_too_much = cache.used_at() < now && has_share(cache);
            if cache.belongs_to(slot) || !(is_idle || has_too_much) {
                return Choice::Pass;
            }
            wanted_bytes = wanted_bytes.saturating_sub(cache.borrowed_bytes());
            Choice::Take
        });
    }

    /// Looks at each warm cache once, longest unseen first; `drain`s those that `choose` takes.
    fn reclaim(
        &self,
        drain: &dyn Fn(&Self, &mut LockedCache<'_>) -> usize,
        choose: &mut dyn FnMut(&ThreadCache) -> Choice,
    ) -> usize {
        let mut reclaimed_bytes = self.free_parked(drain, choose);
        if !membarrier::is_available() {
            return reclaimed_bytes;
        }
        let mut unseen = self.caches().lock().warm_count();
        while unseen > 0 {
            let mut batch = [const { None }; BATCH];
            if !self.hide_batch(&mut batch, &mut unseen, choose) {
                break;
            }
            for mut locked in batch.into_iter().flatten() {
                reclaimed_bytes += drain(self, &mut locked);
            }
        }
        reclaimed_bytes
    }

    /// Fills `batch` with the next of the `unseen` caches that `choose` takes and whose owners are not
    /// at work; `false` where there were none to try.
    fn hide_batch<'caches>(
        &'caches self,
        batch: &mut [Option<LockedCache<'caches>>; BATCH],
        unseen: &mut usize,
        choose: &mut dyn FnMut(&ThreadCache) -> Choice,
    ) -> bool {
        let mut caches = self.caches().lock();
        let mut count = 0;
        while count < BATCH && *unseen > 0 {
            *unseen -= 1;
            let Some(cache) = caches.rotate_warm() else { break };
            match choose(cache) {
                Choice::Take => {
                    // SAFETY: a cache on the registry's list, whose lock is held; it stays as long
                    // as the lock that this takes is held.
                    let locked = unsafe { ThreadCache::hide_from_owner(cache, count > 0) };
                    count += usize::from(locked.is_some());
                    if let Some(locked) = locked {
                        batch[count - 1] = Some(locked);
                    }
                }
                Choice::Pass => {}
                Choice::Stop => *unseen = 0,
            }
        }
        if count == 0 || !membarrier::everywhere() {
            batch[..count].fill_with(|| None);
            return false;
        }
        for place in &mut batch[..count] {
            // Marked before the owner can have the lock, so that it finds the mark.
            *place = place.take().filter(|locked| locked.is_idle());
            if let Some(locked) = place {
                caches.set_cold(locked.cache(), true);
            }
        }
        true
    }

    /// Frees those of the caches without a thread, longest parked first, that `choose` takes.
    fn free_parked(
        &self,
        drain: &dyn Fn(&Self, &mut LockedCache<'_>) -> usize,
        choose: &mut dyn FnMut(&ThreadCache) -> Choice,
    ) -> usize {
        let mut freed_bytes = 0;
        loop {
            // Held until the cache is freed, so that a fork finds its blocks in it or out of it.
            let mut caches = self.caches().lock();
            if caches.oldest_parked().is_none_or(|cache| choose(cache) != Choice::Take) {
                return freed_bytes;
            }
            let Some(cache) = caches.take_oldest_parked() else { return freed_bytes };
            // SAFETY: it was just taken off the registry, and its thread ended.
            unsafe {
                ThreadCache::free_ownerless(cache, &self.magazines(), |locked| {
                    freed_bytes += drain(self, locked);
                });
            }
        }
    }
}
