//! Limits on address space and on resident memory, and the count that they are held against.
//!
//! Both are kept where pages enter the heap: address space when a page source maps, resident
//! memory when pages that nobody touched are handed out. So a limit costs nothing where no new
//! page is needed, and what it refuses has not happened yet.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicUsize};

/// What a heap may take, and what it has; zero for a limit means none.
///
/// Relaxed throughout: the numbers guard no memory. A sum changes only where it stays within its
/// limit, so that a hopeless request of one thread never stands in the way of another's.
#[derive(Debug)]
pub(crate) struct Limits {
    address_space_max_bytes: AtomicUsize,
    resident_soft_bytes: AtomicUsize,
    resident_hard_bytes: AtomicUsize,
    mapped_bytes: AtomicUsize,
    resident_bytes: AtomicUsize,
    /// What was resident when the soft limit was passed, until somebody answers that.
    soft_passed_bytes: AtomicUsize,
    /// Cleared when the soft limit was passed, set again when resident memory fell below it.
    soft_is_armed: AtomicBool,
    address_space_refusals: AtomicUsize,
    hard_refusals: AtomicUsize,
    /// What the last refused request asked for.
    refused_bytes: AtomicUsize,
}

/// A limit on what the heap takes from the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Limit {
    /// Bytes of address space. What would pass it is answered by a trim and one more try, then by
    /// null.
    AddressSpace,
    /// Bytes of resident memory at which the heap is trimmed. It refuses nothing.
    ResidentSoft,
    /// Bytes of resident memory. What would pass it is answered by a trim and one more try, then
    /// by null.
    ResidentHard,
}

/// That a limit was reached, and by how much: what [`hooks`](crate::hooks) are told of it.
///
/// Sizes are in bytes, and counted as the limit counts: address space for
/// [`Limit::AddressSpace`], else resident memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LimitReached {
    /// Which limit.
    pub limit: Limit,
    /// What it was set to.
    pub limit_bytes: usize,
    /// What was held: when something more was refused, or, for the soft limit, when it was passed.
    pub held_bytes: usize,
    /// What was refused would have added this. It may be more than the program asked for: a small
    /// block may need a span, and that a segment. Zero for the soft limit, which refuses nothing.
    pub asked_bytes: usize,
    /// For the soft limit, what was left after the trim that answered it; else `held_bytes`.
    pub left_bytes: usize,
    /// All address space that the heap had from the operating system, whichever the limit.
    pub mapped_bytes: usize,
}

impl LimitReached {
    /// By how many bytes the limit was passed, or would have been.
    #[must_use]
    pub const fn over_bytes(&self) -> usize {
        self.held_bytes.saturating_add(self.asked_bytes).saturating_sub(self.limit_bytes)
    }
}

impl Limits {
    pub(crate) const fn new() -> Self {
        Limits {
            address_space_max_bytes: AtomicUsize::new(0),
            resident_soft_bytes: AtomicUsize::new(0),
            resident_hard_bytes: AtomicUsize::new(0),
            mapped_bytes: AtomicUsize::new(0),
            resident_bytes: AtomicUsize::new(0),
            soft_passed_bytes: AtomicUsize::new(0),
            soft_is_armed: AtomicBool::new(false),
            address_space_refusals: AtomicUsize::new(0),
            hard_refusals: AtomicUsize::new(0),
            refused_bytes: AtomicUsize::new(0),
        }
    }

    fn cell(&self, limit: Limit) -> &AtomicUsize {
        match limit {
            Limit::AddressSpace => &self.address_space_max_bytes,
            Limit::ResidentSoft => &self.resident_soft_bytes,
            Limit::ResidentHard => &self.resident_hard_bytes,
        }
    }

    /// The limit in bytes, if there is one.
    pub(crate) fn get(&self, limit: Limit) -> Option<usize> {
        Some(self.cell(limit).load(Relaxed)).filter(|&bytes| bytes != 0)
    }

    /// Sets or lifts a limit; what is held already stays, whatever the new limit says.
    pub(crate) fn set(&self, limit: Limit, bytes: Option<usize>) {
        self.cell(limit).store(bytes.unwrap_or(0), Relaxed);
        if limit == Limit::ResidentSoft {
            self.soft_is_armed.store(bytes.is_some(), Relaxed);
            self.note_soft(self.resident_bytes());
        }
    }

