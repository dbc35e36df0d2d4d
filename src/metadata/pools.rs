//! Records of one size to a chunk of 64 KiB, and the lists of chunks.

use core::ptr::NonNull;

use crate::counted_source::CountedSource;
use crate::page_source::PageSource;
use crate::units::PAGE_BYTES;

/// Bytes in a chunk, also its alignment, so that a record leads to its chunk by masking.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;

/// Sizes of records; a larger one is a mapping of its own.
pub(super) const RECORD_BYTES: [usize; 9] = [64, 128, 256, 512, 1024, 1536, 2048, 4096, 8192];

/// Records begin this far into their chunk.
pub(super) const HEADER_BYTES: usize = 64;

#[derive(Debug)]
pub(super) struct Pools {
    /// For each size of record, the chunks that have room.
    pub(super) with_room: [Option<ChunkPtr>; RECORD_BYTES.len()],
    /// Every chunk, for the day when all of them go.
    pub(super) all: Option<ChunkPtr>,
    /// Bytes of chunks ever touched and not yet given back, and of large records.
    pub(super) touched_bytes: usize,
}

/// The head of a chunk, at its first byte.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Its places on two lists, by [`WITH_ROOM`] and [`ALL`].
    pub(super) links: [Links; 2],
    /// Records given back, each holding the pointer to the next.
    pub(super) free: Option<NonNull<FreeRecord>>,
    pub(super) used_records: u32,
    /// Records handed out at least once, counted from the front.
    pub(super) touched_records: u32,
    /// Which of [`RECORD_BYTES`] its records have.
    pub(super) pool: u32,
}

impl Chunk {
    pub(super) fn record_bytes(&self) -> usize {
        RECORD_BYTES[self.pool as usize]
    }

    /// How many records it has room for.
    pub(super) fn capacity(&self) -> usize {
        (CHUNK_BYTES - HEADER_BYTES) / self.record_bytes()
    }

    pub(super) fn is_full(&self) -> bool {
        self.used_records as usize == self.capacity()
    }

    /// Bytes of the pages that were ever touched: the head's, and those of records handed out.
    pub(super) fn touched_bytes(&self) -> usize {
        pages_begun(HEADER_BYTES + self.touched_records as usize * self.record_bytes())
    }
}

/// The list of the chunks of one size of record that have room, and the list of all chunks.
pub(super) const WITH_ROOM: usize = 0;
pub(super) const ALL: usize = 1;

/// A chunk's neighbours on a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) next: Option<ChunkPtr>,
    pub(super) previous: Option<ChunkPtr>,
}

#[derive(Debug)]
pub(super) struct FreeRecord {
    pub(super) next: Option<NonNull<FreeRecord>>,
}

const _: () = assert!(size_of::<Chunk>() <= HEADER_BYTES);

/// A mapped chunk; used only under the lock of the pools.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChunkPtr(pub(super) NonNull<Chunk>);

// SAFETY: a chunk is reached only under the pools' lock, by one thread at a time.
unsafe impl Send for ChunkPtr {}

/// The pool that serves records of `bytes`.
pub(super) fn pool_of(bytes: usize) -> Option<usize> {
    RECORD_BYTES.iter().position(|&record_bytes| bytes <= record_bytes)
}

impl Pools {
    pub(super) const fn new() -> Self {
        Pools { with_room: [None; RECORD_BYTES.len()], all: None, touched_bytes: 0 }
    }

    /// A record of this pool, unless none of its chunks has room.
    pub(super) fn take<S: PageSource>(
        &mut self,
        pool: usize,
        source: &CountedSource<S>,
    ) -> Option<NonNull<u8>> {
        let record_bytes = RECORD_BYTES[pool];
        let chunk = self.with_room[pool]?;
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
            if head.is_full() {
                unlink(&mut self.with_room[pool], chunk, WITH_ROOM);
            }
            Some(record)
        }
    }

    /// # Safety
    ///
    /// `record` is a record of this pool in use, given up by its user.
    pub(super) unsafe fn give(&mut self, pool: usize, record: NonNull<u8>) {
        let chunk = record.as_ptr().map_addr(|address| address & !(CHUNK_BYTES - 1));
        // SAFETY: a pool's records lie in chunks aligned to their size, so masking gives the
        // chunk's start; the record is long enough for a link and nobody else's.
        unsafe {
            let chunk = ChunkPtr(NonNull::new_unchecked(chunk.cast()));
            let head = &mut *chunk.0.as_ptr();
            let was_full = head.is_full();
            let record = record.cast::<FreeRecord>();
            record.write(FreeRecord { next: head.free });
            head.free = Some(record);
            head.used_records -= 1;
            if was_full {
                link(&mut self.with_room[pool], chunk, WITH_ROOM);
            }
        }
    }

    /// Lists a chunk that was just mapped.
    pub(super) fn add(&mut self, chunk: ChunkPtr) {
        self.touched_bytes += PAGE_BYTES;
        // SAFETY: mapped by `ChunkPtr::map`, and on no list yet.
        unsafe {
            let pool = (*chunk.0.as_ptr()).pool as usize;
            link(&mut self.with_room[pool], chunk, WITH_ROOM);
            link(&mut self.all, chunk, ALL);
        }
    }

    /// # Safety
    ///
    /// The chunk is mapped, on this pool's list, and none of its records is in use.
    pub(super) unsafe fn unmap<S: PageSource>(
        &mut self,
        pool: usize,
        chunk: ChunkPtr,
        source: &CountedSource<S>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            unlink(&mut self.with_room[pool], chunk, WITH_ROOM);
            unlink(&mut self.all, chunk, ALL);
            let chunk_bytes = (*chunk.0.as_ptr()).touched_bytes();
            self.touched_bytes -= chunk_bytes;
            source.limits().subtract_resident(chunk_bytes);
            source.unmap(chunk.0.cast(), CHUNK_BYTES);
        }
    }
}

impl ChunkPtr {
    /// Maps a chunk for records of this pool.
    pub(super) fn map<S: PageSource>(pool: usize, source: &CountedSource<S>) -> Option<ChunkPtr> {
        let chunk = ChunkPtr(source.map(CHUNK_BYTES, CHUNK_BYTES)?.cast());
        source.limits().count_resident(PAGE_BYTES);
        // SAFETY: just mapped, of a chunk's size and alignment; zeros are a valid empty head.
        unsafe { (*chunk.0.as_ptr()).pool = pool as u32 };
        Some(chunk)
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

/// Bytes of the pages that the first `bytes` of a chunk lie on.
const fn pages_begun(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE_BYTES)
}
