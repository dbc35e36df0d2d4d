//! What a real program once asked for, asked for again.

use std::sync::atomic::AtomicUsize;

use crate::fragmentation::ledger;
use crate::fragmentation::stage::Stage;
use crate::trace;

/// Replays a recorded trace, several times over where there is time.
///
/// Its blocks are all gone at the end, so that mean and peak tell the most, and it has no floor. What
/// the replay itself needs is shared memory, which counts as a file's.
pub(crate) fn replay_trace(stage: &Stage, name: &str) {
    let plan = trace::load_plan(name).unwrap_or_else(|error| fail(&error));
    let loops = stage.scaled(20, 4, 1);
    replay(stage, |live_bytes| trace::run_plan(&plan, loops, live_bytes).map(drop));
}

/// `run_trace` does it on the process's global allocator, and keeps what is live in the counter
/// that it is given.
fn replay<E: std::fmt::Display>(
    stage: &Stage,
    run_trace: impl FnOnce(&AtomicUsize) -> Result<(), E>,
) {
    let live_bytes = ledger::current().live_counter();
    if let Err(error) = stage.meter().time(|| run_trace(live_bytes)) {
        fail(&error);
    }
    stage.rest(None, None);
}

fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("the trace was not replayed: {error}");
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::fragmentation::contenders::Contender;
    use crate::fragmentation::scale::Scale;

    #[test]
    fn what_a_trace_has_live_is_seen_outside() {
        const BYTES: usize = 1 << 40;
        let contender = Contender::from_name("glibc").expect("it exists");
        let stage = Stage::new(Scale::Smoke, contender, false);
        let mut seen_bytes = 0;
        replay(&stage, |live_bytes| {
            live_bytes.fetch_add(BYTES, Relaxed);
            seen_bytes = ledger::current().live_bytes();
            live_bytes.fetch_sub(BYTES, Relaxed);
            Ok::<(), String>(())
        });
        // Other tests may have blocks live.
        assert!((BYTES..BYTES * 2).contains(&seen_bytes), "{seen_bytes}");
        assert_eq!(stage.meter().latency().map(|latency| latency.operations), Some(1));
    }
}
