//! Time, which tests and simulations make themselves.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Tells the time since some moment of its own choice.
///
/// It should not run backward, and should not jump. The supervisor notices where it does.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Duration;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

/// The operating system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock that begins now.
    #[must_use]
    pub fn new() -> SystemClock {
        SystemClock { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that runs faster, or slower, than the operating system's.
#[derive(Clone, Copy, Debug)]
pub struct AcceleratedClock {
    real: SystemClock,
    factor: f64,
}

impl AcceleratedClock {
    /// A clock that begins now and shows `factor` seconds for each one that passes.
    ///
    /// # Panics
    ///
    /// Where `factor` is not a positive number.
    #[must_use]
    pub fn new(factor: f64) -> AcceleratedClock {
        assert!(factor.is_finite() && factor > 0.0, "a clock can't run {factor} times as fast");
        AcceleratedClock { real: SystemClock::new(), factor }
    }

    /// How many seconds it shows for each one that passes.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// How long it really takes until this clock has gone on by `shown`.
    #[must_use]
    pub fn real(&self, shown: Duration) -> Duration {
        shown.div_f64(self.factor)
    }
}

impl Clock for AcceleratedClock {
    fn now(&self) -> Duration {
        self.real.now().mul_f64(self.factor)
    }
}

/// A clock that stands still until it is told otherwise. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    now: Arc<Mutex<Duration>>,
}

impl ManualClock {
    /// A clock that shows zero.
    #[must_use]
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        *self.lock() += by;
    }

    /// Shows another time, also one that has passed.
    pub fn set(&self, now: Duration) {
        *self.lock() = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Duration> {
        // Nothing panics while the lock is held, and a time is never half written.
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_shows_what_it_is_told_in_all_clones() {
        let clock = ManualClock::new();
        let other: Arc<dyn Clock> = Arc::new(clock.clone());
        clock.advance(Duration::from_secs(7));
        assert_eq!(other.now(), Duration::from_secs(7));
        clock.set(Duration::from_secs(3));
        assert_eq!(other.now(), Duration::from_secs(3));
    }

    #[test]
    fn an_accelerated_clock_is_ahead_by_its_factor() {
        let clock = AcceleratedClock::new(1e6);
        std::thread::sleep(Duration::from_millis(1));
        assert!(clock.now() >= Duration::from_secs(1000));
        assert_eq!(clock.real(Duration::from_secs(10)), Duration::from_micros(10));
    }

    #[test]
    #[should_panic(expected = "a clock can't run 0 times as fast")]
    fn a_clock_that_stands_still_is_refused() {
        let _ = AcceleratedClock::new(0.0);
    }
}
