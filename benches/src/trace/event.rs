//! One call of a program to its allocator.

use std::fmt;

/// The largest block of a trace, in bytes.
pub const MAX_SIZE_BYTES: u64 = u32::MAX as u64;
/// The largest alignment of a trace: its binary logarithm.
pub const MAX_ALIGN_LOG2: u8 = 31;
/// The most threads a trace may have.
pub const MAX_THREADS: usize = 1024;
/// The most events a trace may have.
pub const MAX_EVENTS: usize = 1 << 27;

/// What one thread asked of its allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The thread, counted from zero.
    pub thread: u16,
    /// What it asked.
    pub action: Action,
}

/// What can be asked of an allocator.
///
/// Blocks have no addresses in a trace. They are numbered in the order in which they are allocated,
/// and keep their number when they are resized, wherever they move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Allocates the block that has the next number.
    Allocate {
        /// Its size, at least one byte.
        size_bytes: u32,
        /// Its alignment's binary logarithm.
        align_log2: u8,
        /// Whether its bytes have to be zero.
        is_zeroed: bool,
    },
    /// Resizes a block, which keeps its alignment.
    Reallocate {
        /// The block's number.
        block: u32,
        /// The size it gets, at least one byte.
        new_size_bytes: u32,
    },
    /// Frees a block.
    Free {
        /// The block's number.
        block: u32,
    },
}

/// What can be wrong with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventProblem {
    /// It is of a block that was not allocated before it.
    UnknownBlock(u64),
    /// It is of a block that was freed before it.
    FreedBlock(u32),
    /// No block can have this size, or not with its alignment.
    Size(u64),
    /// The alignment is larger than 2^31.
    Alignment(u8),
    /// The trace has fewer threads.
    Thread(u64),
    /// The trace has fewer blocks.
    TooManyBlocks,
    /// The trace has more events than it can have.
    TooManyEvents,
}

impl fmt::Display for EventProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownBlock(block) => {
                write!(formatter, "block {block} was not allocated before")
            }
            Self::FreedBlock(block) => write!(formatter, "block {block} was freed before"),
            Self::Size(size) => write!(formatter, "no block of a trace can have {size} bytes"),
            Self::Alignment(log2) => write!(formatter, "an alignment of 2^{log2} is too large"),
            Self::Thread(thread) => write!(formatter, "the trace has no thread {thread}"),
            Self::TooManyBlocks => write!(formatter, "the trace has fewer blocks"),
            Self::TooManyEvents => write!(formatter, "a trace has no more than {MAX_EVENTS}"),
        }
    }
}
