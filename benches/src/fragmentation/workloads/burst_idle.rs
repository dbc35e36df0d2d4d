//! Much memory for a moment, and then nothing to do: does it go back?

use std::ops::RangeInclusive;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::sleep;
use std::time::Duration;

use crate::fragmentation::block::{Block, Fill};
use crate::fragmentation::stage::Stage;
use crate::random::Random;

const THREADS: usize = 4;
const SIZES: RangeInclusive<usize> = 16..=64 << 10;

/// Of all threads together.
const BURST_BYTES: usize = 300 << 20;
const QUICK_BURST_BYTES: usize = 100 << 20;
const SMOKE_BURST_BYTES: usize = 4 << 20;

const KEPT_PER_HUNDRED: usize = 10;

pub(crate) fn burst_idle(stage: &Stage) {
    let bytes = stage.scaled(BURST_BYTES, QUICK_BURST_BYTES, SMOKE_BURST_BYTES) / THREADS;
    let idle = Duration::from_millis(stage.scaled(5000, 600, 20));
    let kept: Arc<[Mutex<Vec<Block>>; THREADS]> = Arc::default();
    // Met when all hold all, when all have freed most, and when all may go.
    let meeting = Arc::new(Barrier::new(THREADS + 1));
    let shared = (Arc::clone(&kept), Arc::clone(&meeting), stage.meter());
    let herd = stage.start_herd(THREADS, move |number| {
        let (kept, meeting, meter) = &shared;
        let mut random = Random::new(number as u64);
        let mut blocks = meter.time(|| burst(bytes, &mut random));
        meeting.wait();
        blocks.retain(|_| random.below(100) < KEPT_PER_HUNDRED);
        blocks.shrink_to_fit();
        *kept[number].lock().expect("nobody panicked") = blocks;
        meeting.wait();
        meeting.wait();
    });
    meeting.wait();
    meeting.wait();
    sleep(idle);
    stage.rest(
        Some(&herd),
        Some(&|show| {
            for kept in kept.iter() {
                kept.lock().expect("nobody panicked").iter().for_each(&mut *show);
            }
        }),
    );
    let is_whole = |block: &Block| block.check(Fill::Whole);
    kept.iter().for_each(|kept| kept.lock().expect("nobody panicked").iter().for_each(is_whole));
    meeting.wait();
    herd.join();
}

fn burst(bytes: usize, random: &mut Random) -> Vec<Block> {
    let (mut blocks, mut total_bytes) = (Vec::new(), 0);
    while total_bytes < bytes {
        let size = random.log_uniform(&SIZES);
        blocks.push(Block::new(size, Fill::Whole, random));
        total_bytes += size;
    }
    blocks
}
