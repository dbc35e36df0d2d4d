//! Traces written, read, spoiled and replayed.

mod replays;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicIsize, AtomicUsize};

use proptest::prelude::*;
use proptest::sample::Index;

use super::event::{EventProblem, MAX_THREADS};
use super::plan::SLICE_EVENTS;
use super::profile::Profile;
use super::replay::WRITTEN_BYTES;
use super::*;
use replays::Checked;

fn allocate(thread: u16, size_bytes: u32) -> Event {
    Event { thread, action: Action::Allocate { size_bytes, align_log2: 3, is_zeroed: false } }
}

fn reallocate(thread: u16, block: u32, new_size_bytes: u32) -> Event {
    Event { thread, action: Action::Reallocate { block, new_size_bytes } }
}

fn free(thread: u16, block: u32) -> Event {
    Event { thread, action: Action::Free { block } }
}

fn write(threads: usize, events: &[Event]) -> Result<Vec<u8>, TraceError> {
    let mut writer = TraceWriter::new(threads, events.len())?;
    events.iter().try_for_each(|&event| writer.push(event))?;
    writer.finish("made by a test")
}

fn trace(threads: usize, events: &[Event]) -> Trace {
    let bytes = write(threads, events).expect("events in order");
    Trace::from_bytes(&bytes).expect("what was written can be read")
}

/// What a thread may be made to do, whatever is live.
#[derive(Clone, Debug)]
enum Step {
    Allocate { thread: u16, size_bytes: u32, align_log2: u8, is_zeroed: bool },
    Reallocate { thread: u16, which: Index, size_bytes: u32 },
    Free { thread: u16, which: Index },
}

fn steps(threads: u16, max_size: u32) -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![1..=200_u32, 1..=max_size];
    let aligns = prop_oneof![4 => 0..=4_u8, 1 => 5..=13_u8];
    let step = prop_oneof![
        4 => (0..threads, sizes.clone(), aligns, any::<bool>()).prop_map(
            |(thread, size_bytes, align_log2, is_zeroed)| {
                Step::Allocate { thread, size_bytes, align_log2, is_zeroed }
            }
        ),
        2 => (0..threads, any::<Index>(), sizes)
            .prop_map(|(thread, which, size_bytes)| Step::Reallocate { thread, which, size_bytes }),
        3 => (0..threads, any::<Index>()).prop_map(|(thread, which)| Step::Free { thread, which }),
    ];
    prop::collection::vec(step, 0..400)
}

/// Events of blocks that are live, which is what a program does.
fn events(steps: &[Step]) -> Vec<Event> {
    let (mut live, mut next): (Vec<u32>, u32) = (Vec::new(), 0);
    let mut events = Vec::new();
    for step in steps {
        match *step {
            Step::Allocate { thread, size_bytes, align_log2, is_zeroed } => {
                live.push(next);
                next += 1;
                let action = Action::Allocate { size_bytes, align_log2, is_zeroed };
                events.push(Event { thread, action });
            }
            _ if live.is_empty() => {}
            Step::Reallocate { thread, which, size_bytes } => {
                events.push(reallocate(thread, live[which.index(live.len())], size_bytes));
            }
            Step::Free { thread, which } => {
                events.push(free(thread, live.swap_remove(which.index(live.len()))));
            }
        }
    }
    events
}

