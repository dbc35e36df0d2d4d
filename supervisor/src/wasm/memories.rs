//! The maker of linear memories.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use capmalloc::{Heap, Limit, Stats};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use super::account::lock;
use super::memory::HeapMemory;
use super::refusal::{MemoryRefused, RefusedBy};

/// Makes wasmtime's linear memories of a [`Heap`]'s blocks.
///
/// [`config`](super::config) sets wasmtime up to use one. A memory takes the bytes that it has and
/// no more: one of a page (64 KiB) is cut from the heap's segments of 4 MiB, one of more than 2 MiB
/// is a mapping of its own, which grows without being copied. Each is zero at first, and so is what
/// growth adds. A dropped one is free memory of the heap, which gives it back to the operating
/// system when it has decayed (see [`Heap::set_decay`]) or is trimmed.
///
/// Any number of engines, stores and threads may share one; a clone is the same. The heap lives for as long as this or
/// any of its memories does.
#[derive(Clone, Debug)]
pub struct HeapMemories {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    heap: Arc<Heap>,
    /// Relaxed, both: figures that guard nothing.
    count: AtomicUsize,
    size_bytes: AtomicUsize,
    last_refusal: Mutex<Option<MemoryRefused>>,
}

impl HeapMemories {
    /// Memories from this heap, whose limits are theirs.
    #[must_use]
    pub fn new(heap: Arc<Heap>) -> HeapMemories {
        let last_refusal = Mutex::new(None);
        let (count, size_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        HeapMemories { shared: Arc::new(Shared { heap, count, size_bytes, last_refusal }) }
    }

    /// The heap that they come from.
    #[must_use]
    pub fn heap(&self) -> &Arc<Heap> {
        &self.shared.heap
    }

    /// How many linear memories there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count.load(Relaxed)
    }

    /// Bytes of all of them together, touched or not.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.shared.size_bytes.load(Relaxed)
    }

    /// What was refused last to any of them, if something was.
    ///
    /// A guest sees only that `memory.grow` answered -1.
    #[must_use]
    pub fn last_refusal(&self) -> Option<MemoryRefused> {
        lock(&self.shared.last_refusal).clone()
    }

    pub(super) fn note_new(&self, bytes: usize) {
        self.shared.count.fetch_add(1, Relaxed);
        self.note_grown(bytes);
    }

    pub(super) fn note_grown(&self, bytes: usize) {
        self.shared.size_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn note_dropped(&self, bytes: usize) {
        self.shared.count.fetch_sub(1, Relaxed);
        self.shared.size_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Calls `attempt` for `asked_bytes` more than the `held_bytes` of a memory.
    ///
    /// Where it answers with nothing it is called once more, between two looks at what the heap's
    /// limits have refused so far, so as to know which of them it was.
    pub(super) fn ask(
        &self,
        held_bytes: usize,
        asked_bytes: usize,
        mut attempt: impl FnMut() -> Option<NonNull<u8>>,
    ) -> Result<NonNull<u8>, MemoryRefused> {
        if let Some(block) = attempt() {
            return Ok(block);
        }
        let before = self.heap().stats();
        if let Some(block) = attempt() {
            return Ok(block);
        }
        let after = self.heap().stats();
        let refusal = MemoryRefused {
            by: self.refused_by(&before, &after),
            held_bytes,
            asked_bytes,
            mapped_bytes: after.mapped_bytes,
            resident_bytes: after.resident_bytes,
        };
        *lock(&self.shared.last_refusal) = Some(refusal.clone());
        Err(refusal)
    }

    /// Which limit refused something in between.
    ///
    /// Another thread may have been refused something else at the same time. Both limits then did
    /// refuse, and the hard one, which is asked first for large requests, is named.
    fn refused_by(&self, before: &Stats, after: &Stats) -> RefusedBy {
        let needed_bytes = after.last_refused_bytes;
        let limit_of = |limit| self.heap().limit(limit).unwrap_or(usize::MAX);
        if after.hard_limit_refusals != before.hard_limit_refusals {
            RefusedBy::ResidentHardLimit {
                limit_bytes: limit_of(Limit::ResidentHard),
                needed_bytes,
            }
        } else if after.address_space_refusals != before.address_space_refusals {
            RefusedBy::AddressSpaceLimit {
                limit_bytes: limit_of(Limit::AddressSpace),
                needed_bytes,
            }
        } else {
            RefusedBy::OperatingSystem
        }
    }

    /// The layout of a memory of so many bytes; `None` where there is no such length.
    pub(super) fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes, capmalloc::PAGE_BYTES).ok()
    }
}

// SAFETY: a memory that `HeapMemory::new` makes is a live block of the heap that nobody else knows
// of, zeroed, of at least the minimum's length, and stays so until it is dropped (see there). No
// reservation and no guard is promised: where wasmtime counts on either, none is made.
unsafe impl MemoryCreator for HeapMemories {
    fn new_memory(
        &self,
        memory_type: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if reserved_size_in_bytes.unwrap_or(0) > 0 || guard_size_in_bytes > 0 {
            return Err(format!(
                "linear memories from a heap have no reservation and no guard, but the \
                 configuration asks for {} and {guard_size_in_bytes} bytes: start from \
                 `wasm::config` and leave both at zero",
                reserved_size_in_bytes.unwrap_or(0)
            ));
        }
        if memory_type.is_shared() {
            return Err("linear memories from a heap may move, so none can be shared".to_owned());
        }
        match HeapMemory::new(self.clone(), minimum) {
            Ok(memory) => Ok(Box::new(memory)),
            Err(refusal) => Err(refusal.to_string()),
        }
    }
}
