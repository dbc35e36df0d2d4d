//! Blocks allocated on any of several threads and freed on any other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::crew::Crew;
use super::{Run, Scale, Workload};
use crate::block::Block;
use crate::peers::Peer;
use crate::random::Random;

/// How many batches wait in the queue for each thread, beside the one it holds.
const BATCHES_WAITING: usize = 8;

/// Each of several threads takes the oldest batch of blocks from a queue that all share, frees
/// them, allocates a new batch and puts that at the queue's end.
///
/// So a block is freed by whichever thread comes along, seldom by the one that allocated it, and
/// no thread waits for a particular other. One iteration is a batch on every thread, and the time
/// is that of the slowest thread.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// How many threads exchange blocks.
    pub threads: usize,
    /// How many blocks a batch has: enough to make the queue cheap.
    pub batch_blocks: usize,
    /// The largest size of a block. The smallest is 8 bytes, and each doubling is equally often.
    pub size_max_bytes: usize,
}

type Batch<P> = Vec<Block<P>>;
type Queue<P> = Arc<Mutex<VecDeque<Batch<P>>>>;

impl Workload for Exchange {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        let exchange = *self;
        let queue = self.filled_queue::<P>();
        let crew = Crew::new(self.threads, move |index| {
            let sizes_bytes = exchange.sizes_bytes(index as u64);
            let queue = Arc::clone(&queue);
            move |iterations| {
                for _ in 0..iterations {
                    pass_on(&queue, &sizes_bytes);
                }
            }
        });
        Box::new(crew)
    }
}

impl Exchange {
    fn filled_queue<P: Peer>(&self) -> Queue<P> {
        let sizes_bytes = self.sizes_bytes(u64::MAX);
        let batches = self.threads * (BATCHES_WAITING + 1);
        let batch = |_| sizes_bytes.iter().map(|&size| Block::allocate_touched(size)).collect();
        Arc::new(Mutex::new((0..batches).map(batch).collect()))
    }

    /// The sizes of a batch's blocks.
    fn sizes_bytes(&self, seed: u64) -> Vec<usize> {
        let mut random = Random::new(seed);
        let sizes_bytes = 8..=self.size_max_bytes;
        (0..self.batch_blocks).map(|_| random.log_uniform(&sizes_bytes)).collect()
    }
}

fn pass_on<P: Peer>(queue: &Mutex<VecDeque<Batch<P>>>, sizes_bytes: &[usize]) {
    // One statement each, so that the queue is free while blocks are.
    let oldest = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut batch = oldest.expect("there are more batches than threads");
    // The vector stays, and with it its room.
    batch.clear();
    batch.extend(sizes_bytes.iter().map(|&size| Block::allocate_touched(size)));
    queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(batch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_peers::Glibc;

    #[test]
    fn the_queue_keeps_its_batches_and_each_is_passed_on_in_turn() {
        let exchange = Exchange { threads: 2, batch_blocks: 3, size_max_bytes: 64 };
        let queue = exchange.filled_queue::<Glibc>();
        let batches = queue.lock().expect("nobody panicked").len();
        assert_eq!(batches, 2 * (BATCHES_WAITING + 1));
        pass_on(&queue, &[8; 5]);
        let queue = queue.lock().expect("nobody panicked");
        assert_eq!(queue.len(), batches);
        assert_eq!(queue.iter().map(Vec::len).max(), Some(5));
        assert_eq!(queue.back().map(Vec::len), Some(5));
    }
}
