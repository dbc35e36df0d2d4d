//! A cache that is full and changes all the time: what some threads put in, others take out.

use std::ops::RangeInclusive;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier};
use std::thread::sleep;
use std::time::Duration;

use super::pace::Pace;
use super::shards::{Shards, Weighed};
use crate::fragmentation::block::{Block, Fill};
use crate::fragmentation::meter::Meter;
use crate::fragmentation::stage::Stage;
use crate::random::Random;

const FILLERS: usize = 4;
const EVICTORS: usize = 4;

const CACHE_BYTES: usize = 64 << 20;
const QUICK_CACHE_BYTES: usize = 16 << 20;
const SMOKE_CACHE_BYTES: usize = 1 << 20;

/// Beyond the bound by this much, who fills waits for who evicts.
const SLACK_BYTES: usize = 1 << 20;

/// The sizes at the beginning; those at the end are 8 times as large.
const FIRST_SIZES: RangeInclusive<usize> = 64..=1 << 10;
const GROWTH: f64 = 8.0;

const INSERTIONS_PER_BATCH: usize = 64;

/// Fills the cache some twenty times in 10 seconds.
const BATCHES_PER_SECOND: usize = 2400;

/// How many of the values that are inserted another one is read for.
const READS_PER_HUNDRED: usize = 25;

/// How long an evictor that finds nothing to do sleeps.
const EVICTOR_PAUSE: Duration = Duration::from_millis(1);

struct Value {
    block: Block,
    /// Whether it was read since it came or was spared.
    is_used: bool,
}

impl Weighed for Value {
    fn bytes(&self) -> usize {
        self.block.size()
    }
}

struct Cache {
    values: Shards<Value>,
    bound_bytes: usize,
    pace: Pace,
    meter: Arc<Meter>,
    /// Threads that still fill. Relaxed: the meeting orders the rest.
    fillers: AtomicUsize,
    /// Met when nothing changes any more, and when all may go.
    meeting: Barrier,
}

pub(crate) fn long_lived_cache(stage: &Stage) {
    let seconds = stage.scaled(10.0, 0.8, 0.02);
    let batches = (BATCHES_PER_SECOND as f64 * seconds) as usize;
    let cache = Arc::new(Cache {
        values: Shards::new(),
        bound_bytes: stage.scaled(CACHE_BYTES, QUICK_CACHE_BYTES, SMOKE_CACHE_BYTES),
        pace: Pace::new(batches, BATCHES_PER_SECOND),
        meter: stage.meter(),
        fillers: AtomicUsize::new(FILLERS),
        meeting: Barrier::new(FILLERS + EVICTORS + 1),
    });
    let shared = Arc::clone(&cache);
    let herd = stage.start_herd(FILLERS + EVICTORS, move |number| {
        let mut random = Random::new(number as u64);
        if number < FILLERS {
            shared.fill(&mut random);
            shared.fillers.fetch_sub(1, Relaxed);
        } else {
            shared.evict(&mut random);
        }
        shared.meeting.wait();
        shared.meeting.wait();
    });
    cache.meeting.wait();
    stage.rest(Some(&herd), Some(&|show| cache.values.for_each(|value| show(&value.block))));
    cache.meeting.wait();
    herd.join();
}

impl Cache {
    fn fill(&self, random: &mut Random) {
        while let Some(number) = self.pace.next() {
            while self.values.bytes() > self.bound_bytes + SLACK_BYTES {
                sleep(EVICTOR_PAUSE);
            }
            let sizes = band(self.pace.progress(number));
            self.meter.time(|| {
                (0..INSERTIONS_PER_BATCH).for_each(|_| self.insert(&sizes, random));
            });
        }
    }

    fn insert(&self, sizes: &RangeInclusive<usize>, random: &mut Random) {
        let size = random.log_uniform(sizes);
        let block = Block::new(size, Fill::Whole, random);
        self.values.add(Value { block, is_used: false }, random);
        if random.below(100) < READS_PER_HUNDRED {
            self.values.with_random(random, |value| {
                value.block.check(Fill::Pages);
                value.is_used = true;
            });
        }
    }

    fn evict(&self, random: &mut Random) {
        loop {
            while self.values.bytes() > self.bound_bytes {
                let spare = |value: &mut Value| core::mem::take(&mut value.is_used);
                drop(self.values.take_oldest(random, spare));
            }
            if self.fillers.load(Relaxed) == 0 {
                return;
            }
            sleep(EVICTOR_PAUSE);
        }
    }
}

/// The sizes when so much of the load is done.
fn band(progress: f64) -> RangeInclusive<usize> {
    let growth = GROWTH.powf(progress);
    let scaled = |size: usize| (size as f64 * growth).round() as usize;
    scaled(*FIRST_SIZES.start())..=scaled(*FIRST_SIZES.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bands_lead_from_the_first_to_the_last() {
        assert_eq!((band(0.0), band(1.0)), (64..=1024, 512..=8192));
    }
}
