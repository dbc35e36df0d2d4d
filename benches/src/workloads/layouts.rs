//! Pairs that ask for more than bytes: an alignment, or zeros.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::{Run, Scale, Workload};
use crate::block::out_of_memory;
use crate::peers::Peer;

/// Pairs of one allocation and one free on a single thread, as [`Pair`](super::Pair) does them
/// but with a layout of their own. One iteration is one pair.
#[derive(Clone, Copy, Debug)]
pub struct LayoutPair {
    /// The size of every block.
    pub size_bytes: usize,
    /// The alignment of every block, a power of two.
    pub align_bytes: usize,
    /// Whether the blocks are to be all zeros.
    pub is_zeroed: bool,
}

impl Workload for LayoutPair {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        Box::new(LayoutPairs::<P> { layout: *self, peer: PhantomData })
    }
}

struct LayoutPairs<P: Peer> {
    layout: LayoutPair,
    peer: PhantomData<P>,
}

impl<P: Peer> Run for LayoutPairs<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let LayoutPair { size_bytes, align_bytes, is_zeroed } = self.layout;
        let allocate = if is_zeroed { P::alloc_zeroed } else { P::alloc };
        let start = Instant::now();
        for _ in 0..iterations {
            // SAFETY: Whoever makes a `LayoutPair` gives a small size above zero and a power of
            // two, and the block is freed once with the layout that it has.
            unsafe {
                let block = allocate(size_bytes, align_bytes);
                if block.is_null() {
                    out_of_memory(size_bytes);
                }
                P::dealloc(block, size_bytes, align_bytes);
            }
        }
        start.elapsed()
    }
}
