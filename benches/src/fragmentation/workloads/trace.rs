//! The place of what a real program once asked for.

use std::sync::atomic::AtomicUsize;

use crate::fragmentation::ledger;
use crate::fragmentation::stage::Stage;

/// Replays a trace: `run_trace` is to do it on the process's global allocator, and to keep what is
/// live in the counter that it is given.
///
/// A row of a trace is
/// `run: |stage| workloads::replay(stage, |live| trace::run_trace("name", 1, live).map(drop))`.
/// Its blocks are all gone at the end, so that mean and peak tell the most, and it has no floor.
#[allow(dead_code, reason = "for the rows of traces")]
pub(crate) fn replay<E: std::fmt::Display>(
    stage: &Stage,
    run_trace: impl FnOnce(&AtomicUsize) -> Result<(), E>,
) {
    let live_bytes = ledger::current().live_counter();
    if let Err(error) = stage.meter().time(|| run_trace(live_bytes)) {
        eprintln!("the trace was not replayed: {error}");
        std::process::exit(1);
    }
    stage.rest(None, None);
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
