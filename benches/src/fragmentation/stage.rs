//! Where a load runs: in a process of its own, which tells the parent what it held and took.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::block::Block;
use super::contenders::Contender;
use super::herd::Herd;
use super::ledger::{self, Phase};
use super::memory;
use super::meter::Meter;
use super::resident;
use super::scale::Scale;
use super::upkeep;
use super::usage::{self, Usage};
use crate::peers::PeerId;
use crate::threads;

const PAGE_BYTES: usize = 4096;

/// The line by which a process tells what it measured.
const TOLD_MARK: &str = "measured: ";

/// How long a process stays as it is after a trim, for the parent's samples to show it.
const SHOWN_FOR: Duration = Duration::from_millis(30);

/// What a process tells. Bytes are resident, in no file, and not on stacks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Told {
    /// Before the load began.
    pub(super) start_bytes: u64,
    /// When it was over.
    pub(super) final_bytes: u64,
    /// When nothing had been done for a while.
    pub(super) idle_bytes: u64,
    /// After the allocator's own call to give memory back, where it has one.
    pub(super) trimmed_bytes: Option<u64>,
    /// Resident on stacks, which is left out of the others.
    pub(super) stack_bytes: u64,
    /// What the load asked for and has not freed.
    pub(super) live_bytes: u64,
    /// The pages that hold any of it, where the load could show its blocks.
    pub(super) floor_bytes: Option<u64>,
    /// Pages that the processes forked by the load wrote to, each for itself.
    pub(super) children_dirty_bytes: Option<u64>,
    /// User and system time until idle, children included.
    pub(super) cpu_seconds: f64,
    /// The load from begin to end.
    pub(super) wall_seconds: f64,
    pub(super) minor_faults: u64,
    pub(super) madvise_calls: Option<u64>,
    pub(super) waited_percent: Option<f64>,
    pub(super) operations: Option<u64>,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) p999_us: Option<f64>,
    pub(super) occupancy: Option<Vec<String>>,
}

impl Told {
    /// The line for the parent.
    pub(super) fn line(&self) -> String {
        let json = serde_json::to_string(self).expect("figures and texts can be written");
        format!("{TOLD_MARK}{json}")
    }

    pub(super) fn parse(line: &str) -> Option<Told> {
        serde_json::from_str(line.strip_prefix(TOLD_MARK)?).ok()
    }
}

/// Shows the blocks that a load has live.
pub(super) type ShowLive<'a> = &'a dyn Fn(&mut dyn FnMut(&Block));

/// A load's surroundings.
#[derive(Debug)]
pub(super) struct Stage {
    scale: Scale,
    contender: Contender,
    is_stats_wanted: bool,
    start_bytes: usize,
    begun: Instant,
    meter: Arc<Meter>,
}

impl Stage {
    /// From here on the load is measured.
    pub(super) fn new(scale: Scale, contender: Contender, is_stats_wanted: bool) -> Self {
        let meter = Arc::new(Meter::new());
        let start_bytes = resident::anonymous_bytes();
        ledger::current().enter(Phase::Loading);
        Self { scale, contender, is_stats_wanted, start_bytes, begun: Instant::now(), meter }
    }

    /// What the load has at this scale of three.
    pub(super) fn scaled<T>(&self, full: T, quick: T, smoke: T) -> T {
        self.scale.of(full, quick, smoke)
    }

    /// Where the load notes how long its operations take.
    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    pub(super) fn peer(&self) -> PeerId {
        self.contender.peer
    }

    /// Starts the load's threads, as a program whose allocator is the contender would.
    pub(super) fn start_herd(
        &self,
        count: usize,
        job: impl Fn(usize) + Send + Sync + 'static,
    ) -> Herd {
        Herd::start_by(threads::creation(self.peer()), count, job)
    }

