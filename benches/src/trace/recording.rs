//! What the recorder wrote down, turned into a trace.
//!
//! The recorder, in `benches/traces/recorder`, says how its file is laid out. It has addresses,
//! which are used again and again; a trace has numbers of blocks, which are given out here. It also
//! says what is written in which order, on which this relies: at any place of the file an address
//! has at most one live block.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::error::TraceError;
use super::event::{Action, Event};
use super::format::TraceWriter;

const MAGIC: &[u8; 8] = b"CAPMREC1";
const HEADER_BYTES: u64 = 4096;
const SLOT_BYTES: usize = 24;

/// What became of a recording.
#[derive(Debug)]
pub struct Packed {
    /// The file of the trace.
    pub bytes: Vec<u8>,
    /// How many events it has.
    pub events: usize,
    /// How many calls the program made in all, counted as slots.
    pub called: u64,
    /// How many of them were left out, because the recording was full or the trace was to be cut.
    pub cut: u64,
    /// How many slots were taken and never written, by threads that the process's end overtook.
    pub unwritten: u64,
}

/// Turns the first calls of a recording into a trace: all of them, or as many as the limit says.
///
/// # Errors
///
/// When the file can't be read, is not a recording, or has calls that no program can make.
pub fn pack(path: &Path, description: &str, max_slots: u64) -> Result<Packed, TraceError> {
    let failed = |error| TraceError::system(path.display().to_string(), error);
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let (called, slots) = read_header(&mut file).map_err(failed)?.ok_or(TraceError::NotATrace)?;
    let kept = called.min(slots).min(max_slots);
    let threads = super::event::MAX_THREADS;
    let mut packer = Packer::new(TraceWriter::new(threads, kept as usize)?);
    for slot in 0..kept {
        let mut bytes = [0; SLOT_BYTES];
        file.read_exact(&mut bytes).map_err(failed)?;
        packer.push(&Call::read(&bytes)).map_err(|problem| problem.at(slot))?;
    }
    let (events, unwritten) = (packer.writer.events(), packer.unwritten);
    let bytes = packer.writer.finish_with_threads(packer.threads.len(), description)?;
    Ok(Packed { bytes, events, called, cut: called - kept, unwritten })
}

/// How many calls there were and how many there was room for, if it is a recording.
fn read_header(file: &mut impl Read) -> std::io::Result<Option<(u64, u64)>> {
    let mut header = [0; HEADER_BYTES as usize];
    file.read_exact(&mut header)?;
    let number = |offset: usize| {
        let bytes = header[offset..offset + 8].try_into().expect("eight bytes");
        u64::from_ne_bytes(bytes)
    };
    Ok((&header[..8] == MAGIC).then(|| (number(8), number(16))))
}

/// One slot.
#[derive(Clone, Copy, Debug)]
struct Call {
    kind: u32,
    thread: u16,
    align_log2: u8,
    size: u64,
    address: u64,
}

impl Call {
    fn read(bytes: &[u8; SLOT_BYTES]) -> Self {
        let eight = |offset: usize| bytes[offset..offset + 8].try_into().expect("eight bytes");
        Self {
            kind: u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            thread: u16::from_ne_bytes([bytes[4], bytes[5]]),
            align_log2: bytes[6],
            size: u64::from_ne_bytes(eight(8)),
            address: u64::from_ne_bytes(eight(16)),
        }
    }
}

/// A live block, with what the program said of it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    block: u32,
    size: u64,
    align_log2: u8,
}

/// What is wrong with a slot, in words or as the trace's own error.
enum Problem {
    Slot(String),
    Trace(TraceError),
}

impl Problem {
    fn at(self, slot: u64) -> TraceError {
        match self {
            Self::Slot(problem) => TraceError::Recording { slot, problem },
            Self::Trace(TraceError::Event { problem, .. }) => {
                TraceError::Recording { slot, problem: problem.to_string() }
            }
            Self::Trace(error) => error,
        }
    }
}

/// Follows a recording.
struct Packer {
    writer: TraceWriter,
    /// The live block of each address that has one.
    live: HashMap<u64, Live>,
    /// The block that each thread is resizing, with the address it had.
    resizing: HashMap<u16, (u64, Live)>,
    /// The trace's number of each of the recording's threads, in the order of their first events.
    threads: HashMap<u16, u16>,
    unwritten: u64,
}

