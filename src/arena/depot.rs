//! The depot: a bin's small stock of free blocks, between the thread caches and the slabs.
//!
//! What one thread flushes another refills with, by copying pointers and without a look at a
//! slab: producer and consumer pairs live off it. A batch is copied rather than a magazine
//! swapped, so that a thread at the edge between full and empty keeps half of its blocks instead
//! of trading magazines at every call.
//!
//! A depot that turned a batch away, and then ran out, was too small for what comes and goes: it
//! may hold twice as much from then on, as far as the budget of the caches lends. Blocks that lay
//! at its bottom for a whole period of decay were not needed, and go back to their slabs with
//! what was borrowed for them.

use core::ptr::NonNull;

use crate::budget::CacheBudget;
use crate::counted_source::CountedSource;
use crate::metadata::Metadata;
use crate::page_source::PageSource;
use crate::size_class::{PerClass, SizeClass};

/// Bytes of blocks that a depot may always hold, and the fewest and most blocks.
const STOCK_BYTES: usize = 32 * 1024;
const BLOCKS_MIN: usize = 2;
const BLOCKS_MAX: usize = 256;

/// Bytes of blocks, and blocks, that a depot may come to hold.
const GROWN_BYTES: usize = 1 << 20;
const GROWN_BLOCKS_MAX: usize = 1 << 14;

/// A stack of free blocks, in chunks; zeroed memory is an empty one.
#[derive(Debug)]
pub(super) struct Depot {
    /// The chunk that holds the top, if there are any blocks.
    top: Option<NonNull<Chunk>>,
    /// The chunk that was emptied last, kept for the next to be filled: a depot is at the edge of a
    /// chunk as often as not, and records are had under a lock that all bins share.
    spare: Option<NonNull<Chunk>>,
    /// Blocks in the top chunk; those below it are full.
    top_len: u32,
    len: u32,
    /// Blocks that it may hold beyond [`capacity`], borrowed from the budget.
    extra: u32,
    /// The fewest blocks that it held since the last period of decay ended.
    low_water: u32,
    /// The most that it held.
    high_water: u32,
    /// Whether a batch was turned away since the depot last grew or was drained.
    was_full: bool,
}

// SAFETY: the stack belongs to its bin and is used under the bin's lock.
unsafe impl Send for Depot {}

/// The head of a record of free blocks, which follow it.
#[derive(Debug)]
#[repr(C)]
struct Chunk {
    below: Option<NonNull<Chunk>>,
}

/// Where a depot's records come from, and what lends it its growth.
#[derive(Debug)]
pub(super) struct DepotSupply<'heap, S> {
    pub(super) metadata: &'heap Metadata,
    pub(super) source: &'heap CountedSource<S>,
    pub(super) budget: &'heap CacheBudget,
}

/// How many blocks of a class a depot may hold without borrowing.
pub(crate) fn capacity(class: SizeClass) -> usize {
    static BLOCKS: PerClass = SizeClass::blocks_within(STOCK_BYTES, BLOCKS_MIN, BLOCKS_MAX);
    BLOCKS.of(class)
}

/// How many blocks of a class a depot may come to hold.
pub(crate) fn capacity_max(class: SizeClass) -> usize {
    static BLOCKS: PerClass = SizeClass::blocks_within(GROWN_BYTES, BLOCKS_MIN, GROWN_BLOCKS_MAX);
    BLOCKS.of(class)
}

/// Blocks in a chunk: what fits into a record beside its head.
fn chunk_blocks(class: SizeClass) -> usize {
    capacity(class).next_power_of_two().max(8) - 1
}

fn chunk_bytes(class: SizeClass) -> usize {
    size_of::<Chunk>() + chunk_blocks(class) * size_of::<*mut u8>()
}

