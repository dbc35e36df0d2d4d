//! Events as bytes, in four columns.
//!
//! What is alike is kept together, which makes it smaller when it is compressed.
//!
//! | column | what |
//! |---|---|
//! | operations | one byte for each event: see below |
//! | threads | for each operation that changes the thread, the thread's number |
//! | sizes | for each operation that has a size, the size in bytes |
//! | references | for each operation on an older block, which one |
//!
//! The two lowest bits of an operation say what it is: 0 allocate, 1 allocate zeroed, 2 reallocate,
//! 3 free. The next five are the alignment's binary logarithm for the first two and else zero. The
//! highest one says that the event is of another thread than the one before; the first event is of
//! thread 0 unless it says so.
//!
//! Numbers are written in groups of seven bits, the lowest first; all but the last group have the
//! highest bit of their byte set. A reference is the difference of the block's number from that of
//! the last block its thread had an event of, which is mostly a neighbour: 0, -1, 1, -2 … are
//! written as 0, 1, 2, 3 ….

use super::error::TraceError;
use super::event::{Action, Event, EventProblem};

const ALLOCATE: u8 = 0;
const ALLOCATE_ZEROED: u8 = 1;
const REALLOCATE: u8 = 2;
const FREE: u8 = 3;
const KIND_MASK: u8 = 3;
const ALIGN_SHIFT: u32 = 2;
const ALIGN_MASK: u8 = 31;
const CHANGES_THREAD: u8 = 1 << 7;

/// The columns of a trace, with their lengths in this order.
pub const COLUMNS: usize = 4;
const OPERATIONS: usize = 0;
const THREADS: usize = 1;
const SIZES: usize = 2;
const REFERENCES: usize = 3;

/// Which event the next one is told apart from.
#[derive(Clone, Debug)]
struct Position {
    thread: u16,
    allocated: u32,
    /// The last block that each thread had an event of.
    last_blocks: Vec<u32>,
}

impl Position {
    fn new(threads: usize) -> Self {
        Self { thread: 0, allocated: 0, last_blocks: vec![0; threads] }
    }

    /// The block the next allocation makes.
    fn next_block(&mut self) -> u32 {
        self.allocated += 1;
        self.allocated - 1
    }

    fn last_block(&mut self) -> &mut u32 {
        &mut self.last_blocks[usize::from(self.thread)]
    }
}

/// Writes columns.
#[derive(Debug)]
pub struct Encoder {
    columns: [Vec<u8>; COLUMNS],
    position: Position,
}

impl Encoder {
    /// Begins the columns of a trace of so many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { columns: Default::default(), position: Position::new(threads) }
    }

    /// Adds one event, which must be one that a ledger has followed.
    pub fn push(&mut self, event: Event) {
        let mut operation = 0;
        if event.thread != self.position.thread {
            operation |= CHANGES_THREAD;
            self.position.thread = event.thread;
            put(&mut self.columns[THREADS], event.thread.into());
        }
        let block = match event.action {
            Action::Allocate { size_bytes, align_log2, is_zeroed } => {
                operation |= if is_zeroed { ALLOCATE_ZEROED } else { ALLOCATE };
                operation |= align_log2 << ALIGN_SHIFT;
                put(&mut self.columns[SIZES], size_bytes.into());
                self.position.next_block()
            }
            Action::Reallocate { block, new_size_bytes } => {
                operation |= REALLOCATE;
                put(&mut self.columns[SIZES], new_size_bytes.into());
                self.refer(block)
            }
            Action::Free { block } => {
                operation |= FREE;
                self.refer(block)
            }
        };
        *self.position.last_block() = block;
        self.columns[OPERATIONS].push(operation);
    }

    fn refer(&mut self, block: u32) -> u32 {
        let difference = i64::from(block) - i64::from(*self.position.last_block());
        put(&mut self.columns[REFERENCES], ((difference << 1) ^ (difference >> 63)) as u64);
        block
    }

    /// The columns in order.
    #[must_use]
    pub fn columns(&self) -> &[Vec<u8>; COLUMNS] {
        &self.columns
    }
}

/// Reads columns; whether the events make sense is for a ledger to say.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    columns: [&'a [u8]; COLUMNS],
    position: Position,
    index: usize,
}

impl<'a> Decoder<'a> {
    /// Begins to read the columns of a trace of so many threads.
    #[must_use]
    pub fn new(columns: [&'a [u8]; COLUMNS], threads: usize) -> Self {
        Self { columns, position: Position::new(threads), index: 0 }
    }

    fn read(&mut self, operation: u8) -> Result<Event, TraceError> {
        let is_same = operation & CHANGES_THREAD == 0;
        let thread = if is_same { self.position.thread.into() } else { self.number(THREADS)? };
        // Even thread 0, which is there without being named, is not there in a trace of none.
        if thread >= self.position.last_blocks.len() as u64 {
            return Err(self.problem(EventProblem::Thread(thread)));
        }
        self.position.thread = thread as u16;
        let align_log2 = (operation >> ALIGN_SHIFT) & ALIGN_MASK;
        let kind = operation & KIND_MASK;
        if kind > ALLOCATE_ZEROED && align_log2 != 0 {
            return Err(TraceError::Damaged("an alignment where none belongs"));
        }
        let (block, action) = match kind {
            ALLOCATE | ALLOCATE_ZEROED => {
                let is_zeroed = kind == ALLOCATE_ZEROED;
                let size_bytes = self.size()?;
                let action = Action::Allocate { size_bytes, align_log2, is_zeroed };
                (self.position.next_block(), action)
            }
            REALLOCATE => {
                let new_size_bytes = self.size()?;
                let block = self.reference()?;
                (block, Action::Reallocate { block, new_size_bytes })
            }
            _ => {
                let block = self.reference()?;
                (block, Action::Free { block })
            }
        };
        *self.position.last_block() = block;
        self.index += 1;
        Ok(Event { thread: self.position.thread, action })
    }

    fn size(&mut self) -> Result<u32, TraceError> {
        let size = self.number(SIZES)?;
        u32::try_from(size).map_err(|_| self.problem(EventProblem::Size(size)))
    }

    fn reference(&mut self) -> Result<u32, TraceError> {
        let written = self.number(REFERENCES)?;
        let difference = (written >> 1) as i64 ^ -((written & 1) as i64);
        let block = i64::from(*self.position.last_block()).wrapping_add(difference);
        u32::try_from(block).map_err(|_| self.problem(EventProblem::UnknownBlock(block as u64)))
    }

    fn number(&mut self, column: usize) -> Result<u64, TraceError> {
        take(&mut self.columns[column]).ok_or(TraceError::Damaged("a number is cut or too large"))
    }

    fn problem(&self, problem: EventProblem) -> TraceError {
        TraceError::Event { index: self.index, problem }
    }

    /// Whether every column has been read to its end, as it is after the last event of a trace.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.columns.iter().all(|column| column.is_empty())
    }
}

impl Iterator for Decoder<'_> {
    type Item = Result<Event, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&operation, rest) = self.columns[OPERATIONS].split_first()?;
        self.columns[OPERATIONS] = rest;
        Some(self.read(operation))
    }
}

/// Appends a number in groups of seven bits.
pub(super) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number from the front, if there is one and it is written as [`put`] writes it.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let group = u64::from(byte & 0x7F);
        if group << shift >> shift != group {
            return None;
        }
        number |= group << shift;
        if byte < 0x80 {
            // A last group of zero would be a second way to write the same number.
            return (byte != 0 || shift == 0).then_some(number);
        }
    }
    None
}
