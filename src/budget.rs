//! The budget: how many bytes of blocks all thread caches together may hold, and how many depots
//! may hold beyond the few that each may always have.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// Bytes that caches may hold at most, unless the program says otherwise.
pub(crate) const DEFAULT_BUDGET_BYTES: usize = 16 << 20;

/// Bytes that they may hold in a small program.
const FOLLOWING_MIN_BYTES: usize = 8 << 20;

/// The part of resident memory that they may hold in a larger one.
///
/// What caches may hold is lent: a bin in use is half full on the average, so an eighth is held.
const FOLLOWING_PART: usize = 4;

/// The part of the budget up to which depots borrow, CPU caches, and caches for large spans.
const DEPOTS_PART: usize = 4;
const CPU_CACHES_PART: usize = 2;
const LARGE_PART: usize = 2;

/// The least that is a share of use: some blocks of each class that a thread asks for much.
const SHARE_MIN_BYTES: usize = 128 << 10;

/// What stands for no share at all.
const NO_SHARE: usize = usize::MAX;

/// The part of the budget that is kept for caches that have less than their share.
const RESERVE_PART: usize = 8;

/// One process-wide allowance, of which each bin borrows its capacity in bytes.
///
/// A bin borrows when it grows and returns when it shrinks, so that a block on its way in or out
/// costs nothing here. Each cache in use has a claim to an equal share, at the cost of caches that
/// hold more or lie idle (see `reclaim.rs`); how its bins divide that is their own affair (see
/// `thread_cache/sharing.rs`). Relaxed throughout: the sums guard no other memory. What caches have
/// never passes the limit; with what depots have it may, by what both borrow at the same moment.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    limit_bytes: AtomicUsize,
    /// Whether the limit is a part of resident memory rather than a number of the program's.
    is_following: AtomicBool,
    /// What caches have.
    caches_lent_bytes: AtomicUsize,
    /// What depots have.
    depots_lent_bytes: AtomicUsize,
    /// What CPU caches have.
    cpu_lent_bytes: AtomicUsize,
    /// Caches in use beyond which they are a crowd, whatever their shares; 0 where there are no CPU
    /// caches.
    crowd_caches: AtomicUsize,
    /// Caches whose threads came by lately, between whom the budget is shared.
    active_caches: AtomicUsize,
    share_bytes: AtomicUsize,
    /// When caches were last reclaimed because nothing was left to lend.
    reclaimed_at: AtomicU64,
}

impl CacheBudget {
    pub(crate) const fn new(limit_bytes: usize) -> Self {
        CacheBudget {
            limit_bytes: AtomicUsize::new(limit_bytes),
            is_following: AtomicBool::new(false),
            caches_lent_bytes: AtomicUsize::new(0),
            depots_lent_bytes: AtomicUsize::new(0),
            cpu_lent_bytes: AtomicUsize::new(0),
            crowd_caches: AtomicUsize::new(0),
            active_caches: AtomicUsize::new(0),
            share_bytes: AtomicUsize::new(limit_bytes - limit_bytes / DEPOTS_PART),
            reclaimed_at: AtomicU64::new(0),
        }
    }

    /// Sets the limit to a number, or with `None` lets it follow resident memory.
    pub(crate) fn set_limit_bytes(&self, bytes: Option<usize>) {
        self.is_following.store(bytes.is_none(), Relaxed);
        self.limit_bytes.store(bytes.unwrap_or(FOLLOWING_MIN_BYTES), Relaxed);
        self.divide();
    }

    /// Tells how much memory is resident, for a limit that follows it.
    ///
    /// What caches hold beyond a limit that fell is reclaimed when one of them asks for more, or
    /// by decay.
    pub(crate) fn follow(&self, resident_bytes: usize) {
        if self.is_following.load(Relaxed) {
            let bytes = resident_bytes / FOLLOWING_PART;
            let bytes = bytes.clamp(FOLLOWING_MIN_BYTES, DEFAULT_BUDGET_BYTES);
            self.limit_bytes.store(bytes, Relaxed);
            self.divide();
        }
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes.load(Relaxed)
    }

