//! The one static heap, each thread's slot, and `GlobalAlloc` on top of them.
//!
//! This is the only room with global state. `alloc` and `dealloc` are the whole fast path: one
//! table load for the class, one thread-relative load for the cache, and the magazine.

pub(crate) mod hooks;

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::sync::Once;

use crate::allocator::Allocator;
use crate::arena::ArenaMaxError;
use crate::background::Background;
use crate::config::{Config, Settings};
use crate::decay::{duration_of, milliseconds_of};
use crate::limits::Limit;
use crate::os::{OsPages, membarrier, message};
use crate::roster;
use crate::size_class::{CLASS_COUNT, GRAIN_BYTES, SizeClass};
use crate::stats::Stats;
use crate::thread_cache::{ThreadSlot, ThreadState};
use crate::trim::Trimmed;

/// All zero until the first allocation, so that it costs the program's file and start nothing.
static HEAP: Allocator<OsPages> = Allocator::unset(OsPages);

static BACKGROUND: Background = Background::new();

static START: Once = Once::new();

/// Whether the handlers for fork are registered, which heaps of one's own need too.
static FORKS: Once = Once::new();

/// The key whose destructor tells of a thread's end, plus one; zero while there is none.
static EXIT_KEY: AtomicU32 = AtomicU32::new(0);

std::thread_local! {
    /// Constant and without a destructor: reading it neither allocates nor registers anything.
    static SLOT: ThreadSlot = const { ThreadSlot::new() };
}

/// The allocator: make it a program's `#[global_allocator]` and all of its memory comes from here.
///
/// All values share one heap. Where a program names several, the first to allocate brings the
/// settings.
///
/// ```
/// use capmalloc::CapMalloc;
///
/// #[global_allocator]
/// static GLOBAL: CapMalloc = CapMalloc::new();
///
/// let numbers: Vec<u64> = (0..1000).collect();
/// assert!(capmalloc::stats().allocated_bytes >= 8000);
/// # drop(numbers);
/// ```
///
/// Zero-sized and over-aligned requests are served; a size that cannot be had gives null, as
/// [`GlobalAlloc`] says. A block given back twice, with another size, or that was never given out
/// stops the program with a message where it is seen, which is when it reaches its slab.
#[derive(Clone, Copy, Debug, Default)]
pub struct CapMalloc {
    config: Config,
}

impl CapMalloc {
    /// The allocator with default settings; the environment may change them.
    #[must_use]
    pub const fn new() -> Self {
        CapMalloc::with_config(Config::new())
    }

    /// The allocator with settings from code; the environment may change them.
    #[must_use]
    pub const fn with_config(config: Config) -> Self {
        CapMalloc { config }
    }

    #[inline(always)]
    fn alloc_small(&self, layout: Layout, class: SizeClass) -> *mut u8 {
        match SLOT.with(|slot| slot.pop(class)) {
            Some(block) => block.as_ptr(),
            None => self.alloc_small_slow(layout, class),
        }
    }

