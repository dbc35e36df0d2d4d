//! The page heap by its promises: where spans lie, what is known of them, and what goes back.

mod model;
mod placement;
mod purge;
mod resize;
mod runs;
mod shards;
mod source;
mod span_heap;

use super::{PageHeap, Taken};
use crate::page_source::PageSource;
use crate::span::{SpanKind, SpanPtr};
use crate::test_source::TestSource;
use crate::units::{PAGE_BYTES, Pages};

/// A page's worth of one byte: comparing with it is one `memcmp`, quick in a debug build too.
type PageImage = [u8; PAGE_BYTES];

static ZERO_PAGE: PageImage = [0; PAGE_BYTES];

/// Runs a test on a heap of its own, and gives the heap back: a mapping left over fails the test.
fn with_heap<S: PageSource>(source: S, test: impl FnOnce(&PageHeap<S>)) {
    let heap = Box::new(PageHeap::new(source));
    test(&heap);
    heap.check();
    // SAFETY: the test is over, and nothing that it took is used any more.
    unsafe { heap.unmap_all() };
    assert_eq!(heap.source().limits().resident_bytes(), 0, "the limits count what is gone");
}

fn pages(count: usize) -> Pages {
    Pages::new(count as u32)
}

fn take_aligned<S: PageSource>(heap: &PageHeap<S>, count: usize, align_bytes: usize) -> Taken {
    heap.take(pages(count), align_bytes, SpanKind::Large).expect("the source refuses nothing")
}

fn take<S: PageSource>(heap: &PageHeap<S>, count: usize) -> SpanPtr {
    take_aligned(heap, count, PAGE_BYTES).span
}

/// Takes spans of these lengths from a fresh heap, where each lies right behind the one before.
fn take_row<S: PageSource, const N: usize>(heap: &PageHeap<S>, counts: [usize; N]) -> [SpanPtr; N] {
    let row = counts.map(|count| take(heap, count));
    for (pair, count) in row.windows(2).zip(counts) {
        assert_eq!(address(pair[0]) + count * PAGE_BYTES, address(pair[1]), "spans in a row");
    }
    row
}

/// Takes what is left of the first segment, so that the holes made later are all there is.
fn take_rest<S: PageSource>(heap: &PageHeap<S>) -> SpanPtr {
    let rest_bytes = heap.stats().retained_bytes;
    let rest = take(heap, rest_bytes / PAGE_BYTES);
    assert_eq!(heap.stats().segment_count, 1);
    rest
}

fn address(span: SpanPtr) -> usize {
    span.base().addr().get()
}

/// The pages of a span that is in use, as one slice.
fn bytes_of(span: &SpanPtr) -> &[u8] {
    // SAFETY: the span was taken, so its pages are the test's alone, and they are mapped and
    // initialised: the source's memory is zeroed.
    unsafe { core::slice::from_raw_parts(span.base().as_ptr(), span.pages().bytes()) }
}

fn fill(span: SpanPtr, byte: u8) {
    // SAFETY: the span was taken, so its pages are the test's to write.
    unsafe { span.base().write_bytes(byte, span.pages().bytes()) };
}

fn holds(bytes: &[u8], image: &PageImage) -> bool {
    bytes.chunks_exact(PAGE_BYTES).all(|page| page == image)
}
