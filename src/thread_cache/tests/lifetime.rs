//! Caches that come and go, and the one that is shared by all who have none.

use core::sync::atomic::Ordering::Relaxed;

use super::{SizeClass, ThreadCache, ThreadSlot, World, block, class_of};
use crate::thread_cache::EMPTY;

/// How many caches are warm, and how many there are.
fn counts(world: &World) -> (usize, usize) {
    let caches = world.registry.lock();
    (caches.warm_count(), caches.count())
}

fn listed(world: &World) -> Vec<*const ThreadCache> {
    world.registry.lock().iter().map(core::ptr::from_ref).collect()
}

/// Nothing in the shared cache may ever differ from what it was made as; other tests run meanwhile,
/// and none of them may write to it either.
fn assert_empty_is_untouched() {
    for class in SizeClass::all() {
        let bin = EMPTY.bin(class);
        assert_eq!((bin.len(), bin.capacity(), bin.magazine()), (0, 0, None));
    }
    let large = &EMPTY.large;
    assert_eq!((large.len(), large.capacity(), EMPTY.large_bytes()), (0, 0, 0));
    assert!(EMPTY.next.load(Relaxed).is_null() && EMPTY.previous.load(Relaxed).is_null());
    assert!(EMPTY.slot().is_none());
    assert_eq!((EMPTY.used_at(), EMPTY.borrowed_bytes()), (0, 0));
}

#[test]
fn a_slot_without_a_cache_takes_nothing_and_gives_nothing() {
    let slot = ThreadSlot::new();
    for class in SizeClass::all() {
        assert_eq!(slot.pop(class), None);
        // SAFETY: the pointer stands for a block that nobody has, and nobody looks into.
        assert!(!unsafe { slot.push(class, block(1)) });
        assert_eq!(slot.pop(class), None);
    }
    assert!(ThreadCache::of(&slot).is_none());
    assert_empty_is_untouched();
}

#[test]
fn a_cache_leaves_no_metadata_behind() {
    let (world, slot) = (World::with_budget(usize::MAX), ThreadSlot::new());
    for _ in 0..3 {
        let cache = world.attach(&slot);
        for class in SizeClass::all() {
            for _ in 0..10 {
                cache.lock().grow(class, &world.magazines());
            }
        }
        assert!(world.bytes_in_use() > 0);
        world.detach(&slot);
        assert_eq!((world.bytes_in_use(), world.budget.lent_bytes()), (0, 0));
        assert!(ThreadCache::of(&slot).is_none());
    }
    assert_empty_is_untouched();
}

#[test]
fn a_cache_that_has_no_memory_is_not_half_there() {
    let (world, slot) = (World::with_budget(usize::MAX), ThreadSlot::new());
    world.source.inner().set_calls_left(0);
    assert!(ThreadCache::attach(&slot, 0, &world.registry, &world.magazines()).is_none());
    assert!(ThreadCache::of(&slot).is_none());
    assert_eq!((counts(&world), world.bytes_in_use()), ((0, 0), 0));
    world.source.inner().set_calls_left(usize::MAX);
    world.attach(&slot);
    world.detach(&slot);
}

#[test]
fn a_hidden_cache_looks_empty_and_has_its_blocks_when_shown_again() {
    let (world, slot) = (World::with_budget(usize::MAX), ThreadSlot::new());
    let (cache, class) = (world.attach(&slot), class_of(64));
    assert_eq!(slot.pop(class), None, "a new cache is not shown before its owner has its lock");
    cache.lock().grow(class, &world.magazines());
    cache.lock().show(&slot);
    // SAFETY: the pointer stands for a block that nobody has, and nobody looks into.
    assert!(unsafe { slot.push(class, block(7)) });
    cache.lock().hide(&slot);
    assert_eq!(slot.pop(class), None);
    // SAFETY: as above; the slot takes nothing while its cache is hidden.
    assert!(!unsafe { slot.push(class, block(8)) });
    cache.lock().show(&slot);
    assert_eq!([slot.pop(class), slot.pop(class)], [Some(block(7)), None]);
    world.detach(&slot);
    assert_eq!(slot.pop(class), None, "nothing is left to look at");
    assert_empty_is_untouched();
}

