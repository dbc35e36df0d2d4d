//! The table of the CPU caches, and how it and they are made.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, Release};

use super::record::{CpuCache, START};
use crate::os::restartable::{self, Places, Shown};
use crate::page_source::PageSource;
use crate::size_class::SizeClass;
use crate::thread_cache::Magazines;

/// How many do without after a record was refused: threads ask at every refill that finds no stack.
pub(super) const REFUSALS_AFTER_ONE: usize = 256;

/// What the lock of the CPU caches guards.
#[derive(Debug)]
pub(super) struct State {
    /// The table, also while it is not shown; made when it is needed first.
    pub(super) places: Option<NonNull<Places>>,
    /// How many that want a record do without, since memory for one was refused.
    refusals_left: usize,
}

// SAFETY: the table is used under the lock, but for what the sequences do with it.
unsafe impl Send for State {}

impl State {
    pub(super) const fn new() -> State {
        State { places: None, refusals_left: 0 }
    }

    /// The cache of this processor, made with the table if need be; `shown` is where threads look.
    pub(super) fn make<'heap, S: PageSource>(
        &mut self,
        shown: &'heap Shown,
        magazines: &Magazines<'_, S>,
    ) -> Option<&'heap CpuCache> {
        let processor = restartable::processor()?;
        if self.places.is_none() {
            let record = self.take_record::<Places, S>(magazines)?;
            // SAFETY: a zeroed record of this size is an empty table, and nobody else's yet.
            unsafe { (*record.as_ptr()).open() };
            self.places = Some(record);
            // Release pairs with the Acquire of `restartable::pop` and `push`, and of `current`.
            shown.store(record.as_ptr(), Release);
        }
        // SAFETY: the table stays as long as the heap.
        let place = unsafe { self.places?.as_ref() }.of(processor)?;
        if place.load(Relaxed).is_null() {
            let record = self.take_record::<CpuCache, S>(magazines)?;
            // SAFETY: a zeroed record of this size is a cache without storage, nobody else's yet.
            unsafe { CpuCache::set_storage(record) };
            // Release pairs with the Acquire of `current`; sequences follow the pointer itself.
            place.store(record.as_ptr().cast(), Release);
        }
        // SAFETY: a cache stays as long as the heap, of which `shown` is a part.
        unsafe { place.load(Relaxed).cast::<CpuCache>().as_ref() }
    }

    fn take_record<T, S: PageSource>(
        &mut self,
        magazines: &Magazines<'_, S>,
    ) -> Option<NonNull<T>> {
        if self.refusals_left > 0 {
            self.refusals_left -= 1;
            return None;
        }
        let record = magazines.metadata.take(magazines.source, size_of::<T>());
        if record.is_none() {
            self.refusals_left = REFUSALS_AFTER_ONE;
        }
        record.map(NonNull::cast)
    }

    /// Gives the records back that were taken.
    ///
    /// # Safety
    ///
    /// Nobody uses the caches any more.
    #[cfg(test)]
    pub(super) unsafe fn release<S: PageSource>(&mut self, magazines: &Magazines<'_, S>) {
        let Some(places) = self.places.take() else { return };
        let (metadata, source) = (magazines.metadata, magazines.source);
        // SAFETY: the records were taken by `make` with these sizes, and are nobody's any more.
        unsafe {
            for cache in places.as_ref().iter() {
                metadata.give(source, cache, size_of::<CpuCache>());
            }
            metadata.give(source, places.cast(), size_of::<Places>());
        }
    }

    /// What the stacks that may hold nothing yet would begin with.
    pub(super) fn unstarted_bytes(&self) -> usize {
        let mut bytes = 0;
        self.each_stack(&mut |cache, class| {
            if cache.stack(class).capacity() == 0 {
                bytes += START.of(class) * class.block_bytes();
            }
        });
        bytes
    }

    fn caches(&self) -> impl Iterator<Item = &CpuCache> {
        // SAFETY: the table and the caches in it stay as long as the heap.
        self.places
            .into_iter()
            .flat_map(|places| unsafe { places.as_ref().iter() })
            // SAFETY: as above; places hold caches.
            .map(|cache| unsafe { cache.cast::<CpuCache>().as_ref() })
    }

    /// `visit` is called by pointer: compilers unroll the loop, and would copy it for each class.
    pub(super) fn each_stack(&self, visit: &mut dyn FnMut(&CpuCache, SizeClass)) {
        for cache in self.caches() {
            SizeClass::all().for_each(|class| visit(cache, class));
        }
    }
}
