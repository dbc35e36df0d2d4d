//! A trace as the work of each of its threads.
//!
//! Threads of a replay run as fast as they can, but not in any order. A thread waits
//!
//! - before an event of a block until the block's event before it is done, where that is another
//!   thread's: so a block is freed after it was allocated;
//! - before each slice of [`SLICE_EVENTS`] events until all threads are done with all slices but
//!   the last: so none runs far ahead of the others, as one would that makes what another frees,
//!   and the memory that is live at one time stays about what it was.
//!
//! Every wait is for events that were recorded earlier. So the earliest event that is not yet done
//! waits for nothing, and a replay can't come to a standstill.

use super::error::TraceError;
use super::event::{Action, Event};
use super::format::Trace;
use super::ledger::Ledger;
use super::replay::Slot;
use super::table::{Table, Zeroable};

/// How many events of all threads make a slice. No thread is ahead of another by more than two.
pub const SLICE_EVENTS: usize = 1 << 14;

/// What a thread does to one block.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Allocate = 0,
    AllocateZeroed = 1,
    Reallocate = 2,
    Free = 3,
}

/// One event of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) block: u32,
    /// The size the block gets; of no meaning for one that is freed.
    pub(super) size_bytes: u32,
    pub(super) kind: Kind,
    pub(super) align_log2: u8,
}

// SAFETY: Zeros are numbers and the first kind.
unsafe impl Zeroable for Operation {}

/// Something a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// Before which of its operations, counted from zero.
    pub(super) position: u32,
    /// For which other thread.
    pub(super) thread: u32,
    /// Until that one has done so many operations.
    pub(super) done: u32,
}

// SAFETY: Three numbers, for which zero is a value.
unsafe impl Zeroable for Wait {}

/// A trace prepared for its replay.
#[derive(Debug)]
pub struct Plan {
    description: String,
    operations: Table<Operation>,
    waits: Table<Wait>,
    /// Where each thread's operations begin, and at the end how many there are.
    operation_starts: Vec<usize>,
    /// The same for what it waits for.
    wait_starts: Vec<usize>,
    blocks: usize,
    peak_live_bytes: u64,
}

impl Plan {
    /// Prepares the replay of a trace, which is not needed any more afterwards.
    ///
    /// # Errors
    ///
    /// When the system has no memory for it.
    pub fn new(trace: &Trace) -> Result<Self, TraceError> {
        let mut operation_counts = vec![0; trace.threads()];
        trace.events().for_each(|event| operation_counts[usize::from(event.thread)] += 1);
        let mut wait_counts = vec![0; trace.threads()];
        find_waits(trace, |thread, _| wait_counts[thread] += 1)?;
        let mut plan = Self {
            description: trace.description().to_owned(),
            operations: Table::zeroed(trace.event_count())?,
            waits: Table::zeroed(wait_counts.iter().sum())?,
            operation_starts: starts(&operation_counts),
            wait_starts: starts(&wait_counts),
            blocks: trace.blocks(),
            peak_live_bytes: trace.peak_live_bytes(),
        };
        plan.fill(trace)?;
        Ok(plan)
    }

    fn fill(&mut self, trace: &Trace) -> Result<(), TraceError> {
        let mut ledger = Ledger::new(trace.threads(), trace.blocks())?;
        let mut next = self.operation_starts.clone();
        for event in trace.events() {
            let applied = ledger.apply(event).expect("the trace was checked when it was read");
            let place = &mut next[usize::from(event.thread)];
            self.operations[*place] = Operation {
                block: applied.block,
                size_bytes: applied.size_bytes,
                kind: kind(event.action),
                align_log2: applied.align_log2,
            };
            *place += 1;
        }
        let mut next = self.wait_starts.clone();
        find_waits(trace, |thread, wait| {
            self.waits[next[thread]] = wait;
            next[thread] += 1;
        })
    }

    pub(super) fn operations_of(&self, thread: usize) -> &[Operation] {
        &self.operations[self.operation_starts[thread]..self.operation_starts[thread + 1]]
    }

    pub(super) fn waits_of(&self, thread: usize) -> &[Wait] {
        &self.waits[self.wait_starts[thread]..self.wait_starts[thread + 1]]
    }

