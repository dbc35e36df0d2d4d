//! Free spans of one state, by length: best fit, lowest address first.

use super::span_heap;
use crate::segment::SEGMENT_PAGES;
use crate::span::SpanPtr;
use crate::units::Pages;

const BUCKETS: usize = SEGMENT_PAGES + 1;
const WORDS: usize = BUCKETS.div_ceil(64);

/// One heap of spans, lowest address on top, for each length in pages.
#[derive(Debug)]
pub(super) struct FreeIndex {
    roots: [Option<SpanPtr>; BUCKETS],
    /// One bit for each length of which there is a span.
    occupied: [u64; WORDS],
    pages: Pages,
}

impl FreeIndex {
    pub(super) const fn new() -> Self {
        FreeIndex { roots: [None; BUCKETS], occupied: [0; WORDS], pages: Pages::ZERO }
    }

    /// Pages in all of the spans.
    pub(super) fn pages(&self) -> Pages {
        self.pages
    }

    pub(super) fn insert(&mut self, span: SpanPtr) {
        let length = span.pages().count();
        span.set_order(span.base().addr().get());
        self.roots[length] = span_heap::insert(self.roots[length], span);
        self.occupied[length / 64] |= 1 << (length % 64);
        self.pages += span.pages();
    }

    pub(super) fn remove(&mut self, span: SpanPtr) {
        let length = span.pages().count();
        let Some(root) = self.roots[length] else {
            debug_assert!(false, "a free span is missing from the index");
            return;
        };
        self.roots[length] = span_heap::remove(root, span);
        if self.roots[length].is_none() {
            self.occupied[length / 64] &= !(1 << (length % 64));
        }
        self.pages -= span.pages();
    }

    /// Takes out the shortest span of at least `pages`, of several the lowest.
    pub(super) fn take_fit(&mut self, pages: Pages) -> Option<SpanPtr> {
        let length = self.occupied_from(pages.count())?;
        let span = self.roots[length]?;
        self.remove(span);
        Some(span)
    }

    /// Takes out the longest span there is.
    pub(super) fn take_longest(&mut self) -> Option<SpanPtr> {
        let (word, bits) = self.occupied.iter().enumerate().rev().find(|(_, bits)| **bits != 0)?;
        let length = word * 64 + 63 - bits.leading_zeros() as usize;
        let span = self.roots[length]?;
        self.remove(span);
        Some(span)
    }

    /// The first length from `length` on of which there is a span.
    fn occupied_from(&self, length: usize) -> Option<usize> {
        let mut word = length / 64;
        let mut bits = *self.occupied.get(word)? & (u64::MAX << (length % 64));
        while bits == 0 {
            word += 1;
            bits = *self.occupied.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// Calls `visit` with every span; for checks, and so without allocating.
    pub(super) fn for_each(&self, mut visit: impl FnMut(SpanPtr)) {
        for root in self.roots.iter().flatten() {
            let mut next = Some(*root);
            while let Some(span) = next {
                visit(span);
                next = span_heap::next_in_walk(span);
            }
        }
    }
}
