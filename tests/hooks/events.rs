//! What hooks are told, and with which figures.

use super::*;

#[test]
fn arenas_are_told_when_they_open_and_when_they_are_drained() {
    alone(|| {
        let open = capmalloc::stats().arenas.len();
        hooks::add(log);
        let worker = Worker::start();
        let ((), events) = events_of(|| worker.run(|| drop(vec![1_u8; 100])));
        // The worker's first allocation may have been at its start.
        let created = |event: &Event| match event {
            Event::ArenaCreated { arena, .. } => Some(*arena),
            _ => None,
        };
        let all: Vec<usize> = LOG.iter().map_while(OnceLock::get).filter_map(created).collect();
        assert_eq!(all, [open], "{events:?}");

        let ((), events) = events_of(|| capmalloc::set_arena_max(1).expect("in range"));
        let drained = |event: &Event| match event {
            Event::ArenaDrained { arena, .. } => *arena,
            _ => panic!("{event:?}"),
        };
        assert!(events.iter().map(drained).eq(1..=open), "{events:?}");
        let (outcome, events) = events_of(|| capmalloc::set_arena_max(0));
        assert!(outcome.is_err() && events.is_empty());

        capmalloc::set_arena_max(2).expect("in range");
        let ((), events) = events_of(|| Worker::start().run(|| drop(vec![1_u8; 100])));
        assert!(events.iter().filter_map(created).eq([1]), "again: {events:?}");
    });
}

#[test]
fn segments_are_told_with_their_addresses_and_what_is_mapped() {
    alone(|| {
        hooks::add(log);
        let before = capmalloc::stats();
        let (blocks, events) = events_of(|| [(); 6].map(|()| alloc(2 * MIB)));
        let mut mapped_before_bytes = before.mapped_bytes;
        let mut segments = Vec::new();
        for event in &events {
            let Event::SegmentMapped { address, bytes, mapped_bytes, .. } = *event else {
                panic!("{event:?}");
            };
            assert_eq!((address % SEGMENT_BYTES, bytes), (0, SEGMENT_BYTES));
            assert!(mapped_bytes >= mapped_before_bytes + SEGMENT_BYTES);
            mapped_before_bytes = mapped_bytes;
            segments.push(address);
        }
        let after = capmalloc::stats();
        assert_eq!(segments.len(), after.segments_mapped - before.segments_mapped);
        assert_eq!(mapped_before_bytes, after.mapped_bytes);
        assert!(segments.len() >= 2);
        let is_in_a_segment = |address: usize| {
            segments.iter().any(|start| (*start..start + SEGMENT_BYTES).contains(&address))
        };
        assert!(is_in_a_segment(blocks[5].addr()));

        let (trimmed, events) = events_of(|| {
            blocks.into_iter().for_each(|block| free(block, 2 * MIB));
            capmalloc::trim()
        });
        let (done, released) = events.split_last().expect("events");
        assert_eq!(*done, Event::Trimmed(trimmed));
        assert_eq!(trimmed.segment_address_bytes, released.len() * SEGMENT_BYTES);
        assert!(!released.is_empty());
        for event in released {
            let Event::SegmentReleased { address, bytes, mapped_bytes, .. } = *event else {
                panic!("{event:?}");
            };
            assert!(segments.contains(&address) && bytes == SEGMENT_BYTES);
            assert!(mapped_bytes + SEGMENT_BYTES <= mapped_before_bytes);
            mapped_before_bytes = mapped_bytes;
        }
    });
}

#[test]
fn trims_are_told_with_what_they_gave_back() {
    alone(|| {
        hooks::add(log);
        free(alloc(5 * MIB), 5 * MIB);
        let (trimmed, events) = events_of(capmalloc::trim);
        assert_eq!(trimmed.huge_bytes, 5 * MIB);
        assert_eq!(events.last(), Some(&Event::Trimmed(trimmed)));
        let (trimmed, events) = events_of(|| capmalloc::trim_arena(0).expect("it is open"));
        assert_eq!(events, [Event::Trimmed(trimmed)]);
        let (trimmed, events) = events_of(|| capmalloc::trim_arena(1000));
        assert!(trimmed.is_none() && events.is_empty());
    });
}

