//! A trace as a file.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `CAPTRACE` |
//! | 2 | the version, [`VERSION`], the low byte first |
//! | the rest | one zstd frame, which has its content's size and checksum |
//!
//! The content begins with numbers, written as in [`columns`](super::columns): how many threads
//! there are, how many blocks, how many events, the length in bytes of each of the four columns,
//! and the length of the description. Then come the description, one line of UTF-8, and the
//! columns, and nothing after them. All events are in the one order in which they were recorded.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zstd::zstd_safe;

use super::columns::{COLUMNS, Decoder, Encoder, put, take};
use super::error::TraceError;
use super::event::{Event, EventProblem, MAX_EVENTS, MAX_THREADS};
use super::ledger::Ledger;
use super::table::Table;

/// The version that is written, and the one that is read.
pub const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"CAPTRACE";
const PREFIX_BYTES: usize = MAGIC.len() + size_of::<u16>();
const LEVEL: i32 = 19;
/// The largest header of a frame; the smallest frame that is written is larger than that.
const FRAME_HEADER_BYTES: usize = 18;
/// The largest content that is read: a file that claims more is not believed.
const MAX_CONTENT_BYTES: u64 = 1 << 30;

/// Writes a trace, event by event.
#[derive(Debug)]
pub struct TraceWriter {
    encoder: Encoder,
    ledger: Ledger,
    threads: usize,
    events: usize,
}

impl TraceWriter {
    /// Begins a trace of so many threads and at most so many blocks.
    ///
    /// # Errors
    ///
    /// When there are more threads than a trace can have, or the system has no room for so many
    /// blocks.
    pub fn new(threads: usize, max_blocks: usize) -> Result<Self, TraceError> {
        if threads > MAX_THREADS {
            let problem = EventProblem::Thread(threads as u64 - 1);
            return Err(TraceError::Event { index: 0, problem });
        }
        let ledger = Ledger::new(threads, max_blocks.min(MAX_EVENTS))?;
        Ok(Self { encoder: Encoder::new(threads), ledger, threads, events: 0 })
    }

    /// Adds one event.
    ///
    /// # Errors
    ///
    /// When it can't follow the ones before; it is then not added.
    pub fn push(&mut self, event: Event) -> Result<(), TraceError> {
        let failed = |problem| TraceError::Event { index: self.events, problem };
        if self.events == MAX_EVENTS {
            return Err(failed(EventProblem::TooManyEvents));
        }
        self.ledger.apply(event).map_err(failed)?;
        self.encoder.push(event);
        self.events += 1;
        Ok(())
    }

    /// The number that the next block gets.
    #[must_use]
    pub fn next_block(&self) -> u32 {
        self.ledger.allocated() as u32
    }

    /// How many events have been added.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events
    }

    /// Ends the trace and gives the bytes of its file.
    ///
    /// # Errors
    ///
    /// When it can't be compressed, for which there must be memory.
    pub fn finish(self, description: &str) -> Result<Vec<u8>, TraceError> {
        let threads = self.threads;
        self.finish_with_threads(threads, description)
    }

    /// Ends a trace whose events turned out to have fewer threads than were allowed.
    pub(super) fn finish_with_threads(
        self,
        threads: usize,
        description: &str,
    ) -> Result<Vec<u8>, TraceError> {
        let mut content = Vec::new();
        for number in [threads, self.ledger.allocated(), self.events] {
            put(&mut content, number as u64);
        }
        for column in self.encoder.columns() {
            put(&mut content, column.len() as u64);
        }
        put(&mut content, description.len() as u64);
        content.extend_from_slice(description.as_bytes());
        self.encoder.columns().iter().for_each(|column| content.extend_from_slice(column));
        let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        bytes.extend(compress(&content).map_err(|error| TraceError::system("zstd", error))?);
        Ok(bytes)
    }
}

fn compress(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.long_distance_matching(true)?;
    compressor.compress(content)
}

/// A trace that was read and found to be in order.
///
/// It holds its events as they are in the file but not compressed, in tables of its own.
#[derive(Debug)]
pub struct Trace {
    content: Table<u8>,
    header: Header,
    peak_live_bytes: u64,
}

/// What the content begins with, and where in it the rest is.
#[derive(Clone, Copy, Debug)]
struct Header {
    threads: usize,
    blocks: usize,
    events: usize,
    description_start: usize,
    column_starts: [usize; COLUMNS],
}

