//! Notices and the list of hooks, by themselves and on heaps that a test can look into.

mod heaps;

use core::alloc::Layout;
use std::sync::{Arc, Mutex, OnceLock};

use super::notices::NOTICES_MAX;
use super::{Event, LimitReached, Notices, Registry, Response, end_request};
use crate::allocator::Allocator;
use crate::limits::{Limit, Limits};
use crate::test_source::TestSource;
use crate::thread_cache::ThreadSlot;

const fn opened(arena: usize) -> Event {
    Event::ArenaCreated { arena }
}

fn refusal(limit: Limit) -> LimitReached {
    let limits = Limits::new();
    limits.set(Limit::AddressSpace, Some(1));
    LimitReached { limit, ..limits.add_mapped(2).unwrap_err() }
}

/// Hooks over notices of their own, and what they were told.
#[derive(Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    /// Adds a hook that answers `response` to all it is told.
    fn hook(&self, registry: &Registry, notices: &Notices, response: Response) -> super::HookId {
        let told = Arc::clone(&self.0);
        let hook = move |event: &Event| {
            told.lock().unwrap().push(*event);
            response
        };
        registry.add(Arc::new(hook), notices)
    }

    fn take(&self) -> Vec<Event> {
        core::mem::take(&mut self.0.lock().unwrap())
    }
}

fn waiting(notices: &Notices) -> Vec<Event> {
    notices.check();
    let events = core::iter::from_fn(|| notices.take()).collect();
    notices.check();
    events
}

#[test]
fn what_is_noted_comes_out_in_order() {
    let notices = Notices::new();
    notices.note(opened(0));
    assert!(!notices.are_waiting() && waiting(&notices).is_empty(), "nobody wanted it");
    notices.set_wanted(true);
    // Around the end of the ring, and never full.
    for round in 0..NOTICES_MAX {
        let events: Vec<Event> = (0..5).map(|index| opened(round + index)).collect();
        events.iter().for_each(|event| notices.note(*event));
        assert!(notices.are_waiting());
        assert_eq!(waiting(&notices), events);
        assert!(!notices.are_waiting());
    }
}

#[test]
fn a_full_ring_drops_the_oldest_and_says_how_many() {
    let notices = Notices::new();
    notices.set_wanted(true);
    (0..NOTICES_MAX + 7).for_each(|arena| notices.note(opened(arena)));
    assert_eq!(notices.count(), NOTICES_MAX + 1);
    let mut expected = vec![Event::Missed { count: 7 }];
    expected.extend((7..NOTICES_MAX + 7).map(opened));
    assert_eq!(waiting(&notices), expected);
    notices.note(opened(1));
    assert_eq!(waiting(&notices), [opened(1)]);
}

#[test]
fn what_was_not_told_is_forgotten_with_the_last_hook() {
    let notices = Notices::new();
    notices.set_wanted(true);
    (0..NOTICES_MAX + 1).for_each(|arena| notices.note(opened(arena)));
    notices.set_wanted(false);
    assert!(!notices.are_waiting());
    notices.set_wanted(true);
    assert_eq!(waiting(&notices), []);
}

#[test]
fn a_request_is_told_of_each_limit_once() {
    let notices = Notices::new();
    let [hard, address_space] = [Limit::ResidentHard, Limit::AddressSpace].map(refusal);
    notices.note_refusal(hard);
    notices.set_wanted(true);
    for _request in 0..2 {
        for _attempt in 0..2 {
            notices.note_refusal(hard);
            notices.note_refusal(address_space);
        }
        let expected = [hard, address_space].map(Event::LimitReached);
        assert_eq!(waiting(&notices), expected);
        end_request();
    }
}

#[test]
fn hooks_are_called_in_the_order_in_which_they_were_added_until_removed() {
    let (registry, notices, told) = (Registry::new(), Notices::new(), Told::default());
    assert!(!notices.is_wanted());
    let calls = Arc::new(Mutex::new(Vec::new()));
    let ids = [1, 2, 3].map(|number| {
        let calls = Arc::clone(&calls);
        let hook = move |_: &Event| {
            calls.lock().unwrap().push(number);
            Response::Ignore
        };
        registry.add(Arc::new(hook), &notices)
    });
    let calls_of_one_event = || {
        notices.note(opened(0));
        registry.deliver(&notices);
        core::mem::take(&mut *calls.lock().unwrap())
    };
    assert_eq!(calls_of_one_event(), [1, 2, 3]);
    assert!(registry.remove(ids[1], &notices) && !registry.remove(ids[1], &notices));
    assert_eq!(calls_of_one_event(), [1, 3]);
    assert!(registry.remove(ids[0], &notices) && notices.is_wanted());
    assert_eq!(calls_of_one_event(), [3]);
    assert!(registry.remove(ids[2], &notices) && !notices.is_wanted());
    assert!(calls_of_one_event().is_empty() && told.take().is_empty());
    let later = told.hook(&registry, &notices, Response::Ignore);
    assert!(!ids.contains(&later), "an id is never used again");
}

