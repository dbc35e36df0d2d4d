//! Threads that start, allocate a little, and end.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::{Run, Scale, Workload};
use crate::block::Block;
use crate::peers::Peer;
use crate::random::Random;
use crate::threads::Thread;

/// The sizes that each thread asks for.
const SIZES_BYTES: std::ops::RangeInclusive<usize> = 8..=1024;

/// Starts a few threads at a time and waits for their ends. Each allocates some blocks and frees
/// them. One iteration is one start of that many threads.
#[derive(Clone, Copy, Debug)]
pub struct ShortThreads {
    /// How many threads are started before the first is waited for.
    pub threads: usize,
    /// How many blocks each thread allocates.
    pub blocks: usize,
}

impl Workload for ShortThreads {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        let mut random = Random::new(0);
        // For the threads to borrow. A few hundred bytes stay behind.
        let sizes_bytes: Vec<usize> =
            (0..self.blocks).map(|_| random.log_uniform(&SIZES_BYTES)).collect();
        let sizes_bytes = &*sizes_bytes.leak();
        Box::new(Starts::<P> { threads: self.threads, sizes_bytes, peer: PhantomData })
    }
}

struct Starts<P: Peer> {
    threads: usize,
    sizes_bytes: &'static [usize],
    peer: PhantomData<P>,
}

impl<P: Peer> Starts<P> {
    fn start(&self, running: &mut Vec<Thread>) {
        for _ in 0..self.threads {
            let sizes_bytes = self.sizes_bytes;
            running.push(Thread::start::<P, _>(move || live::<P>(sizes_bytes)));
        }
    }
}

/// How many blocks a thread holds at once; the oldest goes when there are more.
const HELD_BLOCKS: usize = 32;

/// The life of a thread. The blocks are held on its stack, for any table would be the system's.
fn live<P: Peer>(sizes_bytes: &[usize]) {
    let mut held: [Option<Block<P>>; HELD_BLOCKS] = [const { None }; HELD_BLOCKS];
    for (index, &size_bytes) in sizes_bytes.iter().enumerate() {
        held[index % HELD_BLOCKS] = Some(Block::allocate_touched(size_bytes));
    }
}

impl<P: Peer> Run for Starts<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let mut running = Vec::with_capacity(self.threads);
        let start = Instant::now();
        for _ in 0..iterations {
            self.start(&mut running);
            running.clear();
        }
        start.elapsed()
    }
}