impl Packer {
    fn new(writer: TraceWriter) -> Self {
        let (live, resizing, threads) = Default::default();
        Self { writer, live, resizing, threads, unwritten: 0 }
    }

    fn push(&mut self, call: &Call) -> Result<(), Problem> {
        match call.kind {
            0 => {
                self.unwritten += 1;
                Ok(())
            }
            1 | 2 => self.allocate(call),
            3 => {
                let live = self.take(call)?;
                self.write(call, Action::Free { block: live.block })
            }
            4 => {
                let live = self.take(call)?;
                self.resizing.insert(call.thread, (call.address, live));
                Ok(())
            }
            5 => self.end_resizing(call),
            kind => Err(Problem::Slot(format!("there is no call of kind {kind}"))),
        }
    }

    fn allocate(&mut self, call: &Call) -> Result<(), Problem> {
        if call.address == 0 {
            // The call failed, and a replay can't tell how.
            return Ok(());
        }
        let live =
            Live { block: self.writer.next_block(), size: call.size, align_log2: call.align_log2 };
        let (align_log2, is_zeroed) = (call.align_log2, call.kind == 2);
        self.write(call, Action::Allocate { size_bytes: size(call)?, align_log2, is_zeroed })?;
        self.put(call.address, live)
    }

    fn end_resizing(&mut self, call: &Call) -> Result<(), Problem> {
        let Some((old_address, live)) = self.resizing.remove(&call.thread) else {
            return Err(Problem::Slot("a resizing ends that never began".to_owned()));
        };
        if call.address == 0 {
            return self.put(old_address, live);
        }
        let new_size_bytes = size(call)?;
        self.write(call, Action::Reallocate { block: live.block, new_size_bytes })?;
        self.put(call.address, Live { size: call.size, ..live })
    }

    /// Takes out the live block of an address, which must be as the call says.
    fn take(&mut self, call: &Call) -> Result<Live, Problem> {
        let problem = |what: &str| {
            let Call { address, size, .. } = call;
            Err(Problem::Slot(format!("{address:#x} of {size} bytes {what}")))
        };
        match self.live.remove(&call.address) {
            Some(live) if (live.size, live.align_log2) == (call.size, call.align_log2) => Ok(live),
            Some(_) => problem("was allocated with another size or alignment"),
            None => problem("is not live"),
        }
    }

    fn put(&mut self, address: u64, live: Live) -> Result<(), Problem> {
        match self.live.insert(address, live) {
            None => Ok(()),
            Some(_) => Err(Problem::Slot(format!("{address:#x} is live already"))),
        }
    }

    fn write(&mut self, call: &Call, action: Action) -> Result<(), Problem> {
        let next = self.threads.len() as u16;
        let thread = *self.threads.entry(call.thread).or_insert(next);
        self.writer.push(Event { thread, action }).map_err(Problem::Trace)
    }
}