impl Depot {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Moves up to `into.len()` blocks out; answers how many.
    ///
    /// Where there are too few, and batches were turned away, the depot may hold more hereafter.
    pub(super) fn take<S: PageSource>(
        &mut self,
        class: SizeClass,
        into: &mut [*mut u8],
        supply: &DepotSupply<'_, S>,
    ) -> usize {
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
                self.drop_top(class, supply);
            }
        }
        self.len -= count as u32;
        self.low_water = self.low_water.min(self.len);
        if count < into.len() && self.was_full {
            self.grow(class, supply.budget);
        }
        count
    }

    /// Takes the top chunk, which is empty, off; the one below is full.
    fn drop_top<S: PageSource>(&mut self, class: SizeClass, supply: &DepotSupply<'_, S>) {
        let Some(top) = self.top else { return };
        // SAFETY: a chunk of the stack is an initialised record.
        self.top = unsafe { top.as_ref() }.below;
        self.top_len = if self.top.is_some() { chunk_blocks(class) as u32 } else { 0 };
        let before = self.spare.replace(top);
        // SAFETY: a spare is a chunk that was on this stack, and it was just taken out.
        unsafe { give_chunk(before, class, supply) };
    }

    /// Lets the depot hold twice as much, as far as the budget lends.
    #[cold]
    fn grow(&mut self, class: SizeClass, budget: &CacheBudget) {
        self.was_full = false;
        let now = capacity(class) + self.extra as usize;
        let more = now.min(capacity_max(class).saturating_sub(now));
        let more_bytes = more * class.block_bytes();
        if more > 0 && budget.borrow_bytes_for_depot(more_bytes) {
            self.extra += more as u32;
        }
    }

    /// Calls `visit` with every block.
    pub(super) fn for_each(&self, class: SizeClass, mut visit: impl FnMut(*mut u8)) {
        let (mut chunk, mut count) = (self.top, self.top_len as usize);
        while let Some(here) = chunk {
            for index in 0..count {
                // SAFETY: the top chunk holds `top_len` written entries, those below are full.
                visit(unsafe { Chunk::blocks(here).add(index).read() });
            }
            // SAFETY: a chunk of the stack is an initialised record.
            chunk = unsafe { here.as_ref().below };
            count = chunk_blocks(class);
        }
    }

    /// Moves all of `from` in, or nothing where it has no room.
    pub(super) fn put<S: PageSource>(
        &mut self,
        class: SizeClass,
        from: &[*mut u8],
        supply: &DepotSupply<'_, S>,
    ) -> bool {
        if self.len() + from.len() > capacity(class) + self.extra as usize {
            self.was_full = true;
            return false;
        }
        let mut rest = from;
        while !rest.is_empty() {
            if !self.has_room_on_top(class) && !self.push_chunk(class, supply) {
                // All or nothing: the caller still holds what was copied.
                self.forget(class, from.len() - rest.len(), supply);
                return false;
            }
            rest = self.put_on_top(class, rest);
        }
        self.high_water = self.high_water.max(self.len);
        true
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

    fn push_chunk<S: PageSource>(&mut self, class: SizeClass, supply: &DepotSupply<'_, S>) -> bool {
        let new = || Some(supply.metadata.take(supply.source, chunk_bytes(class))?.cast());
        let Some(chunk) = self.spare.take().or_else(new) else { return false };
        // SAFETY: the record has at least this size, is aligned, and nobody else's.
        unsafe { chunk.write(Chunk { below: self.top }) };
        self.top = Some(chunk);
        self.top_len = 0;
        true
    }

    /// Takes the topmost `count` entries off without handing them to anyone.
    fn forget<S: PageSource>(
        &mut self,
        class: SizeClass,
        count: usize,
        supply: &DepotSupply<'_, S>,
    ) {
        let mut left = count as u32;
        while left > 0 {
            let part = left.min(self.top_len);
            self.top_len -= part;
            self.len -= part;
            left -= part;
            if self.top_len == 0 {
                self.drop_top(class, supply);
            }
        }
    }

    /// Moves blocks that a whole period did without out, up to `into.len()`; answers how many.
    ///
    /// An answer below that tells that there are no more: room that was borrowed and not needed has
    /// gone back, and the next period's marks begin.
    pub(super) fn take_surplus<S: PageSource>(
        &mut self,
        class: SizeClass,
        into: &mut [*mut u8],
        supply: &DepotSupply<'_, S>,
    ) -> usize {
        let surplus = self.low_water as usize;
        let wanted = surplus.min(into.len());
        let count = self.take(class, &mut into[..wanted], supply);
        // `take` set the mark to what is left; of the surplus there is less now.
        self.low_water = (surplus - count) as u32;
        self.return_extra(class, count, supply.budget);
        self.high_water = self.high_water.saturating_sub(count as u32).max(self.len);
        // Not where `into` was just filled: the caller comes again, and would find the new mark.
        if count < into.len() {
            let room = capacity(class) + self.extra as usize;
            self.return_extra(class, room - self.high_water as usize, supply.budget);
            (self.low_water, self.high_water) = (self.len, self.len);
        }
        count
    }

    fn return_extra(&mut self, class: SizeClass, blocks: usize, budget: &CacheBudget) {
        let blocks = blocks.min(self.extra as usize);
        self.extra -= blocks as u32;
        budget.return_bytes_of_depot(blocks * class.block_bytes());
    }

    /// Gives what an empty depot has and had borrowed back.
    pub(super) fn release<S: PageSource>(&mut self, class: SizeClass, supply: &DepotSupply<'_, S>) {
        if self.len == 0 {
            (self.was_full, self.high_water) = (false, 0);
            self.return_extra(class, self.extra as usize, supply.budget);
            // SAFETY: a spare is a chunk that was on this stack, and it was just taken out.
            unsafe { give_chunk(self.spare.take(), class, supply) };
        }
    }

    /// Stops the program where the depot contradicts itself.
    pub(super) fn check(&self, class: SizeClass) {
        let mut count = 0;
        self.for_each(class, |_| count += 1);
        ensure_eq!(count, self.len(), "blocks in a depot: found, counted");
        ensure!(self.low_water <= self.len, "the least that a depot held");
        ensure!(self.len <= self.high_water, "the most that a depot held");
        let room = capacity(class) + self.extra as usize;
        ensure!(self.high_water as usize <= room, "a depot's capacity");
        ensure!(self.top.is_none() || self.top_len > 0, "a depot's top chunk holds something");
        let mut chunk = self.top;
        while let Some(here) = chunk {
            ensure!(self.spare != chunk, "a depot's spare chunk is none of its stack's");
            // SAFETY: a chunk of the stack is an initialised record.
            chunk = unsafe { here.as_ref().below };
        }
    }
}

/// Gives a chunk back, if there is one.
///
/// # Safety
///
/// `push_chunk` took it for this class and from this supply, and it is on no stack any more, nor a
/// spare.
unsafe fn give_chunk<S: PageSource>(
    chunk: Option<NonNull<Chunk>>,
    class: SizeClass,
    supply: &DepotSupply<'_, S>,
) {
    if let Some(chunk) = chunk {
        // SAFETY: taken with this size, and nobody else's, as the caller promises.
        unsafe { supply.metadata.give(supply.source, chunk.cast(), chunk_bytes(class)) };
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
