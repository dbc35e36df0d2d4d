//! Blocks out of a bin: from its depot, its slabs, or slabs cut for it.

use super::super::bin_cell::StateGuard;
use super::{BinContext, Refill, SLAB_BATCH, SlabBatch, note_lock};
use crate::page_source::PageSource;
use crate::slab::Slab;
use crate::span::SpanKind;

/// Bytes of slabs cut at once to fill a batch.
const CUT_BYTES_MAX: usize = 64 * 1024;

impl<S: PageSource> BinContext<'_, S> {
    /// Fills `into` with free blocks, lowest addresses first, as far as there are any.
    pub(crate) fn refill(&self, into: &mut [*mut u8]) -> Refill {
        let (state, contended) = self.lock();
        self.refill_locked(state, contended, into)
    }

    /// The same, unless somebody has the lock for longer than a moment.
    pub(crate) fn try_refill(&self, into: &mut [*mut u8]) -> Option<Refill> {
        let (mut state, contended) = self.bin.lock_soon(self.class)?;
        note_lock(&mut state, contended);
        Some(self.refill_locked(state, contended, into))
    }

    /// The same, unless somebody has the lock.
    pub(crate) fn try_refill_now(&self, into: &mut [*mut u8]) -> Option<Refill> {
        let mut state = self.bin.try_lock(self.class)?;
        note_lock(&mut state, false);
        Some(self.refill_locked(state, false, into))
    }

    /// The same as [`refill`](Self::refill), unless somebody keeps the lock for longer than work takes.
    pub(crate) fn refill_unless_stalled(&self, into: &mut [*mut u8]) -> Option<Refill> {
        let mut state = self.bin.lock_unless_stalled(self.class)?;
        note_lock(&mut state, true);
        Some(self.refill_locked(state, true, into))
    }

    /// Fills `into` from slabs cut for it, and leaves those for whoever takes the lock next: no bin is
    /// waited for. Only for an arena that does not close.
    #[cold]
    pub(crate) fn refill_apart(&self, into: &mut [*mut u8]) -> usize {
        let (slabs, slab_count) = self.cut_slabs(into.len());
        let mut count = 0;
        for span in slabs[..slab_count].iter().flatten() {
            let slab = Slab::from_span(*span);
            count += slab.take(self.class.shape(), &mut into[count..]);
            self.bin.leave(slab);
        }
        count
    }

    fn refill_locked<'bin>(
        &'bin self,
        mut state: StateGuard<'bin>,
        contended: bool,
        into: &mut [*mut u8],
    ) -> Refill {
        if state.is_closed {
            return Refill::Closed;
        }
        state.counts.refills += 1;
        let mut count = state.depot.take(self.class, into, self.budget);
        count += state.take_from_slabs(self.class, &mut into[count..]);
        if count == 0 {
            drop(state);
            return self.refill_from_new(contended, into);
        }
        self.tell_retouched(&mut state);
        Refill::Got { count, contended }
    }

    /// Fills `into` from new slabs, unless others came to have room meanwhile.
    fn refill_from_new(&self, contended: bool, into: &mut [*mut u8]) -> Refill {
        let (slabs, slab_count) = self.cut_slabs(into.len());
        let mut state = self.bin.lock(self.class);
        let is_closed = state.is_closed;
        let mut count = if is_closed { 0 } else { state.take_from_slabs(self.class, into) };
        let is_wanted = count == 0 && !is_closed;
        if is_wanted {
            state.link_new(&slabs[..slab_count]);
            count = state.take_from_slabs(self.class, into);
        }
        self.tell_retouched(&mut state);
        drop(state);
        if !is_wanted {
            self.free_slabs(&slabs[..slab_count]);
        }
        match count {
            _ if is_closed => Refill::Closed,
            0 => Refill::Refused,
            count => Refill::Got { count, contended },
        }
    }

    /// Cuts as many new slabs as `wanted` blocks need, or as can be had; answers how many.
    ///
    /// Without the bin's lock: who has to wait for pages should not make those wait who only
    /// want a block.
    fn cut_slabs(&self, wanted: usize) -> (SlabBatch, usize) {
        let shape = self.class.shape();
        let bytes_bound = (CUT_BYTES_MAX / shape.pages().bytes()).max(1);
        let slabs = wanted.div_ceil(shape.capacity as usize).min(bytes_bound).min(SLAB_BATCH);
        let mut spans = [None; SLAB_BATCH];
        let taken = self.page_heap.take_many(shape.pages(), SpanKind::Slab, &mut spans[..slabs]);
        for span in spans[..taken].iter().flatten() {
            Slab::cut(*span, self.class, self.arena);
        }
        (spans, taken)
    }
}
