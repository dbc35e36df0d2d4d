//! Allocate and free at once: the shortest path there is.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::{Run, Scale, Workload};
use crate::block::{out_of_memory, touch};
use crate::peers::Peer;

/// What other blocks of the size are live all the while, at most, in bytes and in number.
const LIVE_BYTES_MAX: usize = 256 << 10;
const LIVE_BLOCKS_MAX: usize = 64;

/// Pairs of one allocation and one free on a single thread, with the block touched in between.
///
/// Two to 64 other blocks of the layout are live, as they would be in a program, and there is room
/// between them. With none, or with whatever holds them exactly full, each pair would make and
/// empty another such thing, and how an allocator takes that would be all that is measured. One
/// iteration is one pair.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The size of every block.
    pub size_bytes: usize,
    /// The alignment of every block, a power of two.
    pub align_bytes: usize,
    /// Whether the blocks are asked to be all zeros.
    pub is_zeroed: bool,
}

impl Pair {
    /// Blocks of a size, with the alignment that most Rust types ask for.
    #[must_use]
    pub const fn of(size_bytes: usize) -> Self {
        Self { size_bytes, align_bytes: 8, is_zeroed: false }
    }

    /// The same, of all zeros.
    #[must_use]
    pub const fn zeroed(size_bytes: usize) -> Self {
        Self { is_zeroed: true, ..Self::of(size_bytes) }
    }

    /// The same, of an alignment.
    #[must_use]
    pub const fn aligned(size_bytes: usize, align_bytes: usize) -> Self {
        Self { align_bytes, ..Self::of(size_bytes) }
    }

    fn live_blocks(self) -> usize {
        (LIVE_BYTES_MAX / self.size_bytes).clamp(2, LIVE_BLOCKS_MAX)
    }
}

impl Workload for Pair {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        let live_blocks = self.live_blocks();
        let allocated = (0..live_blocks + live_blocks.div_ceil(2)).map(|_| self.allocate::<P>());
        let mut pairs = Pairs::<P> { pair: *self, live: allocated.collect(), peer: PhantomData };
        pairs.make_room();
        Box::new(pairs)
    }
}

impl Pair {
    #[inline(always)]
    fn allocate<P: Peer>(&self) -> *mut u8 {
        let Self { size_bytes, align_bytes, is_zeroed } = *self;
        // SAFETY: Whoever makes a `Pair` gives a size above zero and far below `isize::MAX`, and
        // an alignment that is a power of two. The block is as large as `touch` asks.
        unsafe {
            let block = if is_zeroed {
                P::alloc_zeroed(size_bytes, align_bytes)
            } else {
                P::alloc(size_bytes, align_bytes)
            };
            if block.is_null() {
                out_of_memory(size_bytes);
            }
            touch(block, size_bytes);
            block
        }
    }

    /// # Safety
    ///
    /// The block came from `allocate` of this pair and peer, and is freed here alone.
    #[inline(always)]
    unsafe fn free<P: Peer>(&self, block: *mut u8) {
        // SAFETY: The caller promises it.
        unsafe { P::dealloc(block, self.size_bytes, self.align_bytes) };
    }
}

struct Pairs<P: Peer> {
    pair: Pair,
    live: Vec<*mut u8>,
    peer: PhantomData<P>,
}

impl<P: Peer> Pairs<P> {
    /// Frees every third block.
    fn make_room(&mut self) {
        let blocks = std::mem::take(&mut self.live);
        for (index, block) in blocks.into_iter().enumerate() {
            if index % 3 == 1 {
                // SAFETY: It was allocated when the work was opened, and left the table.
                unsafe { self.pair.free::<P>(block) };
            } else {
                self.live.push(block);
            }
        }
    }
}

impl<P: Peer> Run for Pairs<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let pair = self.pair;
        let start = Instant::now();
        for _ in 0..iterations {
            // The allocator's functions are opaque calls, so neither half of
            // the pair can be optimized away.
            let block = pair.allocate::<P>();
            // SAFETY: It was allocated on the line above.
            unsafe { pair.free::<P>(block) };
        }
        start.elapsed()
    }
}

impl<P: Peer> Drop for Pairs<P> {
    fn drop(&mut self) {
        for block in self.live.drain(..) {
            // SAFETY: It was allocated when the work was opened, and left the table.
            unsafe { self.pair.free::<P>(block) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_peers::Glibc;

    #[test]
    fn a_few_blocks_are_live_of_any_size() {
        assert_eq!(Pair::of(8).live_blocks(), 64);
        assert_eq!(Pair::of(32 << 10).live_blocks(), 8);
        assert_eq!(Pair::of(4 << 20).live_blocks(), 2);
    }

    #[test]
    fn every_third_block_makes_room() {
        for size_bytes in [8, 32 << 10, 4 << 20] {
            let pair = Pair::of(size_bytes);
            let live_blocks = pair.live_blocks();
            let live = (0..live_blocks + live_blocks.div_ceil(2)).map(|_| pair.allocate::<Glibc>());
            let mut pairs = Pairs::<Glibc> { pair, live: live.collect(), peer: PhantomData };
            pairs.make_room();
            assert_eq!(pairs.live.len(), live_blocks);
        }
    }

    #[test]
    fn the_blocks_are_what_was_asked_for() {
        let pair = Pair { size_bytes: 10_000, align_bytes: 4096, is_zeroed: true };
        let block = pair.allocate::<Glibc>();
        assert_eq!(block.addr() % 4096, 0);
        // SAFETY: The block has that many bytes, and is freed once.
        unsafe {
            let touched = (0..10_000).filter(|&index| block.add(index).read() != 0);
            assert_eq!(touched.collect::<Vec<_>>(), [0, 4096, 8192]);
            pair.free::<Glibc>(block);
        }
    }
}
