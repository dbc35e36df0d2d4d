//! What hooks are told, and what they may answer.

use crate::limits::LimitReached;
use crate::trim::Trimmed;

/// Something that happened to the heap.
///
/// Sizes are in bytes, arenas go by their index. Figures are those of the moment at which the event
/// happened, which is a little before the hook is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An arena was opened, for the first time or again.
    #[non_exhaustive]
    ArenaCreated {
        /// Its index.
        arena: usize,
    },
    /// A lower cap closed an arena, and its slabs have moved to others.
    #[non_exhaustive]
    ArenaDrained {
        /// Its index.
        arena: usize,
    },
    /// A segment was mapped: address space for more small and large allocations.
    #[non_exhaustive]
    SegmentMapped {
        /// Where it starts.
        address: usize,
        /// Its length, without the descriptors that lie apart from it.
        bytes: usize,
        /// All address space that the heap had from the operating system then.
        mapped_bytes: usize,
    },
    /// A segment without a page in use was unmapped.
    #[non_exhaustive]
    SegmentReleased {
        /// Where it started.
        address: usize,
        /// Its length.
        bytes: usize,
        /// All address space that the heap still had from the operating system.
        mapped_bytes: usize,
    },
    /// A trim is done: one that was called, or one that a limit or a refusal caused.
    Trimmed(Trimmed),
    /// A limit was reached.
    ///
    /// The soft limit has been answered by a trim already. The others have refused something, once
    /// for each request of the program whatever it took to refuse it; the request may yet succeed,
    /// after a trim or in another way. Where it does not,
    /// [`AllocationFailed`](Event::AllocationFailed) follows.
    LimitReached(LimitReached),
    /// An allocation is about to fail: it was refused, and refused again after a trim.
    ///
    /// A hook that gave something up answers [`Response::Retry`], and the allocator tries once
    /// more: once for the request, whatever the number of hooks that ask for it.
    #[non_exhaustive]
    AllocationFailed {
        /// Bytes that the program asked for.
        size: usize,
        /// The alignment that it asked for.
        align: usize,
        /// All address space that the heap had from the operating system.
        mapped_bytes: usize,
        /// Resident memory, as [`Stats::resident_bytes`](crate::Stats::resident_bytes) counts it.
        resident_bytes: usize,
    },
    /// More happened than could be noted: this many events before the next one were dropped.
    #[non_exhaustive]
    Missed {
        /// How many.
        count: usize,
    },
}

/// What a hook answers; a hook that answers nothing at all answers `Ignore`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Response {
    /// Nothing follows.
    #[default]
    Ignore,
    /// The allocation that failed is to be tried once more. Other events take it for `Ignore`.
    Retry,
}

impl From<()> for Response {
    fn from((): ()) -> Self {
        Response::Ignore
    }
}
