//! Huge allocations: a mapping each, grown without copying, found by address.
//!
//! A freed mapping waits in a small cache for the next request of about its length, because
//! mapping, faulting and unmapping megabytes costs far more than keeping a few of them.

use core::ptr::NonNull;

use crate::counted_source::CountedSource;
use crate::lock::{Mutex, rank};
use crate::metadata::Metadata;
use crate::page_source::PageSource;
use crate::units::{PAGE_BYTES, round_up};

/// Chains of the table of mappings; the kernel's default limit is 65,530 mappings in all.
const CHAINS: usize = 1024;

/// Freed mappings kept, and the bytes of them, at most.
const CACHED_MAX: usize = 8;
const CACHED_BYTES_MAX: usize = 32 << 20;

/// Every huge allocation, and freed mappings kept for reuse.
#[derive(Debug)]
pub(crate) struct Huge {
    table: Mutex<{ rank::HUGE }, Table>,
}

#[derive(Debug)]
struct Table {
    chains: [Option<RecordPtr>; CHAINS],
    count: usize,
    used_bytes: usize,
    cached: [Option<Mapping>; CACHED_MAX],
    cached_bytes: usize,
}

/// A mapping that nobody uses, or one on its way between the table and the source.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    /// What its user asked for, in whole pages; less than `bytes` where a longer one was reused.
    asked_bytes: usize,
    /// Ends of decay's periods that it has waited through since it was freed.
    age: u8,
}

impl Mapping {
    fn holds(&self, address: NonNull<u8>) -> bool {
        address.addr().get().wrapping_sub(self.base.addr().get()) < self.bytes
    }
}

// A heap's memory is zeros at first: they have to mean that no mapping is kept.
const _: () = assert!(size_of::<Option<Mapping>>() == size_of::<Mapping>());

/// The record of one huge allocation.
#[derive(Debug)]
struct Record {
    mapping: Mapping,
    next: Option<RecordPtr>,
}

#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
struct RecordPtr(NonNull<Record>);

// SAFETY: records and mappings are used under the table's lock, or by their one user.
unsafe impl Send for RecordPtr {}
// SAFETY: as above.
unsafe impl Send for Mapping {}

/// What the huge allocations hold, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HugeStats {
    pub(crate) count: usize,
    pub(crate) used_bytes: usize,
    pub(crate) cached_bytes: usize,
}

/// A huge allocation just made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HugeBlock {
    pub(crate) base: NonNull<u8>,
    pub(crate) is_zeroed: bool,
}

/// Where huge allocations get their mappings and records.
#[derive(Debug)]
pub(crate) struct HugeSupply<'heap, S> {
    pub(crate) source: &'heap CountedSource<S>,
    pub(crate) metadata: &'heap Metadata,
}

impl Huge {
    pub(crate) const fn new() -> Self {
        Huge {
            table: Mutex::new(Table {
                chains: [None; CHAINS],
                count: 0,
                used_bytes: 0,
                cached: [None; CACHED_MAX],
                cached_bytes: 0,
            }),
        }
    }

    /// Allocates `size` bytes at a multiple of `align`; `None` where the source refuses.
    pub(crate) fn alloc<S: PageSource>(
        &self,
        supply: &HugeSupply<'_, S>,
        size: usize,
        align: usize,
    ) -> Option<HugeBlock> {
        let bytes = round_up(size.max(1), PAGE_BYTES)?;
        let record = supply.take_record()?;
        let cached = self.table.lock().take_cached(bytes, align);
        let (mapping, is_zeroed) = match cached {
            Some(mapping) => (Mapping { asked_bytes: bytes, ..mapping }, false),
            None => match supply.map(bytes, align) {
                Some(mapping) => (mapping, true),
                None => {
                    supply.give_record(record);
                    return None;
                }
            },
        };
        self.table.lock().insert(record, mapping);
        Some(HugeBlock { base: mapping.base, is_zeroed })
    }

    /// Frees the huge allocation of `size` bytes at `base`; `false` where there is none.
    pub(crate) fn dealloc<S: PageSource>(
        &self,
        supply: &HugeSupply<'_, S>,
        base: NonNull<u8>,
        size: usize,
    ) -> bool {
        let asked_bytes = round_up(size.max(1), PAGE_BYTES);
        let removed = {
            let mut table = self.table.lock();
            if table.find(base).map(|mapping| mapping.asked_bytes) != asked_bytes {
                return false;
            }
            table.remove(base).map(|(record, mapping)| (record, mapping, table.keep(mapping)))
        };
        let Some((record, mapping, is_kept)) = removed else { return false };
        supply.give_record(record);
        if !is_kept {
            // SAFETY: the mapping was one allocation's, which is free and off the table.
            unsafe { supply.unmap(mapping) };
        }
        true
    }

