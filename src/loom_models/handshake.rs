//! The handshake between a cache's owner and those who reclaim it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::caches::{World, assert_all, class};
use crate::sync::{model, spawn};
use crate::thread_cache::ThreadSlot;

#[test]
fn an_owner_and_a_reclaimer_share_out_the_blocks() {
    static RECLAIMED: AtomicBool = AtomicBool::new(false);
    static LEFT_ALONE: AtomicBool = AtomicBool::new(false);
    model(|| {
        let world = World::new();
        let mut owner = world.owner_of(2);
        let reclaimer = spawn({
            let world = Arc::clone(&world);
            move || world.reclaim()
        });
        owner.take();
        owner.take();
        let reclaimed = reclaimer.join().unwrap();
        if reclaimed.is_empty() { &LEFT_ALONE } else { &RECLAIMED }.store(true, Relaxed);
        owner.detach();
        assert_all(2, owner.held.iter().copied().chain(reclaimed));
    });
    assert!(RECLAIMED.load(Relaxed) && LEFT_ALONE.load(Relaxed), "both were tried");
}

#[test]
fn an_owner_frees_while_it_is_reclaimed() {
    model(|| {
        let world = World::new();
        let mut owner = world.owner_of(1);
        let reclaimer = spawn({
            let world = Arc::clone(&world);
            move || world.reclaim()
        });
        owner.give(2);
        owner.take();
        let reclaimed = reclaimer.join().unwrap();
        owner.detach();
        assert_all(2, owner.held.iter().copied().chain(reclaimed));
    });
}

#[test]
fn an_owner_comes_back_after_a_reclaim_and_is_reclaimed_again() {
    model(|| {
        let world = World::new();
        let mut owner = world.owner_of(1);
        let reclaimer = spawn({
            let world = Arc::clone(&world);
            move || [world.reclaim(), world.reclaim()].concat()
        });
        owner.give(2);
        let reclaimed = reclaimer.join().unwrap();
        // Whatever was taken, the cache serves its owner again, and the registry knows that.
        owner.give(3);
        assert_eq!(world.registry.lock().warm_count(), 1);
        assert!(owner.take_fast());
        assert_eq!(owner.held, [3]);
        owner.detach();
        assert_all(3, owner.held.iter().copied().chain(reclaimed));
    });
}

#[test]
fn two_reclaimers_and_an_owner_share_out_the_blocks() {
    model(|| {
        let world = World::new();
        let mut owner = world.owner_of(2);
        let reclaimers = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            spawn(move || world.reclaim())
        });
        owner.take();
        owner.take();
        let reclaimed = reclaimers.map(|reclaimer| reclaimer.join().unwrap()).concat();
        owner.detach();
        assert_all(2, owner.held.iter().copied().chain(reclaimed));
    });
}

#[test]
fn a_thread_ends_while_it_is_reclaimed() {
    model(|| {
        let world = World::new();
        let mut owner = world.owner_of(2);
        let reclaimer = spawn({
            let world = Arc::clone(&world);
            move || world.reclaim()
        });
        owner.take();
        owner.detach();
        let reclaimed = reclaimer.join().unwrap();
        assert_eq!(world.registry.lock().count(), 0);
        assert_all(2, owner.held.iter().copied().chain(reclaimed));
    });
}

#[test]
fn a_cache_is_handed_on_to_the_next_thread_while_it_is_reclaimed() {
    static HANDED_ON: AtomicBool = AtomicBool::new(false);
    model(|| {
        let world = World::new();
        let owner = world.owner_of(2);
        let heir = Arc::new(ThreadSlot::new());
        assert!(heir.pop(class()).is_none());
        let reclaimer = spawn({
            let world = Arc::clone(&world);
            move || world.reclaim()
        });
        let mut next = owner.hand_on(heir);
        if next.held.is_empty() && next.take() {
            HANDED_ON.store(true, Relaxed);
        }
        let reclaimed = reclaimer.join().unwrap();
        assert_eq!(world.registry.lock().count(), 1);
        next.detach();
        assert_eq!(world.registry.lock().iter().count(), 0);
        assert_all(2, next.held.iter().copied().chain(reclaimed));
    });
    assert!(HANDED_ON.load(Relaxed), "that was tried");
}

#[test]
fn two_owners_are_reclaimed_in_one_go() {
    model(|| {
        let world = World::new();
        let mut first = world.owner_of(1);
        let mut second = world.owner_of(0);
        let worker = spawn(move || {
            second.give(2);
            second.detach();
            second.held
        });
        let reclaimer = spawn({
            let world = Arc::clone(&world);
            move || world.reclaim()
        });
        first.take();
        let others = [worker.join().unwrap(), reclaimer.join().unwrap()].concat();
        first.detach();
        assert_all(2, first.held.iter().copied().chain(others));
    });
}
