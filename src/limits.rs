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
    /// Set when the soft limit was passed and nobody has answered it yet.
    soft_is_pending: AtomicBool,
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

impl Limits {
    pub(crate) const fn new() -> Self {
        Limits {
            address_space_max_bytes: AtomicUsize::new(0),
            resident_soft_bytes: AtomicUsize::new(0),
            resident_hard_bytes: AtomicUsize::new(0),
            mapped_bytes: AtomicUsize::new(0),
            resident_bytes: AtomicUsize::new(0),
            soft_is_pending: AtomicBool::new(false),
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

    /// Counts address space about to be mapped; `false` where the limit refuses it.
    pub(crate) fn add_mapped(&self, bytes: usize) -> bool {
        if add_within(&self.mapped_bytes, bytes, self.get(Limit::AddressSpace)).is_some() {
            return true;
        }
        self.address_space_refusals.fetch_add(1, Relaxed);
        self.refused_bytes.store(bytes, Relaxed);
        false
    }

    pub(crate) fn subtract_mapped(&self, bytes: usize) {
        self.mapped_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Counts pages about to become resident; `false` where the hard limit refuses them.
    pub(crate) fn add_resident(&self, bytes: usize) -> bool {
        let limit = self.get(Limit::ResidentHard);
        let Some(resident_bytes) = add_within(&self.resident_bytes, bytes, limit) else {
            self.hard_refusals.fetch_add(1, Relaxed);
            self.refused_bytes.store(bytes, Relaxed);
            return false;
        };
        self.note_soft(resident_bytes);
        true
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
            self.soft_is_pending.store(true, Relaxed);
        }
    }

    /// Whether the caller is the one to answer that the soft limit was passed.
    pub(crate) fn take_soft_pending(&self) -> bool {
        self.soft_is_pending.load(Relaxed) && self.soft_is_pending.swap(false, Relaxed)
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

/// Adds to a sum and answers with it, or leaves it as it was where it would pass `max`.
///
/// Nothing is always within: a limit may have come to lie below what is held.
fn add_within(sum: &AtomicUsize, bytes: usize, max: Option<usize>) -> Option<usize> {
    let add = |now: usize| {
        let sum = now.checked_add(bytes)?;
        (bytes == 0 || max.is_none_or(|max| sum <= max)).then_some(sum)
    };
    sum.fetch_update(Relaxed, Relaxed, add).ok().map(|before| before + bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_limits_all_is_counted_and_nothing_refused() {
        let limits = Limits::new();
        assert!(limits.add_mapped(usize::MAX / 2) && limits.add_resident(10));
        limits.subtract_resident(4);
        assert_eq!(limits.resident_bytes(), 6);
        assert_eq!(limits.refusals(), (0, 0));
        assert!(!limits.take_soft_pending());
    }

    #[test]
    fn a_refused_request_leaves_the_counts_as_they_were() {
        let limits = Limits::new();
        limits.set(Limit::AddressSpace, Some(100));
        limits.set(Limit::ResidentHard, Some(50));
        assert!(limits.add_mapped(100));
        assert!(!limits.add_mapped(1));
        assert!(limits.add_resident(50));
        assert!(!limits.add_resident(7));
        assert_eq!((limits.mapped_bytes(), limits.resident_bytes()), (100, 50));
        assert_eq!((limits.refusals(), limits.refused_bytes()), ((1, 1), 7));
    }

    #[test]
    fn the_soft_limit_speaks_once_until_memory_fell_below_it() {
        let limits = Limits::new();
        limits.set(Limit::ResidentSoft, Some(10));
        assert!(limits.add_resident(11));
        assert!(limits.take_soft_pending());
        assert!(limits.add_resident(11) && !limits.take_soft_pending());
        limits.subtract_resident(15);
        assert!(limits.add_resident(5) && limits.take_soft_pending());
    }

    #[test]
    fn a_soft_limit_below_what_is_held_speaks_at_once() {
        let limits = Limits::new();
        assert!(limits.add_resident(20));
        limits.set(Limit::ResidentSoft, Some(10));
        assert!(limits.take_soft_pending());
        limits.set(Limit::ResidentSoft, None);
        assert!(limits.add_resident(20) && !limits.take_soft_pending());
    }
}
