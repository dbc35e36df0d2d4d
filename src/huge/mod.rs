//! Huge allocations: a mapping each, grown without copying, found by address.
//!
//! A freed mapping waits in a small cache for the next request of about its length, because
//! mapping, faulting and unmapping megabytes costs far more than keeping a few of them.

mod table;

use core::ptr::NonNull;

use crate::counted_source::CountedSource;
use crate::lock::{Mutex, rank};
use crate::metadata::Metadata;
use crate::page_source::PageSource;
use crate::units::{PAGE_BYTES, round_up};
use table::{CHAINS, Freed, Mapping, Record, RecordPtr, Table, chain_of};

pub(crate) use table::CACHED_MAX;

/// Every huge allocation, and freed mappings kept for reuse.
#[derive(Debug)]
pub(crate) struct Huge {
    table: Mutex<{ rank::HUGE }, Table>,
}

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
        Huge { table: Mutex::new(Table::new()) }
    }

    /// Allocates `size` bytes at a multiple of `align`; `None` where the source refuses.
    pub(crate) fn alloc<S: PageSource>(
        &self,
        supply: &HugeSupply<'_, S>,
        size: usize,
        align: usize,
    ) -> Option<HugeBlock> {
        let bytes = round_up(size.max(1), PAGE_BYTES)?;
        if let Some(base) = self.table.lock().reuse(bytes, align) {
            return Some(HugeBlock { base, is_zeroed: false });
        }
        let record = supply.take_record()?;
        let Some(mapping) = supply.map(bytes, align) else {
            supply.give_record(record);
            return None;
        };
        self.table.lock().insert(record, mapping);
        Some(HugeBlock { base: mapping.base, is_zeroed: true })
    }

    /// Frees the huge allocation of `size` bytes at `base`; `false` where there is none.
    pub(crate) fn dealloc<S: PageSource>(
        &self,
        supply: &HugeSupply<'_, S>,
        base: NonNull<u8>,
        size: usize,
    ) -> bool {
        let asked_bytes = round_up(size.max(1), PAGE_BYTES);
        let freed = {
            let mut table = self.table.lock();
            if table.find(base).map(|mapping| mapping.asked_bytes) != asked_bytes {
                return false;
            }
            let Some((record, mapping)) = table.remove(base) else { return false };
            let freed = Freed { record, mapping };
            if table.keep(freed) { None } else { Some(freed) }
        };
        if let Some(freed) = freed {
            // SAFETY: the mapping was one allocation's, which is free and off the table.
            unsafe { supply.release(freed) };
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

    /// Ages the mappings kept for reuse: a period of decay is over.
    pub(crate) fn age(&self) {
        for freed in self.table.lock().cached.iter_mut().flatten() {
            freed.mapping.age = freed.mapping.age.saturating_add(1);
        }
    }

    /// Unmaps one of the mappings kept for reuse that is of at least this age; answers its bytes.
    pub(crate) fn release_one<S: PageSource>(
        &self,
        supply: &HugeSupply<'_, S>,
        age: u8,
    ) -> Option<usize> {
        let freed = self.table.lock().take_cached_aged(age)?;
        // SAFETY: the mapping was kept, so nobody uses it, and the table just forgot it.
        unsafe { supply.release(freed) };
        Some(freed.mapping.bytes)
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
        while self.release_one(supply, 0).is_some() {}
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
                // SAFETY: the caller gives the allocation up.
                unsafe { supply.release(Freed { record, mapping }) };
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
        let cached_bytes: usize =
            table.cached.iter().flatten().map(|freed| freed.mapping.bytes).sum();
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

    /// Unmaps a mapping and gives its record back.
    ///
    /// # Safety
    ///
    /// The mapping is whole and nobody uses it any more; the record is off every chain.
    unsafe fn release(&self, freed: Freed) {
        let Freed { record, mapping } = freed;
        self.give_record(record);
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

#[cfg(test)]
mod tests;
