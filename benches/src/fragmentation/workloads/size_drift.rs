//! Sizes that drift while a few blocks of each phase live on, here and there.

use std::ops::RangeInclusive;
use std::sync::{Arc, Barrier, Mutex};

use crate::fragmentation::block::{Block, Fill};
use crate::fragmentation::stage::Stage;
use crate::random::Random;

const THREADS: usize = 8;
const PHASES: usize = 12;

/// Of all threads together, in one phase.
const PHASE_BYTES: usize = 200 << 20;
const QUICK_PHASE_BYTES: usize = 24 << 20;
const SMOKE_PHASE_BYTES: usize = 2 << 20;

const SURVIVORS_PER_HUNDRED: usize = 5;

/// The band of the first phase; that of the last is 32 times as high.
const FIRST_SIZES: RangeInclusive<usize> = 16..=64;
const GROWTH: f64 = 32.0;

pub(crate) fn size_drift(stage: &Stage) {
    let bytes = stage.scaled(PHASE_BYTES, QUICK_PHASE_BYTES, SMOKE_PHASE_BYTES) / THREADS;
    let kept: Arc<Vec<Mutex<Vec<Block>>>> =
        Arc::new((0..THREADS).map(|_| Mutex::default()).collect());
    // Met after each phase, when all are done, and when all may go.
    let meeting = Arc::new(Barrier::new(THREADS));
    let ends = Arc::new(Barrier::new(THREADS + 1));
    let shared = (Arc::clone(&kept), Arc::clone(&meeting), Arc::clone(&ends));
    let meter = stage.meter();
    let herd = stage.start_herd(THREADS, move |number| {
        let (kept, meeting, ends) = &shared;
        let mut random = Random::new(number as u64);
        for phase in 0..PHASES {
            let survivors = meter.time(|| drift(phase, bytes, &mut random));
            kept[number].lock().expect("nobody panicked").extend(survivors);
            meeting.wait();
        }
        ends.wait();
        ends.wait();
        kept[number].lock().expect("nobody panicked").drain(..).for_each(|block| {
            block.check(Fill::Pages);
        });
    });
    ends.wait();
    stage.rest(
        Some(&herd),
        Some(&|show| {
            for kept in kept.iter() {
                kept.lock().expect("nobody panicked").iter().for_each(&mut *show);
            }
        }),
    );
    ends.wait();
    herd.join();
}

/// The sizes of a phase.
fn band(phase: usize) -> RangeInclusive<usize> {
    let growth = GROWTH.powf(phase as f64 / (PHASES - 1) as f64);
    let scaled = |size: usize| (size as f64 * growth).round() as usize;
    scaled(*FIRST_SIZES.start())..=scaled(*FIRST_SIZES.end())
}

fn drift(phase: usize, bytes: usize, random: &mut Random) -> Vec<Block> {
    let sizes = band(phase);
    let (mut blocks, mut total_bytes) = (Vec::new(), 0);
    while total_bytes < bytes {
        let size = sizes.start() + random.below(sizes.end() - sizes.start() + 1);
        blocks.push(Block::new(size, Fill::Pages, random));
        total_bytes += size;
    }
    blocks.retain(|_| random.below(100) < SURVIVORS_PER_HUNDRED);
    blocks.shrink_to_fit();
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bands_lead_from_the_first_to_the_last() {
        assert_eq!((band(0), band(PHASES - 1)), (16..=64, 512..=2048));
    }
}
