//! A pool of threads that had much to do, and now has nothing.

use std::ops::RangeInclusive;
use std::sync::{Arc, Barrier};

use crate::fragmentation::block::{Block, Fill};
use crate::fragmentation::stage::Stage;
use crate::random::Random;

const SIZES: RangeInclusive<usize> = 16..=16 << 10;
const THREADS: usize = 64;
const ROUNDS: usize = 20;

pub(crate) fn idle_workers(stage: &Stage) {
    let blocks_per_round = stage.scaled(4000, 500, 100);
    let meter = stage.meter();
    // Met when all are done, and when all may go.
    let meeting = Arc::new(Barrier::new(THREADS + 1));
    let shared = Arc::clone(&meeting);
    let herd = stage.start_herd(THREADS, move |number| {
        let mut random = Random::new(number as u64);
        (0..ROUNDS).for_each(|_| meter.time(|| work(blocks_per_round, &mut random)));
        shared.wait();
        shared.wait();
    });
    meeting.wait();
    stage.rest(Some(&herd), Some(&|_| {}));
    meeting.wait();
    herd.join();
}

fn work(count: usize, random: &mut Random) {
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..count {
        let size = random.log_uniform(&SIZES);
        blocks.push(Block::new(size, Fill::Pages, random));
    }
    blocks.iter().for_each(|block| block.check(Fill::Pages));
}