    /// What thread caches, depots and CPU caches have borrowed.
    #[cfg(test)]
    pub(crate) fn lent_bytes(&self) -> usize {
        let others_bytes = self.depots_lent_bytes.load(Relaxed) + self.cpu_lent_bytes();
        self.caches_lent_bytes().saturating_add(others_bytes)
    }

    /// What of that caches have.
    pub(crate) fn caches_lent_bytes(&self) -> usize {
        self.caches_lent_bytes.load(Relaxed)
    }

    /// What each cache may hold in any case, if need be at the cost of others that hold more.
    ///
    /// `None` where there are so many that a share would be of no use: then caches have what they
    /// get, and those at work take it from those that are not.
    pub(crate) fn share_bytes(&self) -> Option<usize> {
        Some(self.share_bytes.load(Relaxed)).filter(|&bytes| bytes != NO_SHARE)
    }

    /// Divides what depots and CPU caches cannot take anew: a claim should stand, whatever those do.
    fn divide(&self) {
        let limit_bytes = self.limit_bytes();
        let others_part = if self.is_crowded() { CPU_CACHES_PART } else { DEPOTS_PART };
        let limit_bytes = limit_bytes - limit_bytes / others_part;
        let share_bytes = limit_bytes / self.active_caches.load(Relaxed).max(1);
        let is_of_use = share_bytes >= SHARE_MIN_BYTES.min(limit_bytes);
        self.share_bytes.store(if is_of_use { share_bytes } else { NO_SHARE }, Relaxed);
    }

    fn caches_limit_bytes(&self) -> usize {
        let others_bytes = self.cpu_lent_bytes().max(self.bytes_for_cpu());
        self.limit_bytes().saturating_sub(self.depots_lent_bytes.load(Relaxed) + others_bytes)
    }

    /// What is kept for CPU caches: their part of the budget, where there is a crowd.
    fn bytes_for_cpu(&self) -> usize {
        if self.is_crowded() { self.limit_bytes() / CPU_CACHES_PART } else { 0 }
    }

    /// Lets processors have caches where more than `caches` are in use, or than there are shares of use
    /// for.
    pub(crate) fn set_crowd(&self, caches: usize) {
        self.crowd_caches.store(caches, Relaxed);
        self.divide();
    }

    /// Whether processors may ever have caches.
    pub(crate) fn has_crowd(&self) -> bool {
        self.crowd_caches.load(Relaxed) > 0
    }

    /// Whether caches in use are so many that processors have some.
    pub(crate) fn is_crowded(&self) -> bool {
        let (limit_bytes, crowd_caches) = (self.limit_bytes(), self.crowd_caches.load(Relaxed));
        let shares = (limit_bytes - limit_bytes / DEPOTS_PART) / SHARE_MIN_BYTES;
        // Without any budget nobody is to have a cache.
        limit_bytes > 0
            && crowd_caches > 0
            && self.active_caches.load(Relaxed) > crowd_caches.min(shares)
    }

    /// Tells how many caches are in use.
    pub(crate) fn set_active_caches(&self, count: usize) {
        self.active_caches.store(count, Relaxed);
        self.divide();
    }

    /// Counts a cache that has just come into use.
    pub(crate) fn add_active_cache(&self) {
        self.active_caches.fetch_add(1, Relaxed);
        self.divide();
    }

    /// Counts one less, which was counted.
    pub(crate) fn subtract_active_cache(&self) {
        self.active_caches.fetch_sub(1, Relaxed);
        self.divide();
    }

    /// Whether anybody may reclaim for the budget now: once in `pause`, at most.
    pub(crate) fn is_time_to_reclaim(&self, now: u64, pause: u64) -> bool {
        now >= self.reclaimed_at.load(Relaxed).saturating_add(pause)
    }

    /// Whether the caller is the one to do it.
    pub(crate) fn may_reclaim(&self, now: u64, pause: u64) -> bool {
        let last = self.reclaimed_at.load(Relaxed);
        self.is_time_to_reclaim(now, pause)
            && self.reclaimed_at.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }

    /// Lends a cache `bytes`, unless that would pass the limit.
    ///
    /// One without a claim, since it has its share already, gets nothing of the last part, which is
    /// for those that have not theirs yet.
    pub(crate) fn borrow_bytes(&self, bytes: usize, has_claim: bool) -> bool {
        let limit_bytes = self.caches_limit_bytes();
        let reserve_bytes = if has_claim { 0 } else { limit_bytes / RESERVE_PART };
        borrow_below(&self.caches_lent_bytes, bytes, limit_bytes - reserve_bytes)
    }

    /// Lends a depot `bytes`, unless that would pass the limit, or the quarter of it that depots
    /// may have.
    pub(crate) fn borrow_bytes_for_depot(&self, bytes: usize) -> bool {
        let limit_bytes = self.limit_bytes();
        let others_bytes = self.caches_lent_bytes() + self.cpu_lent_bytes();
        let left_bytes = limit_bytes.saturating_sub(others_bytes);
        borrow_below(&self.depots_lent_bytes, bytes, left_bytes.min(limit_bytes / DEPOTS_PART))
    }

    /// Whether a cache that has its share of nothing could borrow `bytes`.
    pub(crate) fn has_left(&self, bytes: usize) -> bool {
        self.caches_lent_bytes() + bytes <= self.caches_limit_bytes()
    }

    /// Whether CPU caches have what they should not: there is no crowd any more, or the budget fell.
    pub(crate) fn is_cpu_lent_too_much(&self) -> bool {
        self.cpu_lent_bytes() > self.bytes_for_cpu()
    }

    /// What CPU caches have.
    pub(crate) fn cpu_lent_bytes(&self) -> usize {
        self.cpu_lent_bytes.load(Relaxed)
    }

    /// Lends a CPU cache `bytes`, unless that would pass the limit, or the part of it that those may
    /// have, less `kept_bytes`, which are for others of them; though no more than half is kept.
    pub(crate) fn borrow_bytes_for_cpu(&self, bytes: usize, kept_bytes: usize) -> bool {
        let limit_bytes = self.limit_bytes();
        let others_bytes = self.caches_lent_bytes() + self.depots_lent_bytes.load(Relaxed);
        let left_bytes = limit_bytes.saturating_sub(others_bytes);
        let part_bytes = limit_bytes / CPU_CACHES_PART;
        let kept_bytes = kept_bytes.min(part_bytes / 2);
        let most_bytes = left_bytes.min(part_bytes).saturating_sub(kept_bytes);
        borrow_below(&self.cpu_lent_bytes, bytes, most_bytes)
    }

    /// Takes back what a CPU cache borrowed.
    pub(crate) fn return_bytes_of_cpu(&self, bytes: usize) {
        let before = self.cpu_lent_bytes.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes);
    }

    /// Lends a cache `bytes` for large spans, of which a few would take all that there is.
    pub(crate) fn borrow_bytes_for_large(&self, bytes: usize) -> bool {
        borrow_below(&self.caches_lent_bytes, bytes, self.limit_bytes() / LARGE_PART)
    }

    /// Takes back what a depot borrowed.
    pub(crate) fn return_bytes_of_depot(&self, bytes: usize) {
        let before = self.depots_lent_bytes.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes);
    }

    /// Takes back what a cache borrowed.
    pub(crate) fn return_bytes(&self, bytes: usize) {
        let before = self.caches_lent_bytes.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes);
    }
}

fn borrow_below(lent: &AtomicUsize, bytes: usize, limit_bytes: usize) -> bool {
    // A look first: while the budget is spent, threads that ask again and again should share the
    // line rather than fight over it.
    if lent.load(Relaxed) + bytes > limit_bytes {
        return false;
    }
    let lent_bytes = lent.fetch_add(bytes, Relaxed).saturating_add(bytes);
    if lent_bytes > limit_bytes {
        lent.fetch_sub(bytes, Relaxed);
        return false;
    }
    true
}

#[cfg(test)]
mod tests;