fn size(call: &Call) -> Result<u32, Problem> {
    let problem = || Problem::Slot(format!("a trace has no block of {} bytes", call.size));
    u32::try_from(call.size).map_err(|_| problem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;

    const ALLOCATE: u32 = 1;
    const FREE: u32 = 3;
    const BEGIN: u32 = 4;
    const END: u32 = 5;

    fn call(kind: u32, thread: u16, size: u64, address: u64) -> Call {
        Call { kind, thread, align_log2: 3, size, address }
    }

    fn pack_calls(calls: &[Call], max_slots: u64) -> Result<Packed, TraceError> {
        let mut bytes = vec![0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&(calls.len() as u64 + 7).to_ne_bytes());
        bytes[16..24].copy_from_slice(&(calls.len() as u64).to_ne_bytes());
        for call in calls {
            bytes.extend(call.kind.to_ne_bytes());
            bytes.extend(call.thread.to_ne_bytes());
            bytes.extend([call.align_log2, 0]);
            bytes.extend(call.size.to_ne_bytes());
            bytes.extend(call.address.to_ne_bytes());
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("room for it");
        pack(file.path(), "calls", max_slots)
    }

    fn events(packed: &Packed) -> Vec<Event> {
        Trace::from_bytes(&packed.bytes).expect("a trace").events().collect()
    }

    fn problem(calls: &[Call]) -> String {
        pack_calls(calls, u64::MAX).expect_err("a problem").to_string()
    }

    #[test]
    fn an_address_used_again_is_another_block() {
        let calls = [
            call(ALLOCATE, 9, 40, 0x1000),
            call(FREE, 4, 40, 0x1000),
            call(ALLOCATE, 4, 24, 0x1000),
            call(FREE, 9, 24, 0x1000),
        ];
        let packed = pack_calls(&calls, u64::MAX).expect("a trace");
        assert_eq!((packed.events, packed.called, packed.cut, packed.unwritten), (4, 11, 7, 0));
        let allocate =
            |size_bytes| Action::Allocate { size_bytes, align_log2: 3, is_zeroed: false };
        let expected = [
            Event { thread: 0, action: allocate(40) },
            Event { thread: 1, action: Action::Free { block: 0 } },
            Event { thread: 1, action: allocate(24) },
            Event { thread: 0, action: Action::Free { block: 1 } },
        ];
        assert_eq!(events(&packed), expected);
    }

    #[test]
    fn another_thread_may_get_the_old_address_before_the_resizing_ends() {
        let calls = [
            call(ALLOCATE, 1, 40, 0x1000),
            call(BEGIN, 1, 40, 0x1000),
            call(ALLOCATE, 2, 40, 0x1000),
            call(END, 1, 80, 0x2000),
            call(FREE, 2, 80, 0x2000),
            call(FREE, 2, 40, 0x1000),
        ];
        let packed = pack_calls(&calls, u64::MAX).expect("a trace");
        let freed: Vec<Action> = events(&packed).iter().map(|event| event.action).collect();
        assert_eq!(freed[2], Action::Reallocate { block: 0, new_size_bytes: 80 });
        assert_eq!(freed[3..], [Action::Free { block: 0 }, Action::Free { block: 1 }]);
    }

    #[test]
    fn failed_calls_and_unwritten_slots_leave_no_event() {
        let calls = [
            call(ALLOCATE, 1, 40, 0x1000),
            call(BEGIN, 1, 40, 0x1000),
            call(END, 1, 1 << 50, 0),
            call(ALLOCATE, 1, 1 << 50, 0),
            call(0, 0, 0, 0),
            call(FREE, 1, 40, 0x1000),
        ];
        let packed = pack_calls(&calls, u64::MAX).expect("a trace");
        assert_eq!((events(&packed).len(), packed.unwritten), (2, 1));
    }

    #[test]
    fn a_trace_can_be_cut_anywhere() {
        let calls = [
            call(ALLOCATE, 1, 40, 0x1000),
            call(BEGIN, 1, 40, 0x1000),
            call(END, 1, 80, 0x2000),
            call(FREE, 1, 80, 0x2000),
        ];
        for max_slots in 0..4 {
            let packed = pack_calls(&calls, max_slots).expect("a trace");
            assert_eq!(packed.cut, 11 - max_slots);
            assert!(events(&packed).len() <= max_slots as usize);
        }
    }

    #[test]
    fn calls_that_no_program_makes_are_named() {
        let block = call(ALLOCATE, 1, 40, 0x1000);
        for (calls, part) in [
            (vec![call(FREE, 1, 40, 0x1000)], "slot 0 of the recording: 0x1000 of 40 bytes is not"),
            (vec![block, call(FREE, 1, 48, 0x1000)], "another size or alignment"),
            (vec![block, block], "slot 1 of the recording: 0x1000 is live already"),
            (vec![call(END, 1, 40, 0x1000)], "never began"),
            (vec![call(9, 1, 40, 0x1000)], "no call of kind 9"),
            (vec![call(ALLOCATE, 1, 0, 0x1000)], "can have 0 bytes"),
            (vec![call(ALLOCATE, 1, 1 << 32, 0x1000)], "no block of 4294967296 bytes"),
        ] {
            let message = problem(&calls);
            assert!(message.contains(part), "{calls:?} gave {message:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_recording_is_not_packed() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), [b'x'; 5000]).expect("room for it");
        assert!(matches!(pack(file.path(), "", 1), Err(TraceError::NotATrace)));
        std::fs::write(file.path(), MAGIC).expect("room for it");
        let message = pack(file.path(), "", 1).expect_err("too short").to_string();
        assert!(message.contains(&file.path().display().to_string()), "{message}");
    }
}
