//! CPU caches: free blocks of a processor, for threads that may hold none themselves.
//!
//! Where threads are many, the budget leaves each too little to be of use, and all of them come to
//! the bins, one block at a time. A thread that loses its processor while it holds a bin's lock would
//! then gather a crowd behind it. So between the caches of threads and the bins each processor has a
//! stack of blocks for each class. It is used without a lock (see `os/restartable.rs`), and goes to
//! the bins in batches. There are as many as processors, however many threads there are, and what
//! they may hold is lent by the budget.
//!
//! A stack whose bound turned blocks away, and that then ran out, may hold twice as much from then on.
//! One that nobody touched for a period of decay is emptied and gives back what it had borrowed.

mod record;
mod state;

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::budget::CacheBudget;
use crate::lock::{Mutex, rank};
use crate::os::restartable::{self, Shown};
use crate::page_source::PageSource;
use crate::size_class::{CLASS_COUNT, SizeClass};
use crate::thread_cache::Magazines;
use record::{BLOCKS_MAX, CpuCache, FULL, START, offset_bytes};
use state::State;

/// The most blocks that go between a stack and a bin at a time.
pub(crate) const BATCH_MAX: usize = BLOCKS_MAX / 2;

/// The caches of all processors.
#[derive(Debug)]
pub(crate) struct CpuCaches {
    shown: Shown,
    state: Mutex<{ rank::CPU_CACHES }, State>,
}

impl CpuCaches {
    pub(crate) const fn new() -> Self {
        CpuCaches { shown: Shown::new(core::ptr::null_mut()), state: Mutex::new(State::new()) }
    }

    /// Takes a block from this processor's cache.
    #[inline]
    pub(crate) fn take_one(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let mut block = [core::ptr::null_mut()];
        // By the count alone: a sequence that began anew and found nothing has left there what it had
        // found before, which is another's by now.
        match self.take(class, &mut block) {
            0 => None,
            _ => NonNull::new(block[0]),
        }
    }

    /// Takes up to `into.len()` blocks from this processor's cache; answers how many. What lies
    /// behind those may have been written, and means nothing.
    #[inline]
    pub(crate) fn take(&self, class: SizeClass, into: &mut [*mut u8]) -> usize {
        // SAFETY: places hold null or a `CpuCache`, which has a stack at this offset and stays as
        // long as the heap; `empty` shows null and makes a fence.
        unsafe { restartable::pop(&self.shown, offset_bytes(class), into) }
    }

    /// Puts as many of `blocks`, from the first on, into this processor's cache as there is room
    /// for; answers how many.
    ///
    /// # Safety
    ///
    /// They are free blocks of this class and heap, and nowhere else.
    #[inline]
    pub(crate) unsafe fn put(&self, class: SizeClass, blocks: &[*mut u8]) -> usize {
        // SAFETY: as in `take`.
        let count = unsafe { restartable::push(&self.shown, offset_bytes(class), blocks) };
        if count < blocks.len() {
            self.note_full(class);
        }
        count
    }

    #[cold]
    fn note_full(&self, class: SizeClass) {
        if let Some(cache) = self.current() {
            // Relaxed: a hint; who grows the stack meanwhile may take it for the next time.
            cache.was_full[class.index()].store(true, Relaxed);
        }
    }

    /// How many blocks are best taken from a bin at a time for this processor; 0 where it has no
    /// cache for them.
    pub(crate) fn batch(&self, class: SizeClass) -> usize {
        let capacity = self.current().map_or(0, |cache| cache.stack(class).capacity());
        capacity.div_ceil(2).min(BATCH_MAX)
    }

    /// The cache of the processor that the thread runs on now, while caches are shown.
    fn current(&self) -> Option<&CpuCache> {
        // SAFETY: null or the table, which stays as long as the heap. Acquire, as the place's load,
        // pairs with the Release of `make`.
        let places = unsafe { self.shown.load(Acquire).as_ref() }?;
        let place = places.of(restartable::processor()?)?;
        // SAFETY: null or a cache, which stays as long as the heap.
        unsafe { place.load(Acquire).cast::<CpuCache>().as_ref() }
    }

    /// Lets this processor's stack hold more where it has turned out too small, and makes it where
    /// there is none; for one who found it empty.
    ///
    /// As far as the budget lends and memory goes, and unless somebody else is at it.
    pub(crate) fn grow<S: PageSource>(&self, class: SizeClass, magazines: &Magazines<'_, S>) {
        let is_due = |cache: &CpuCache| {
            cache.stack(class).capacity() == 0 || cache.was_full[class.index()].load(Relaxed)
        };
        if self.current().is_some_and(|cache| !is_due(cache)) {
            return;
        }
        let Some(mut state) = self.state.try_lock() else { return };
        let Some(cache) = state.make(&self.shown, magazines).filter(|cache| is_due(cache)) else {
            return;
        };
        cache.was_full[class.index()].store(false, Relaxed);
        let stack = cache.stack(class);
        let capacity = stack.capacity();
        let wanted = if capacity == 0 { START.of(class) } else { capacity * 2 };
        let wanted = wanted.min(FULL.of(class));
        let more_bytes = (wanted - capacity) * class.block_bytes();
        // Nobody grows at the cost of those that have yet to begin: a class without a stack goes to
        // the bins with each of its blocks.
        let kept_bytes = if capacity == 0 { 0 } else { state.unstarted_bytes() };
        if more_bytes > 0 && magazines.budget.borrow_bytes_for_cpu(more_bytes, kept_bytes) {
            // SAFETY: the storage has room for the most that a stack may hold.
            unsafe { stack.set_capacity(wanted) };
        }
    }