#[test]
fn a_removed_hook_is_dropped() {
    let (registry, notices) = (Registry::new(), Notices::new());
    let owned = Arc::new(());
    let witness = Arc::clone(&owned);
    let id = registry.add(
        Arc::new(move |_: &Event| {
            let _ = &owned;
            Response::Ignore
        }),
        &notices,
    );
    assert_eq!(Arc::strong_count(&witness), 2);
    assert!(registry.remove(id, &notices));
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn a_hook_may_remove_itself_and_add_another() {
    let (notices, told) = (Notices::new(), Told::default());
    notices.check();
    static REGISTRY: Registry = Registry::new();
    static NOTICES: Notices = Notices::new();
    static ID: OnceLock<super::HookId> = OnceLock::new();
    static CALLS: Mutex<usize> = Mutex::new(0);
    let hook = |_: &Event| {
        *CALLS.lock().unwrap() += 1;
        assert!(REGISTRY.remove(*ID.get().unwrap(), &NOTICES));
        Response::Ignore
    };
    ID.set(REGISTRY.add(Arc::new(hook), &NOTICES)).unwrap();
    told.hook(&REGISTRY, &NOTICES, Response::Ignore);
    (0..3).for_each(|arena| NOTICES.note(opened(arena)));
    REGISTRY.deliver(&NOTICES);
    assert_eq!(*CALLS.lock().unwrap(), 1, "not for the events behind it either");
    assert_eq!(told.take(), [0, 1, 2].map(opened), "others are told all the same");
}

#[test]
fn what_a_hook_causes_waits_and_calls_no_hook_within_it() {
    static REGISTRY: Registry = Registry::new();
    static NOTICES: Notices = Notices::new();
    static DEPTH: Mutex<(usize, usize)> = Mutex::new((0, 0));
    let failed = Event::Missed { count: 1 };
    let hook = move |_: &Event| {
        let depth = {
            let mut depth = DEPTH.lock().unwrap();
            depth.0 += 1;
            depth.1 += 1;
            depth.0
        };
        assert_eq!(depth, 1, "within itself");
        NOTICES.note(opened(9));
        REGISTRY.deliver(&NOTICES);
        assert!(!REGISTRY.ask_for_retry(&NOTICES, &failed), "nobody is asked");
        DEPTH.lock().unwrap().0 -= 1;
        Response::Retry
    };
    REGISTRY.add(Arc::new(hook), &NOTICES);
    NOTICES.note(opened(1));
    for calls in 1..4 {
        REGISTRY.deliver(&NOTICES);
        assert_eq!(DEPTH.lock().unwrap().1, calls);
        assert_eq!(NOTICES.count(), 1);
    }
}

#[test]
fn one_hook_that_asks_is_enough_for_a_retry_and_all_are_told() {
    let (registry, notices) = (Registry::new(), Notices::new());
    let told = [Told::default(), Told::default(), Told::default()];
    assert!(!registry.ask_for_retry(&notices, &opened(0)));
    told[0].hook(&registry, &notices, Response::Ignore);
    assert!(!registry.ask_for_retry(&notices, &opened(0)));
    told[1].hook(&registry, &notices, Response::Retry);
    told[2].hook(&registry, &notices, Response::Ignore);
    notices.note(opened(1));
    assert!(registry.ask_for_retry(&notices, &opened(2)));
    assert_eq!(told[0].take(), [opened(0), opened(1), opened(2)]);
    assert_eq!(told[1].take(), [opened(1), opened(2)], "what waits is told first");
    assert_eq!(told[2].take(), [opened(1), opened(2)]);
}

#[test]
fn a_hooks_requests_are_not_part_of_the_one_that_it_interrupts() {
    static NOTICES: Notices = Notices::new();
    let registry = Registry::new();
    let hard = refusal(Limit::ResidentHard);
    let hook = move |_: &Event| {
        NOTICES.note_refusal(hard);
        end_request();
        Response::Ignore
    };
    registry.add(Arc::new(hook), &NOTICES);
    NOTICES.note_refusal(hard);
    registry.deliver(&NOTICES);
    assert_eq!(waiting(&NOTICES), [Event::LimitReached(hard)], "the hook's own");
    NOTICES.note_refusal(hard);
    assert_eq!(waiting(&NOTICES), [], "the request that was interrupted was told already");
    end_request();
}

#[test]
fn errno_is_the_callers() {
    // SAFETY: the location is the calling thread's own errno.
    let errno = || unsafe { &mut *libc::__errno_location() };
    let (registry, notices) = (Registry::new(), Notices::new());
    let hook = move |_: &Event| {
        *errno() = libc::ENOENT;
        Response::Ignore
    };
    registry.add(Arc::new(hook), &notices);
    notices.note(opened(0));
    *errno() = libc::EDOM;
    registry.deliver(&notices);
    assert_eq!(*errno(), libc::EDOM);
}

#[test]
fn threads_may_add_and_remove_at_the_same_time() {
    let (registry, notices, told) = (Registry::new(), Notices::new(), Told::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for arena in 0..200 {
                    let id = told.hook(&registry, &notices, Response::Ignore);
                    notices.note(opened(arena));
                    registry.deliver(&notices);
                    assert!(registry.remove(id, &notices));
                }
            });
        }
    });
    assert!(registry.list().is_none() && !notices.is_wanted());
    assert!(!told.take().is_empty());
}
