//! A stack of free blocks in chunks: what a depot keeps its blocks in.
//!
//! Records are had under a lock that all bins share, and are cleared each time. So chunks that were
//! emptied stay with the stack, for those to be filled next: what comes and goes in bursts takes no
//! record once it has been through.

use core::ptr::NonNull;

use crate::counted_source::CountedSource;
use crate::metadata::Metadata;
use crate::page_source::PageSource;
use crate::size_class::{PerClass, SizeClass};

/// Bytes of blocks that decide how long a chunk is, and the fewest and most entries that it and its
/// head have.
///
/// That is half of what a bin of a thread's cache holds at most, and comes and goes at once; a chunk
/// has room for all of it but a block, for a record that is one word longer would be twice as long.
const CHUNK_BYTES: usize = 64 * 1024;
const ENTRIES_MIN: usize = 8;
const ENTRIES_MAX: usize = 256;

/// A stack of free blocks of one class; zeroed memory is an empty one.
#[derive(Debug)]
pub(super) struct BlockStack {
    /// The chunk that holds the top, if there are any blocks.
    top: Option<NonNull<Chunk>>,
    /// Chunks that were emptied, the last one first.
    spares: Option<NonNull<Chunk>>,
    /// Blocks in the top chunk; those below it are full.
    top_len: u32,
    len: u32,
    spare_count: u32,
}

// SAFETY: the stack belongs to its bin and is used under the bin's lock.
unsafe impl Send for BlockStack {}

/// The head of a record of free blocks, which follow it.
#[derive(Debug)]
#[repr(C)]
struct Chunk {
    below: Option<NonNull<Chunk>>,
}

/// Where a stack's chunks come from.
#[derive(Debug)]
pub(super) struct ChunkSupply<'heap, S> {
    pub(super) metadata: &'heap Metadata,
    pub(super) source: &'heap CountedSource<S>,
}

/// Blocks in a chunk: what fits into a record beside its head.
fn chunk_blocks(class: SizeClass) -> usize {
    static ENTRIES: PerClass = SizeClass::blocks_within(CHUNK_BYTES, ENTRIES_MIN, ENTRIES_MAX);
    ENTRIES.of(class).next_power_of_two() - 1
}

/// Chunks that so many blocks need.
fn chunks(class: SizeClass, blocks: usize) -> usize {
    blocks.div_ceil(chunk_blocks(class))
}

fn chunk_bytes(class: SizeClass) -> usize {
    size_of::<Chunk>() + chunk_blocks(class) * size_of::<*mut u8>()
}

impl BlockStack {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Moves up to `into.len()` blocks out; answers how many.
    pub(super) fn take(&mut self, class: SizeClass, into: &mut [*mut u8]) -> usize {
        let mut count = 0;
        while let Some(top) = self.top {
            let part = (into.len() - count).min(self.top_len as usize);
            if part == 0 {
                break;
            }
            self.top_len -= part as u32;
            // SAFETY: the topmost `part` of the `top_len` entries, all written by `put`.
            let blocks = unsafe { Chunk::blocks(top).add(self.top_len as usize) };
            // SAFETY: as above; a chunk's entries and the caller's are apart.
            unsafe { blocks.copy_to_nonoverlapping(into[count..].as_mut_ptr(), part) };
            count += part;
            if self.top_len == 0 {
                self.drop_top(class);
            }
        }
        self.len -= count as u32;
        count
    }

    /// Moves all of `from` in, or nothing where there is no memory for it.
    pub(super) fn put<S: PageSource>(
        &mut self,
        class: SizeClass,
        from: &[*mut u8],
        supply: &ChunkSupply<'_, S>,
    ) -> bool {
        let mut rest = from;
        while !rest.is_empty() {
            if !self.has_room_on_top(class) && !self.push_chunk(class, supply) {
                // All or nothing: the caller still holds what was copied.
                self.forget(class, from.len() - rest.len());
                return false;
            }
            rest = self.put_on_top(class, rest);
        }
        true
    }

    /// Calls `visit` with every block.
    pub(super) fn for_each(&self, class: SizeClass, mut visit: impl FnMut(*mut u8)) {
        let mut count = self.top_len as usize;
        for_each_chunk(self.top, |chunk| {
            for index in 0..count {
                // SAFETY: the top chunk holds `top_len` written entries, those below are full.
                visit(unsafe { Chunk::blocks(chunk).add(index).read() });
            }
            count = chunk_blocks(class);
        });
    }