    /// Bytes that the user of the huge allocation at `base` asked for, in whole pages.
    pub(crate) fn asked_bytes(&self, base: NonNull<u8>) -> Option<usize> {
        self.table.lock().find(base).map(|mapping| mapping.asked_bytes)
    }

    /// Bytes of the mapping at `base`, if there is a huge allocation.
    #[cfg(test)]
    pub(crate) fn mapped_bytes(&self, base: NonNull<u8>) -> Option<usize> {
        self.table.lock().find(base).map(|mapping| mapping.bytes)
    }

    /// Resizes the allocation at `base` without copying, moving it if need be.
    ///
    /// `None` where the source cannot; the allocation is then as it was. While the kernel moves
    /// it, the allocation is on no chain: its user is the caller, so nobody can ask for it.
    pub(crate) fn resize<S: PageSource>(
        &self,
        supply: &HugeSupply<'_, S>,
        base: NonNull<u8>,
        size: usize,
    ) -> Option<NonNull<u8>> {
        let bytes = round_up(size, PAGE_BYTES)?;
        let (record, mapping) = self.table.lock().remove(base)?;
        if mapping.bytes == bytes {
            self.table.lock().insert(record, Mapping { asked_bytes: bytes, ..mapping });
            return Some(base);
        }
        // SAFETY: the record holds a whole mapping, and its user, who called, holds no other
        // pointer to it that outlives this call.
        let moved = unsafe { supply.remap(mapping, bytes) };
        let now = moved.map_or(mapping, |base| Mapping { base, bytes, asked_bytes: bytes, age: 0 });
        self.table.lock().insert(record, now);
        moved
    }

    /// Unmaps the mappings kept for reuse; answers their bytes.
    pub(crate) fn release_cached<S: PageSource>(&self, supply: &HugeSupply<'_, S>) -> usize {
        let cached = self.table.lock().take_cached_aged(0);
        self.unmap(supply, &cached)
    }

    /// Ages the mappings kept for reuse, and unmaps those that waited through a whole period.
    pub(crate) fn age<S: PageSource>(&self, supply: &HugeSupply<'_, S>) -> usize {
        let old = {
            let mut table = self.table.lock();
            for mapping in table.cached.iter_mut().flatten() {
                mapping.age += 1;
            }
            table.take_cached_aged(2)
        };
        self.unmap(supply, &old)
    }

    fn unmap<S: PageSource>(
        &self,
        supply: &HugeSupply<'_, S>,
        cached: &[Option<Mapping>; CACHED_MAX],
    ) -> usize {
        let mut released_bytes = 0;
        for mapping in cached.iter().flatten() {
            // SAFETY: the mapping was kept, so nobody uses it, and the table just forgot it.
            unsafe { supply.unmap(*mapping) };
            released_bytes += mapping.bytes;
        }
        released_bytes
    }

    pub(crate) fn stats(&self) -> HugeStats {
        let table = self.table.lock();
        HugeStats {
            count: table.count,
            used_bytes: table.used_bytes,
            cached_bytes: table.cached_bytes,
        }
    }

