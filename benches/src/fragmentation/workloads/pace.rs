//! Work at a fixed rate, so that a load takes the same time and the same number of operations on
//! every allocator, and processors stay free.

use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Hands out operations, each to be begun at its time.
#[derive(Debug)]
pub(super) struct Pace {
    operations: usize,
    per_second: usize,
    next: AtomicUsize,
    begun: OnceLock<Instant>,
}

impl Pace {
    pub(super) fn new(operations: usize, per_second: usize) -> Self {
        Self { operations, per_second, next: AtomicUsize::new(0), begun: OnceLock::new() }
    }

    /// Waits for the time of the next operation and answers its number; nothing after the last.
    ///
    /// The first call begins. A late operation begins at once, and those behind it keep their time.
    pub(super) fn next(&self) -> Option<usize> {
        let begun = *self.begun.get_or_init(Instant::now);
        // The number is all that threads share.
        let number = self.next.fetch_add(1, Relaxed);
        if number >= self.operations {
            return None;
        }
        let due = Duration::from_secs_f64(number as f64 / self.per_second as f64);
        sleep(due.saturating_sub(begun.elapsed()));
        Some(number)
    }

    /// How far along an operation is, from 0 to 1.
    pub(super) fn progress(&self, number: usize) -> f64 {
        number as f64 / self.operations as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_done_once_and_none_too_early() {
        let (pace, begun) = (Pace::new(40, 1000), Instant::now());
        let done: Vec<AtomicUsize> = (0..40).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(number) = pace.next() {
                        assert!(begun.elapsed() >= Duration::from_millis(number as u64));
                        done[number].fetch_add(1, Relaxed);
                    }
                });
            }
        });
        assert!(done.iter().all(|count| count.load(Relaxed) == 1));
        assert_eq!((pace.progress(0), pace.progress(20)), (0.0, 0.5));
    }
}
