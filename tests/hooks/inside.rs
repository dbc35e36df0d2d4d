//! What a hook may do, and what threads may do with hooks meanwhile.

use super::*;

std::thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `act` in a hook, of which there is one on this thread.
fn in_hook(act: impl FnOnce()) {
    assert_eq!(DEPTH.replace(1), 0, "a hook within a hook");
    act();
    DEPTH.set(0);
}

#[test]
fn a_hook_may_allocate_and_trim_and_what_that_causes_waits() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    alone(|| {
        hooks::add(|_: &Event| {
            in_hook(|| {
                // What it causes calls it again at the next slow path, so it stops at some time.
                if CALLS.fetch_add(1, Relaxed) < 20 {
                    churn();
                    capmalloc::trim();
                    churn();
                    assert!(capmalloc::stats().allocated_bytes > 0);
                }
            });
        });
        (0..10).for_each(|_| {
            churn();
            capmalloc::trim();
        });
        assert!(CALLS.load(Relaxed) > 20);
    });
}

#[test]
fn what_is_too_much_to_be_kept_is_told_as_a_number() {
    const TRIMS: usize = 100;
    static IS_FIRST: AtomicBool = AtomicBool::new(true);
    alone(|| {
        hooks::add(|event: &Event| {
            log(event);
            if IS_FIRST.swap(false, Relaxed) {
                (0..TRIMS).for_each(|_| trim());
            }
        });
        // The first trim calls the hook, and the end of the change of a setting tells the rest.
        let ((), events) = events_of(|| {
            capmalloc::trim();
            capmalloc::set_limit(Limit::ResidentSoft, None);
        });
        let Some((Event::Trimmed(_), events)) = events.split_first() else {
            panic!("{events:?}");
        };
        let Some((Event::Missed { count, .. }, kept)) = events.split_first() else {
            panic!("{events:?}");
        };
        assert_eq!((trims_in(kept), kept.len() + count), (64, TRIMS));
    });
}

#[test]
fn a_hook_may_remove_itself() {
    static ID: OnceLock<HookId> = OnceLock::new();
    alone(|| {
        let hook = |event: &Event| {
            if let Some(id) = ID.get() {
                log(event);
                assert!(hooks::remove(*id));
            }
        };
        let id = hooks::add(hook);
        ID.set(id).expect("set once");
        let (_, events) = events_of(|| (0..3).for_each(|_| trim()));
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(!hooks::remove(id));
    });
}

#[test]
fn a_removed_hook_is_told_nothing_more() {
    alone(|| {
        let id = hooks::add(log);
        let (_, events) = events_of(capmalloc::trim);
        assert_eq!(trims_in(&events), 1);
        assert!(hooks::remove(id) && !hooks::remove(id));
        let (_, events) = events_of(|| {
            churn();
            capmalloc::trim();
        });
        assert!(events.is_empty(), "{events:?}");
        hooks::add(log);
        let (_, events) = events_of(capmalloc::trim);
        assert_eq!(events.len(), 1, "and nothing is told later: {events:?}");
    });
}

#[test]
fn threads_may_use_hooks_at_the_same_time() {
    const THREADS: usize = 8;
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    alone(|| {
        let count = |_: &Event| {
            in_hook(|| {
                CALLS.fetch_add(1, Relaxed);
                drop(vec![1_u8; 10_000]);
            });
        };
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..10 {
                        let own = hooks::add(count);
                        churn();
                        capmalloc::trim();
                        assert!(hooks::remove(own));
                    }
                });
            }
        });
        assert!(CALLS.load(Relaxed) >= THREADS);
        let calls = CALLS.load(Relaxed);
        churn();
        capmalloc::trim();
        assert_eq!(CALLS.load(Relaxed), calls, "all are removed");
    });
}
