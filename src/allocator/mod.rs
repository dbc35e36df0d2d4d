//! The heap as one value: the routes that an allocation takes through the layers.
//!
//! ```text
//! alloc ─ small ── thread cache, by the caller's slot          (fast path, thread_cache/slot.rs)
//!       │          └─ empty: refill from the thread's arena    (small.rs)
//!       ├ large ── a span of the page heap                     (large.rs)
//!       └ huge ─── a mapping of its own                        (large.rs → huge/)
//! ```
//!
//! Nothing here is global. A test builds a heap of its own over a page source that fails on
//! demand, and gives each of its threads a slot by hand; `global.rs` holds the one static heap.

mod arena_choice;
mod attachment;
mod by_cpu;
mod check;
mod ending;
mod large;
mod raw;
mod resize;
mod retry;
mod small;

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};

use crate::arena::policy::{ArenaPolicy, PerThread};
use crate::arena::{ArenaMaxError, Arenas};
use crate::budget::{CacheBudget, DEFAULT_BUDGET_BYTES};
use crate::cpu_caches::CpuCaches;
use crate::decay::{DEFAULT_DECAY_MILLISECONDS, Decay};
use crate::hooks::Notices;
use crate::huge::{Huge, HugeSupply};
use crate::lock::{Mutex, rank};
use crate::metadata::Metadata;
use crate::os::message;
use crate::page_heap::PageHeap;
use crate::page_source::PageSource;
use crate::segment::SEGMENT_BYTES;
use crate::size_class::SizeClass;
use crate::slab::Misuse;
use crate::thread_cache::{CacheRegistry, Magazines, ThreadSlot};
use crate::units::{PAGE_BYTES, round_up};

pub(crate) use raw::Found;

/// The largest allocation that is a span of a segment, and the largest alignment of one.
const LARGE_MAX_BYTES: usize = SEGMENT_BYTES / 2;

/// A heap over the pages of one source.
#[derive(Debug)]
pub(crate) struct Allocator<S> {
    page_heap: PageHeap<S>,
    metadata: Metadata,
    arenas: Arenas,
    caches: CacheRegistry,
    cpu_caches: CpuCaches,
    budget: CacheBudget,
    decay: Decay,
    huge: Huge,
    /// How often the soft limit on resident memory was passed and answered by a trim.
    soft_limit_trims: AtomicUsize,
    /// Whether this is a forked child that still has caches of its parent's other threads.
    has_orphans: AtomicBool,
    /// Whether there may be sealed slabs, so that a flush has to look for them.
    has_seals: AtomicBool,
    /// Held by who has blocks or mappings in hand that are in no structure, so that a fork waits:
    /// the child would know of them no more.
    in_hand: Mutex<{ rank::IN_HAND }, ()>,
    /// Null for the default; else a record in the metadata that holds the reference.
    policy: AtomicPtr<PolicyRef>,
}

type PolicyRef = &'static dyn ArenaPolicy;

/// Which route a request takes; a pure function of its layout, the same on both ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Small(SizeClass),
    Large,
    Huge,
}

impl Route {
    #[inline(always)]
    fn of(layout: Layout) -> Route {
        match SizeClass::of(layout.size(), layout.align()) {
            Some(class) => Route::Small(class),
            None => Route::of_more(layout),
        }
    }

    fn of_more(layout: Layout) -> Route {
        if layout.size() <= LARGE_MAX_BYTES && layout.align() <= LARGE_MAX_BYTES {
            Route::Large
        } else {
            Route::Huge
        }
    }
}

impl<S: PageSource> Allocator<S> {
    /// A heap that allows `arena_max` arenas, with the other defaults, over the pages of `source`.
    #[cfg_attr(not(test), allow(dead_code, reason = "the static heap is set up by its settings"))]
    pub(crate) const fn new(source: S, arena_max: usize) -> Self {
        let budget = CacheBudget::new(DEFAULT_BUDGET_BYTES);
        Allocator::with(source, arena_max, budget, Decay::new(DEFAULT_DECAY_MILLISECONDS))
    }

    /// A heap of all zeros, whose settings come before its first allocation: a static of it takes
    /// no room in the program's file and no page of memory until it is used.
    pub(crate) const fn unset(source: S) -> Self {
        Allocator::with(source, 0, CacheBudget::new(0), Decay::new(0))
    }

    /// Makes `place` what [`unset`](Self::unset) would have made of this source, without a write to
    /// the many pages of which nothing is needed yet.
    ///
    /// # Safety
    ///
    /// `place` is zeroed memory of the size and alignment, and nobody else's.
    pub(crate) unsafe fn init_unset(place: *mut Self, source: S) {
        // SAFETY: the caller's promise. Zeros are what `unset` makes of every other field: numbers
        // of zero, free locks, null pointers, and `None`s of pointers or of what has one as its
        // niche. A test compares the two field by field.
        unsafe { PageHeap::init(&raw mut (*place).page_heap, source) };
    }