    /// The same as `alloc` for stricter alignments, out of the way of the many that have none.
    #[inline(never)]
    fn alloc_aligned(&self, layout: Layout) -> *mut u8 {
        match SizeClass::of(layout.size(), layout.align()) {
            Some(class) => self.alloc_small(layout, class),
            None => self.alloc_big(layout),
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_small_slow(&self, layout: Layout, class: SizeClass) -> *mut u8 {
        SLOT.with(|slot| {
            prepare(slot, &self.config);
            let attempt = || HEAP.alloc_small_slow(slot, class);
            hooks::serve(slot, layout.size(), layout.align(), attempt)
        })
    }

    #[cold]
    #[inline(never)]
    fn alloc_big(&self, layout: Layout) -> *mut u8 {
        SLOT.with(|slot| {
            prepare(slot, &self.config);
            let attempt = || HEAP.alloc_big(slot, layout).map(|big| big.base);
            hooks::serve(slot, layout.size(), layout.align(), attempt)
        })
    }
}

// SAFETY: blocks are handed out once each, with the size and alignment of the layout's class, span
// or mapping (the tests of each part say so). Nothing here unwinds: what could, a program's own
// policy, aborts instead.
unsafe impl GlobalAlloc for CapMalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > GRAIN_BYTES {
            return self.alloc_aligned(layout);
        }
        match SizeClass::of_unaligned(layout.size()) {
            Some(class) => self.alloc_small(layout, class),
            None => self.alloc_big(layout),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block up that `alloc` gave out, so it is not null.
        let block = unsafe { NonNull::new_unchecked(pointer) };
        if layout.align() > GRAIN_BYTES {
            return dealloc_aligned(block, layout);
        }
        match SizeClass::of_unaligned(layout.size()) {
            Some(class) => dealloc_small(block, class),
            None => dealloc_big(block, layout),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        SLOT.with(|slot| {
            prepare(slot, &self.config);
            let attempt = || HEAP.alloc_zeroed(slot, layout);
            hooks::serve(slot, layout.size(), layout.align(), attempt)
        })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller gives a block that `alloc` gave out, so it is not null.
        let block = unsafe { NonNull::new_unchecked(pointer) };
        SLOT.with(|slot| {
            prepare(slot, &self.config);
            // SAFETY: the caller's promise is the one asked for; where it answers `None` the block
            // is as it was, and may be tried again.
            let attempt = || unsafe { HEAP.realloc(slot, block, layout, new_size) };
            hooks::serve(slot, new_size, layout.align(), attempt)
        })
    }
}

#[inline(always)]
fn dealloc_small(block: NonNull<u8>, class: SizeClass) {
    // SAFETY: reached from `dealloc` alone, with its caller's promise; the class is a pure
    // function of the layout.
    if !SLOT.with(|slot| unsafe { slot.push(class, block) }) {
        dealloc_small_slow(block, class);
    }
}

/// The same as `dealloc` for stricter alignments.
#[inline(never)]
fn dealloc_aligned(block: NonNull<u8>, layout: Layout) {
    match SizeClass::of(layout.size(), layout.align()) {
        Some(class) => dealloc_small(block, class),
        None => dealloc_big(block, layout),
    }
}

#[cold]
#[inline(never)]
fn dealloc_big(block: NonNull<u8>, layout: Layout) {
    HEAP.dealloc_big(block, layout);
    SLOT.with(|slot| {
        poke_background(slot);
        hooks::end_slow_path(slot);
    });
}

#[cold]
#[inline(never)]
fn dealloc_small_slow(block: NonNull<u8>, class: SizeClass) {
    SLOT.with(|slot| {
        prepare(slot, &Config::new());
        // SAFETY: reached from `dealloc` alone, with its caller's promise.
        unsafe { HEAP.dealloc_small_slow(slot, class, block) };
        poke_background(slot);
        hooks::end_slow_path(slot);
    });
}

/// Sees to it that somebody ends the periods of decay, if the program wants that.
#[inline]
fn poke_background(slot: &ThreadSlot) {
    // A thread within the allocator, or about to end, leaves it to others.
    if slot.state() != ThreadState::Uncached {
        BACKGROUND.poke(background_thread);
    }
}

extern "C" fn background_thread(_argument: *mut c_void) -> *mut c_void {
    // It needs no blocks, and a cache would only have to be reclaimed.
    SLOT.with(|slot| slot.set_state(ThreadState::Uncached));
    BACKGROUND.run(&HEAP, roster::end_periods, hooks::deliver)
}

/// The same for the slow paths of heaps of one's own, whose periods the thread ends too.
#[inline]
pub(crate) fn poke_background_for_heap() {
    SLOT.with(poke_background);
}

/// Readies the heap at the first call of all, and a thread at its own first.
#[inline]
fn prepare(slot: &ThreadSlot, config: &Config) {
    if slot.state() == ThreadState::Fresh {
        prepare_slow(slot, config);
    }
}

#[cold]
fn prepare_slow(slot: &ThreadSlot, config: &Config) {
    // Whatever allocates from within, such as a C library that stores a key's value in memory of
    // its own, must not come back here.
    slot.set_state(ThreadState::Uncached);
    START.call_once(|| start(config));
    // A thread whose end would go unnoticed would keep its cache for ever: it goes without one.
    if watch_exit(slot) {
        slot.set_state(ThreadState::Fresh);
    }
}

fn start(config: &Config) {
    let settings = Settings::read(config);
    HEAP.arenas().set_first_cap(settings.arena_max);
    HEAP.budget().set_limit_bytes(settings.cache_budget_bytes);
    HEAP.set_policy(settings.policy);
    HEAP.decay().set_milliseconds(settings.decay_milliseconds);
    if settings.background {
        BACKGROUND.want();
    }
    for (limit, bytes) in settings.limits {
        HEAP.page_heap().source().limits().set(limit, bytes);
    }
    watch_forks();
    let mut key = 0;
    // SAFETY: `thread_ends` has the signature of a key's destructor, and the key's place is ours.
    if unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } == 0 {
        EXIT_KEY.store(key + 1, Relaxed);
    }
    if settings.stats_at_exit {
        // SAFETY: the function takes and returns nothing and lives as long as the program.
        unsafe { libc::atexit(write_stats_at_exit) };
    }
}

/// Asks once to be told of forks, and readies the process for fences on all of its threads.
///
/// Also called by who makes a heap of one's own, perhaps in a program whose allocator is another.
pub(crate) fn watch_forks() {
    SLOT.with(|slot| {
        // What the C library may allocate meanwhile must not come back here.
        let before = slot.set_state(ThreadState::Uncached);
        FORKS.call_once(|| {
            // While the process has one thread this costs nothing; later it waits for all of them.
            membarrier::register();
            let (before, after) = (Some(before_fork as _), Some(after_fork as _));
            // SAFETY: the handlers have the signature asked for and live as long as the program.
            // Being registered at the first allocation of all, they enclose those of everyone
            // else: theirs may allocate.
            unsafe { libc::pthread_atfork(before, after, Some(after_fork_in_child)) };
        });
        slot.set_state(before);
    });
}

/// Asks to be told of this thread's end; `false` where that cannot be had.
fn watch_exit(slot: &ThreadSlot) -> bool {
    // Relaxed: `Once` orders the store before every thread's return from it.
    let Some(key) = EXIT_KEY.load(Relaxed).checked_sub(1) else { return false };
    let value = core::ptr::from_ref(slot).cast::<c_void>();
    // SAFETY: the key was made in `start`; the value only has to differ from null.
    unsafe { libc::pthread_setspecific(key, value) == 0 }
}

extern "C" fn thread_ends(_slot: *mut c_void) {
    // Thread-locals without a destructor of their own live as long as the thread.
    SLOT.with(|slot| HEAP.detach(slot));
}

extern "C" fn before_fork() {
    // First, for a heap's page source may be what allocates from the global heap.
    roster::prepare_fork();
    hooks::hold_for_fork();
    HEAP.prepare_fork();
}

extern "C" fn after_fork() {
    // SAFETY: the kernel's copy was made between `before_fork` and this, in this thread.
    unsafe {
        HEAP.finish_fork();
        hooks::release_after_fork();
        roster::finish_fork();
    }
}

extern "C" fn after_fork_in_child() {
    after_fork();
    SLOT.with(|slot| HEAP.note_child(slot));
    roster::note_child();
    BACKGROUND.note_child();
}

extern "C" fn write_stats_at_exit() {
    // The program still runs, and so does its allocator: the table may allocate.
    message::write(&stats().to_string());
}

/// How many arenas may exist at a time.
///
/// ```
/// assert!(capmalloc::arena_max() >= 1);
/// ```
#[must_use]
pub fn arena_max() -> usize {
    SLOT.with(|slot| prepare(slot, &Config::new()));
    HEAP.arenas().cap()
}

/// Changes how many arenas may exist at a time, from 1 to 1024, while the program runs.
///
/// A higher cap lets threads that come later open new arenas. A lower one closes the arenas beyond
/// it before this returns: their slabs move to the arenas left, and their threads follow at their
/// next refill. No block moves, and memory does not rise.
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
    SLOT.with(|slot| prepare(slot, &Config::new()));
    let outcome = HEAP.set_arena_max(count);
    SLOT.with(hooks::end_slow_path);
    outcome
}

