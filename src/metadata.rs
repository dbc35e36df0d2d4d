//! Storage for capmalloc's own records: caches, magazines, arenas, depots.
//!
//! A heap of its own under the heap, so that no record lies among the blocks of users: a stray
//! write through a block cannot reach it, and freeing a block never dirties a page for a record's
//! sake. Records of one size share chunks; a chunk whose records are all free can be given back.

use core::ptr::NonNull;

use crate::counted_source::CountedSource;
use crate::lock::{Mutex, rank};
use crate::page_source::PageSource;
use crate::units::{PAGE_BYTES, round_up};

/// Bytes in a chunk, also its alignment, so that a record leads to its chunk by masking.
const CHUNK_BYTES: usize = 64 * 1024;

/// Sizes of records; a larger one is a mapping of its own.
const RECORD_BYTES: [usize; 9] = [64, 128, 256, 512, 1024, 1536, 2048, 4096, 8192];

/// Records begin this far into their chunk.
const HEADER_BYTES: usize = 64;

/// Storage of records.
#[derive(Debug)]
pub(crate) struct Metadata {
    pools: Mutex<{ rank::METADATA }, Pools>,
}

#[derive(Debug)]
struct Pools {
    /// For each size of record, the chunks that have room.
    with_room: [Option<ChunkPtr>; RECORD_BYTES.len()],
    /// Every chunk, for the day when all of them go.
    all: Option<ChunkPtr>,
    /// Bytes of chunks ever touched and not yet given back, and of large records.
    touched_bytes: usize,
}

/// The head of a chunk, at its first byte.
#[derive(Debug)]
struct Chunk {
    /// Its places on two lists, by [`WITH_ROOM`] and [`ALL`].
    links: [Links; 2],
    /// Records given back, each holding the pointer to the next.
    free: Option<NonNull<FreeRecord>>,
    used_records: u32,
    /// Records handed out at least once, counted from the front.
    touched_records: u32,
}

/// The list of the chunks of one size of record that have room, and the list of all chunks.
const WITH_ROOM: usize = 0;
const ALL: usize = 1;

/// A chunk's neighbours on a list.
#[derive(Clone, Copy, Debug)]
struct Links {
    next: Option<ChunkPtr>,
    previous: Option<ChunkPtr>,
}

#[derive(Debug)]
struct FreeRecord {
    next: Option<NonNull<FreeRecord>>,
}

const _: () = assert!(size_of::<Chunk>() <= HEADER_BYTES);

/// A mapped chunk; used only under the lock of the pools.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ChunkPtr(NonNull<Chunk>);

// SAFETY: a chunk is reached only under the pools' lock, by one thread at a time.
unsafe impl Send for ChunkPtr {}

/// The pool that serves records of `bytes`.
fn pool_of(bytes: usize) -> Option<usize> {
    RECORD_BYTES.iter().position(|&record_bytes| bytes <= record_bytes)
}

