//! The set of arenas: how many are open, how many may be, and what happens when that changes.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicUsize};

use super::bin::BinContext;
use super::policy::{ArenaPolicy, ArenaView, is_crowd};
use super::{Arena, ArenaPtr};
use crate::budget::CacheBudget;
use crate::hooks::Event;
use crate::lock::{Mutex, rank};
use crate::metadata::Metadata;
use crate::page_heap::PageHeap;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::unwind;

/// The most arenas that can be asked for.
pub(crate) const ARENAS_MAX: usize = 1024;

/// All arenas. Those with an index below `open` are open; records of closed ones are kept for the
/// day the cap is raised again.
#[derive(Debug)]
pub(crate) struct Arenas {
    records: [AtomicPtr<Arena>; ARENAS_MAX],
    pub(super) open: AtomicUsize,
    pub(super) cap: AtomicUsize,
    /// How many that would move to a new arena stay, since memory for one was refused.
    refusals_left: AtomicUsize,
    /// Held while an arena is opened or closed.
    pub(super) change: Mutex<{ rank::ARENA_SET }, ()>,
}

/// How many stay where they are after a new arena was refused: threads that go by their processor
/// ask at every refill.
const REFUSALS_AFTER_ONE: usize = 256;

impl Arenas {
    pub(crate) const fn new(cap: usize) -> Self {
        Arenas {
            records: [const { AtomicPtr::new(core::ptr::null_mut()) }; ARENAS_MAX],
            open: AtomicUsize::new(0),
            cap: AtomicUsize::new(cap),
            refusals_left: AtomicUsize::new(0),
            change: Mutex::new(()),
        }
    }

    /// Sets the cap before any arena is open.
    pub(crate) fn set_first_cap(&self, cap: usize) {
        self.cap.store(cap.clamp(1, ARENAS_MAX), Relaxed);
    }

    pub(crate) fn cap(&self) -> usize {
        // Zero is the static heap's cap before its settings are read.
        self.cap.load(Relaxed).max(1)
    }

    pub(crate) fn open(&self) -> usize {
        // Acquire pairs with the Release in `open_next`: records below it are seen.
        self.open.load(Acquire)
    }

