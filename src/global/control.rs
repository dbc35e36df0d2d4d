//! What a program says to the global heap, and asks of it, while it runs.

use core::time::Duration;

use super::{DEFAULTS, HEAP, SLOT, hooks, poke_background, prepare};
use crate::arena::ArenaMaxError;
use crate::decay::{duration_of, milliseconds_of};
use crate::limits::Limit;
use crate::page_map::PageMap;
use crate::stats::Stats;
use crate::trim::Trimmed;

/// How many arenas may exist at a time.
///
/// ```
/// assert!(capmalloc::arena_max() >= 1);
/// ```
#[must_use]
pub fn arena_max() -> usize {
    SLOT.with(|slot| prepare(slot, DEFAULTS));
    HEAP.arenas().cap()
}

/// Changes how many arenas may exist at a time, from 1 to 1024, while the program runs.
///
/// A higher cap lets threads that come later open new arenas, and those of an arena that more than
/// 32 share. A lower one closes the arenas beyond it before this returns: their slabs move to the
/// arenas left, and their threads follow at their next refill. No block moves, and memory does not
/// rise.
///
/// # Errors
///
/// Where `count` is out of range; the cap is then as it was.
///
/// ```
/// capmalloc::set_arena_max(1)?;
/// assert_eq!(capmalloc::arena_max(), 1);
/// assert!(capmalloc::set_arena_max(0).is_err());
/// # Ok::<(), capmalloc::ArenaMaxError>(())
/// ```
pub fn set_arena_max(count: usize) -> Result<(), ArenaMaxError> {
    SLOT.with(|slot| prepare(slot, DEFAULTS));
    let outcome = HEAP.set_arena_max(count);
    SLOT.with(hooks::end_slow_path);
    outcome
}

/// The time from the last use of memory to its being given back; `None` for never.
#[must_use]
pub fn decay() -> Option<Duration> {
    SLOT.with(|slot| prepare(slot, DEFAULTS));
    duration_of(HEAP.decay().milliseconds())
}

/// Changes the time from the last use of memory to its being given back, while the program runs.
///
/// Zero gives pages back as soon as they are free, which costs a call to the kernel each time;
/// `None` keeps them until [`trim`] is called. Times are cut to whole milliseconds.
///
/// ```
/// use std::time::Duration;
///
/// capmalloc::set_decay(Some(Duration::from_millis(200)));
/// assert_eq!(capmalloc::decay(), Some(Duration::from_millis(200)));
/// ```
pub fn set_decay(time: Option<Duration>) {
    SLOT.with(|slot| prepare(slot, DEFAULTS));
    HEAP.decay().set_milliseconds(milliseconds_of(time));
    // It may sleep because nothing decayed until now.
    SLOT.with(poke_background);
}

/// A limit in bytes, if it is set.
#[must_use]
pub fn limit(limit: Limit) -> Option<usize> {
    SLOT.with(|slot| prepare(slot, DEFAULTS));
    HEAP.page_heap().source().limits().get(limit)
}

/// Sets a limit, or with `None` or zero lifts it, while the program runs.
///
/// What is held already stays, whatever the new limit says. Resident memory is counted as
/// [`Stats::resident_bytes`] counts it, huge allocations in full, touched or not; but descriptors of
/// pages count when their segment is mapped, some 65 KiB for each 4 MiB.
///
/// ```
/// use capmalloc::{CapMalloc, Limit};
///
/// #[global_allocator]
/// static GLOBAL: CapMalloc = CapMalloc::new();
///
/// capmalloc::set_limit(Limit::ResidentHard, Some(1 << 30));
/// assert!(Vec::<u8>::new().try_reserve(2 << 30).is_err());
/// assert!(capmalloc::stats().hard_limit_refusals > 0);
/// ```
pub fn set_limit(limit: Limit, bytes: Option<usize>) {
    SLOT.with(|slot| prepare(slot, DEFAULTS));
    HEAP.page_heap().source().limits().set(limit, bytes);
    SLOT.with(hooks::end_slow_path);
}

