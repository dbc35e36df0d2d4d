//! The invariants of records' storage, as code.

use core::ptr::NonNull;

use super::Metadata;
use super::pools::{
    ALL, CHUNK_BYTES, Chunk, ChunkPtr, HEADER_BYTES, Links, RECORD_BYTES, WITH_ROOM,
};

impl Metadata {
    /// Stops the program where the storage of records contradicts itself.
    ///
    /// Chunks with room must be on the list of their size, and all on that of all; a chunk's free
    /// records must be those that were handed out and came back. What is counted as touched may
    /// exceed the chunks' pages, for records too large for a chunk are counted too and listed
    /// nowhere.
    pub(crate) fn check(&self) {
        let pools = self.pools.lock();
        let mut listed = [0; RECORD_BYTES.len()];
        for (pool, first) in pools.with_room.iter().enumerate() {
            for_each(*first, WITH_ROOM, |chunk| {
                ensure_eq!(chunk.pool as usize, pool, "a chunk is listed with another size");
                listed[pool] += 1;
            });
        }
        let mut with_room = [0; RECORD_BYTES.len()];
        let mut touched_bytes = 0;
        for_each(pools.all, ALL, |chunk| {
            check_records(chunk);
            with_room[chunk.pool as usize] += usize::from(!chunk.is_full());
            touched_bytes += chunk.touched_bytes();
        });
        ensure_eq!(listed, with_room, "chunks of records with room");
        ensure!(touched_bytes <= pools.touched_bytes, "pages of records are touched and uncounted");
    }
}

/// Visits the chunks of a list, and looks at the links back.
fn for_each(first: Option<ChunkPtr>, list: usize, mut visit: impl FnMut(&Chunk)) {
    let (mut before, mut next) = (None, first);
    while let Some(chunk) = next {
        // SAFETY: chunks on a list are mapped, and used under the lock, which the caller has.
        let head = unsafe { chunk.0.as_ref() };
        let Links { next: after, previous } = head.links[list];
        ensure!(previous == before, "a chunk of records is after another on its list");
        visit(head);
        (before, next) = (next, after);
    }
}

/// Holds a chunk's free records against the count of those in use.
fn check_records(chunk: &Chunk) {
    let touched_records = chunk.touched_records as usize;
    ensure!(touched_records <= chunk.capacity(), "more records are touched than a chunk has");
    let (mut count, mut next) = (0, chunk.free);
    while let Some(record) = next {
        let offset = record.addr().get() % CHUNK_BYTES;
        let is_touched = offset >= HEADER_BYTES
            && (offset - HEADER_BYTES).is_multiple_of(chunk.record_bytes())
            && (offset - HEADER_BYTES) / chunk.record_bytes() < touched_records;
        let is_here = record.addr().get() - offset == NonNull::from(chunk).addr().get();
        ensure!(is_touched && is_here, "a free record is none of its chunk's");
        count += 1;
        ensure!(count <= touched_records, "a chunk has more free records than were ever used");
        // SAFETY: a free record holds its link; it lies in a chunk that is mapped, under the lock.
        next = unsafe { record.read() }.next;
    }
    ensure_eq!(chunk.used_records as usize + count, touched_records, "records of a chunk");
}
