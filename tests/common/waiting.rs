//! Waiting for what happens by itself, at a time that nobody promised.

use std::time::{Duration, Instant};

/// Far longer than anything waited for takes on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Looks again and again until `look` answers with `Ok`; panics with its last complaint where that
/// never comes.
pub(crate) fn until<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(complaint) => assert!(started.elapsed() < DEADLINE, "{complaint}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
