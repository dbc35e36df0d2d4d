//! Arenas: capped, lock-owning parts of the heap of small blocks.
//!
//! An arena holds bins, and a bin holds slabs and a depot; free pages belong to no arena. So all
//! that an arena costs is its half-full slabs and its depots' stock.

mod bin;
mod bin_cell;
mod bin_state;
mod block_stack;
mod cap;
mod depot;
pub(crate) mod policy;
mod set;
mod slab_lists;

use core::ptr::NonNull;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use crate::size_class::{CLASS_COUNT, SizeClass};

pub(crate) use bin::{Bin, BinContext, Refill, Settling};
pub(crate) use bin_state::BinCounts;
pub use cap::ArenaMaxError;
pub(crate) use set::{ARENAS_MAX, Arenas};

/// One arena; zeroed memory is one without slabs, open.
#[derive(Debug)]
pub(crate) struct Arena {
    bins: [Bin; CLASS_COUNT],
    /// Threads whose caches refill here.
    threads: AtomicUsize,
}

/// What one bin of one arena holds at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BinSnapshot {
    pub(crate) counts: BinCounts,
    pub(crate) depot_blocks: usize,
    pub(crate) purged_bytes: usize,
    pub(crate) sealed_slabs: usize,
}

impl BinSnapshot {
    pub(crate) fn add(&mut self, other: &BinSnapshot) {
        self.counts.add(&other.counts);
        self.depot_blocks += other.depot_blocks;
        self.purged_bytes += other.purged_bytes;
        self.sealed_slabs += other.sealed_slabs;
    }
}

impl Arena {
    pub(crate) fn bin(&self, class: SizeClass) -> &Bin {
        &self.bins[class.index()]
    }

    pub(crate) fn threads(&self) -> usize {
        // Relaxed: a number to choose by, ordering nothing.
        self.threads.load(Relaxed)
    }

    pub(crate) fn join(&self) {
        self.threads.fetch_add(1, Relaxed);
    }

    pub(crate) fn leave(&self) {
        // Never below zero: a signal's handler may fork while its thread has joined without a cache
        // to say so, and the child counts from caches.
        let less = |threads: usize| threads.checked_sub(1);
        let _ = self.threads.fetch_update(Relaxed, Relaxed, less);
    }

    /// Forgets all threads, for a child of a fork, which counts those it has.
    pub(super) fn forget_threads(&self) {
        self.threads.store(0, Relaxed);
    }

    pub(crate) fn snapshot(&self, class: SizeClass) -> BinSnapshot {
        let state = self.bin(class).lock(class);
        BinSnapshot {
            counts: state.counts,
            depot_blocks: state.depot.len(),
            purged_bytes: state.purged_bytes(class),
            sealed_slabs: state.slabs.sealed().count(),
        }
    }
}

/// An arena's record in the metadata, which is never given back while its heap lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArenaPtr(NonNull<Arena>);

impl core::ops::Deref for ArenaPtr {
    type Target = Arena;
    #[inline]
    fn deref(&self) -> &Arena {
        // SAFETY: made by `Arenas` of a record that lives as long as the heap; arenas are shared,
        // never borrowed mutably.
        unsafe { self.0.as_ref() }
    }
}

#[cfg(test)]
mod tests;
