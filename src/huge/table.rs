//! The table of huge allocations by address, and the freed mappings kept for the next.

use core::ptr::NonNull;

use crate::units::PAGE_BYTES;

/// Chains of the table of mappings; the kernel's default limit is 65,530 mappings in all.
pub(super) const CHAINS: usize = 1024;

/// Freed mappings kept, and the bytes of them, at most.
pub(crate) const CACHED_MAX: usize = 8;
pub(super) const CACHED_BYTES_MAX: usize = 32 << 20;

#[derive(Debug)]
pub(super) struct Table {
    pub(super) chains: [Option<RecordPtr>; CHAINS],
    pub(super) count: usize,
    pub(super) used_bytes: usize,
    pub(super) cached: [Option<Freed>; CACHED_MAX],
    pub(super) cached_bytes: usize,
}

/// A mapping that nobody uses, or one on its way between the table and the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    pub(super) base: NonNull<u8>,
    pub(super) bytes: usize,
    /// What its user asked for, in whole pages; less than `bytes` where a longer one was reused.
    pub(super) asked_bytes: usize,
    /// Ends of decay's periods that it has waited through since it was freed.
    pub(super) age: u8,
}

impl Mapping {
    pub(super) fn holds(&self, address: NonNull<u8>) -> bool {
        address.addr().get().wrapping_sub(self.base.addr().get()) < self.bytes
    }
}

/// A mapping that was freed, with the record that it had and that its next user needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freed {
    pub(super) record: RecordPtr,
    pub(super) mapping: Mapping,
}

// A heap's memory is zeros at first: they have to mean that no mapping is kept.
// SAFETY: the compiler makes the value, and refuses where zeros are none.
const _: () = assert!(unsafe { core::mem::zeroed::<Option<Freed>>() }.is_none());

/// The record of one huge allocation.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) mapping: Mapping,
    pub(super) next: Option<RecordPtr>,
}

#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordPtr(pub(super) NonNull<Record>);

// SAFETY: records and mappings are used under the table's lock, or by their one user.
unsafe impl Send for RecordPtr {}
// SAFETY: as above.
unsafe impl Send for Mapping {}

pub(super) fn chain_of(base: NonNull<u8>) -> usize {
    // Neighbouring mappings differ in their low page bits, mappings of one length in higher ones;
    // Fibonacci hashing spreads both.
    let page = (base.addr().get() / PAGE_BYTES) as u64;
    (page.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - CHAINS.trailing_zeros())) as usize
}

impl Table {
    pub(super) const fn new() -> Self {
        Table {
            chains: [None; CHAINS],
            count: 0,
            used_bytes: 0,
            cached: [None; CACHED_MAX],
            cached_bytes: 0,
        }
    }

    pub(super) fn insert(&mut self, record: RecordPtr, mapping: Mapping) {
        let chain = chain_of(mapping.base);
        // SAFETY: the record is metadata of a record's size that nobody else has.
        unsafe { record.0.write(Record { mapping, next: self.chains[chain] }) };
        self.chains[chain] = Some(record);
        self.count += 1;
        self.used_bytes += mapping.bytes;
    }

    pub(super) fn find(&self, base: NonNull<u8>) -> Option<Mapping> {
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

    pub(super) fn mappings(&self) -> impl Iterator<Item = Mapping> + '_ {
        let chains = if self.count == 0 { &[][..] } else { &self.chains[..] };
        // SAFETY: records on a chain are valid under the table's lock, which the borrow keeps.
        let record = |record: RecordPtr| unsafe { record.0.as_ref() };
        let chain = move |first: &Option<RecordPtr>| {
            core::iter::successors(first.map(record), move |last| last.next.map(record))
        };
        chains.iter().flat_map(chain).map(|record| record.mapping)
    }

    pub(super) fn remove(&mut self, base: NonNull<u8>) -> Option<(RecordPtr, Mapping)> {
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

    /// Makes a kept mapping that is long enough, aligned, and at most an eighth too long an
    /// allocation again; answers where it is.
    pub(super) fn reuse(&mut self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let fits = |Freed { mapping, .. }: &Freed| {
            mapping.bytes >= bytes
                && mapping.bytes - bytes <= bytes / 8
                && mapping.base.addr().get().is_multiple_of(align)
        };
        let slot = self.cached.iter_mut().find(|slot| slot.as_ref().is_some_and(fits))?;
        let Freed { record, mapping } = slot.take()?;
        self.cached_bytes -= mapping.bytes;
        self.insert(record, Mapping { asked_bytes: bytes, ..mapping });
        Some(mapping.base)
    }

    /// Keeps a mapping for reuse, if there is room.
    pub(super) fn keep(&mut self, freed: Freed) -> bool {
        let Freed { record, mapping } = freed;
        if self.cached_bytes + mapping.bytes > CACHED_BYTES_MAX {
            return false;
        }
        let Some(slot) = self.cached.iter_mut().find(|slot| slot.is_none()) else { return false };
        *slot = Some(Freed { record, mapping: Mapping { age: 0, ..mapping } });
        self.cached_bytes += mapping.bytes;
        true
    }

    /// Takes out one of the kept mappings of at least this age.
    pub(super) fn take_cached_aged(&mut self, age: u8) -> Option<Freed> {
        let is_due = |freed: &mut Freed| freed.mapping.age >= age;
        let taken = self.cached.iter_mut().find_map(|slot| slot.take_if(is_due))?;
        self.cached_bytes -= taken.mapping.bytes;
        Some(taken)
    }
}