#[test]
fn the_registry_lists_each_cache_from_attach_to_detach() {
    let world = World::with_budget(usize::MAX);
    let slots: [ThreadSlot; 4] = core::array::from_fn(|_| ThreadSlot::new());
    let mut caches: Vec<_> =
        slots.iter().map(|slot| core::ptr::from_ref(world.attach(slot))).collect();
    // From the middle, from both ends, and the last one of all.
    for leaving in [1, 0, 3, 2] {
        let mut found = listed(&world);
        found.sort_unstable();
        caches.sort_unstable();
        assert_eq!(found, caches);
        assert_eq!(counts(&world), (caches.len(), caches.len()));
        let gone = core::ptr::from_ref(ThreadCache::of(&slots[leaving]).unwrap());
        world.detach(&slots[leaving]);
        caches.retain(|cache| *cache != gone);
    }
    assert_eq!((listed(&world).len(), world.bytes_in_use()), (0, 0));
}

#[test]
fn warm_caches_take_turns_and_cold_ones_wait_aside() {
    let world = World::with_budget(usize::MAX);
    let slots: [ThreadSlot; 3] = core::array::from_fn(|_| ThreadSlot::new());
    let caches = slots.each_ref().map(|slot| world.attach(slot));
    let next = || world.registry.lock().rotate_warm().map(core::ptr::from_ref);
    let turns: Vec<_> = (0..6).map(|_| next().unwrap()).collect();
    assert_eq!(turns[..3], caches.map(core::ptr::from_ref), "the longest there comes first");
    assert_eq!(turns[..3], turns[3..]);
    world.registry.lock().set_cold(caches[1], true);
    world.registry.lock().set_cold(caches[1], true);
    assert_eq!(counts(&world), (2, 3));
    assert!((0..4).all(|_| next() != Some(core::ptr::from_ref(caches[1]))));
    // Coming by the slow path makes a cache warm again.
    drop(caches[1].open(&slots[1], &world.registry, 5));
    assert_eq!((counts(&world), caches[1].used_at()), ((3, 3), 5));
    world.registry.lock().set_cold(caches[2], true);
    slots.iter().for_each(|slot| world.detach(slot));
    assert_eq!((counts(&world), world.bytes_in_use()), ((0, 0), 0));
}

/// How many caches are parked.
fn parked(world: &World) -> usize {
    world.registry.lock().parked_count()
}

#[test]
fn a_parked_cache_is_nobodys_and_then_the_next_threads() {
    let world = World::with_budget(usize::MAX);
    let slots: [ThreadSlot; 2] = core::array::from_fn(|_| ThreadSlot::new());
    let (cache, class) = (world.attach(&slots[0]), class_of(64));
    cache.lock().grow(class, &world.magazines());
    drop(cache.open(&slots[0], &world.registry, 5));
    // SAFETY: the pointer stands for a block that nobody has, and nobody looks into.
    assert!(unsafe { slots[0].push(class, block(7)) });
    let cache = core::ptr::from_ref(cache);
    assert!(ThreadCache::park(&slots[0], &world.registry, &world.budget));
    assert!(ThreadCache::of(&slots[0]).is_none() && slots[0].pop(class).is_none());
    assert_eq!((counts(&world), parked(&world), listed(&world)), ((0, 0), 1, vec![cache]));
    assert!(!ThreadCache::park(&slots[0], &world.registry, &world.budget), "it has none any more");
    let next = world.attach(&slots[1]);
    assert!(core::ptr::eq(next, cache) && next.belongs_to(&slots[1]));
    assert_eq!((counts(&world), parked(&world)), ((1, 1), 0));
    // Whoever reclaims finds the new owner, and not the one that ended.
    assert_eq!(next.open(&slots[1], &world.registry, 6).pop(class), Some(block(7)));
    {
        let _registry = world.registry.lock();
        // SAFETY: the registry's lock is held, and the world lives on.
        let hidden = unsafe { ThreadCache::hide_from_owner(next, false) };
        assert!(slots[1].pop(class).is_none() && hidden.is_some_and(|locked| locked.is_idle()));
    }
    world.detach(&slots[1]);
    assert_eq!((counts(&world), world.bytes_in_use()), ((0, 0), 0));
}

#[test]
fn a_cache_that_was_reclaimed_is_not_parked() {
    let world = World::with_budget(usize::MAX);
    let slots: [ThreadSlot; 2] = core::array::from_fn(|_| ThreadSlot::new());
    let caches = slots.each_ref().map(|slot| world.attach(slot));
    world.registry.lock().set_cold(caches[0], true);
    assert!(!ThreadCache::park(&slots[0], &world.registry, &world.budget), "it holds nothing");
    assert_eq!((counts(&world), parked(&world)), ((1, 2), 0));
    assert!(ThreadCache::of(&slots[0]).is_some(), "whose it was has to give it up");
    slots.iter().for_each(|slot| world.detach(slot));
    assert_eq!((counts(&world), world.bytes_in_use()), ((0, 0), 0));
}
