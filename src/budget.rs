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

/// The part of the budget up to which depots borrow, and caches for large spans.
const DEPOTS_PART: usize = 4;
const LARGE_PART: usize = 2;

/// One process-wide allowance, of which each bin borrows its capacity in bytes.
///
/// A bin borrows when it grows and returns when it shrinks, so that a block on its way in or out
/// costs nothing here. Relaxed throughout: the sums guard no other memory.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    limit_bytes: AtomicUsize,
    /// Whether the limit is a part of resident memory rather than a number of the program's.
    is_following: AtomicBool,
    lent_bytes: AtomicUsize,
    /// What of that depots have.
    depots_lent_bytes: AtomicUsize,
    /// When caches were last reclaimed because nothing was left to lend.
    reclaimed_at: AtomicU64,
}

impl CacheBudget {
    pub(crate) const fn new(limit_bytes: usize) -> Self {
        CacheBudget {
            limit_bytes: AtomicUsize::new(limit_bytes),
            is_following: AtomicBool::new(false),
            lent_bytes: AtomicUsize::new(0),
            depots_lent_bytes: AtomicUsize::new(0),
            reclaimed_at: AtomicU64::new(0),
        }
    }

    /// Sets the limit to a number, or with `None` lets it follow resident memory.
    pub(crate) fn set_limit_bytes(&self, bytes: Option<usize>) {
        self.is_following.store(bytes.is_none(), Relaxed);
        self.limit_bytes.store(bytes.unwrap_or(FOLLOWING_MIN_BYTES), Relaxed);
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
        }
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes.load(Relaxed)
    }

    pub(crate) fn lent_bytes(&self) -> usize {
        self.lent_bytes.load(Relaxed)
    }

    /// What caches have of [`lent_bytes`](Self::lent_bytes).
    pub(crate) fn caches_lent_bytes(&self) -> usize {
        self.lent_bytes().saturating_sub(self.depots_lent_bytes.load(Relaxed))
    }

    /// Whether the caller is the one to reclaim for the budget now: once in `pause`, at most.
    pub(crate) fn may_reclaim(&self, now: u64, pause: u64) -> bool {
        let last = self.reclaimed_at.load(Relaxed);
        now >= last + pause
            && self.reclaimed_at.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }

    /// Lends a cache `bytes`, unless that would pass the limit.
    pub(crate) fn borrow_bytes(&self, bytes: usize) -> bool {
        self.borrow_below(bytes, self.limit_bytes())
    }

    /// Lends a depot `bytes`, unless more than a quarter of the limit would be lent then: the
    /// rest is for the caches in any case.
    pub(crate) fn borrow_bytes_for_depot(&self, bytes: usize) -> bool {
        let is_lent = self.borrow_below(bytes, self.limit_bytes() / DEPOTS_PART);
        if is_lent {
            self.depots_lent_bytes.fetch_add(bytes, Relaxed);
        }
        is_lent
    }

    /// Lends a cache `bytes` for large spans, of which a few would take all that there is.
    pub(crate) fn borrow_bytes_for_large(&self, bytes: usize) -> bool {
        self.borrow_below(bytes, self.limit_bytes() / LARGE_PART)
    }

    fn borrow_below(&self, bytes: usize, limit_bytes: usize) -> bool {
        // A look first: while the budget is spent, threads that ask again and again should share
        // the line rather than fight over it.
        if self.lent_bytes() + bytes > limit_bytes {
            return false;
        }
        let lent_bytes = self.lent_bytes.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if lent_bytes > limit_bytes {
            self.return_bytes(bytes);
            return false;
        }
        true
    }

    /// Takes back what a depot borrowed.
    pub(crate) fn return_bytes_of_depot(&self, bytes: usize) {
        self.depots_lent_bytes.fetch_sub(bytes, Relaxed);
        self.return_bytes(bytes);
    }

    /// Takes back what a cache borrowed.
    pub(crate) fn return_bytes(&self, bytes: usize) {
        let before = self.lent_bytes.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_follows_resident_memory_unless_it_was_set() {
        let budget = CacheBudget::new(100);
        budget.follow(64 << 20);
        assert_eq!(budget.limit_bytes(), 100);
        budget.set_limit_bytes(None);
        assert_eq!(budget.limit_bytes(), FOLLOWING_MIN_BYTES);
        for (resident_bytes, limit_bytes) in
            [(48 << 20, 12 << 20), (1 << 20, FOLLOWING_MIN_BYTES), (4 << 30, DEFAULT_BUDGET_BYTES)]
        {
            budget.follow(resident_bytes);
            assert_eq!(budget.limit_bytes(), limit_bytes);
        }
        budget.set_limit_bytes(Some(7));
        budget.follow(64 << 20);
        assert_eq!(budget.limit_bytes(), 7);
    }

    #[test]
    fn lends_to_the_limit_and_takes_back() {
        let budget = CacheBudget::new(100);
        assert!(budget.borrow_bytes(60));
        assert!(!budget.borrow_bytes(41));
        assert!(budget.borrow_bytes(40));
        budget.return_bytes(60);
        assert_eq!(budget.lent_bytes(), 40);
        assert!(budget.borrow_bytes(60));
        budget.return_bytes(60);
        budget.return_bytes(30);
        assert!(!budget.borrow_bytes_for_depot(16), "a quarter is lent but for fifteen");
        assert!(budget.borrow_bytes_for_depot(15));
        assert_eq!((budget.lent_bytes(), budget.caches_lent_bytes()), (25, 10));
        budget.return_bytes_of_depot(15);
        assert_eq!((budget.lent_bytes(), budget.caches_lent_bytes()), (10, 10));
        assert!(!budget.borrow_bytes_for_large(41));
        assert!(budget.borrow_bytes_for_large(40));
    }
}
