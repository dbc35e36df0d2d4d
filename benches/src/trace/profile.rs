//! What a trace holds, in numbers and as text.

use std::fmt;

use super::error::TraceError;
use super::event::Action;
use super::format::Trace;
use super::ledger::Ledger;
use super::table::{Table, Zeroable};

/// Counts of numbers by their binary logarithm: first of zero and one, then of two and three.
type Histogram = [u64; 33];

/// What a trace holds.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What was recorded.
    pub description: String,
    /// How many threads took part.
    pub threads: usize,
    /// The events of each of the four kinds: allocated, allocated zeroed, resized, freed.
    pub events: [u64; 4],
    /// How many bytes all allocations asked for, with what resizing added.
    pub requested_bytes: u64,
    /// The most bytes that were live at one time.
    pub peak_live_bytes: u64,
    /// The most blocks that were live at one time.
    pub peak_live_blocks: usize,
    /// The bytes that are live at the end.
    pub leftover_bytes: u64,
    /// The blocks that are live at the end.
    pub leftover_blocks: usize,
    /// The frees on another thread than the block's first one.
    pub remote_frees: u64,
    /// The sizes that allocations asked for.
    pub sizes: Histogram,
    /// How many blocks were allocated while a block lived, for those that were freed.
    pub lifetimes: Histogram,
    /// The alignments that allocations asked for, by their binary logarithm.
    pub alignments: Histogram,
}

/// When a block was allocated, and where.
#[derive(Clone, Copy)]
struct Birth {
    thread: u16,
}

// SAFETY: A number, for which zero is a value.
unsafe impl Zeroable for Birth {}

impl Profile {
    /// Counts what a trace holds.
    ///
    /// # Errors
    ///
    /// When the system has no memory for it.
    pub fn new(trace: &Trace) -> Result<Self, TraceError> {
        let mut profile = Self {
            description: trace.description().to_owned(),
            threads: trace.threads(),
            events: [0; 4],
            requested_bytes: 0,
            peak_live_bytes: 0,
            peak_live_blocks: 0,
            leftover_bytes: 0,
            leftover_blocks: 0,
            remote_frees: 0,
            sizes: [0; 33],
            lifetimes: [0; 33],
            alignments: [0; 33],
        };
        let mut ledger = Ledger::new(trace.threads(), trace.blocks())?;
        let mut births = Table::<Birth>::zeroed(trace.blocks())?;
        for event in trace.events() {
            let applied = ledger.apply(event).expect("the trace was checked when it was read");
            let grown = applied.size_bytes.saturating_sub(applied.old_size_bytes);
            profile.requested_bytes += u64::from(grown);
            let block = applied.block as usize;
            match event.action {
                Action::Allocate { size_bytes, align_log2, is_zeroed } => {
                    profile.events[usize::from(is_zeroed)] += 1;
                    profile.sizes[log2(size_bytes)] += 1;
                    profile.alignments[usize::from(align_log2)] += 1;
                    births[block] = Birth { thread: event.thread };
                }
                Action::Reallocate { .. } => profile.events[2] += 1,
                Action::Free { .. } => {
                    profile.events[3] += 1;
                    profile.remote_frees += u64::from(births[block].thread != event.thread);
                    profile.lifetimes[log2((ledger.allocated() - 1 - block) as u32)] += 1;
                }
            }
        }
        profile.peak_live_bytes = ledger.peak_live_bytes();
        profile.peak_live_blocks = ledger.peak_live_blocks();
        profile.leftover_bytes = ledger.live_bytes();
        profile.leftover_blocks = ledger.live_blocks();
        Ok(profile)
    }
}

/// The binary logarithm, rounded down; of zero it is zero here.
fn log2(number: u32) -> usize {
    number.checked_ilog2().unwrap_or(0) as usize
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [allocated, zeroed, resized, freed] = self.events;
        let events: u64 = self.events.iter().sum();
        let remote = percent(self.remote_frees, freed);
        writeln!(out, "{}", self.description)?;
        writeln!(out, "threads          {:>12}", self.threads)?;
        writeln!(out, "events           {events:>12}")?;
        writeln!(out, "  allocated      {allocated:>12}")?;
        writeln!(out, "  zeroed         {zeroed:>12}")?;
        writeln!(out, "  resized        {resized:>12}")?;
        writeln!(out, "  freed          {freed:>12}, {remote} on another thread")?;
        writeln!(out, "requested bytes  {:>12}", self.requested_bytes)?;
        writeln!(out, "peak live bytes  {:>12}", self.peak_live_bytes)?;
        writeln!(out, "peak live blocks {:>12}", self.peak_live_blocks)?;
        writeln!(out, "left over bytes  {:>12}", self.leftover_bytes)?;
        writeln!(out, "left over blocks {:>12}", self.leftover_blocks)?;
        histogram(out, "allocations by size in bytes", &self.sizes)?;
        histogram(out, "frees by blocks allocated meanwhile", &self.lifetimes)?;
        writeln!(out, "allocations by alignment in bytes")?;
        for (log2, &count) in self.alignments.iter().enumerate().filter(|(_, count)| **count > 0) {
            writeln!(out, "  {:>10}            {count:>12}", 1_u64 << log2)?;
        }
        Ok(())
    }
}

fn histogram(out: &mut fmt::Formatter<'_>, title: &str, counts: &Histogram) -> fmt::Result {
    writeln!(out, "{title}")?;
    let total = counts.iter().sum();
    for (log2, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (low, high) = ((1_u64 << log2) & !1, (2_u64 << log2) - 1);
        writeln!(out, "  {low:>10}-{high:<10} {count:>12} {:>6}", percent(count, total))?;
    }
    Ok(())
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", 100.0 * part as f64 / whole.max(1) as f64)
}