    /// Takes the table's lock for a fork.
    pub(crate) fn hold_for_fork(&self) {
        self.table.hold_for_fork();
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`].
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.table.release_after_fork() };
    }

    /// Whether an address lies in a huge allocation.
    ///
    /// The start of one is found at once, another address by a walk over all of them.
    pub(crate) fn contains(&self, address: NonNull<u8>) -> bool {
        let table = self.table.lock();
        table.find(address).is_some() || table.mappings().any(|mapping| mapping.holds(address))
    }

    /// Unmaps every huge allocation, and the mappings kept for reuse.
    ///
    /// # Safety
    ///
    /// Nobody uses any of them any more.
    pub(crate) unsafe fn unmap_all<S: PageSource>(&self, supply: &HugeSupply<'_, S>) {
        self.release_cached(supply);
        for chain in 0..CHAINS {
            // Most heaps have few or none, and their tables' pages were never touched.
            if self.table.lock().count == 0 {
                return;
            }
            loop {
                let mut table = self.table.lock();
                let Some(first) = table.chains[chain] else { break };
                // SAFETY: records on a chain are valid.
                let base = unsafe { first.0.as_ref() }.mapping.base;
                let Some((record, mapping)) = table.remove(base) else { break };
                drop(table);
                supply.give_record(record);
                // SAFETY: the caller gives the allocation up.
                unsafe { supply.unmap(mapping) };
            }
        }
    }

    /// Stops the program where the table contradicts itself.
    pub(crate) fn check(&self) {
        let table = self.table.lock();
        let (mut count, mut used_bytes) = (0, 0);
        for (index, chain) in table.chains.iter().enumerate() {
            let mut next = *chain;
            while let Some(record) = next {
                // SAFETY: records on a chain are valid under the table's lock.
                let record = unsafe { record.0.as_ref() };
                ensure_eq!(chain_of(record.mapping.base), index, "a record is on another's chain");
                count += 1;
                used_bytes += record.mapping.bytes;
                next = record.next;
            }
        }
        ensure_eq!((count, used_bytes), (table.count, table.used_bytes), "huge allocations");
        let cached_bytes: usize = table.cached.iter().flatten().map(|mapping| mapping.bytes).sum();
        ensure_eq!(cached_bytes, table.cached_bytes, "huge mappings kept");
    }
}

impl<S: PageSource> HugeSupply<'_, S> {
    /// Maps, counted as resident in full: who asks for memory is taken to mean it.
    fn map(&self, bytes: usize, align: usize) -> Option<Mapping> {
        let limits = self.source.limits();
        if !self.source.add_resident(bytes) {
            return None;
        }
        let Some(base) = self.source.map(bytes, align.max(PAGE_BYTES)) else {
            limits.subtract_resident(bytes);
            return None;
        };
        Some(Mapping { base, bytes, asked_bytes: bytes, age: 0 })
    }

    /// # Safety
    ///
    /// The mapping is whole and nobody uses it any more.
    unsafe fn unmap(&self, mapping: Mapping) {
        // SAFETY: the caller's promise.
        unsafe { self.source.unmap(mapping.base, mapping.bytes) };
        self.source.limits().subtract_resident(mapping.bytes);
    }

    /// # Safety
    ///
    /// The mapping is whole, and after `Some` nobody uses its old address.
    unsafe fn remap(&self, mapping: Mapping, bytes: usize) -> Option<NonNull<u8>> {
        let limits = self.source.limits();
        let more_bytes = bytes.saturating_sub(mapping.bytes);
        if !self.source.add_resident(more_bytes) {
            return None;
        }
        // SAFETY: the caller's promise.
        let moved = unsafe { self.source.remap(mapping.base, mapping.bytes, bytes) };
        match moved {
            Some(_) => limits.subtract_resident(mapping.bytes.saturating_sub(bytes)),
            None => limits.subtract_resident(more_bytes),
        }
        moved
    }

    fn take_record(&self) -> Option<RecordPtr> {
        self.metadata.take(self.source, size_of::<Record>()).map(|record| RecordPtr(record.cast()))
    }

    fn give_record(&self, record: RecordPtr) {
        // SAFETY: taken by `take_record` and off every chain.
        unsafe { self.metadata.give(self.source, record.0.cast(), size_of::<Record>()) };
    }
}

fn chain_of(base: NonNull<u8>) -> usize {
    // Neighbouring mappings differ in their low page bits, mappings of one length in higher ones;
    // Fibonacci hashing spreads both.
    let page = (base.addr().get() / PAGE_BYTES) as u64;
    (page.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - CHAINS.trailing_zeros())) as usize
}

impl Table {
    fn insert(&mut self, record: RecordPtr, mapping: Mapping) {
        let chain = chain_of(mapping.base);
        // SAFETY: the record is metadata of a record's size that nobody else has.
        unsafe { record.0.write(Record { mapping, next: self.chains[chain] }) };
        self.chains[chain] = Some(record);
        self.count += 1;
        self.used_bytes += mapping.bytes;
    }

    fn find(&self, base: NonNull<u8>) -> Option<Mapping> {
        let mut next = self.chains[chain_of(base)];
        while let Some(record) = next {
            // SAFETY: records on a chain are valid under the table's lock.
            let record = unsafe { record.0.as_ref() };
            if record.mapping.base == base {
                return Some(record.mapping);
            }
            next = record.next;
        }
        None
    }

    fn mappings(&self) -> impl Iterator<Item = Mapping> + '_ {
        let chains = if self.count == 0 { &[][..] } else { &self.chains[..] };
        // SAFETY: records on a chain are valid under the table's lock, which the borrow keeps.
        let record = |record: RecordPtr| unsafe { record.0.as_ref() };
        let chain = move |first: &Option<RecordPtr>| {
            core::iter::successors(first.map(record), move |last| last.next.map(record))
        };
        chains.iter().flat_map(chain).map(|record| record.mapping)
    }

    fn remove(&mut self, base: NonNull<u8>) -> Option<(RecordPtr, Mapping)> {
        let chain = chain_of(base);
        let mut previous: Option<RecordPtr> = None;
        let mut next = self.chains[chain];
        while let Some(record) = next {
            // SAFETY: records on a chain are valid, and the lock makes this the only access.
            let Record { mapping, next: after } = unsafe { record.0.read() };
            if mapping.base != base {
                previous = Some(record);
                next = after;
                continue;
            }
            match previous {
                // SAFETY: as above.
                Some(mut previous) => unsafe { previous.0.as_mut() }.next = after,
                None => self.chains[chain] = after,
            }
            self.count -= 1;
            self.used_bytes -= mapping.bytes;
            return Some((record, mapping));
        }
        None
    }

    /// Takes out a kept mapping that is long enough, aligned, and at most an eighth too long.
    fn take_cached(&mut self, bytes: usize, align: usize) -> Option<Mapping> {
        let fits = |mapping: &Mapping| {
            mapping.bytes >= bytes
                && mapping.bytes - bytes <= bytes / 8
                && mapping.base.addr().get().is_multiple_of(align)
        };
        let slot = self.cached.iter_mut().find(|slot| slot.as_ref().is_some_and(fits))?;
        let mapping = slot.take()?;
        self.cached_bytes -= mapping.bytes;
        Some(mapping)
    }

    /// Keeps a mapping for reuse, if there is room.
    fn keep(&mut self, mapping: Mapping) -> bool {
        if self.cached_bytes + mapping.bytes > CACHED_BYTES_MAX {
            return false;
        }
        let Some(slot) = self.cached.iter_mut().find(|slot| slot.is_none()) else { return false };
        *slot = Some(Mapping { age: 0, ..mapping });
        self.cached_bytes += mapping.bytes;
        true
    }

    /// Takes out the kept mappings of at least this age.
    fn take_cached_aged(&mut self, age: u8) -> [Option<Mapping>; CACHED_MAX] {
        let mut taken = [None; CACHED_MAX];
        for (slot, taken) in self.cached.iter_mut().zip(&mut taken) {
            *taken = slot.take_if(|mapping| mapping.age >= age);
            self.cached_bytes -= taken.map_or(0, |mapping| mapping.bytes);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_source::TestSource;

    const SIZE: usize = 3 << 20;

    #[test]
    fn found_freed_kept_and_reused() {
        let source = CountedSource::new(TestSource::new());
        let metadata = Metadata::new();
        let supply = HugeSupply { source: &source, metadata: &metadata };
        let huge = Huge::new();
        let first = huge.alloc(&supply, SIZE + 1, 1).unwrap();
        assert!(first.is_zeroed);
        assert_eq!(huge.mapped_bytes(first.base), Some(SIZE + PAGE_BYTES));
        assert!(huge.dealloc(&supply, first.base, SIZE + 1));
        assert!(!huge.dealloc(&supply, first.base, SIZE + 1), "freed twice");
        huge.check();
        let again = huge.alloc(&supply, SIZE, 1).unwrap();
        assert_eq!((again.base, again.is_zeroed), (first.base, false));
        assert!(huge.dealloc(&supply, again.base, SIZE));
        assert_eq!(huge.release_cached(&supply), SIZE + PAGE_BYTES);
        metadata.release_empty(&source);
        assert_eq!(source.mapped_bytes(), 0);
    }

    #[test]
    fn more_than_is_kept_goes_back_at_once() {
        let source = CountedSource::new(TestSource::new());
        let metadata = Metadata::new();
        let supply = HugeSupply { source: &source, metadata: &metadata };
        let huge = Huge::new();
        let blocks: Vec<_> =
            (0..20).map(|_| huge.alloc(&supply, SIZE, 1 << 21).unwrap().base).collect();
        huge.check();
        for block in blocks {
            assert_eq!(block.addr().get() % (1 << 21), 0);
            assert!(huge.dealloc(&supply, block, SIZE));
        }
        let stats = huge.stats();
        assert_eq!((stats.count, stats.used_bytes), (0, 0));
        assert!(stats.cached_bytes <= CACHED_BYTES_MAX);
        huge.release_cached(&supply);
        metadata.release_empty(&source);
        assert_eq!(source.mapped_bytes(), 0);
    }

    #[test]
    fn overflow_and_refusal_give_none() {
        let source = CountedSource::new(TestSource::failing_after(1));
        let metadata = Metadata::new();
        let supply = HugeSupply { source: &source, metadata: &metadata };
        let huge = Huge::new();
        assert!(huge.alloc(&supply, usize::MAX - 1, 1).is_none());
        assert!(huge.alloc(&supply, SIZE, 1).is_none());
        huge.check();
        metadata.release_empty(&source);
    }
}
