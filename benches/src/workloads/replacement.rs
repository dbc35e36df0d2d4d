//! A table of live blocks whose entries are replaced in random order.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::crew::Crew;
use super::{Run, Scale, Workload};
use crate::block::Block;
use crate::peers::Peer;
use crate::random::Random;

/// How many random choices are made before the clock starts. They repeat
/// after that, by when every slot has been replaced many times.
const STEPS: usize = 65_536;

/// The smallest size asked for.
const SIZE_MIN_BYTES: usize = 8;

/// Random replacement: pick a slot, free its block, put a new block of a
/// random size there, and write the new block's first byte.
///
/// The old block is freed first, as in the Larson benchmark, so the number of
/// live blocks never exceeds the table. One iteration is one replacement on
/// every thread, and the time is that of the slowest thread.
#[derive(Clone, Copy, Debug)]
pub struct Replacement {
    /// How many threads work at once, each on a table of its own. One means
    /// the calling thread, without any other thread in the process.
    pub threads: usize,
    /// How many blocks are live at any time, per thread.
    pub slots: usize,
    /// The largest size asked for, below 64 KiB. Sizes begin at 8 bytes, and each doubling of
    /// them is asked for equally often.
    pub size_max_bytes: usize,
}

impl Replacement {
    /// Small blocks, on so many threads: 4096 of 8 bytes to 2 KiB on each.
    #[must_use]
    pub const fn small(threads: usize) -> Self {
        Self { threads, slots: 4096, size_max_bytes: 2048 }
    }
}

impl Workload for Replacement {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        if self.threads == 1 {
            return Box::new(Table::<P>::new(self, 0));
        }
        let replacement = *self;
        Box::new(Crew::new(self.threads, move |index| {
            let mut table = Table::<P>::new(&replacement, index as u64);
            move |iterations| table.replace(iterations)
        }))
    }
}

/// One random choice, in four bytes so that reading the choices takes little
/// of the cache that the blocks are using.
#[derive(Clone, Copy)]
struct Step {
    slot: u16,
    size_bytes: u16,
}

/// One thread's live blocks and the choices it works through.
pub(crate) struct Table<P: Peer> {
    blocks: Box<[Option<Block<P>>]>,
    steps: Box<[Step; STEPS]>,
    cursor: usize,
}

impl<P: Peer> Table<P> {
    /// Fills the table; every `seed` gives other choices, every peer the same.
    pub(crate) fn new(replacement: &Replacement, seed: u64) -> Self {
        let Replacement { slots, size_max_bytes, .. } = *replacement;
        let sizes_bytes = SIZE_MIN_BYTES..=size_max_bytes;
        let mut random = Random::new(seed);
        let blocks = (0..slots)
            .map(|_| Some(Block::allocate_touched(random.log_uniform(&sizes_bytes))))
            .collect();
        let steps: Vec<Step> =
            (0..STEPS).map(|_| Step::random(&mut random, slots, &sizes_bytes)).collect();
        Self { blocks, steps: boxed_array(steps), cursor: 0 }
    }

    pub(crate) fn replace(&mut self, iterations: u64) {
        for _ in 0..iterations {
            let step = self.steps[self.cursor % STEPS];
            self.cursor += 1;
            let slot = &mut self.blocks[usize::from(step.slot)];
            // Assigning would allocate the new block before freeing the old.
            drop(slot.take());
            *slot = Some(Block::allocate_touched(usize::from(step.size_bytes)));
        }
    }
}

impl<P: Peer> Run for Table<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let start = Instant::now();
        self.replace(iterations);
        start.elapsed()
    }
}

impl Step {
    fn random(random: &mut Random, slots: usize, sizes_bytes: &RangeInclusive<usize>) -> Self {
        let slot = random.below(slots);
        let size_bytes = random.log_uniform(sizes_bytes);
        Self {
            slot: u16::try_from(slot).expect("a slot fits 16 bits"),
            size_bytes: u16::try_from(size_bytes).expect("a size fits 16 bits"),
        }
    }
}

/// Gives a vector the length the compiler knows, which removes the bounds
/// checks from the measured loop.
fn boxed_array<T, const LENGTH: usize>(items: Vec<T>) -> Box<[T; LENGTH]> {
    match items.into_boxed_slice().try_into() {
        Ok(array) => array,
        Err(_) => panic!("the vector has {LENGTH} items"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_peers::Glibc;

    #[test]
    fn two_tables_of_one_seed_make_the_same_choices() {
        let choices = |seed| -> Vec<(u16, u16)> {
            let table = Table::<Glibc>::new(&Replacement::small(1), seed);
            let steps = table.steps.iter();
            steps.map(|step| (step.slot, step.size_bytes)).collect()
        };
        assert_eq!(choices(1), choices(1));
        assert_ne!(choices(1), choices(2));
    }

    #[test]
    fn the_choices_may_be_worked_through_more_than_once() {
        let mut table = Table::<Glibc>::new(&Replacement::small(1), 1);
        table.replace(STEPS as u64 + 1);
        assert!(table.blocks.iter().all(Option::is_some));
    }
}