impl Metadata {
    pub(crate) const fn new() -> Self {
        let with_room = [None; RECORD_BYTES.len()];
        Metadata { pools: Mutex::new(Pools { with_room, all: None, touched_bytes: 0 }) }
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
        let mut pools = self.pools.lock();
        let Some(pool) = pool_of(bytes) else {
            let bytes = round_up(bytes, PAGE_BYTES)?;
            let record = source.map(bytes, PAGE_BYTES)?;
            pools.touched_bytes += bytes;
            source.limits().count_resident(bytes);
            return Some(record);
        };
        pools.take(pool, source)
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
        let mut pools = self.pools.lock();
        if let Some(pool) = pool_of(bytes) {
            // SAFETY: the caller promises a record of this pool.
            unsafe { pools.give(pool, record) };
            return;
        }
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        pools.touched_bytes -= bytes;
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

impl Pools {
    fn take<S: PageSource>(
        &mut self,
        pool: usize,
        source: &CountedSource<S>,
    ) -> Option<NonNull<u8>> {
        let record_bytes = RECORD_BYTES[pool];
        let chunk = match self.with_room[pool] {
            Some(chunk) => chunk,
            None => self.map_chunk(pool, source)?,
        };
        // SAFETY: the chunk is mapped and under our lock; a free record lies within it, and so
        // does the next untouched one, because the chunk has room.
        unsafe {
            let head = &mut *chunk.0.as_ptr();
            head.used_records += 1;
            let record = match head.free {
                Some(record) => {
                    head.free = record.read().next;
                    record.cast::<u8>().write_bytes(0, record_bytes);
                    record.cast::<u8>()
                }
                None => {
                    let offset = HEADER_BYTES + head.touched_records as usize * record_bytes;
                    head.touched_records += 1;
                    let more_bytes = pages_begun(offset + record_bytes) - pages_begun(offset);
                    self.touched_bytes += more_bytes;
                    source.limits().count_resident(more_bytes);
                    chunk.0.cast::<u8>().add(offset)
                }
            };
            if head.used_records as usize == records_per_chunk(record_bytes) {
                unlink(&mut self.with_room[pool], chunk, WITH_ROOM);
            }
            Some(record)
        }
    }

    /// # Safety
    ///
    /// `record` is a record of this pool in use, given up by its user.
    unsafe fn give(&mut self, pool: usize, record: NonNull<u8>) {
        let chunk = record.as_ptr().map_addr(|address| address & !(CHUNK_BYTES - 1));
        // SAFETY: a pool's records lie in chunks aligned to their size, so masking gives the
        // chunk's start; the record is long enough for a link and nobody else's.
        unsafe {
            let chunk = ChunkPtr(NonNull::new_unchecked(chunk.cast()));
            let head = &mut *chunk.0.as_ptr();
            let was_full = head.used_records as usize == records_per_chunk(RECORD_BYTES[pool]);
            let record = record.cast::<FreeRecord>();
            record.write(FreeRecord { next: head.free });
            head.free = Some(record);
            head.used_records -= 1;
            if was_full {
                link(&mut self.with_room[pool], chunk, WITH_ROOM);
            }
        }
    }

    fn map_chunk<S: PageSource>(
        &mut self,
        pool: usize,
        source: &CountedSource<S>,
    ) -> Option<ChunkPtr> {
        let chunk = ChunkPtr(source.map(CHUNK_BYTES, CHUNK_BYTES)?.cast());
        self.touched_bytes += PAGE_BYTES;
        source.limits().count_resident(PAGE_BYTES);
        // SAFETY: just mapped, of a chunk's size and alignment; zeros are a valid empty head.
        unsafe {
            link(&mut self.with_room[pool], chunk, WITH_ROOM);
            link(&mut self.all, chunk, ALL);
        }
        Some(chunk)
    }

    /// # Safety
    ///
    /// The chunk is mapped, on this pool's list, and none of its records is in use.
    unsafe fn unmap<S: PageSource>(
        &mut self,
        pool: usize,
        chunk: ChunkPtr,
        source: &CountedSource<S>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            unlink(&mut self.with_room[pool], chunk, WITH_ROOM);
            unlink(&mut self.all, chunk, ALL);
            let touched_records = (*chunk.0.as_ptr()).touched_records as usize;
            let end = HEADER_BYTES + touched_records * RECORD_BYTES[pool];
            let chunk_bytes = pages_begun(end).max(PAGE_BYTES);
            self.touched_bytes -= chunk_bytes;
            source.limits().subtract_resident(chunk_bytes);
            source.unmap(chunk.0.cast(), CHUNK_BYTES);
        }
    }
}

/// Puts a chunk first on a list.
///
/// # Safety
///
/// The chunk is mapped and not on this list, whose links are those at index `list`.
unsafe fn link(head: &mut Option<ChunkPtr>, chunk: ChunkPtr, list: usize) {
    // SAFETY: the caller's promise; chunks on the list are mapped.
    unsafe {
        (*chunk.0.as_ptr()).links[list] = Links { next: *head, previous: None };
        if let Some(first) = *head {
            (*first.0.as_ptr()).links[list].previous = Some(chunk);
        }
    }
    *head = Some(chunk);
}

/// Takes a chunk off a list.
///
/// # Safety
///
/// The chunk is mapped and on this list, whose links are those at index `list`.
unsafe fn unlink(head: &mut Option<ChunkPtr>, chunk: ChunkPtr, list: usize) {
    // SAFETY: the caller's promise; its neighbours on the list are mapped.
    unsafe {
        let Links { next, previous } = (*chunk.0.as_ptr()).links[list];
        match previous {
            Some(previous) => (*previous.0.as_ptr()).links[list].next = next,
            None => *head = next,
        }
        if let Some(next) = next {
            (*next.0.as_ptr()).links[list].previous = previous;
        }
    }
}

const fn records_per_chunk(record_bytes: usize) -> usize {
    (CHUNK_BYTES - HEADER_BYTES) / record_bytes
}

/// Bytes of the pages that the first `bytes` of a chunk lie on.
const fn pages_begun(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_source::TestSource;

    #[test]
    fn records_are_zeroed_distinct_and_given_back() {
        let source = CountedSource::new(TestSource::new());
        let metadata = Metadata::new();
        for bytes in [1, 64, 100, 1408, 4096, 8192, 20_000] {
            let records: Vec<_> =
                (0..200).map(|_| metadata.take(&source, bytes).unwrap()).collect();
            for record in &records {
                // SAFETY: the record is this test's, of `bytes`.
                unsafe {
                    assert!((0..bytes).all(|offset| record.add(offset).read() == 0));
                    record.write_bytes(0xA5, bytes);
                }
            }
            for record in records {
                // SAFETY: taken above with this size.
                unsafe { metadata.give(&source, record, bytes) };
            }
            let again = metadata.take(&source, bytes).unwrap();
            // SAFETY: the record is this test's.
            assert_eq!(unsafe { again.read() }, 0, "a record used before is cleared");
            // SAFETY: taken above with this size.
            unsafe { metadata.give(&source, again, bytes) };
        }
        assert!(metadata.release_empty(&source) > 0);
        assert_eq!(metadata.resident_bytes(), 0);
        assert_eq!(source.mapped_bytes(), 0);
    }

    #[test]
    fn all_chunks_go_at_once_with_records_in_use_and_free_ones() {
        let source = CountedSource::new(TestSource::new());
        let metadata = Metadata::new();
        // Full chunks, half-full ones, and some that come and go meanwhile.
        for (bytes, count) in [(64, 3000), (8192, 20), (2048, 40), (500, 1)] {
            let records: Vec<_> =
                (0..count).map(|_| metadata.take(&source, bytes).unwrap()).collect();
            for record in records.iter().step_by(3) {
                // SAFETY: taken above with this size.
                unsafe { metadata.give(&source, *record, bytes) };
            }
            metadata.release_empty(&source);
        }
        // SAFETY: nobody uses the records any more.
        unsafe { metadata.unmap_all(&source) };
        assert_eq!((metadata.resident_bytes(), source.mapped_bytes()), (0, 0));
        assert_eq!(source.limits().resident_bytes(), 0);
        assert!(metadata.take(&source, 64).is_some(), "storage is as it was at first");
        // SAFETY: nobody uses the record any more.
        unsafe { metadata.unmap_all(&source) };
    }

    #[test]
    fn a_refusing_source_gives_none() {
        let source = CountedSource::new(TestSource::failing_after(0));
        let metadata = Metadata::new();
        assert!(metadata.take(&source, 64).is_none());
        assert!(metadata.take(&source, 1 << 20).is_none());
        assert_eq!(metadata.resident_bytes(), 0);
    }
}