/// Gives all memory back that no block needs: the caches of all threads that are not within the
/// allocator this moment, every depot, every page without a live block, freed mappings kept for
/// reuse, and segments that came to be empty.
///
/// Safe to call at any time, from any thread; others may wait for locks for as long as one size class
/// or one batch of spans takes, or the release of the segments that came to be empty. What stays resident are pages that hold a live block, and the
/// records that describe them.
///
/// ```
/// drop(vec![1_u8; 10_000_000]);
/// let trimmed = capmalloc::trim();
/// println!("{} bytes went back", trimmed.total_bytes());
/// ```
pub fn trim() -> Trimmed {
    SLOT.with(|slot| {
        let trimmed = HEAP.trim(slot);
        hooks::end_slow_path(slot);
        trimmed
    })
}

/// Trims what one arena holds, and the free spans that all arenas share.
///
/// `None` where no arena with this index is open.
pub fn trim_arena(arena: usize) -> Option<Trimmed> {
    let trimmed = HEAP.trim_arena(arena);
    SLOT.with(hooks::end_slow_path);
    trimmed
}

/// Makes the heap ready to be forked: trims it, and sees to it that what is allocated from here on
/// lies on pages of its own.
///
/// For programs that load what they need, and then fork workers from it, as pre-forking servers
/// do. A page is shared by parent and children until one of them writes to it. After this call new
/// blocks come from fresh pages instead of from the holes between old ones, in the parent and in
/// its children, and a free writes to none of the old pages either. So what a worker adds to the
/// memory of all is what it allocates.
///
/// A block that one thread frees and takes again at once comes from its cache, and so from the page
/// that it had just used.
///
/// The price is that holes stay unused: a slab is sealed until its last block is freed, or until
/// [`thaw`]. Call it once, last before the first fork, while other threads do nothing: blocks in
/// the caches of threads that are at work this moment may lie on old pages.
///
/// ```
/// let configuration = vec![String::from("loaded once, read by all")];
/// capmalloc::warm_up();
/// // Here the program forks its workers.
/// # drop(configuration);
/// ```
pub fn warm_up() -> Trimmed {
    SLOT.with(|slot| {
        let trimmed = HEAP.warm_up(slot);
        hooks::end_slow_path(slot);
        trimmed
    })
}

/// Ends what [`warm_up`] began: holes between old blocks are used again.
///
/// For a process that will fork no more, or a worker that outlived its parent. Answers the bytes of
/// the slabs that were sealed until now.
///
/// ```
/// capmalloc::warm_up();
/// capmalloc::thaw();
/// assert_eq!(capmalloc::stats().sealed_bytes, 0);
/// ```
pub fn thaw() -> usize {
    HEAP.thaw()
}

/// Figures about the heap at this moment.
///
/// Each is exact while no other thread allocates. While others do, figures of different structures
/// are moments apart, and differences between them are bounded below by zero.
///
/// Collecting them costs the allocations' fast path nothing, and itself a look at every slab. The
/// lists within are allocated: at a limit that refuses them the program ends, as it does with any
/// `Vec`. A hook is told what it needs there by its event.
#[must_use]
pub fn stats() -> Stats {
    HEAP.stats()
}

/// Draws the heap: what each of its pages is used for at this moment.
///
/// For pictures of fragmentation. Takes some seven bytes of memory for each page, and a look at every
/// slab, cached block and depot. Like [`stats`], it is exact while no other thread allocates.
///
/// ```
/// use capmalloc::PageState;
///
/// let map = capmalloc::page_map();
/// println!("{map}{} pages are live", map.count(PageState::Live));
/// ```
#[must_use]
pub fn page_map() -> PageMap {
    HEAP.page_map()
}

/// Walks every structure of the heap and stops the program with a message where one contradicts
/// itself; for tests.
///
/// Safe at any time, and slow.
pub fn check() {
    HEAP.check();
}
