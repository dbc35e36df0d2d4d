//! What heaps note, and how notices and the list stand to forks.

use super::*;

/// A heap whose events are noted, and the events noted by what `act` does.
struct Noted {
    heap: Box<Allocator<TestSource>>,
    slot: ThreadSlot,
}

impl Noted {
    fn heap(arena_max: usize) -> Noted {
        let heap = Box::new(Allocator::new(TestSource::new(), arena_max));
        heap.decay().set_milliseconds(-1);
        heap.notices().set_wanted(true);
        Noted { heap, slot: ThreadSlot::new() }
    }

    fn by<T>(&self, act: impl FnOnce(&Allocator<TestSource>, &ThreadSlot) -> T) -> (T, Vec<Event>) {
        let answer = act(&self.heap, &self.slot);
        end_request();
        self.heap.check();
        (answer, waiting(self.heap.notices()))
    }

    fn finish(self) {
        self.heap.detach(&self.slot);
        // SAFETY: the only slot is detached, and what the tests allocated is given back.
        unsafe { self.heap.release() };
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

#[test]
fn arenas_and_segments_are_noted_when_they_come_and_go() {
    let noted = Noted::heap(2);
    let (block, events) = noted.by(|heap, slot| heap.alloc(slot, layout(64)).unwrap());
    let mapped_bytes = noted.heap.page_heap().source().mapped_bytes();
    let address = block.addr().get() & !(crate::segment::SEGMENT_BYTES - 1);
    let bytes = crate::segment::SEGMENT_BYTES;
    assert_eq!(events[0], opened(0));
    let segment = events.iter().find(|event| matches!(event, Event::SegmentMapped { .. }));
    let Some(Event::SegmentMapped { mapped_bytes: then_bytes, .. }) = segment.copied() else {
        panic!("no segment in {events:?}");
    };
    assert!(then_bytes > bytes && then_bytes <= mapped_bytes, "{then_bytes}");
    assert_eq!(events[1], Event::SegmentMapped { address, bytes, mapped_bytes: then_bytes });
    assert_eq!(events.len(), 2);

    let other = ThreadSlot::new();
    let (second, events) = noted.by(|heap, _| heap.alloc(&other, layout(64)).unwrap());
    assert_eq!(events, [opened(1)]);
    let (_, events) = noted.by(|heap, _| heap.set_arena_max(1).unwrap());
    assert_eq!(events, [Event::ArenaDrained { arena: 1 }]);
    let (_, events) = noted.by(|heap, _| heap.set_arena_max(2).unwrap());
    assert_eq!(events, [], "until somebody needs it");
    // SAFETY: both came from this heap with this layout.
    let (trimmed, events) = noted.by(|heap, slot| unsafe {
        heap.dealloc(slot, block, layout(64));
        heap.dealloc(&other, second, layout(64));
        heap.detach(&other);
        heap.trim(slot)
    });
    let mapped_bytes = noted.heap.page_heap().source().mapped_bytes();
    let released = Event::SegmentReleased { address, bytes, mapped_bytes };
    assert_eq!(events, [released, Event::Trimmed(trimmed)]);
    let (trimmed, events) = noted.by(|heap, _| heap.trim_arena(0).unwrap());
    assert_eq!(events, [Event::Trimmed(trimmed)]);
    noted.finish();
}

/// Holds that `wait` does not return before `release` was called.
fn waits_for<'test>(wait: impl FnOnce() + Send + 'test, release: impl FnOnce()) {
    std::thread::scope(|scope| {
        let waiter = scope.spawn(wait);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let is_over = waiter.is_finished();
        release();
        assert!(!is_over, "it had the lock across the fork");
    });
}

#[test]
fn a_fork_holds_notices_and_the_list() {
    let noted = Noted::heap(1);
    noted.heap.prepare_fork();
    // SAFETY: held just above, in this thread.
    let release = || unsafe { noted.heap.finish_fork() };
    waits_for(|| noted.heap.notices().note(opened(0)), release);
    assert_eq!(waiting(noted.heap.notices()), [opened(0)]);
    noted.finish();

    let registry = Registry::new();
    registry.hold_for_fork();
    // SAFETY: held just above, in this thread.
    waits_for(|| assert!(registry.list().is_none()), || unsafe { registry.release_after_fork() });
}

#[test]
fn a_refused_request_is_one_event_however_often_it_was_tried() {
    let noted = Noted::heap(1);
    let (block, _) = noted.by(|heap, slot| heap.alloc(slot, layout(1 << 20)).unwrap());
    let limits = noted.heap.page_heap().source().limits();
    let resident_bytes = limits.resident_bytes();
    limits.set(Limit::ResidentHard, Some(9 << 20));
    let ((), events) = noted.by(|heap, slot| {
        let refused = heap.alloc(slot, layout(9 << 20));
        assert!(refused.is_none() && heap.page_heap().source().limits().refusals().1 == 2);
    });
    let [Event::LimitReached(reached), Event::Trimmed(_)] = events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((reached.limit, reached.limit_bytes), (Limit::ResidentHard, 9 << 20));
    assert_eq!(reached.asked_bytes, 9 << 20);
    // The record of the allocation, given back since, was counted as well.
    assert!(
        reached.held_bytes >= resident_bytes && reached.held_bytes < resident_bytes + (1 << 20)
    );
    assert_eq!(reached.over_bytes(), reached.held_bytes);
    // A growth that is refused in place and then as a new block is one request too.
    let ((), events) = noted.by(|heap, slot| {
        // SAFETY: allocated with this layout, and refused, so it stays.
        assert!(unsafe { heap.realloc(slot, block, layout(1 << 20), 9 << 20) }.is_none());
    });
    assert!(matches!(events[..], [Event::LimitReached(_), Event::Trimmed(_)]), "{events:?}");
    limits.set(Limit::ResidentHard, None);
    // SAFETY: allocated with this layout.
    unsafe { noted.heap.dealloc(&noted.slot, block, layout(1 << 20)) };
    noted.finish();
}

#[test]
fn the_soft_limit_is_told_with_what_was_held_before_and_after_its_trim() {
    let noted = Noted::heap(1);
    let (block, _) = noted.by(|heap, slot| heap.alloc(slot, layout(5 << 20)).unwrap());
    // SAFETY: allocated with this layout; the mapping is kept, and counted, for reuse.
    unsafe { noted.heap.dealloc(&noted.slot, block, layout(5 << 20)) };
    let limits = noted.heap.page_heap().source().limits();
    let before_bytes = limits.resident_bytes();
    let ((), _) = noted.by(|_, _| limits.set(Limit::ResidentSoft, Some(before_bytes - 100)));
    let (block, events) = noted.by(|heap, slot| heap.alloc(slot, layout(1 << 20)).unwrap());
    let reached = match events[..] {
        [.., Event::Trimmed(trimmed), Event::LimitReached(reached)] => {
            assert_eq!(trimmed.huge_bytes, 5 << 20);
            reached
        }
        _ => panic!("{events:?}"),
    };
    assert_eq!((reached.limit, reached.limit_bytes), (Limit::ResidentSoft, before_bytes - 100));
    assert_eq!((reached.held_bytes, reached.asked_bytes), (before_bytes, 0));
    assert_eq!(reached.left_bytes, limits.resident_bytes());
    assert!(reached.left_bytes < reached.held_bytes && reached.over_bytes() == 100);
    // SAFETY: allocated with this layout.
    unsafe { noted.heap.dealloc(&noted.slot, block, layout(1 << 20)) };
    noted.finish();
}
