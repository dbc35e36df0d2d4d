//! The blocks that are live at a point of a trace.

use super::error::TraceError;
use super::event::{Action, Event, EventProblem, MAX_ALIGN_LOG2};
use super::table::{Table, Zeroable};

/// What is known of one block.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Zero while the block is not live.
    size_bytes: u32,
    align_log2: u8,
}

// SAFETY: Two numbers, for which zero is a value.
unsafe impl Zeroable for Entry {}

/// What an event did, with what it only implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The number of the block it was about.
    pub block: u32,
    /// The block's size before, zero if it is new.
    pub old_size_bytes: u32,
    /// The block's size after, zero if it is gone.
    pub size_bytes: u32,
    /// The block's alignment.
    pub align_log2: u8,
}

/// Follows a trace and refuses what can't follow.
#[derive(Debug)]
pub struct Ledger {
    entries: Table<Entry>,
    threads: usize,
    allocated: usize,
    live_blocks: usize,
    live_bytes: u64,
    peak_live_bytes: u64,
    peak_live_blocks: usize,
}

impl Ledger {
    /// Begins a trace of at most so many threads and blocks.
    ///
    /// # Errors
    ///
    /// When the system has no memory for so many blocks.
    pub fn new(threads: usize, blocks: usize) -> Result<Self, TraceError> {
        Ok(Self {
            entries: Table::zeroed(blocks)?,
            threads,
            allocated: 0,
            live_blocks: 0,
            live_bytes: 0,
            peak_live_bytes: 0,
            peak_live_blocks: 0,
        })
    }

    /// Follows one event.
    ///
    /// # Errors
    ///
    /// Tells what is wrong with the event, and has then not followed it.
    pub fn apply(&mut self, event: Event) -> Result<Applied, EventProblem> {
        if usize::from(event.thread) >= self.threads {
            return Err(EventProblem::Thread(event.thread.into()));
        }
        match event.action {
            Action::Allocate { size_bytes, align_log2, .. } => {
                self.allocate(size_bytes, align_log2)
            }
            Action::Reallocate { block, new_size_bytes } => {
                let entry = self.live(block)?;
                check_size(new_size_bytes)?;
                Ok(self.resize(block, Entry { size_bytes: new_size_bytes, ..entry }))
            }
            Action::Free { block } => {
                let entry = self.live(block)?;
                self.live_blocks -= 1;
                Ok(self.resize(block, Entry { size_bytes: 0, ..entry }))
            }
        }
    }

    fn allocate(&mut self, size_bytes: u32, align_log2: u8) -> Result<Applied, EventProblem> {
        check_size(size_bytes)?;
        if align_log2 > MAX_ALIGN_LOG2 {
            return Err(EventProblem::Alignment(align_log2));
        }
        if self.allocated == self.entries.len() {
            return Err(EventProblem::TooManyBlocks);
        }
        let block = self.allocated as u32;
        self.allocated += 1;
        self.live_blocks += 1;
        self.peak_live_blocks = self.peak_live_blocks.max(self.live_blocks);
        Ok(self.resize(block, Entry { size_bytes, align_log2 }))
    }

    fn live(&self, block: u32) -> Result<Entry, EventProblem> {
        match self.entries[..self.allocated].get(block as usize) {
            None => Err(EventProblem::UnknownBlock(block.into())),
            Some(entry) if entry.size_bytes == 0 => Err(EventProblem::FreedBlock(block)),
            Some(&entry) => Ok(entry),
        }
    }

    fn resize(&mut self, block: u32, entry: Entry) -> Applied {
        let old_size_bytes = self.entries[block as usize].size_bytes;
        self.entries[block as usize] = entry;
        self.live_bytes = self.live_bytes + u64::from(entry.size_bytes) - u64::from(old_size_bytes);
        self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
        Applied {
            block,
            old_size_bytes,
            size_bytes: entry.size_bytes,
            align_log2: entry.align_log2,
        }
    }

    /// How many blocks have been allocated.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// How many blocks are live.
    #[must_use]
    pub fn live_blocks(&self) -> usize {
        self.live_blocks
    }

    /// How many bytes are live.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The most bytes that were live at one time.
    #[must_use]
    pub fn peak_live_bytes(&self) -> u64 {
        self.peak_live_bytes
    }

    /// The most blocks that were live at one time.
    #[must_use]
    pub fn peak_live_blocks(&self) -> usize {
        self.peak_live_blocks
    }
}

fn check_size(size_bytes: u32) -> Result<(), EventProblem> {
    if size_bytes == 0 { Err(EventProblem::Size(0)) } else { Ok(()) }
}