#[test]
fn a_refused_request_tells_the_limit_and_by_how_much_and_then_that_it_fails() {
    alone(|| {
        hooks::add(log);
        capmalloc::trim();
        // The two limits, each with what it is counted against.
        let held_bytes = || capmalloc::stats().resident_bytes;
        let mapped_bytes = || capmalloc::stats().mapped_bytes;
        let limits: [(Limit, &dyn Fn() -> usize); 2] =
            [(Limit::ResidentHard, &held_bytes), (Limit::AddressSpace, &mapped_bytes)];
        for (limit, held_bytes) in limits {
            let limit_bytes = held_bytes() + 30 * MIB;
            capmalloc::set_limit(limit, Some(limit_bytes));
            let held = alloc(20 * MIB);
            assert!(!held.is_null());
            let before_bytes = held_bytes();
            let mapped_before_bytes = mapped_bytes();
            let refusals =
                |stats: capmalloc::Stats| stats.hard_limit_refusals + stats.address_space_refusals;
            let tries_before = refusals(capmalloc::stats());
            let (block, events) = events_of(|| alloc(20 * MIB));
            assert!(block.is_null());
            assert_eq!(refusals(capmalloc::stats()) - tries_before, 2, "it was tried twice");
            let [reached] = limits_in(&events)[..] else { panic!("{events:?}") };
            assert_eq!((reached.limit, reached.limit_bytes), (limit, limit_bytes));
            assert_eq!(reached.asked_bytes, 20 * MIB);
            // The record of the request may be a page more than before.
            assert!((before_bytes..before_bytes + MIB).contains(&reached.held_bytes));
            assert!(
                (mapped_before_bytes..mapped_before_bytes + MIB).contains(&reached.mapped_bytes)
            );
            assert_eq!(reached.over_bytes(), reached.held_bytes + 20 * MIB - limit_bytes);
            assert_eq!(failures_in(&events), [(20 * MIB, 8)]);
            assert_eq!(trims_in(&events), 1);
            assert!(matches!(events.last(), Some(Event::AllocationFailed { .. })), "{events:?}");
            free(held, 20 * MIB);
            capmalloc::trim();
            capmalloc::set_limit(limit, None);
        }
    });
}

#[test]
fn a_request_that_nothing_could_serve_is_told_too() {
    alone(|| {
        hooks::add(log);
        let size = isize::MAX as usize - 4096;
        let (block, events) = events_of(|| alloc(size));
        assert!(block.is_null());
        assert_eq!(failures_in(&events), [(size, 8)]);
        assert_eq!((trims_in(&events), limits_in(&events).len()), (0, 0));
        let Some(Event::AllocationFailed { mapped_bytes, resident_bytes, .. }) = events.last()
        else {
            panic!("{events:?}");
        };
        let stats = capmalloc::stats();
        assert!(*mapped_bytes >= SEGMENT_BYTES && *mapped_bytes <= stats.mapped_bytes);
        assert!(*resident_bytes > 0 && *resident_bytes <= *mapped_bytes);
    });
}

#[test]
fn the_soft_limit_is_told_once_after_its_trim() {
    alone(|| {
        hooks::add(log);
        capmalloc::trim();
        let limit_bytes = capmalloc::stats().resident_bytes + 20 * MIB;
        capmalloc::set_limit(Limit::ResidentSoft, Some(limit_bytes));
        // Kept for reuse, and so the first thing that the trim gives back.
        free(alloc(10 * MIB), 10 * MIB);
        let (held, events) = events_of(|| alloc(15 * MIB));
        let [reached] = limits_in(&events)[..] else { panic!("{events:?}") };
        assert_eq!((reached.limit, reached.limit_bytes), (Limit::ResidentSoft, limit_bytes));
        assert_eq!(reached.asked_bytes, 0);
        assert!((4 * MIB..6 * MIB).contains(&reached.over_bytes()), "{reached:?}");
        assert_eq!(reached.over_bytes(), reached.held_bytes - limit_bytes);
        assert!(reached.left_bytes + 9 * MIB < reached.held_bytes, "{reached:?}");
        assert_eq!(trims_in(&events), 1);
        let is_told = |event: &Event| matches!(event, Event::LimitReached(_));
        assert!(events.last().is_some_and(is_told), "the trim comes first: {events:?}");
        let (_, events) = events_of(|| free(alloc(MIB), MIB));
        assert_eq!(events.iter().filter(|event| is_told(event)).count(), 0);
        free(held, 15 * MIB);
    });
}
