use super::*;
use std::sync::Arc;

#[test]
fn excludes_and_wakes() {
    let lock = Arc::new(Mutex::<1, u64>::new(0));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let lock = Arc::clone(&lock);
            std::thread::spawn(move || {
                for _ in 0..20_000 {
                    *lock.lock() += 1;
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*lock.lock(), 160_000);
}

#[test]
fn contention_is_noted() {
    let lock = Mutex::<1, ()>::new(());
    assert!(!lock.lock_noting_contention().1);
    let held = lock.lock();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock_noting_contention().1);
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(held);
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn a_lock_that_is_taken_is_not_waited_for_when_tried() {
    let lock = Mutex::<1, u8>::new(7);
    let held = lock.try_lock().expect("a lock that nobody has");
    std::thread::scope(|scope| {
        assert!(scope.spawn(|| lock.try_lock().is_none()).join().unwrap());
    });
    drop(held);
    assert_eq!(*lock.try_lock().expect("a lock that was released"), 7);
}

#[test]
fn ranks_set_aside_do_not_stand_in_the_way_and_come_back() {
    let (outer, inner) = (Mutex::<5, ()>::new(()), Mutex::<9, ()>::new(()));
    let held = inner.lock();
    let aside = RanksAside::new();
    // Out of order, had the other one's rank not been set aside.
    drop(outer.lock());
    drop(aside);
    let innermost = Mutex::<10, ()>::new(());
    drop(innermost.lock());
    drop(held);
    drop(outer.lock());
}

#[test]
fn two_locks_of_a_rank_are_taken_in_address_order() {
    let locks = [Mutex::<1, u8>::new(1), Mutex::<1, u8>::new(2)];
    let (first, second) = Mutex::lock_two(&locks[0], &locks[1]);
    assert_eq!((*first, *second), (1, 2));
    drop((first, second));
    let (first, second) = Mutex::lock_two(&locks[1], &locks[0]);
    assert_eq!((*first, *second), (2, 1));
}

#[test]
fn who_does_not_wait_for_a_stalled_lock_says_so_to_those_who_come_after() {
    let lock = Mutex::<1, u8>::new(7);
    drop(lock.lock_unless_stalled().expect("a lock that nobody has"));
    let held = lock.lock();
    std::thread::scope(|scope| {
        let tries = || (lock.lock_unless_stalled().is_none(), lock.lock_unless_stalled().is_none());
        assert_eq!(scope.spawn(tries).join().unwrap(), (true, true));
        // Who does wait is woken nevertheless.
        let waiter = scope.spawn(|| *lock.lock());
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(held);
        assert_eq!(waiter.join().unwrap(), 7);
    });
    // SAFETY: a look at the word of a lock that nobody has.
    assert!(!unsafe { lock.0.raw() }.is_locked(), "nothing is left of the mark");
    assert_eq!(lock.lock_unless_stalled().map(|value| *value), Some(7));
}