/// Milliseconds from the last use of memory to its being given back; `None` for never.
#[must_use]
pub fn decay() -> Option<Duration> {
    SLOT.with(|slot| prepare(slot, &Config::new()));
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
    SLOT.with(|slot| prepare(slot, &Config::new()));
    HEAP.decay().set_milliseconds(milliseconds_of(time));
}

/// A limit in bytes, if it is set.
#[must_use]
pub fn limit(limit: Limit) -> Option<usize> {
    SLOT.with(|slot| prepare(slot, &Config::new()));
    HEAP.page_heap().source().limits().get(limit)
}

/// Sets a limit, or with `None` or zero lifts it, while the program runs.
///
/// What is held already stays, whatever the new limit says. Resident memory is counted as
/// [`Stats::resident_bytes`] counts it: huge allocations in full, touched or not.
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
    SLOT.with(|slot| prepare(slot, &Config::new()));
    HEAP.page_heap().source().limits().set(limit, bytes);
    SLOT.with(hooks::end_slow_path);
}

/// Gives all memory back that no block needs: the caches of all threads that are not within the
/// allocator this moment, every depot, every page without a live block, freed mappings kept for reuse, and segments that came to be empty.
///
/// Safe to call at any time, from any thread; others wait for locks for as long as one size class
/// or one batch of spans takes. What stays resident are pages that hold a live block, and the
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
    SLOT.with(|slot| HEAP.warm_up(slot))
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
/// Collecting them costs the allocations' fast path nothing, and itself a look at every slab.
#[must_use]
pub fn stats() -> Stats {
    HEAP.stats()
}

/// Walks every structure of the heap and stops the program with a message where one contradicts
/// itself; for tests.
///
/// Safe at any time, and slow.
pub fn check() {
    HEAP.check();
}

const _: () = assert!(CLASS_COUNT <= u8::MAX as usize);