    /// Empties all caches; answers the bytes.
    pub(crate) fn drain(
        &self,
        budget: &CacheBudget,
        put_back: impl FnMut(SizeClass, &mut [*mut u8]),
    ) -> usize {
        self.empty(&self.state.lock(), budget, |_, _| true, put_back)
    }

    /// Empties those stacks that hold as many blocks as at the last look, a period of decay ago, and
    /// all where the crowd they were for is gone; answers whether another look may find more.
    pub(crate) fn settle(
        &self,
        budget: &CacheBudget,
        put_back: impl FnMut(SizeClass, &mut [*mut u8]),
    ) -> bool {
        let state = self.state.lock();
        let are_all_due = budget.is_cpu_lent_too_much();
        let is_due = |cache: &CpuCache, class| are_all_due || cache.is_stale(class);
        let (mut has_due, mut has_used) = (false, false);
        state.each_stack(&mut |cache, class| {
            let is_in_use = cache.stack(class).capacity() > 0;
            has_due |= is_in_use && is_due(cache, class);
            has_used |= is_in_use && !is_due(cache, class);
        });
        if has_due {
            self.empty(&state, budget, is_due, put_back);
        }
        state.each_stack(&mut CpuCache::note_length);
        has_used
    }

    /// Empties those stacks that `is_due` names; answers the bytes.
    ///
    /// Threads find no caches for as long as it takes to empty the stacks, but do while the blocks are
    /// put back, which may have to wait for locks. A fork waits for both.
    fn empty(
        &self,
        state: &State,
        budget: &CacheBudget,
        is_due: impl Fn(&CpuCache, SizeClass) -> bool,
        mut put_back: impl FnMut(SizeClass, &mut [*mut u8]),
    ) -> usize {
        let Some(places) = state.places else { return 0 };
        // Relaxed: what the fence below is for.
        self.shown.store(core::ptr::null_mut(), Relaxed);
        // Where the kernel refuses, which it did not when the table was made, they stay as they are.
        if restartable::fence() {
            state.each_stack(&mut |cache, class| {
                if is_due(cache, class) {
                    // SAFETY: hidden, and under the lock.
                    unsafe { cache.empty(class) };
                }
            });
        }
        // Release pairs with the Acquire of `restartable::pop` and `push`: stacks are seen empty.
        self.shown.store(places.as_ptr(), Release);
        let mut bytes = 0;
        state.each_stack(&mut |cache, class| {
            bytes += cache.put_back_taken(class, budget, &mut put_back);
        });
        bytes
    }

    /// Calls `visit` with each block; threads may be at work meanwhile.
    pub(crate) fn for_each_block(&self, mut visit: impl FnMut(SizeClass, *mut u8)) {
        self.state.lock().each_stack(&mut |cache, class| {
            cache.stack(class).for_each(|block| visit(class, block));
        });
    }

    /// Blocks of each class in all caches; a guess while threads are at work.
    pub(crate) fn count_blocks(&self) -> [usize; CLASS_COUNT] {
        let mut counts = [0; CLASS_COUNT];
        self.state.lock().each_stack(&mut |cache, class| {
            counts[class.index()] += cache.stack(class).len();
        });
        counts
    }

    /// Whether there are caches that may hold something, and can be emptied.
    pub(crate) fn has_lent(&self, budget: &CacheBudget) -> bool {
        budget.cpu_lent_bytes() > 0 && restartable::is_available()
    }

    /// Stops the program where what stacks may hold is not what was borrowed for them.
    pub(crate) fn check(&self, budget: &CacheBudget) {
        let state = self.state.lock();
        let mut bytes = 0;
        state.each_stack(&mut |cache, class| {
            let stack = cache.stack(class);
            ensure!(stack.len() <= stack.capacity(), "a stack of a processor holds what it may");
            ensure!(stack.capacity() <= FULL.of(class), "a stack of a processor and its storage");
            bytes += stack.capacity() * class.block_bytes();
        });
        ensure_eq!(bytes, budget.cpu_lent_bytes(), "bytes that CPU caches may hold: found, lent");
    }

    /// Takes the lock for a fork. The blocks need no more: a thread's stores reach the child in the
    /// order in which it made them, so that each stack's `top` counts what is there.
    pub(crate) fn hold_for_fork(&self) {
        self.state.hold_for_fork();
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`].
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.state.release_after_fork() };
    }

    /// Gives the records of empty caches back.
    ///
    /// # Safety
    ///
    /// Nobody uses the heap any more.
    #[cfg(test)]
    pub(crate) unsafe fn release<S: PageSource>(&self, magazines: &Magazines<'_, S>) {
        self.shown.store(core::ptr::null_mut(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.state.lock().release(magazines) };
    }
}

#[cfg(test)]
mod tests;