    /// Gives chunks back that are spare beyond what `blocks` of them all need.
    pub(super) fn give_spares<S: PageSource>(
        &mut self,
        class: SizeClass,
        blocks: usize,
        supply: &ChunkSupply<'_, S>,
    ) {
        let kept = chunks(class, blocks).saturating_sub(chunks(class, self.len()));
        while self.spare_count as usize > kept
            && let Some(spare) = self.take_spare()
        {
            // SAFETY: `push_chunk` took it with this size, and it is on no list any more.
            unsafe { supply.metadata.give(supply.source, spare.cast(), chunk_bytes(class)) };
        }
    }

    fn has_room_on_top(&self, class: SizeClass) -> bool {
        self.top.is_some() && (self.top_len as usize) < chunk_blocks(class)
    }

    /// Copies what fits into the top chunk; answers what did not.
    fn put_on_top<'from>(&mut self, class: SizeClass, from: &'from [*mut u8]) -> &'from [*mut u8] {
        let Some(top) = self.top else { return from };
        let (part, rest) =
            from.split_at(from.len().min(chunk_blocks(class) - self.top_len as usize));
        // SAFETY: the chunk has room for `part` beyond its `top_len` entries, and is apart from it.
        unsafe {
            let room = Chunk::blocks(top).add(self.top_len as usize);
            room.copy_from_nonoverlapping(part.as_ptr(), part.len());
        }
        self.top_len += part.len() as u32;
        self.len += part.len() as u32;
        rest
    }

    fn push_chunk<S: PageSource>(&mut self, class: SizeClass, supply: &ChunkSupply<'_, S>) -> bool {
        let new = || Some(supply.metadata.take(supply.source, chunk_bytes(class))?.cast());
        let Some(chunk) = self.take_spare().or_else(new) else { return false };
        // SAFETY: the record has at least this size, is aligned, and nobody else's.
        unsafe { chunk.write(Chunk { below: self.top }) };
        self.top = Some(chunk);
        self.top_len = 0;
        true
    }

    /// Takes the top chunk, which is empty, off; the one below is full.
    fn drop_top(&mut self, class: SizeClass) {
        let Some(top) = self.top else { return };
        // SAFETY: a chunk of the stack is an initialised record, and used under the bin's lock alone.
        let below = unsafe { core::mem::replace(&mut (*top.as_ptr()).below, self.spares) };
        (self.top, self.spares) = (below, Some(top));
        self.top_len = if below.is_some() { chunk_blocks(class) as u32 } else { 0 };
        self.spare_count += 1;
    }

    fn take_spare(&mut self) -> Option<NonNull<Chunk>> {
        let spare = self.spares?;
        // SAFETY: a spare is an initialised record too.
        self.spares = unsafe { spare.as_ref() }.below;
        self.spare_count -= 1;
        Some(spare)
    }

    /// Takes the topmost `count` entries off without handing them to anyone.
    fn forget(&mut self, class: SizeClass, count: usize) {
        let mut left = count as u32;
        while left > 0 {
            let part = left.min(self.top_len);
            self.top_len -= part;
            self.len -= part;
            left -= part;
            if self.top_len == 0 {
                self.drop_top(class);
            }
        }
    }

    /// Stops the program where the stack contradicts itself, or has more than `room` blocks need.
    pub(super) fn check(&self, class: SizeClass, room: usize) {
        let (mut blocks, mut spares) = (0, 0);
        self.for_each(class, |_| blocks += 1);
        ensure_eq!(blocks, self.len(), "blocks in a depot: found, counted");
        ensure!(self.top.is_none() || self.top_len > 0, "a depot's top chunk holds something");
        for_each_chunk(self.spares, |spare| {
            spares += 1;
            for_each_chunk(self.top, |chunk| {
                ensure!(chunk != spare, "a depot's spare chunk is none of its stack's");
            });
        });
        ensure_eq!(spares, self.spare_count, "spare chunks of a depot: found, counted");
        let held = chunks(class, self.len()) + self.spare_count as usize;
        ensure!(held <= chunks(class, room), "a depot has no more chunks than its room needs");
    }
}

fn for_each_chunk(first: Option<NonNull<Chunk>>, mut visit: impl FnMut(NonNull<Chunk>)) {
    let mut chunk = first;
    while let Some(here) = chunk {
        visit(here);
        // SAFETY: a chunk of a stack or of its spares is an initialised record.
        chunk = unsafe { here.as_ref().below };
    }
}

impl Chunk {
    /// The first entry of a chunk's record.
    ///
    /// # Safety
    ///
    /// The record is one that `push_chunk` took.
    unsafe fn blocks(chunk: NonNull<Chunk>) -> *mut *mut u8 {
        // SAFETY: the record goes on behind its head.
        unsafe { chunk.as_ptr().add(1).cast() }
    }
}
