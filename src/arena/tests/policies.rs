//! Policies: what they choose, and what becomes of a choice that is out of range.

use super::{ARENAS_MAX, PerThread, World};
use crate::arena::policy::{ArenaPolicy, ArenaView, OnContention, PerCpu};

/// Always the same answer.
struct Fixed(usize);

impl ArenaPolicy for Fixed {
    fn assign(&self, _arenas: &ArenaView<'_>) -> usize {
        self.0
    }

    fn reassign(&self, _arenas: &ArenaView<'_>, _current: usize, _: bool) -> Option<usize> {
        Some(self.0)
    }
}

/// What a policy would see of `open` arenas of `cap` with these numbers of threads.
fn with_view<T>(cap: usize, threads: &[usize], ask: impl Fn(&ArenaView<'_>) -> T) -> T {
    let count = |arena: usize| threads[arena];
    ask(&ArenaView { open: threads.len(), cap, threads: &count })
}

impl World {
    fn reassign(&self, policy: &dyn ArenaPolicy, current: usize, contended: bool) -> Option<usize> {
        self.arenas.reassign(policy, current, contended, &self.metadata, &self.page_heap)
    }
}

#[test]
fn the_view_names_the_first_of_the_least_used_arenas() {
    with_view(8, &[3, 1, 2, 1], |view| {
        assert_eq!((view.open(), view.cap(), view.least_used()), (4, 8, 1));
        assert_eq!((view.threads(2), view.threads(4), view.threads(usize::MAX)), (2, 0, 0));
    });
    assert_eq!(with_view(8, &[], |view| view.least_used()), 0);
}

#[test]
fn per_thread_opens_an_arena_for_each_until_the_cap_and_then_fills_the_emptiest() {
    assert_eq!(with_view(3, &[1, 0], |view| PerThread.assign(view)), 2);
    assert_eq!(with_view(3, &[4, 3, 3], |view| PerThread.assign(view)), 1);
    assert_eq!(with_view(3, &[4, 3, 3], |view| PerThread.reassign(view, 0, true)), None);
}

#[test]
fn per_thread_goes_by_processor_where_an_arena_is_crowded() {
    let moved = |threads: &[usize], from| {
        with_view(2, threads, |view| PerThread.reassign(view, from, true))
    };
    assert_eq!([0, 1].map(|from| moved(&[32, 32], from)), [None, None], "32 are no crowd");
    // Of two crowded arenas the processor's is one, and the test's thread may change its processor
    // between two looks.
    assert!((0..100).any(|_| matches!(
        [0, 1].map(|from| moved(&[33, 33], from)),
        [Some(1), None] | [None, Some(0)]
    )));
    assert_eq!(with_view(1, &[500], |view| PerThread.reassign(view, 0, true)), None);
}

#[test]
fn on_contention_opens_another_arena_only_for_a_lock_found_taken() {
    assert_eq!(with_view(3, &[], |view| OnContention.assign(view)), 0);
    assert_eq!(with_view(3, &[5], |view| OnContention.assign(view)), 0);
    assert_eq!(with_view(3, &[5], |view| OnContention.reassign(view, 0, false)), None);
    assert_eq!(with_view(3, &[5], |view| OnContention.reassign(view, 0, true)), Some(1));
    assert_eq!(with_view(2, &[5, 2], |view| OnContention.reassign(view, 0, true)), Some(1));
    assert_eq!(with_view(1, &[5], |view| OnContention.reassign(view, 0, true)), None);
}

#[test]
fn per_cpu_stays_within_the_arenas_open_and_the_next() {
    for (cap, threads) in [(1, vec![1]), (2, vec![1]), (64, vec![1, 1]), (64, vec![])] {
        let choice = with_view(cap, &threads, |view| PerCpu.assign(view));
        assert!(choice < cap && choice <= threads.len(), "{choice} of {threads:?} and {cap}");
    }
    // On one arena there is no other to go to, whatever the processor.
    assert_eq!(with_view(1, &[1], |view| PerCpu.reassign(view, 0, true)), None);
}

#[test]
fn no_answer_of_a_policy_exceeds_the_cap() {
    let world = World::with_cap(3);
    for answer in [0, 1, 2, 3, 7, ARENAS_MAX, usize::MAX] {
        let arena = world.assign(&Fixed(answer)).unwrap();
        assert!(arena < world.arenas.open() && world.arenas.open() <= 3, "{answer}: {arena}");
    }
    assert_eq!(world.arenas.open(), 3);
    assert_eq!(world.assign(&Fixed(3 + 2)), Some(2), "the remainder, once no more can open");
}

#[test]
fn a_thread_is_moved_only_where_the_choice_is_another_arena() {
    let world = World::with_open(2);
    assert_eq!(world.reassign(&Fixed(1), 0, false), Some(1));
    assert_eq!(world.reassign(&Fixed(1), 1, false), None);
    assert_eq!(world.reassign(&Fixed(3), 1, false), None, "the same by the remainder");
    assert_eq!(world.reassign(&PerThread, 1, true), None);
}

#[test]
fn a_policy_sees_how_many_threads_use_each_arena() {
    struct Emptiest;
    impl ArenaPolicy for Emptiest {
        fn assign(&self, arenas: &ArenaView<'_>) -> usize {
            assert_eq!((arenas.threads(0), arenas.threads(1)), (1, 3));
            arenas.least_used()
        }
    }
    let world = World::with_open(2);
    let second = world.arenas.get(1).unwrap();
    second.join();
    second.join();
    assert_eq!(world.assign(&Emptiest), Some(0));
}

#[test]
fn a_thread_that_wants_a_new_arena_gets_one_though_another_was_faster() {
    /// Answers only when another thread has opened the arena it is about to name.
    struct Overtaken<'world>(&'world World);
    impl ArenaPolicy for Overtaken<'_> {
        fn assign(&self, arenas: &ArenaView<'_>) -> usize {
            assert_eq!(self.0.assign(&PerThread), Some(arenas.open()));
            arenas.open()
        }
    }
    let world = World::with_cap(4);
    assert_eq!(world.assign(&Overtaken(&world)), Some(0), "the first is for all who find none");
    assert_eq!(world.assign(&Overtaken(&world)), Some(2));
    assert_eq!(world.assign(&Overtaken(&world)), Some(3), "the last, which the other has too");
    assert_eq!(world.arenas.open(), 4);
}

#[test]
fn where_memory_for_an_arena_is_refused_not_everyone_who_would_move_there_tries_again() {
    let world = World::with_open(2);
    world.arenas.set_first_cap(3);
    world.source().set_calls_left(0);
    assert_eq!(world.reassign(&Fixed(2), 1, false), None, "nor does it move elsewhere");
    world.source().set_calls_left(usize::MAX);
    assert!((0..256).all(|_| world.reassign(&Fixed(2), 1, false).is_none()));
    assert_eq!(world.reassign(&Fixed(0), 1, false), Some(0), "open arenas are as before");
    assert_eq!(world.arenas.open(), 2);
    assert_eq!(world.reassign(&Fixed(2), 1, false), Some(2), "the next one tries");
    assert_eq!(world.reassign(&Fixed(4), 0, false), Some(1), "at the cap nothing is refused");
}
