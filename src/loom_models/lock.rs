//! The lock: one holder at a time, who sees what the last one did, and no sleeper forgotten.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use loom::cell::UnsafeCell;

use crate::lock::Mutex;
use crate::sync::{model, spawn};

/// A lock around a number whose every access loom checks.
type Counter = Mutex<1, UnsafeCell<u32>>;

/// The lock, whose word is touched before there are threads.
fn counter() -> Arc<Counter> {
    let counter = Arc::new(Counter::new(UnsafeCell::new(0)));
    drop(counter.lock());
    counter
}

fn count(counter: &Counter) {
    // SAFETY: the guard gives the number to this thread, which is what loom checks.
    counter.lock().with_mut(|number| unsafe { *number += 1 });
}

/// Has `threads` threads count `times` times each, the first of them the model's own.
fn all_count(threads: usize, times: usize) {
    model(move || {
        let counter = counter();
        let work = {
            let counter = Arc::clone(&counter);
            move || (0..times).for_each(|_| count(&counter))
        };
        let others: Vec<_> = (1..threads).map(|_| spawn(work.clone())).collect();
        work();
        others.into_iter().for_each(|other| other.join().unwrap());
        // SAFETY: nobody else is left.
        let total = counter.lock().with(|number| unsafe { *number });
        assert_eq!(total as usize, threads * times);
    });
}

#[test]
fn two_threads_take_turns() {
    all_count(2, 2);
}

#[test]
fn three_threads_take_turns_and_none_sleeps_on() {
    all_count(3, 1);
}

#[test]
fn contention_is_noted_where_the_lock_was_held_and_only_there() {
    static WAITED: AtomicBool = AtomicBool::new(false);
    static DID_NOT_WAIT: AtomicBool = AtomicBool::new(false);
    model(|| {
        let counter = counter();
        let held = counter.lock();
        let waiter = spawn({
            let counter = Arc::clone(&counter);
            move || {
                let (guard, waited) = counter.lock_noting_contention();
                // SAFETY: the guard gives the number to this thread.
                assert_eq!(guard.with(|number| unsafe { *number }), 1, "the holder is done");
                if waited { &WAITED } else { &DID_NOT_WAIT }.store(true, Relaxed);
            }
        });
        // SAFETY: as in `count`.
        held.with_mut(|number| unsafe { *number = 1 });
        drop(held);
        waiter.join().unwrap();
        assert!(!counter.lock_noting_contention().1, "nobody else is left");
    });
    assert!(WAITED.load(Relaxed) && DID_NOT_WAIT.load(Relaxed), "both were tried");
}

#[test]
fn who_does_not_wait_for_a_stalled_lock_leaves_no_sleeper_behind() {
    static GAVE_UP: AtomicBool = AtomicBool::new(false);
    static HAD_IT: AtomicBool = AtomicBool::new(false);
    model(|| {
        let counter = counter();
        let held = counter.lock();
        let impatient = spawn({
            let counter = Arc::clone(&counter);
            move || {
                let Some(guard) = counter.lock_unless_stalled() else {
                    return GAVE_UP.store(true, Relaxed);
                };
                // SAFETY: the guard gives the number to this thread.
                guard.with_mut(|number| unsafe { *number += 1 });
                HAD_IT.store(true, Relaxed);
            }
        });
        let patient = spawn({
            let counter = Arc::clone(&counter);
            move || count(&counter)
        });
        // SAFETY: as in `count`.
        held.with_mut(|number| unsafe { *number += 1 });
        drop(held);
        impatient.join().unwrap();
        patient.join().unwrap();
        // SAFETY: nobody else is left.
        let total = counter.lock().with(|number| unsafe { *number });
        assert!(total == 2 || total == 3);
    });
    assert!(GAVE_UP.load(Relaxed) && HAD_IT.load(Relaxed), "both were tried");
}
