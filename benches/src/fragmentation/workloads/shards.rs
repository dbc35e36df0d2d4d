//! What the threads of a load share: values in shards with a lock each, and their bytes.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::random::Random;

const SHARDS: usize = 16;

/// A value that knows how much it counts for.
pub(super) trait Weighed {
    fn bytes(&self) -> usize;
}

/// Values in the order in which they came, by shard.
#[derive(Debug)]
pub(super) struct Shards<T> {
    shards: [Mutex<VecDeque<T>>; SHARDS],
    /// Of all values that are in or about to be. Threads meet on it, but on nothing else by it.
    bytes: AtomicUsize,
}

impl<T: Weighed> Shards<T> {
    pub(super) fn new() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, bytes: AtomicUsize::new(0) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Adds to a random shard.
    pub(super) fn add(&self, value: T, random: &mut Random) {
        self.bytes.fetch_add(value.bytes(), Relaxed);
        self.any(random).push_back(value);
    }

    /// Takes a random value, which is then the caller's to free, outside of the lock.
    pub(super) fn take_random(&self, random: &mut Random) -> Option<T> {
        let mut shard = self.any(random);
        let index = random.below(shard.len());
        let value = shard.swap_remove_back(index)?;
        drop(shard);
        Some(self.counted_out(value))
    }

    /// Takes the oldest value of a random shard; one that is to stay becomes the newest instead.
    pub(super) fn take_oldest(
        &self,
        random: &mut Random,
        mut is_to_stay: impl FnMut(&mut T) -> bool,
    ) -> Option<T> {
        let mut shard = self.any(random);
        let mut value = shard.pop_front()?;
        while is_to_stay(&mut value) {
            shard.push_back(value);
            value = shard.pop_front()?;
        }
        drop(shard);
        Some(self.counted_out(value))
    }

    /// Looks at a random value, if the shard that was chosen has any.
    pub(super) fn with_random(&self, random: &mut Random, look: impl FnOnce(&mut T)) {
        let mut shard = self.any(random);
        let index = random.below(shard.len());
        if let Some(value) = shard.get_mut(index) {
            look(value);
        }
    }

    pub(super) fn for_each(&self, mut look: impl FnMut(&T)) {
        self.shards.iter().for_each(|shard| lock(shard).iter().for_each(&mut look));
    }

    fn any(&self, random: &mut Random) -> MutexGuard<'_, VecDeque<T>> {
        lock(&self.shards[random.below(SHARDS)])
    }

    fn counted_out(&self, value: T) -> T {
        self.bytes.fetch_sub(value.bytes(), Relaxed);
        value
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighed for (usize, bool) {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn bytes_are_those_of_what_is_in() {
        let (shards, mut random) = (Shards::new(), Random::new(1));
        (1..=200).for_each(|bytes| shards.add((bytes, false), &mut random));
        let mut taken = 0;
        for _ in 0..30 {
            taken += shards.take_random(&mut random).map_or(0, |value| value.0);
            taken += shards.take_oldest(&mut random, |_| false).map_or(0, |value| value.0);
        }
        assert!(taken > 0);
        let (mut left, expected) = (0, 200 * 201 / 2 - taken);
        shards.for_each(|value| left += value.0);
        assert_eq!((left, shards.bytes()), (expected, expected));
    }

    #[test]
    fn what_was_used_stays_and_becomes_the_newest() {
        let (shards, mut random) = (Shards::new(), Random::new(1));
        // All in one shard.
        let mut shard = lock(&shards.shards[0]);
        shard.extend([(1, true), (2, false), (3, false)]);
        drop(shard);
        shards.bytes.store(6, Relaxed);
        let mut take = || loop {
            let use_once = |value: &mut (usize, bool)| core::mem::take(&mut value.1);
            if let Some(value) = shards.take_oldest(&mut random, use_once) {
                return value.0;
            }
        };
        assert_eq!([take(), take(), take()], [2, 3, 1]);
        assert_eq!(shards.bytes(), 0);
    }
}