    /// The record at `index`, whether its arena is open or closed.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<ArenaPtr> {
        // Acquire pairs with the Release in `open_next`.
        NonNull::new(self.records.get(index)?.load(Acquire)).map(ArenaPtr)
    }

    pub(crate) fn context<'heap, S>(
        &'heap self,
        index: usize,
        class: SizeClass,
        page_heap: &'heap PageHeap<S>,
        metadata: &'heap Metadata,
        budget: &'heap CacheBudget,
    ) -> Option<BinContext<'heap, S>> {
        let record = self.records.get(index)?.load(Acquire);
        // SAFETY: a record, once there, lives as long as the heap, which `self` is part of.
        let arena = unsafe { record.as_ref() }?;
        Some(BinContext { bin: arena.bin(class), class, arena: index, page_heap, metadata, budget })
    }

    /// The arena for a thread that has none: the policy's choice, opened if it is a new one.
    ///
    /// `None` where not even a first arena can be had.
    pub(crate) fn assign<S: PageSource>(
        &self,
        policy: &dyn ArenaPolicy,
        metadata: &Metadata,
        page_heap: &PageHeap<S>,
    ) -> Option<usize> {
        let (choice, open) = self.with_view(|view| (policy.assign(view), view.open));
        self.resolve(choice, open, metadata, page_heap)
    }

    /// The arena that a thread about to refill moves to, if the policy says so.
    pub(crate) fn reassign<S: PageSource>(
        &self,
        policy: &dyn ArenaPolicy,
        current: usize,
        contended: bool,
        metadata: &Metadata,
        page_heap: &PageHeap<S>,
    ) -> Option<usize> {
        let (choice, open) =
            self.with_view(|view| (policy.reassign(view, current, contended), view.open));
        let choice = choice?;
        let wants_new = choice >= open;
        if wants_new && self.is_refused() {
            // Relaxed: a number to choose by; two that take the same one from it cost nothing.
            self.refusals_left.store(self.refusals_left.load(Relaxed).saturating_sub(1), Relaxed);
            return None;
        }
        let moved = self.resolve(choice, open, metadata, page_heap);
        moved.filter(|&choice| choice != current && !(wants_new && self.is_refused()))
    }

    /// Whether an arena has so many threads that the default policy would spread them anew.
    #[inline]
    pub(crate) fn is_crowded(&self, index: usize) -> bool {
        self.get(index).is_some_and(|arena| is_crowd(arena.threads())) && self.cap() > 1
    }

    /// The first arena, opened if there is none.
    pub(crate) fn first<S: PageSource>(
        &self,
        metadata: &Metadata,
        page_heap: &PageHeap<S>,
    ) -> Option<usize> {
        self.resolve(0, self.open(), metadata, page_heap)
    }

    /// Counts each arena's threads anew, from the arenas that caches refill from.
    ///
    /// For the one thread of a forked child. A thread of the parent's may have joined an arena, or
    /// been about to leave one, without a cache that says so.
    pub(crate) fn recount_threads(&self, used: impl Iterator<Item = usize>) {
        let records = (0..ARENAS_MAX).map_while(|index| self.get(index));
        records.for_each(|arena| arena.forget_threads());
        used.filter_map(|index| self.get(index)).for_each(|arena| arena.join());
    }

    fn with_view<T>(&self, ask: impl FnOnce(&ArenaView<'_>) -> T) -> T {
        let threads = |index: usize| self.get(index).map_or(0, |arena| arena.threads());
        let cap = self.cap();
        let view = ArenaView { open: self.open().min(cap), cap, threads: &threads };
        unwind::or_abort("an arena policy panicked", || ask(&view))
    }

    /// Turns a policy's answer into the index of an open arena.
    ///
    /// `seen_open` is what the policy was told. A thread that wanted a new arena gets one though
    /// another thread, asked at the same time, has opened the arena with that index since.
    fn resolve<S: PageSource>(
        &self,
        choice: usize,
        seen_open: usize,
        metadata: &Metadata,
        page_heap: &PageHeap<S>,
    ) -> Option<usize> {
        let open = self.open();
        // Arenas may have closed since, too. The very first may be open by now because the policy
        // itself allocates, and is then the one meant.
        if choice < open.min(seen_open.max(1)) {
            return Some(choice);
        }
        match self.open_next(metadata, page_heap) {
            Some(index) => Some(index),
            None if open > 0 => Some(choice % open),
            None => None,
        }
    }

    /// Whether the next arena needs memory, and that was refused a short while ago.
    fn is_refused(&self) -> bool {
        let open = self.open();
        self.refusals_left.load(Relaxed) > 0 && open < self.cap() && self.get(open).is_none()
    }

    /// Opens one more arena, if the cap and memory allow it.
    fn open_next<S: PageSource>(
        &self,
        metadata: &Metadata,
        page_heap: &PageHeap<S>,
    ) -> Option<usize> {
        let _change = self.change.lock();
        let index = self.open();
        if index >= self.cap() {
            return None;
        }
        if let Some(arena) = self.get(index) {
            for class in SizeClass::all() {
                arena.bin(class).lock(class).is_closed = false;
            }
        } else {
            let Some(record) = metadata.take(page_heap.source(), size_of::<Arena>()) else {
                self.refusals_left.store(REFUSALS_AFTER_ONE, Relaxed);
                return None;
            };
            // Release pairs with the Acquire in `get`; the record is zeroed, which is an arena.
            self.records[index].store(record.cast().as_ptr(), Release);
        }
        self.open.store(index + 1, Release);
        page_heap.source().notices().note(Event::ArenaCreated { arena: index });
        Some(index)
    }

    /// Takes the set's lock for a fork, so that no arena comes or goes.
    pub(crate) fn hold_set_for_fork(&self) {
        self.change.hold_for_fork();
    }

    /// Takes the locks of every bin, for a fork; the set's is held.
    pub(crate) fn hold_bins_for_fork(&self) {
        self.for_each_bin(|bin| bin.hold_for_fork());
    }

    /// Releases the bins' locks after a fork.
    ///
    /// # Safety
    ///
    /// [`hold_bins_for_fork`](Self::hold_bins_for_fork) took them, in this thread or its original.
    pub(crate) unsafe fn release_bins_after_fork(&self) {
        // SAFETY: the caller's promise; no arena came or went while the set's lock was held.
        self.for_each_bin(|bin| unsafe { bin.release_after_fork() });
    }

    /// Releases the set's lock after a fork.
    ///
    /// # Safety
    ///
    /// [`hold_set_for_fork`](Self::hold_set_for_fork) took it, in this thread or its original.
    pub(crate) unsafe fn release_set_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.change.release_after_fork() };
    }

    fn for_each_bin(&self, mut visit: impl FnMut(&super::Bin)) {
        for arena in (0..ARENAS_MAX).map_while(|index| self.get(index)) {
            for class in SizeClass::all() {
                visit(arena.bin(class));
            }
        }
    }

    /// Gives every record back.
    ///
    /// # Safety
    ///
    /// Nobody uses the arenas any more.
    pub(crate) unsafe fn release<S: PageSource>(
        &self,
        metadata: &Metadata,
        page_heap: &PageHeap<S>,
    ) {
        for record in &self.records {
            let Some(record) = NonNull::new(record.swap(core::ptr::null_mut(), Relaxed)) else {
                break;
            };
            // SAFETY: taken in `open_next` with this size; the caller says nobody uses it.
            unsafe { metadata.give(page_heap.source(), record.cast(), size_of::<Arena>()) };
        }
        self.open.store(0, Relaxed);
    }
}