    pub(crate) fn mapped_bytes(&self) -> usize {
        self.mapped_bytes.load(Relaxed)
    }

    pub(crate) fn resident_bytes(&self) -> usize {
        self.resident_bytes.load(Relaxed)
    }

    /// Counts address space about to be mapped, unless the limit refuses it.
    pub(crate) fn add_mapped(&self, bytes: usize) -> Result<(), LimitReached> {
        let max_bytes = self.get(Limit::AddressSpace);
        add_within(&self.mapped_bytes, bytes, max_bytes).map(drop).map_err(|held_bytes| {
            self.address_space_refusals.fetch_add(1, Relaxed);
            self.refusal(Limit::AddressSpace, max_bytes, held_bytes, bytes)
        })
    }

    pub(crate) fn subtract_mapped(&self, bytes: usize) {
        self.mapped_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Counts pages about to become resident, unless the hard limit refuses them.
    pub(crate) fn add_resident(&self, bytes: usize) -> Result<(), LimitReached> {
        let max_bytes = self.get(Limit::ResidentHard);
        match add_within(&self.resident_bytes, bytes, max_bytes) {
            Ok(resident_bytes) => {
                self.note_soft(resident_bytes);
                Ok(())
            }
            Err(held_bytes) => {
                self.hard_refusals.fetch_add(1, Relaxed);
                Err(self.refusal(Limit::ResidentHard, max_bytes, held_bytes, bytes))
            }
        }
    }

    #[cold]
    fn refusal(
        &self,
        limit: Limit,
        max_bytes: Option<usize>,
        held_bytes: usize,
        asked_bytes: usize,
    ) -> LimitReached {
        self.refused_bytes.store(asked_bytes, Relaxed);
        LimitReached {
            limit,
            // Without a limit, all that can be counted is one.
            limit_bytes: max_bytes.unwrap_or(usize::MAX),
            held_bytes,
            asked_bytes,
            left_bytes: held_bytes,
            mapped_bytes: self.mapped_bytes(),
        }
    }

    /// Counts pages that are resident already, whatever the limits say.
    pub(crate) fn count_resident(&self, bytes: usize) {
        let resident_bytes = self.resident_bytes.fetch_add(bytes, Relaxed).saturating_add(bytes);
        self.note_soft(resident_bytes);
    }

    pub(crate) fn subtract_resident(&self, bytes: usize) {
        let before_bytes = self.resident_bytes.fetch_sub(bytes, Relaxed);
        debug_assert!(before_bytes >= bytes, "more given back than was resident");
        let left_bytes = before_bytes.saturating_sub(bytes);
        if self.get(Limit::ResidentSoft).is_some_and(|soft_bytes| left_bytes < soft_bytes) {
            self.soft_is_armed.store(true, Relaxed);
        }
    }

    fn note_soft(&self, resident_bytes: usize) {
        let is_over = self.get(Limit::ResidentSoft).is_some_and(|soft| resident_bytes > soft);
        if is_over && self.soft_is_armed.swap(false, Relaxed) {
            self.soft_passed_bytes.store(resident_bytes, Relaxed);
        }
    }

    /// That the soft limit was passed, if the caller is the one to answer it.
    #[inline]
    pub(crate) fn take_soft_pending(&self) -> Option<LimitReached> {
        if self.soft_passed_bytes.load(Relaxed) == 0 { None } else { self.take_soft_pending_slow() }
    }

    #[cold]
    fn take_soft_pending_slow(&self) -> Option<LimitReached> {
        let held_bytes = self.soft_passed_bytes.swap(0, Relaxed);
        // One that was lifted meanwhile needs no answer.
        let limit_bytes = self.get(Limit::ResidentSoft)?;
        (held_bytes != 0).then(|| LimitReached {
            limit: Limit::ResidentSoft,
            limit_bytes,
            held_bytes,
            asked_bytes: 0,
            left_bytes: held_bytes,
            mapped_bytes: self.mapped_bytes(),
        })
    }

    /// Requests refused so far: by the limit on address space, and by the hard one.
    pub(crate) fn refusals(&self) -> (usize, usize) {
        (self.address_space_refusals.load(Relaxed), self.hard_refusals.load(Relaxed))
    }

    /// What the last refused request asked for.
    pub(crate) fn refused_bytes(&self) -> usize {
        self.refused_bytes.load(Relaxed)
    }
}

/// Adds to a sum and answers with it, or where it would pass `max` leaves it and says what it is.
///
/// Nothing is always within: a limit may have come to lie below what is held.
fn add_within(sum: &AtomicUsize, bytes: usize, max: Option<usize>) -> Result<usize, usize> {
    let add = |now: usize| {
        let sum = now.checked_add(bytes)?;
        (bytes == 0 || max.is_none_or(|max| sum <= max)).then_some(sum)
    };
    sum.fetch_update(Relaxed, Relaxed, add).map(|before| before + bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_limits_all_is_counted_and_nothing_refused() {
        let limits = Limits::new();
        assert!(limits.add_mapped(usize::MAX / 2).is_ok() && limits.add_resident(10).is_ok());
        limits.subtract_resident(4);
        assert_eq!(limits.resident_bytes(), 6);
        assert_eq!(limits.refusals(), (0, 0));
        assert_eq!(limits.take_soft_pending(), None);
    }

    #[test]
    fn a_refused_request_leaves_the_counts_as_they_were() {
        let limits = Limits::new();
        limits.set(Limit::AddressSpace, Some(100));
        limits.set(Limit::ResidentHard, Some(50));
        assert!(limits.add_mapped(100).is_ok());
        assert!(limits.add_mapped(1).is_err());
        assert!(limits.add_resident(50).is_ok());
        assert!(limits.add_resident(7).is_err());
        assert_eq!((limits.mapped_bytes(), limits.resident_bytes()), (100, 50));
        assert_eq!((limits.refusals(), limits.refused_bytes()), ((1, 1), 7));
    }

    #[test]
    fn the_soft_limit_speaks_once_until_memory_fell_below_it() {
        let limits = Limits::new();
        limits.set(Limit::ResidentSoft, Some(10));
        assert!(limits.add_resident(11).is_ok());
        assert!(limits.take_soft_pending().is_some());
        assert!(limits.add_resident(11).is_ok() && limits.take_soft_pending().is_none());
        limits.subtract_resident(15);
        assert!(limits.add_resident(5).is_ok() && limits.take_soft_pending().is_some());
    }

    #[test]
    fn a_soft_limit_below_what_is_held_speaks_at_once() {
        let limits = Limits::new();
        assert!(limits.add_resident(20).is_ok());
        limits.set(Limit::ResidentSoft, Some(10));
        assert!(limits.take_soft_pending().is_some());
        limits.set(Limit::ResidentSoft, None);
        assert!(limits.add_resident(20).is_ok() && limits.take_soft_pending().is_none());
    }

    #[test]
    fn who_reaches_a_limit_is_told_which_and_by_how_much() {
        let limits = Limits::new();
        limits.set(Limit::AddressSpace, Some(100));
        limits.set(Limit::ResidentHard, Some(50));
        limits.set(Limit::ResidentSoft, Some(30));
        assert!(limits.add_mapped(90).is_ok());
        let reached = limits.add_mapped(25).unwrap_err();
        assert_eq!((reached.limit, reached.limit_bytes), (Limit::AddressSpace, 100));
        assert_eq!((reached.held_bytes, reached.asked_bytes, reached.over_bytes()), (90, 25, 15));

        assert!(limits.add_resident(42).is_ok());
        let reached = limits.take_soft_pending().unwrap();
        assert_eq!((reached.limit, reached.limit_bytes), (Limit::ResidentSoft, 30));
        assert_eq!((reached.held_bytes, reached.asked_bytes, reached.over_bytes()), (42, 0, 12));

        let reached = limits.add_resident(10).unwrap_err();
        assert_eq!((reached.limit, reached.limit_bytes), (Limit::ResidentHard, 50));
        assert_eq!((reached.held_bytes, reached.asked_bytes, reached.over_bytes()), (42, 10, 2));
        assert_eq!((reached.left_bytes, reached.mapped_bytes), (42, 90));
    }
}