/// Whether a trace is refused, however it is spoiled, and never makes the reader panic.
fn reads_or_refuses(bytes: &[u8]) -> Result<Trace, TraceError> {
    let read = Trace::from_bytes(bytes);
    match &read {
        Ok(trace) => assert_eq!(trace.events().count(), trace.event_count()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    read
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(steps in steps(5, u32::MAX), description in "\\PC{0,40}") {
        let events = events(&steps);
        let mut writer = TraceWriter::new(5, events.len()).expect("few threads");
        for &event in &events {
            writer.push(event).expect("events in order");
        }
        let bytes = writer.finish(&description).expect("room");
        let trace = Trace::from_bytes(&bytes).expect("a trace");
        prop_assert_eq!(trace.events().collect::<Vec<_>>(), events);
        prop_assert_eq!((trace.description(), trace.threads()), (&description[..], 5));
    }

    #[test]
    fn a_spoiled_file_is_refused(
        steps in steps(3, 5000),
        place in any::<Index>(),
        bits in 1..=255_u8,
        length in any::<Index>(),
    ) {
        let bytes = write(3, &events(&steps)).expect("events in order");
        let mut flipped = bytes.clone();
        flipped[place.index(bytes.len())] ^= bits;
        // One bit of a frame's header is reserved for later and one unused: nothing looks at them.
        if let Ok(trace) = reads_or_refuses(&flipped) {
            let original = Trace::from_bytes(&bytes).expect("a trace");
            prop_assert!(trace.events().eq(original.events()));
        }
        let cut = &bytes[..length.index(bytes.len())];
        prop_assert!(reads_or_refuses(cut).is_err());
        let longer = [&bytes[..], &[bits]].concat();
        prop_assert!(reads_or_refuses(&longer).is_err());
    }

    #[test]
    fn bytes_that_no_writer_wrote_are_refused_or_read(
        content in prop::collection::vec(prop_oneof![0..=8_u8, any::<u8>()], 0..200),
    ) {
        let frame = zstd::bulk::compress(&content, 1).expect("room");
        let bytes = [&b"CAPTRACE\x01\x00"[..], &frame].concat();
        let _ = reads_or_refuses(&bytes);
        let _ = reads_or_refuses(&content);
    }

    #[test]
    fn a_header_before_any_columns_is_refused_or_read(
        counts in prop::array::uniform3(0..12_u8),
        columns in prop::array::uniform4(prop::collection::vec(any::<u8>(), 0..12)),
    ) {
        let lengths = columns.each_ref().map(|column| column.len() as u8);
        let content = [&counts[..], &lengths, &[0], &columns.concat()].concat();
        let frame = zstd::bulk::compress(&content, 1).expect("room");
        let _ = reads_or_refuses(&[&b"CAPTRACE\x01\x00"[..], &frame].concat());
    }

    #[test]
    fn a_replay_does_what_was_recorded(steps in steps(4, 40_000), loops in 1..3_usize) {
        let events = events(&steps);
        let trace = trace(4, &events);
        let plan = Plan::new(&trace).expect("room");
        let target = Checked::default();
        let replayed = replay_plan(&plan, &target, loops).expect("memory");
        prop_assert_eq!(replayed.events as usize, events.len() * loops);
        let profile = Profile::new(&trace).expect("room");
        prop_assert_eq!(replayed.leftover_blocks as usize, profile.leftover_blocks * loops);
        let allocated = profile.events[0] + profile.events[1];
        prop_assert_eq!(target.allocated.load(SeqCst), allocated as usize * loops);
        prop_assert_eq!(target.resized.load(SeqCst), profile.events[2] as usize * loops);
        prop_assert_eq!(target.freed.load(SeqCst), allocated as usize * loops);
        prop_assert_eq!(target.live_bytes.load(SeqCst), 0);
    }
}

#[test]
fn a_trace_of_nothing_is_a_trace() {
    let target = Checked::default();
    let replayed = replay(&trace(0, &[]), &target).expect("nothing to fail");
    assert_eq!((replayed.events, replayed.leftover_blocks), (0, 0));
}

#[test]
fn events_that_no_program_has_are_named() {
    for (events, problem) in [
        (vec![free(0, 0)], EventProblem::UnknownBlock(0)),
        (vec![allocate(0, 8), free(0, 0), free(1, 0)], EventProblem::FreedBlock(0)),
        (vec![allocate(0, 8), free(0, 0), reallocate(1, 0, 9)], EventProblem::FreedBlock(0)),
        (vec![allocate(0, 0)], EventProblem::Size(0)),
        (vec![allocate(0, 8), reallocate(0, 0, 0)], EventProblem::Size(0)),
        (vec![allocate(2, 8)], EventProblem::Thread(2)),
    ] {
        let last = events.len() - 1;
        match write(2, &events) {
            Err(TraceError::Event { index, problem: found }) => {
                assert_eq!((index, found), (last, problem));
            }
            other => panic!("{events:?} gave {other:?}"),
        }
    }
    assert!(matches!(TraceWriter::new(MAX_THREADS + 1, 0), Err(TraceError::Event { .. })));
}

/// The file of a trace with this content.
fn file_of(content: &[u8]) -> Vec<u8> {
    let frame = zstd::bulk::compress(content, 1).expect("room");
    [&b"CAPTRACE\x01\x00"[..], &frame].concat()
}

#[test]
fn a_file_with_events_that_no_program_has_says_which() {
    // Threads, blocks, events, the columns' lengths, no description, then the columns.
    for (content, message) in [
        // An allocation of 8 bytes, then the same block is freed twice.
        (&[1, 1, 3, 3, 0, 1, 2, 0, 0x0C, 3, 3, 8, 0, 0][..], "event 2: block 0 was freed before"),
        (&[1, 1, 2, 2, 0, 1, 1, 0, 0x0C, 3, 8, 2], "event 1: block 1 was not allocated before"),
        (&[1, 1, 2, 2, 0, 1, 1, 0, 0x0C, 3, 8, 1], "event 1: block 18446744073709551615 was not"),
        (&[1, 1, 1, 1, 0, 1, 0, 0, 0x0C, 0], "event 0: no block of a trace can have 0 bytes"),
        (
            &[1, 1, 1, 1, 0, 5, 0, 0, 0x0C, 0x80, 0x80, 0x80, 0x80, 0x10],
            "event 0: no block of a trace can have 4294967296 bytes",
        ),
        (&[1, 1, 1, 1, 1, 1, 0, 0, 0x8C, 1, 8], "event 0: the trace has no thread 1"),
        (&[1, 1, 1, 1, 0, 1, 0, 0, 0x0F, 8], "an alignment where none belongs"),
        (&[1, 1, 1, 1, 0, 1, 0, 0, 0x0C, 0x88], "a number is cut"),
        (&[1, 1, 1, 1, 0, 2, 0, 0, 0x0C, 8, 8], "it has not as much as it says"),
        (&[1, 0, 1, 1, 0, 1, 0, 0, 0x0C, 8], "event 0: the trace has fewer blocks"),
        (&[1, 2, 1, 1, 0, 1, 0, 0, 0x0C, 8], "it has not as much as it says"),
        (&[0, 1, 1, 1, 0, 1, 0, 0, 0x0C, 8], "the trace has no thread 0"),
        (&[0, 0, 0, 0, 0, 0, 0, 1, 0xFF], "the description is not text"),
        (&[0xFF, 0xFF, 0x7F, 1, 2, 3, 4, 5, 6, 7, 8, 9], "it says what can't be"),
    ] {
        let error = Trace::from_bytes(&file_of(content)).expect_err(message).to_string();
        assert!(error.contains(message), "{content:?} gave {error:?}");
    }
}

#[test]
fn files_that_are_no_traces_are_told_apart() {
    let whole = write(1, &[allocate(0, 8)]).expect("a trace");
    let mut newer = whole.clone();
    newer[8] = 2;
    assert!(matches!(Trace::from_bytes(&newer), Err(TraceError::Version(2))));
    assert!(matches!(Trace::from_bytes(b""), Err(TraceError::NotATrace)));
    assert!(matches!(Trace::from_bytes(b"\x7fELF and so on"), Err(TraceError::NotATrace)));
    for length in 1..whole.len() {
        let cut = Trace::from_bytes(&whole[..length]);
        assert!(matches!(cut, Err(TraceError::Truncated)), "{length} bytes gave {cut:?}");
    }
    let error = Trace::read("no/such.trace".as_ref()).expect_err("no file").to_string();
    assert!(error.contains("no/such.trace"), "{error}");
}

#[test]
fn a_profile_counts_what_is_there() {
    let events = [
        allocate(0, 8),
        Event {
            thread: 0,
            action: Action::Allocate { size_bytes: 100, align_log2: 6, is_zeroed: true },
        },
        reallocate(1, 0, 24),
        free(1, 0),
        free(0, 1),
        allocate(1, 9),
    ];
    let profile = Profile::new(&trace(2, &events)).expect("room");
    assert_eq!((profile.events, profile.threads), ([2, 1, 1, 2], 2));
    assert_eq!((profile.requested_bytes, profile.peak_live_bytes), (133, 124));
    assert_eq!((profile.peak_live_blocks, profile.remote_frees), (2, 1));
    assert_eq!((profile.leftover_blocks, profile.leftover_bytes), (1, 9));
    assert_eq!((profile.sizes[3], profile.sizes[6], profile.lifetimes[0]), (2, 1, 2));
    assert_eq!((profile.alignments[3], profile.alignments[6]), (2, 1));
    let text = profile.to_string();
    assert!(text.contains("freed                     2, 50.0% on another thread"), "{text}");
    assert!(text.contains("8-15"), "{text}");
}

#[test]
fn traces_of_the_repository_are_in_order() {
    let directory = trace_path("x");
    let directory = directory.parent().expect("a directory");
    let mut traces = 0;
    for entry in std::fs::read_dir(directory).expect("benches/traces").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "trace") {
            let trace = Trace::read(&entry.path()).expect("a trace");
            assert!(trace.event_count() > 100_000, "{} is too short", entry.path().display());
            traces += 1;
        }
    }
    assert!(traces >= 3, "there are {traces}");
}
