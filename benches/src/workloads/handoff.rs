//! Blocks allocated on one thread and freed on another.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Run, Scale, Workload};
use crate::block::Block;
use crate::peers::Peer;

/// How many batches travel at once, so that neither thread waits for every
/// single batch of the other.
const BATCHES_IN_FLIGHT: usize = 8;

/// One thread allocates batches of blocks, and another frees them.
///
/// The emptied batches travel back, so that the channels allocate nothing
/// while measured. One iteration is a whole batch.
#[derive(Clone, Copy, Debug)]
pub struct Handoff {
    /// How many blocks a batch has: enough to make the channel cheap.
    pub batch_blocks: usize,
    /// The size of every block.
    pub size_bytes: usize,
}

impl Workload for Handoff {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        let (full, arriving) = sync_channel(BATCHES_IN_FLIGHT);
        let (emptied, returning) = sync_channel(BATCHES_IN_FLIGHT);
        let pool = (0..BATCHES_IN_FLIGHT).map(|_| Vec::with_capacity(self.batch_blocks)).collect();
        Box::new(Producer::<P> {
            handoff: *self,
            pool,
            full: Some(full),
            returning,
            consumer: Some(std::thread::spawn(move || consume(&arriving, &emptied))),
        })
    }
}

type Batch<P> = Vec<Block<P>>;

/// The allocating side, which is the thread that measures.
struct Producer<P: Peer> {
    handoff: Handoff,
    pool: Vec<Batch<P>>,
    full: Option<SyncSender<Batch<P>>>,
    returning: Receiver<Batch<P>>,
    consumer: Option<JoinHandle<()>>,
}

/// The freeing side: frees every block of every batch in order.
fn consume<P: Peer>(arriving: &Receiver<Batch<P>>, emptied: &SyncSender<Batch<P>>) {
    while let Ok(mut batch) = arriving.recv() {
        batch.clear();
        if emptied.send(batch).is_err() {
            return;
        }
    }
}

impl<P: Peer> Producer<P> {
    /// Takes back one batch that the other thread has emptied.
    fn emptied_batch(&self) -> Batch<P> {
        self.returning.recv().expect("the freeing thread ended")
    }

    fn send_batch(&mut self) {
        let mut batch = self.pool.pop().unwrap_or_else(|| self.emptied_batch());
        for _ in 0..self.handoff.batch_blocks {
            batch.push(Block::allocate_touched(self.handoff.size_bytes));
        }
        let full = self.full.as_ref().expect("the channel is open");
        full.send(batch).expect("the freeing thread ended");
    }
}

impl<P: Peer> Run for Producer<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..iterations {
            self.send_batch();
        }
        // The work is done only when the other thread has freed everything.
        while self.pool.len() < BATCHES_IN_FLIGHT {
            let batch = self.emptied_batch();
            self.pool.push(batch);
        }
        start.elapsed()
    }
}

impl<P: Peer> Drop for Producer<P> {
    fn drop(&mut self) {
        // Closing the channel is what ends the other thread.
        self.full = None;
        if let Some(consumer) = self.consumer.take() {
            let _ = consumer.join();
        }
    }
}
