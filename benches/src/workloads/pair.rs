//! Allocate and free at once: the shortest path there is.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::{Run, Scale, Workload};
use crate::block::Block;
use crate::peers::Peer;

/// Pairs of one allocation and one free on a single thread.
///
/// The block is not touched, so that the pair is all that is measured, and no
/// other block of its size is live, so every free leaves its size class empty.
/// One iteration is one pair.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The size of every block.
    pub size_bytes: usize,
}

impl Workload for Pair {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        Box::new(Pairs::<P> { size_bytes: self.size_bytes, peer: PhantomData })
    }
}

struct Pairs<P: Peer> {
    size_bytes: usize,
    peer: PhantomData<P>,
}

impl<P: Peer> Run for Pairs<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..iterations {
            // The allocator's functions are opaque calls, so neither half of
            // the pair can be optimized away.
            drop(Block::<P>::allocate(self.size_bytes));
        }
        start.elapsed()
    }
}