impl Trace {
    /// Reads the trace in a file.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or is not a trace that is whole and makes sense.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let failed = |error| TraceError::system(path.display().to_string(), error);
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        // What is read can be no larger than what it is to become, and is mostly much smaller.
        if length > MAX_CONTENT_BYTES {
            return Err(TraceError::Damaged("it is larger than any trace"));
        }
        let mut bytes = Table::zeroed(length as usize)?;
        file.read_exact(&mut bytes).map_err(failed)?;
        Self::from_bytes(&bytes)
    }

    /// Reads a trace from the bytes of its file.
    ///
    /// # Errors
    ///
    /// When they are not a trace that is whole and makes sense.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TraceError> {
        let content = decompress(frame(bytes)?)?;
        let header = Header::read(&content)?;
        let mut trace = Self { content, header, peak_live_bytes: 0 };
        trace.peak_live_bytes = trace.check()?;
        Ok(trace)
    }

    /// Follows all events and gives the most bytes that were live.
    fn check(&self) -> Result<u64, TraceError> {
        let header = self.header;
        if std::str::from_utf8(self.description_bytes()).is_err() {
            return Err(TraceError::Damaged("the description is not text"));
        }
        let mut ledger = Ledger::new(header.threads, header.blocks)?;
        let mut events = self.decoder();
        for index in 0..header.events {
            let event = events.next().ok_or(TraceError::Damaged("events are missing"))??;
            ledger.apply(event).map_err(|problem| TraceError::Event { index, problem })?;
        }
        if !events.is_at_end() || ledger.allocated() != header.blocks {
            return Err(TraceError::Damaged("it has not as much as it says"));
        }
        Ok(ledger.peak_live_bytes())
    }

    fn decoder(&self) -> Decoder<'_> {
        let starts = self.header.column_starts;
        let end = |column: usize| *starts.get(column + 1).unwrap_or(&self.content.len());
        let columns = std::array::from_fn(|column| &self.content[starts[column]..end(column)]);
        Decoder::new(columns, self.header.threads)
    }

    fn description_bytes(&self) -> &[u8] {
        &self.content[self.header.description_start..self.header.column_starts[0]]
    }

    /// What was recorded, in one line.
    #[must_use]
    pub fn description(&self) -> &str {
        std::str::from_utf8(self.description_bytes()).expect("it was checked when it was read")
    }

    /// All events, in the order in which they were recorded.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.decoder().map(|event| event.expect("all were checked when the trace was read"))
    }

    /// How many events there are.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.header.events
    }

    /// How many blocks are allocated.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.header.blocks
    }

    /// How many threads take part.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.header.threads
    }

    /// The most bytes that were live at one time.
    #[must_use]
    pub fn peak_live_bytes(&self) -> u64 {
        self.peak_live_bytes
    }

    /// How many bytes the events take before they are compressed.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.content.len()
    }
}

/// The compressed part of a trace.
fn frame(bytes: &[u8]) -> Result<&[u8], TraceError> {
    let (prefix, frame) = bytes.split_at(PREFIX_BYTES.min(bytes.len()));
    let magic = &prefix[..MAGIC.len().min(prefix.len())];
    if magic.is_empty() || !MAGIC.starts_with(magic) {
        return Err(TraceError::NotATrace);
    }
    let Some(&[low, high]) = prefix.get(MAGIC.len()..PREFIX_BYTES) else {
        return Err(TraceError::Truncated);
    };
    match u16::from_le_bytes([low, high]) {
        VERSION => Ok(frame),
        version => Err(TraceError::Version(version)),
    }
}

/// Decompresses into a table; nothing here takes memory from the global allocator.
fn decompress(frame: &[u8]) -> Result<Table<u8>, TraceError> {
    if frame.len() < FRAME_HEADER_BYTES {
        return Err(TraceError::Truncated);
    }
    let size = match zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) if size <= MAX_CONTENT_BYTES => size as usize,
        Ok(_) => return Err(TraceError::Damaged("it does not say how large it is")),
        Err(_) => return Err(TraceError::Damaged("it has no frame of zstd")),
    };
    match zstd_safe::find_frame_compressed_size(frame) {
        Ok(length) if length == frame.len() => {}
        Ok(_) => return Err(TraceError::Damaged("it goes on after its end")),
        // The blocks of a frame say how long they are, and one of them is longer than the file.
        Err(_) => return Err(TraceError::Truncated),
    }
    let mut content = Table::zeroed(size)?;
    match zstd_safe::decompress(&mut content[..], frame) {
        Ok(length) if length == size => Ok(content),
        _ => Err(TraceError::Damaged("it can't be decompressed")),
    }
}

impl Header {
    fn read(content: &[u8]) -> Result<Self, TraceError> {
        let mut rest = content;
        let mut number = |limit: usize| match take(&mut rest) {
            Some(number) if number <= limit as u64 => Ok(number as usize),
            _ => Err(TraceError::Damaged("it says what can't be of how much it has")),
        };
        let threads = number(MAX_THREADS)?;
        let blocks = number(MAX_EVENTS)?;
        let events = number(MAX_EVENTS)?;
        let mut lengths = [0; COLUMNS];
        for length in &mut lengths {
            *length = number(content.len())?;
        }
        let description = number(content.len())?;
        let description_start = content.len() - rest.len();
        let mut start = description_start + description;
        let column_starts = lengths.map(|length| {
            start += length;
            start - length
        });
        // A block takes an event and an event a byte, which also bounds what is made of them.
        if start != content.len() || events != lengths[0] || blocks > events {
            return Err(TraceError::Damaged("it has not as much as it says"));
        }
        Ok(Self { threads, blocks, events, description_start, column_starts })
    }
}
