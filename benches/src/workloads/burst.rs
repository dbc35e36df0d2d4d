//! Many blocks allocated in a row, then all of them freed in a row.

use std::time::{Duration, Instant};

use super::{Run, Scale, Workload};
use crate::block::Block;
use crate::peers::Peer;

/// The order in which a burst is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The oldest block first, as a queue would.
    OldestFirst,
    /// The newest block first, as nested scopes would.
    NewestFirst,
}

/// Allocates a burst of blocks, writes the first byte of each, then frees
/// them all, on a single thread. One iteration is a whole burst.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// How many blocks a burst has.
    pub blocks: usize,
    /// The size of every block.
    pub size_bytes: usize,
    /// The order in which the blocks are freed.
    pub release: Release,
}

impl Workload for Burst {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        Box::new(Bursts::<P> {
            burst: *self,
            // The room is made here so that it never grows while measured.
            live: Vec::with_capacity(self.blocks),
        })
    }
}

struct Bursts<P: Peer> {
    burst: Burst,
    live: Vec<Block<P>>,
}

impl<P: Peer> Bursts<P> {
    fn release(&mut self) {
        match self.burst.release {
            // Clearing a vector drops its items from the first to the last.
            Release::OldestFirst => self.live.clear(),
            Release::NewestFirst => {
                while let Some(block) = self.live.pop() {
                    drop(block);
                }
            }
        }
    }
}

impl<P: Peer> Run for Bursts<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..iterations {
            for _ in 0..self.burst.blocks {
                let block = Block::allocate_touched(self.burst.size_bytes);
                self.live.push(block);
            }
            self.release();
        }
        start.elapsed()
    }
}