    const fn with(source: S, arena_max: usize, budget: CacheBudget, decay: Decay) -> Self {
        Allocator {
            page_heap: PageHeap::new(source),
            metadata: Metadata::new(),
            arenas: Arenas::new(arena_max),
            caches: CacheRegistry::new(),
            cpu_caches: CpuCaches::new(),
            budget,
            decay,
            huge: Huge::new(),
            soft_limit_trims: AtomicUsize::new(0),
            has_orphans: AtomicBool::new(false),
            has_seals: AtomicBool::new(false),
            in_hand: Mutex::new(()),
            policy: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Sets the policy, before any thread is attached; without memory for it, the default stays.
    pub(crate) fn set_policy(&self, policy: PolicyRef) {
        let source = self.page_heap.source();
        let Some(record) = self.metadata.take(source, size_of::<PolicyRef>()) else { return };
        let record = record.cast::<PolicyRef>();
        // SAFETY: the record has the size and alignment, is nobody else's, and stays.
        unsafe { record.write(policy) };
        // Release pairs with the Acquire in `policy_set`.
        self.policy.store(record.as_ptr(), Release);
    }

    fn policy(&self) -> PolicyRef {
        self.policy_set().unwrap_or(&PerThread)
    }

    /// The policy, unless it is the default.
    fn policy_set(&self) -> Option<PolicyRef> {
        // SAFETY: the pointer is null or a record written by `set_policy`, which is never freed
        // while the heap lives.
        unsafe { self.policy.load(Acquire).as_ref() }.copied()
    }

    /// Changes the cap on arenas; see [`Arenas::set_cap`].
    pub(crate) fn set_arena_max(&self, count: usize) -> Result<(), ArenaMaxError> {
        let (metadata, budget) = (&self.metadata, &self.budget);
        self.arenas.set_cap(count, metadata, &self.page_heap, budget, |class, blocks| {
            self.put_back(class, blocks);
        })?;
        if self.budget.has_crowd() {
            self.use_cpu_caches();
        }
        Ok(())
    }

    pub(crate) fn page_heap(&self) -> &PageHeap<S> {
        &self.page_heap
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Where it is noted what hooks are to be told.
    pub(crate) fn notices(&self) -> &Notices {
        self.page_heap.source().notices()
    }

    pub(crate) fn arenas(&self) -> &Arenas {
        &self.arenas
    }

    pub(crate) fn caches(&self) -> &CacheRegistry {
        &self.caches
    }

    pub(crate) fn cpu_caches(&self) -> &CpuCaches {
        &self.cpu_caches
    }

    pub(crate) fn budget(&self) -> &CacheBudget {
        &self.budget
    }

    pub(crate) fn soft_limit_trims(&self) -> usize {
        self.soft_limit_trims.load(Relaxed)
    }

    pub(crate) fn decay(&self) -> &Decay {
        &self.decay
    }

    pub(crate) fn huge(&self) -> &Huge {
        &self.huge
    }

    pub(crate) fn has_orphans(&self) -> &AtomicBool {
        &self.has_orphans
    }

    pub(crate) fn has_seals(&self) -> &AtomicBool {
        &self.has_seals
    }

    pub(crate) fn in_hand(&self) -> &Mutex<{ rank::IN_HAND }, ()> {
        &self.in_hand
    }

    pub(crate) fn magazines(&self) -> Magazines<'_, S> {
        let source = self.page_heap.source();
        Magazines { metadata: &self.metadata, source, budget: &self.budget }
    }

    pub(crate) fn huge_supply(&self) -> HugeSupply<'_, S> {
        HugeSupply { source: self.page_heap.source(), metadata: &self.metadata }
    }

    /// Allocates; `None` where memory is refused.
    #[inline(always)]
    pub(crate) fn alloc(&self, slot: &ThreadSlot, layout: Layout) -> Option<NonNull<u8>> {
        match SizeClass::of(layout.size(), layout.align()) {
            Some(class) => match slot.pop(class) {
                Some(block) => Some(block),
                None => self.alloc_small_slow(slot, class),
            },
            None => self.alloc_big(slot, layout).map(|big| big.base),
        }
    }

    /// Frees.
    ///
    /// # Safety
    ///
    /// `block` came from this heap for this `layout`, and its user gives it up.
    #[inline(always)]
    pub(crate) unsafe fn dealloc(&self, slot: &ThreadSlot, block: NonNull<u8>, layout: Layout) {
        match SizeClass::of(layout.size(), layout.align()) {
            // SAFETY: the caller's promise; class is a pure function of the layout.
            Some(class) => unsafe {
                if !slot.push(class, block) {
                    self.dealloc_small_slow(slot, class, block);
                }
            },
            None => self.dealloc_big(slot, block, layout),
        }
    }
}

/// Stops the program over a pointer that was given back wrongly.
#[cold]
fn abort_over(misuse: Misuse, block: *mut u8, block_bytes: usize) -> ! {
    match misuse {
        Misuse::NotOurs => message::abort_with(format_args!(
            "free of {block:p}: it is not in any memory of this heap"
        )),
        Misuse::NotASlab => message::abort_with(format_args!(
            "free of {block:p} as a block of {block_bytes} bytes: no such blocks are there"
        )),
        Misuse::OtherSize(found_bytes) => message::abort_with(format_args!(
            "free of {block:p} as a block of {block_bytes} bytes: it is one of {found_bytes}"
        )),
        Misuse::Interior => message::abort_with(format_args!(
            "free of {block:p}: no block of {block_bytes} bytes starts there"
        )),
        Misuse::FreeAlready => message::abort_with(format_args!(
            "free of {block:p}, a block of {block_bytes} bytes: it is free already"
        )),
    }
}

/// Bytes that a request of this layout really gets.
pub(crate) fn usable_bytes(layout: Layout) -> Option<usize> {
    match Route::of(layout) {
        Route::Small(class) => Some(class.block_bytes()),
        Route::Large | Route::Huge => round_up(layout.size().max(1), PAGE_BYTES),
    }
}

#[cfg(test)]
mod tests;
