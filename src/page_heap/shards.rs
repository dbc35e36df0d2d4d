//! All shards of a page heap: the first, and those that came to be needed.

use core::ptr::NonNull;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::shard::{Shard, SpansGuard};
use crate::counted_source::CountedSource;
use crate::lock::{Mutex, rank};
use crate::page_source::PageSource;
use crate::span::SpanPtr;
use crate::units::{PAGE_BYTES, round_up};

/// Shards beside the first, at most. They are asked first only while somebody keeps the locks of
/// all before them, so this bounds nothing but how many may be kept at a time for nobody to wait.
pub(super) const FURTHER: usize = 3;

/// Bytes of addresses for one further shard.
const SHARD_BYTES: usize = match round_up(size_of::<Shard>(), PAGE_BYTES) {
    Some(bytes) => bytes,
    None => unreachable!(),
};

/// The shards by their numbers; zeroed memory is the first one without segments.
///
/// A record of a shard takes seven pages, so those that nobody ever needs are not there.
#[derive(Debug)]
pub(super) struct Shards {
    first: Shard,
    /// Those that were made, in their order, then nulls.
    further: [AtomicPtr<Shard>; FURTHER],
    /// Held by who makes one, and by a fork, for which there must be none that it does not know.
    making: Mutex<{ rank::SHARDS }, ()>,
}

impl Shards {
    pub(super) const fn new() -> Self {
        Shards {
            first: Shard::new(),
            further: [const { AtomicPtr::new(core::ptr::null_mut()) }; FURTHER],
            making: Mutex::new(()),
        }
    }

    #[inline]
    pub(super) fn first(&self) -> &Shard {
        &self.first
    }

    /// The shards that there are, in their order.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Shard> {
        (0..=FURTHER).map_while(|number| self.get(number))
    }

    #[inline]
    fn get(&self, number: usize) -> Option<&Shard> {
        match number.checked_sub(1) {
            None => Some(&self.first),
            Some(index) => {
                // Acquire pairs with the Release in `make`: a new record is seen zeroed.
                let record = self.further.get(index)?.load(Acquire);
                // SAFETY: null, or a record that is unmapped only when the page heap ends.
                unsafe { record.as_ref() }
            }
        }
    }

    /// The shard that a span belongs to.
    pub(super) fn of(&self, span: SpanPtr) -> &Shard {
        // There is one of each number that a segment has.
        self.get(span.segment().shard()).unwrap_or(&self.first)
    }

    /// The first shard after the first whose lock is to be had, and its number; one that is made for
    /// it, if need be.
    pub(super) fn lock_further<S: PageSource>(
        &self,
        source: &CountedSource<S>,
    ) -> Option<(usize, SpansGuard<'_>)> {
        for number in 1..=FURTHER {
            if self.get(number).is_none() {
                self.make(number, source)?;
            }
            if let Some(spans) = self.get(number)?.lock_unless_stalled() {
                return Some((number, spans));
            }
        }
        None
    }

    /// Makes a record; `None` where somebody else does, a fork is on its way, or memory is refused.
    #[cold]
    pub(super) fn make<S: PageSource>(
        &self,
        number: usize,
        source: &CountedSource<S>,
    ) -> Option<()> {
        let record = self.further.get(number - 1)?;
        let _making = self.making.try_lock()?;
        if record.load(Relaxed).is_null() {
            let shard = source.map(SHARD_BYTES, PAGE_BYTES)?;
            source.limits().count_resident(SHARD_BYTES);
            // Release pairs with the Acquire of who looks for it.
            record.store(shard.cast().as_ptr(), Release);
        }
        Some(())
    }

    /// Takes the locks of all shards, in their order; none is made while they are held.
    pub(super) fn lock_all(&self) -> AllShards<'_> {
        let making = self.making.lock();
        let first = self.first.lock();
        let mut further = [const { None }; FURTHER];
        for (place, shard) in further.iter_mut().zip(self.iter().skip(1)) {
            *place = Some(shard.lock_beside());
        }
        AllShards { first, further, _making: making }
    }

    /// Takes the locks for a fork.
    pub(super) fn hold_for_fork(&self) {
        self.making.hold_for_fork();
        self.iter().for_each(Shard::hold_for_fork);
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`].
    pub(super) unsafe fn release_after_fork(&self) {
        for shard in self.iter() {
            // SAFETY: the caller's promise.
            unsafe { shard.release_after_fork() };
        }
        // SAFETY: as above.
        unsafe { self.making.release_after_fork() };
    }

    /// Bytes of the records that were made.
    pub(super) fn metadata_bytes(&self) -> usize {
        (self.iter().count() - 1) * SHARD_BYTES
    }

    /// Gives the records that were made back.
    ///
    /// # Safety
    ///
    /// Nobody uses the shards any more, and they were made from `source`.
    pub(super) unsafe fn unmap<S: PageSource>(&self, source: &CountedSource<S>) {
        for record in &self.further {
            if let Some(shard) = NonNull::new(record.swap(core::ptr::null_mut(), Relaxed)) {
                // SAFETY: mapped in `make` with this size; the caller says nobody uses it.
                unsafe { source.unmap(shard.cast(), SHARD_BYTES) };
                source.limits().subtract_resident(SHARD_BYTES);
            }
        }
    }
}

/// The free spans of all shards, under their locks.
pub(super) struct AllShards<'heap> {
    first: SpansGuard<'heap>,
    further: [Option<SpansGuard<'heap>>; FURTHER],
    _making: crate::lock::MutexGuard<'heap, { rank::SHARDS }, ()>,
}

impl<'heap> AllShards<'heap> {
    /// Those of each shard, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &SpansGuard<'heap>> {
        core::iter::once(&self.first).chain(self.further.iter().flatten())
    }
}
