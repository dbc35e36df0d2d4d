//! Page sources with a will of their own, and what the page heap makes of a refusal.

use core::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::{PageHeap, TestSource, pages, take, with_heap};
use crate::page_source::PageSource;
use crate::span::SpanKind;
use crate::units::PAGE_BYTES;

/// A source whose kernel has pages of `UNIT` of ours, and takes back nothing but whole ones.
#[derive(Debug)]
pub(super) struct CoarseSource<const UNIT: usize>(pub(super) TestSource);

// SAFETY: all memory is the inner source's, which keeps the contract.
unsafe impl<const UNIT: usize> PageSource for CoarseSource<UNIT> {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.0.map(bytes, align)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.0.unmap(base, bytes) };
    }

    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // A kernel would refuse the first, and round the second up over a neighbour's bytes.
        assert_eq!(base.addr().get() % (UNIT * PAGE_BYTES), 0, "a purge starts inside a unit");
        assert_eq!(bytes % (UNIT * PAGE_BYTES), 0, "a purge ends inside a unit");
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.0.purge(base, bytes) }
    }

    fn granularity_bytes(&self) -> usize {
        UNIT * PAGE_BYTES
    }
}

/// A source that gives pages back only once it is told to.
#[derive(Debug)]
pub(super) struct StubbornSource {
    inner: TestSource,
    pub(super) gives_back: AtomicBool,
}

impl StubbornSource {
    pub(super) fn new() -> Self {
        StubbornSource { inner: TestSource::new(), gives_back: AtomicBool::new(false) }
    }
}

// SAFETY: all memory is the inner source's, which keeps the contract; a refused purge does nothing.
unsafe impl PageSource for StubbornSource {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.inner.map(bytes, align)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.unmap(base, bytes) };
    }

    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller's promise is the one asked for.
        self.gives_back.load(SeqCst) && unsafe { self.inner.purge(base, bytes) }
    }
}

/// Descriptors, pages, and a leaf of the segment map.
const FIRST_SEGMENT_CALLS: usize = 3;

fn outstanding_bytes(heap: &PageHeap<TestSource>) -> usize {
    heap.source().inner().outstanding_bytes()
}

#[test]
fn a_segment_refused_at_any_step_leaves_nothing_behind() {
    for calls in 0..FIRST_SEGMENT_CALLS {
        with_heap(TestSource::failing_after(calls), |heap| {
            assert!(heap.take(pages(1), PAGE_BYTES, SpanKind::Large).is_none());
            heap.check();
            assert_eq!(outstanding_bytes(heap), 0, "left behind after {calls} calls");
            assert_eq!(heap.source().mapped_bytes(), 0);
            heap.source().inner().set_calls_left(usize::MAX);
            take(heap, 1);
        });
    }
}

#[test]
fn free_pages_serve_on_when_the_source_has_no_more() {
    with_heap(TestSource::failing_after(FIRST_SEGMENT_CALLS), |heap| {
        let spans: Vec<_> = (0..4).map(|_| take(heap, 256)).collect();
        assert!(heap.take(pages(1), PAGE_BYTES, SpanKind::Large).is_none());
        let mut refused = [None; 3];
        assert_eq!(heap.take_many(pages(1), SpanKind::Slab, &mut refused), 0);
        heap.check();
        heap.free(spans[2]);
        assert_eq!(take(heap, 256), spans[2]);
    });
}

#[test]
fn the_counts_say_what_is_mapped() {
    with_heap(TestSource::new(), |heap| {
        let first = take(heap, 1000);
        take(heap, 1000);
        assert_eq!(heap.source().mapped_bytes(), outstanding_bytes(heap));
        heap.free(first);
        heap.purge_all();
        let stats = heap.stats();
        assert_eq!((stats.segments_mapped, stats.segments_released), (2, 1));
        assert_eq!(heap.source().mapped_bytes(), outstanding_bytes(heap));
    });
}