    /// What was recorded, in one line.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How many events one pass has.
    #[must_use]
    pub fn events(&self) -> usize {
        self.operations.len()
    }

    /// How many blocks one pass allocates.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// How many threads take part.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.operation_starts.len() - 1
    }

    /// How often a thread waits for another one in a pass.
    #[must_use]
    pub fn waits(&self) -> usize {
        self.waits.len()
    }

    /// The most bytes that were live at one time when the trace was recorded.
    #[must_use]
    pub fn peak_live_bytes(&self) -> u64 {
        self.peak_live_bytes
    }

    /// What a replay has resident itself, as shared memory.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.operations.bytes() + self.waits.bytes() + self.blocks * size_of::<Slot>()
    }
}

fn kind(action: Action) -> Kind {
    match action {
        Action::Allocate { is_zeroed: false, .. } => Kind::Allocate,
        Action::Allocate { is_zeroed: true, .. } => Kind::AllocateZeroed,
        Action::Reallocate { .. } => Kind::Reallocate,
        Action::Free { .. } => Kind::Free,
    }
}

/// The sums of all counts before each, and of all.
fn starts(counts: &[usize]) -> Vec<usize> {
    let mut sum = 0;
    let mut starts = vec![0];
    starts.extend(counts.iter().map(|count| {
        sum += count;
        sum
    }));
    starts
}

/// Whose event a block's last one was, and which of that thread's it was, counted from one.
#[derive(Clone, Copy)]
struct Last {
    thread: u32,
    done: u32,
}

// SAFETY: Two numbers, for which zero is a value.
unsafe impl Zeroable for Last {}

/// Follows a trace and finds what each thread has to wait for.
struct WaitFinder {
    threads: usize,
    /// How many events of each thread came by.
    positions: Vec<u32>,
    /// What these were when the last slice and this one began.
    slice_starts: [Vec<u32>; 2],
    /// The slice of each thread's last event, counted from one.
    entered: Vec<usize>,
    /// For each pair of threads, how many operations of the second the first has waited for.
    awaited: Table<u32>,
    last: Table<Last>,
    allocated: u32,
}

/// Gives each thread's waits, in order.
fn find_waits(trace: &Trace, mut found: impl FnMut(usize, Wait)) -> Result<(), TraceError> {
    let threads = trace.threads();
    let mut finder = WaitFinder {
        threads,
        positions: vec![0; threads],
        slice_starts: [vec![0; threads], vec![0; threads]],
        entered: vec![0; threads],
        awaited: Table::zeroed(threads * threads)?,
        last: Table::zeroed(trace.blocks())?,
        allocated: 0,
    };
    for (index, event) in trace.events().enumerate() {
        finder.follow(index, event, &mut found);
    }
    Ok(())
}

impl WaitFinder {
    fn follow(&mut self, index: usize, event: Event, found: &mut impl FnMut(usize, Wait)) {
        if index.is_multiple_of(SLICE_EVENTS) {
            self.slice_starts.swap(0, 1);
            self.slice_starts[1].copy_from_slice(&self.positions);
        }
        let thread = usize::from(event.thread);
        let slice = index / SLICE_EVENTS + 1;
        if self.entered[thread] != slice {
            self.entered[thread] = slice;
            for other in 0..self.threads {
                self.wait_for(thread, other, self.slice_starts[0][other], found);
            }
        }
        let block = match event.action {
            Action::Allocate { .. } => {
                self.allocated += 1;
                self.allocated - 1
            }
            Action::Reallocate { block, .. } | Action::Free { block } => {
                let last = self.last[block as usize];
                self.wait_for(thread, last.thread as usize, last.done, found);
                block
            }
        };
        self.positions[thread] += 1;
        let last = Last { thread: event.thread.into(), done: self.positions[thread] };
        self.last[block as usize] = last;
    }

    /// Notes a wait unless the thread is known to be past it, as it is of itself.
    fn wait_for(
        &mut self,
        thread: usize,
        other: usize,
        done: u32,
        found: &mut impl FnMut(usize, Wait),
    ) {
        let awaited = &mut self.awaited[thread * self.threads + other];
        if thread != other && *awaited < done {
            *awaited = done;
            let position = self.positions[thread];
            found(thread, Wait { position, thread: other as u32, done });
        }
    }
}
