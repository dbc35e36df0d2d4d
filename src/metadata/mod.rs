//! Storage for capmalloc's own records: caches, magazines, arenas, depots.
//!
//! A heap of its own under the heap, so that no record lies among the blocks of users: a stray
//! write through a block cannot reach it, and freeing a block never dirties a page for a record's
//! sake. Records of one size share chunks; a chunk whose records are all free can be given back.

mod check;
mod pools;

use core::ptr::NonNull;

use crate::counted_source::CountedSource;
use crate::lock::{Mutex, rank};
use crate::page_source::PageSource;
use crate::units::{PAGE_BYTES, round_up};
use pools::{ALL, CHUNK_BYTES, ChunkPtr, Pools, RECORD_BYTES, WITH_ROOM, pool_of};

/// Storage of records.
#[derive(Debug)]
pub(crate) struct Metadata {
    pools: Mutex<{ rank::METADATA }, Pools>,
}

impl Metadata {
    pub(crate) const fn new() -> Self {
        Metadata { pools: Mutex::new(Pools::new()) }
    }

    /// The bytes that a record of `bytes` really gets.
    pub(crate) fn rounded_bytes(bytes: usize) -> usize {
        pool_of(bytes).map_or(bytes.next_multiple_of(PAGE_BYTES), |pool| RECORD_BYTES[pool])
    }

    /// Memory for a record of `bytes`, zeroed and aligned to a cache line.
    pub(crate) fn take<S: PageSource>(
        &self,
        source: &CountedSource<S>,
        bytes: usize,
    ) -> Option<NonNull<u8>> {
        let Some(pool) = pool_of(bytes) else {
            let bytes = round_up(bytes, PAGE_BYTES)?;
            let record = source.map(bytes, PAGE_BYTES)?;
            self.pools.lock().touched_bytes += bytes;
            source.limits().count_resident(bytes);
            return Some(record);
        };
        loop {
            if let Some(record) = self.pools.lock().take(pool, source) {
                return Some(record);
            }
            // Without the lock, as all calls to the source that make a mapping here: where a thousand threads begin, each
            // wants a record, and the kernel has a lock of its own for them to queue at.
            let chunk = ChunkPtr::map(pool, source)?;
            self.pools.lock().add(chunk);
        }
    }

    /// Gives a record back.
    ///
    /// # Safety
    ///
    /// `record` came from [`take`](Self::take) with the same `bytes` and source, and nobody uses
    /// it any more.
    pub(crate) unsafe fn give<S: PageSource>(
        &self,
        source: &CountedSource<S>,
        record: NonNull<u8>,
        bytes: usize,
    ) {
        if let Some(pool) = pool_of(bytes) {
            // SAFETY: the caller promises a record of this pool.
            unsafe { self.pools.lock().give(pool, record) };
            return;
        }
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        self.pools.lock().touched_bytes -= bytes;
        source.limits().subtract_resident(bytes);
        // SAFETY: a record of this size is a mapping of its own, made in `take`.
        unsafe { source.unmap(record, bytes) };
    }

    /// Takes the lock for a fork.
    pub(crate) fn hold_for_fork(&self) {
        self.pools.hold_for_fork();
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`].
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.pools.release_after_fork() };
    }

    /// Bytes of records' pages that are resident.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.pools.lock().touched_bytes
    }

    /// Unmaps the chunks of which no record is in use; answers how many bytes were resident.
    pub(crate) fn release_empty<S: PageSource>(&self, source: &CountedSource<S>) -> usize {
        let mut pools = self.pools.lock();
        let before_bytes = pools.touched_bytes;
        for pool in 0..RECORD_BYTES.len() {
            let mut next = pools.with_room[pool];
            while let Some(chunk) = next {
                // SAFETY: chunks on the list are mapped; the next is read before this one goes.
                unsafe {
                    next = (*chunk.0.as_ptr()).links[WITH_ROOM].next;
                    if (*chunk.0.as_ptr()).used_records == 0 {
                        pools.unmap(pool, chunk, source);
                    }
                }
            }
        }
        before_bytes - pools.touched_bytes
    }

    /// Unmaps every chunk, whether its records are in use or not.
    ///
    /// Records too large for a chunk are mappings of their own, which their users give back before.
    ///
    /// # Safety
    ///
    /// Nobody uses any record any more, and `source` is the one that they came from.
    pub(crate) unsafe fn unmap_all<S: PageSource>(&self, source: &CountedSource<S>) {
        let mut pools = self.pools.lock();
        pools.with_room = [None; RECORD_BYTES.len()];
        let mut next = pools.all.take();
        while let Some(chunk) = next {
            // SAFETY: chunks on the list are mapped; the next is read before this one goes; the
            // caller gives up what lies in it.
            unsafe {
                next = (*chunk.0.as_ptr()).links[ALL].next;
                source.unmap(chunk.0.cast(), CHUNK_BYTES);
            }
        }
        source.limits().subtract_resident(core::mem::take(&mut pools.touched_bytes));
    }
}

#[cfg(test)]
mod tests;