    /// Ends the load, lets the allocator do what it does at rest, then has it trim, and tells the
    /// parent what was held.
    ///
    /// The herd's threads sleep, and the load changes nothing of what it holds meanwhile.
    pub(super) fn rest(&self, herd: Option<&Herd>, show_live: Option<ShowLive<'_>>) {
        let ledger = ledger::current();
        let wall_seconds = self.begun.elapsed().as_secs_f64();
        let stack_bytes = herd.map_or(0, Herd::stack_bytes);
        let held_bytes = || (held_bytes().saturating_sub(stack_bytes)) as u64;
        let final_bytes = held_bytes();
        ledger.enter(Phase::Over);
        sleep(self.scale.of(Duration::from_secs(2), Duration::from_millis(400), SHOWN_FOR));
        let idle_bytes = held_bytes();
        let usage = Usage::of_this_process().with_children(ledger);
        let waited_percent = usage::waited_percent();
        let occupancy = self.look_inside();
        let is_trimmed = ledger.children().next().is_none() && upkeep::trim(self.peer());
        let trimmed_bytes = is_trimmed.then(held_bytes);
        sleep(SHOWN_FOR);
        ledger.enter(Phase::Measured);
        let latency = self.meter.latency();
        let told = Told {
            start_bytes: self.start_bytes as u64,
            final_bytes,
            idle_bytes,
            trimmed_bytes,
            stack_bytes: stack_bytes as u64,
            live_bytes: ledger.live_bytes() as u64,
            floor_bytes: show_live.map(floor_bytes),
            children_dirty_bytes: children_dirty_bytes(),
            cpu_seconds: usage.cpu_nanoseconds as f64 / 1e9,
            wall_seconds,
            minor_faults: usage.minor_faults,
            // The C library's own calls are not seen.
            madvise_calls: (self.peer() != PeerId::Glibc).then_some(usage.madvise_calls),
            waited_percent,
            operations: latency.map(|latency| latency.operations),
            p50_us: latency.map(|latency| latency.p50_us),
            p99_us: latency.map(|latency| latency.p99_us),
            p999_us: latency.map(|latency| latency.p999_us),
            occupancy,
        };
        println!("{}", told.line());
    }

    /// What capmalloc tells of itself.
    fn look_inside(&self) -> Option<Vec<String>> {
        if self.peer() != PeerId::Capmalloc {
            return None;
        }
        if self.is_stats_wanted {
            eprintln!("{}", capmalloc::stats());
        }
        let map = capmalloc::page_map();
        let line = |pages: &Vec<_>| pages.iter().copied().map(letter).collect();
        Some(map.segments.iter().map(|segment| line(&segment.pages)).collect())
    }
}

fn letter(state: capmalloc::PageState) -> char {
    match state {
        capmalloc::PageState::Live => 'L',
        capmalloc::PageState::Cached => 'C',
        capmalloc::PageState::Dirty => 'D',
        capmalloc::PageState::Retained => 'R',
        _ => '.',
    }
}

/// What this process and its children hold.
fn held_bytes() -> usize {
    let own = std::process::id();
    let mut children = ledger::current().children().peekable();
    if children.peek().is_none() {
        return resident::anonymous_bytes();
    }
    let family = std::iter::once(own).chain(children);
    memory::family_bytes(family).expect("the kernel tells what processes hold")
}

fn children_dirty_bytes() -> Option<u64> {
    let mut children = ledger::current().children().peekable();
    children.peek()?;
    children.map(|child| Some(memory::private_dirty_bytes(child)? as u64)).sum()
}

/// The pages of all live blocks, which must be as many bytes as the ledger says.
fn floor_bytes(show_live: ShowLive<'_>) -> u64 {
    let ledger = ledger::current();
    let counted_bytes = ledger.live_bytes();
    let (mut live_bytes, mut pages) = (0, Vec::new());
    show_live(&mut |block| {
        live_bytes += block.size();
        let (first, last) = block.pages();
        pages.extend(first..=last);
    });
    if ledger.children().next().is_none() {
        assert_eq!(live_bytes, counted_bytes, "the load shows all that it has live");
    }
    let children_bytes = ledger.child_sums.floor_bytes.load(std::sync::atomic::Ordering::Relaxed);
    pages_bytes(pages) + children_bytes
}

/// The bytes of pages that may be named several times.
pub(super) fn pages_bytes(mut pages: Vec<usize>) -> u64 {
    pages.sort_unstable();
    pages.dedup();
    (pages.len() * PAGE_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_read() {
        let told = Told {
            final_bytes: 1,
            trimmed_bytes: Some(2),
            p99_us: Some(0.5),
            occupancy: Some(vec!["LCDR".into()]),
            ..Told::default()
        };
        assert_eq!(Told::parse(&told.line()), Some(told.clone()));
        assert_eq!(Told::parse("measured: 1"), None);
        assert_eq!(Told::parse(&told.line()[1..]), None);
    }

    #[test]
    fn a_page_counts_once() {
        assert_eq!(pages_bytes(vec![3, 1, 3, 2, 1]), 3 * 4096);
    }
}
