//! Requests that are refused: what hooks are told of them, and what a retry may bring.

use super::*;

/// Memory that a hook gives up when there is no other.
static BALLAST: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fn give_ballast_up(event: &Event) -> Response {
    log(event);
    if !matches!(event, Event::AllocationFailed { .. }) {
        // It means nothing.
        return Response::Retry;
    }
    let given_up = BALLAST.try_lock().ok().and_then(|mut ballast| ballast.take());
    if given_up.is_some() { Response::Retry } else { Response::Ignore }
}

/// Holds that `request` succeeds, under a limit that has no room for it beside the ballast.
fn succeeds_without_ballast(size: usize, room_bytes: usize, request: impl FnOnce() -> *mut u8) {
    *BALLAST.lock().expect("no one panics") = Some(vec![1; 40 * MIB]);
    capmalloc::trim();
    let limit_bytes = capmalloc::stats().resident_bytes + room_bytes;
    capmalloc::set_limit(Limit::ResidentHard, Some(limit_bytes));
    let (block, events) = events_of(request);
    capmalloc::set_limit(Limit::ResidentHard, None);
    assert!(!block.is_null());
    assert!(BALLAST.lock().expect("no one panics").is_none(), "the ballast is gone");
    assert_eq!(failures_in(&events), [(size, 8)]);
    assert_eq!(limits_in(&events).len(), 1, "{events:?}");
    // SAFETY: the block has this size.
    unsafe { block.write_bytes(7, size) };
    free(block, size);
    capmalloc::trim();
}

#[test]
fn a_retry_succeeds_where_the_hook_gave_something_up() {
    alone(|| {
        hooks::add(log_nothing);
        hooks::add(give_ballast_up);
        hooks::add(log_nothing);
        succeeds_without_ballast(20 * MIB, 10 * MIB, || alloc(20 * MIB));
        succeeds_without_ballast(2 * MIB, MIB, || alloc(2 * MIB));
        succeeds_without_ballast(20 * MIB, 10 * MIB, || {
            // SAFETY: a valid layout.
            let block = unsafe { GLOBAL.alloc_zeroed(layout(20 * MIB)) };
            // SAFETY: the block has this size, and bytes were promised to be zero.
            let is_zero = |at: usize| unsafe { block.add(at).read() } == 0;
            assert!(!block.is_null() && (0..20 * MIB).step_by(4096).all(is_zero));
            block
        });
        let old = [alloc(100), alloc(100_000), alloc(5 * MIB)];
        for (block, size) in old.into_iter().zip([100, 100_000, 5 * MIB]) {
            succeeds_without_ballast(30 * MIB, 10 * MIB, || {
                // SAFETY: the block has this size; it is given up for the new one.
                unsafe {
                    block.write_bytes(9, size);
                    let moved = GLOBAL.realloc(block, layout(size), 30 * MIB);
                    assert!(!moved.is_null());
                    assert_eq!((moved.read(), moved.add(size - 1).read()), (9, 9));
                    moved
                }
            });
        }
    });
}

#[test]
fn a_small_request_is_tried_again_as_well() {
    alone(|| {
        const SIZE: usize = 1000;
        hooks::add(give_ballast_up);
        *BALLAST.lock().expect("no one panics") = Some(vec![1; 4 * MIB]);
        let limit_bytes = capmalloc::stats().resident_bytes + 2 * MIB;
        capmalloc::set_limit(Limit::ResidentHard, Some(limit_bytes));
        // Blocks in a chain through themselves: a list of them would be one more request.
        let (mut last, mut count) = (core::ptr::null_mut::<u8>(), 0);
        let ((), events) = events_of(|| {
            loop {
                let block = alloc(SIZE);
                if block.is_null() {
                    // The test itself needs some more.
                    return capmalloc::set_limit(Limit::ResidentHard, None);
                }
                // SAFETY: the block has room for a pointer, and its alignment.
                unsafe { block.cast::<*mut u8>().write(last) };
                (last, count) = (block, count + 1);
            }
        });
        assert!(count * SIZE > 5 * MIB, "the ballast's room was used: {count} blocks");
        assert_eq!(failures_in(&events), [(SIZE, 8), (SIZE, 8)], "and then there was none");
        while !last.is_null() {
            // SAFETY: a block of the chain begins with the pointer to the next.
            let next = unsafe { last.cast::<*mut u8>().read() };
            free(last, SIZE);
            last = next;
        }
    });
}

#[test]
fn a_request_is_tried_again_once_however_many_hooks_ask_for_it() {
    alone(|| {
        let ask = |event: &Event| {
            log(event);
            Response::Retry
        };
        hooks::add(ask);
        hooks::add(|_: &Event| Response::Retry);
        capmalloc::trim();
        let resident_bytes = capmalloc::stats().resident_bytes;
        capmalloc::set_limit(Limit::ResidentHard, Some(resident_bytes + 30 * MIB));
        let held = alloc(20 * MIB);
        for (size, tries) in [(20 * MIB, 4), (200 * MIB, 2)] {
            let before = capmalloc::stats().hard_limit_refusals;
            let (block, events) = events_of(|| alloc(size));
            assert!(block.is_null());
            assert_eq!(capmalloc::stats().hard_limit_refusals - before, tries);
            assert_eq!(failures_in(&events), [(size, 8)]);
            assert_eq!(limits_in(&events).len(), 1, "{events:?}");
            // A request larger than the limit is worth no trim.
            assert_eq!(trims_in(&events), tries / 2 - usize::from(tries == 2));
        }
        free(held, 20 * MIB);
    });
}

#[test]
fn a_hook_may_fail_to_allocate() {
    alone(|| {
        hooks::add(|event: &Event| {
            log(event);
            if let Event::AllocationFailed { .. } = event {
                assert!(alloc(isize::MAX as usize - 4096).is_null());
            }
        });
        let (block, events) = events_of(|| alloc(isize::MAX as usize - 8192));
        assert!(block.is_null());
        assert_eq!(events.len(), 1, "the hook's own failure is no event: {events:?}");
    });
}
