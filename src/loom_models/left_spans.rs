//! Spans left for the next one: each is found once, and with all that was done to it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use loom::cell::UnsafeCell;

use crate::left_spans::LeftSpans;
use crate::segment::SegmentPtr;
use crate::span::SpanPtr;
use crate::sync::{model, spawn};

const SPANS: usize = 3;

/// Which of them were there at the first look, in any execution.
static SEEN: [AtomicBool; 1 << SPANS] = [const { AtomicBool::new(false) }; 1 << SPANS];

/// The stack, and for each span a number that its user wrote last.
struct World {
    left: LeftSpans,
    segment: SegmentPtr,
    notes: [UnsafeCell<u32>; SPANS],
}

// SAFETY: the notes are accessed as loom checks.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

impl World {
    fn span(&self, index: usize) -> SpanPtr {
        self.segment.span(index)
    }

    fn leave(&self, index: usize) {
        // SAFETY: the span is this thread's until it is left, and loom checks that.
        self.notes[index].with_mut(|note| unsafe { *note = index as u32 + 1 });
        self.left.push(self.span(index));
    }

    /// Takes what is there; answers whose spans it was, one bit for each.
    fn take(&self) -> u32 {
        let mut found = 0;
        self.left.take_all(|span| {
            let index = span.page_index();
            // SAFETY: the span is this thread's now, and loom checks that.
            let note = self.notes[index].with(|note| unsafe { *note });
            assert_eq!(note, index as u32 + 1, "what its user did is seen");
            assert_eq!(found & 1 << index, 0, "once");
            found |= 1 << index;
        });
        found
    }
}

#[test]
fn every_span_that_is_left_is_found_once_and_whole() {
    // Descriptors for all executions: a span is pushed anew in each.
    let source = Box::leak(Box::new(crate::counted_source::CountedSource::new(crate::os::OsPages)));
    let segment = SegmentPtr::map(source, 0).expect("addresses");
    model(move || {
        let world = Arc::new(World {
            left: LeftSpans::new(),
            segment,
            notes: core::array::from_fn(|_| UnsafeCell::new(0)),
        });
        assert_eq!(world.take(), 0, "a touch before there are threads");
        let leave = |indexes: &'static [usize]| {
            let world = Arc::clone(&world);
            spawn(move || indexes.iter().for_each(|index| world.leave(*index)))
        };
        let threads = [leave(&[0, 1]), leave(&[2])];
        let taker = spawn({
            let world = Arc::clone(&world);
            move || world.take()
        });
        let before = taker.join().unwrap();
        SEEN[before as usize].store(true, Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let after = world.take();
        assert_eq!((before ^ after, world.take()), (0b111, 0));
    });
    // The second is never there without the first, which the same thread left before.
    let seen = SEEN.iter().map(|seen| u32::from(seen.load(Relaxed)));
    assert!(seen.eq([1, 1, 0, 1, 1, 1, 0, 1]), "all that may be there was met");
}
