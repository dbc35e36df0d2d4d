//! A table of live blocks whose entries are replaced in random order.

use std::time::{Duration, Instant};

use super::crew::Crew;
use super::{Run, Scale, Workload};
use crate::block::Block;
use crate::peers::Peer;
use crate::random::Random;

/// How many blocks are live at any time, per thread.
const SLOTS: usize = 4096;

/// How many random choices are made before the clock starts. They repeat
/// after that, by when every slot has been replaced sixteen times.
const STEPS: usize = 65_536;

/// The sizes asked for, each doubling of them equally often.
const SIZES_BYTES: std::ops::RangeInclusive<usize> = 8..=2048;

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
}

impl Workload for Replacement {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        if self.threads == 1 {
            return Box::new(Table::<P>::new(0));
        }
        Box::new(Crew::new(self.threads, |index| {
            let mut table = Table::<P>::new(index as u64);
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
struct Table<P: Peer> {
    blocks: Box<[Option<Block<P>>; SLOTS]>,
    steps: Box<[Step; STEPS]>,
    cursor: usize,
}

impl<P: Peer> Table<P> {
    /// Fills the table; every `seed` gives other choices, every peer the same.
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let blocks: Vec<Option<Block<P>>> = (0..SLOTS)
            .map(|_| Some(Block::allocate_touched(random.log_uniform(&SIZES_BYTES))))
            .collect();
        let steps: Vec<Step> = (0..STEPS).map(|_| Step::random(&mut random)).collect();
        Self { blocks: boxed_array(blocks), steps: boxed_array(steps), cursor: 0 }
    }

    fn replace(&mut self, iterations: u64) {
        for _ in 0..iterations {
            let step = self.steps[self.cursor % STEPS];
            self.cursor += 1;
            let slot = &mut self.blocks[usize::from(step.slot) % SLOTS];
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
    fn random(random: &mut Random) -> Self {
        let slot = random.below(SLOTS);
        let size_bytes = random.log_uniform(&SIZES_BYTES);
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
    use crate::peers::Glibc;

    #[test]
    fn two_tables_of_one_seed_make_the_same_choices() {
        let choices = |seed| -> Vec<(u16, u16)> {
            let table = Table::<Glibc>::new(seed);
            let steps = table.steps.iter();
            steps.map(|step| (step.slot, step.size_bytes)).collect()
        };
        assert_eq!(choices(1), choices(1));
        assert_ne!(choices(1), choices(2));
    }

    #[test]
    fn the_choices_may_be_worked_through_more_than_once() {
        let mut table = Table::<Glibc>::new(1);
        table.replace(STEPS as u64 + 1);
        assert!(table.blocks.iter().all(Option::is_some));
    }
}
