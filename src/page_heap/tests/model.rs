//! The page heap against a set of intervals, under actions in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::shards::{SHARDS, while_kept};
use super::source::CoarseSource;
use super::{
    PAGE_BYTES, PageHeap, TestSource, ZERO_PAGE, address, bytes_of, fill, holds, pages, with_heap,
};
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_BYTES, SEGMENT_PAGES};
use crate::span::{SpanKind, SpanPtr};

#[derive(Clone, Debug)]
enum Action {
    Take { count: usize, align: usize },
    Free { chosen: Index },
    Grow { chosen: Index, more: usize },
    Shrink { chosen: Index, less: usize },
    EndPeriod,
    Purge,
}

/// An action, and how many shards somebody keeps meanwhile.
type Step = (Action, usize);

fn actions() -> impl Strategy<Value = Vec<Step>> {
    let count = prop_oneof![12 => 1..16_usize, 4 => 16..128_usize, 1 => 128..=SEGMENT_PAGES];
    let align = prop_oneof![4 => Just(1_usize), 1 => (1..=9_u32).prop_map(|shift| 1 << shift)];
    let action = prop_oneof![
        12 => (count, align).prop_map(|(count, align)| Action::Take { count, align }),
        8 => any::<Index>().prop_map(|chosen| Action::Free { chosen }),
        2 => (any::<Index>(), 1..64_usize)
            .prop_map(|(chosen, more)| Action::Grow { chosen, more }),
        2 => (any::<Index>(), 1..64_usize)
            .prop_map(|(chosen, less)| Action::Shrink { chosen, less }),
        2 => Just(Action::EndPeriod),
        1 => Just(Action::Purge),
    ];
    let kept = prop_oneof![3 => Just(0_usize), 1 => 1..SHARDS];
    prop::collection::vec((action, kept), 1..100)
}

/// A span in use, and the byte that its pages were filled with.
struct Held {
    span: SpanPtr,
    count: usize,
    byte: u8,
}

impl Held {
    fn verify(&self) {
        assert_eq!((self.span.kind(), self.span.pages()), (SpanKind::Large, pages(self.count)));
        assert!(holds(bytes_of(&self.span), &[self.byte; PAGE_BYTES]), "somebody else wrote here");
    }
}

/// The page heap, and what it should have out.
struct Pair<'heap, S> {
    heap: &'heap PageHeap<S>,
    held: Vec<Held>,
    /// The start of each range in use, and its end.
    ranges: BTreeMap<usize, usize>,
    next_byte: u8,
}

impl<S: PageSource> Pair<'_, S> {
    fn apply(&mut self, (action, kept): &Step) {
        let heap = self.heap;
        match action {
            // What these do waits for locks.
            Action::Shrink { .. } | Action::EndPeriod | Action::Purge => self.act(action),
            _ => while_kept(heap, *kept, || self.act(action)),
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Take { count, align } => self.take(*count, *align),
            Action::EndPeriod => {
                self.heap.end_period();
            }
            Action::Purge => self.purge(),
            _ if self.held.is_empty() => {}
            Action::Free { chosen } => self.free(chosen.index(self.held.len())),
            Action::Grow { chosen, more } => self.grow(chosen.index(self.held.len()), *more),
            Action::Shrink { chosen, less } => self.shrink(chosen.index(self.held.len()), *less),
        }
    }

    fn take(&mut self, count: usize, align: usize) {
        let align = if count + align - 1 > SEGMENT_PAGES { 1 } else { align };
        let taken = self.heap.take(pages(count), align * PAGE_BYTES, SpanKind::Large).unwrap();
        assert_eq!(address(taken.span) % (align * PAGE_BYTES), 0);
        assert_eq!(taken.span.pages(), pages(count));
        let is_zero = !taken.is_zeroed || holds(bytes_of(&taken.span), &ZERO_PAGE);
        assert!(is_zero, "said to be zero");
        self.enter(taken.span, count);
        // Never zero: a page wrongly said to be zero must show.
        self.next_byte = self.next_byte % 250 + 1;
        fill(taken.span, self.next_byte);
        self.held.push(Held { span: taken.span, count, byte: self.next_byte });
    }

    fn free(&mut self, index: usize) {
        let held = self.held.swap_remove(index);
        held.verify();
        self.ranges.remove(&address(held.span));
        self.heap.free(held.span);
    }

    fn grow(&mut self, index: usize, more: usize) {
        let held = &mut self.held[index];
        let (span, before) = (held.span, held.count);
        let Some(is_zeroed) = self.heap.grow(span, pages(before + more)) else { return };
        let grown = &bytes_of(&span)[before * PAGE_BYTES..];
        assert!(!is_zeroed || holds(grown, &ZERO_PAGE), "said to be zero");
        held.count += more;
        fill(span, held.byte);
        self.ranges.remove(&address(span));
        self.enter(span, before + more);
    }

    fn shrink(&mut self, index: usize, less: usize) {
        let held = &mut self.held[index];
        if less < held.count {
            held.count -= less;
            self.heap.shrink(held.span, pages(held.count));
            let end = address(held.span) + held.count * PAGE_BYTES;
            self.ranges.insert(address(held.span), end);
        }
    }

    fn purge(&mut self) {
        self.heap.purge_all();
        let stats = self.heap.stats();
        if self.heap.source().granularity_bytes() == PAGE_BYTES {
            assert_eq!(stats.dirty_bytes, 0);
        }
        let mut used: Vec<_> = self.ranges.keys().map(|start| start / SEGMENT_BYTES).collect();
        used.dedup();
        assert_eq!(stats.segment_count, used.len(), "the segments with a page in use");
    }

    /// Enters a range, which must lie in one segment of the heap and apart from all others.
    fn enter(&mut self, span: SpanPtr, count: usize) {
        let (start, end) = (address(span), address(span) + count * PAGE_BYTES);
        let below = self.ranges.range(..end).next_back();
        assert!(below.is_none_or(|(_, below_end)| *below_end <= start), "spans overlap");
        let (first, last) = (self.heap.segment_of(start), self.heap.segment_of(end - 1));
        assert!(first.is_some() && first == last, "a span lies in one segment");
        self.ranges.insert(start, end);
    }

    fn check(&self) {
        self.heap.check();
        let stats = self.heap.stats();
        let used_pages: usize = self.held.iter().map(|held| held.count).sum();
        assert_eq!(stats.active_bytes, used_pages * PAGE_BYTES);
        let free_bytes = stats.dirty_bytes + stats.retained_bytes;
        assert_eq!(stats.active_bytes + free_bytes, stats.segment_count * SEGMENT_BYTES);
    }
}

fn run<S: PageSource>(source: S, actions: &[Step]) {
    with_heap(source, |heap| {
        let mut pair = Pair { heap, held: Vec::new(), ranges: BTreeMap::new(), next_byte: 0 };
        for action in actions {
            pair.apply(action);
            pair.check();
        }
        while !pair.held.is_empty() {
            pair.free(0);
        }
        pair.check();
        heap.purge_all();
        assert_eq!(heap.stats().segment_count, 0, "an empty heap holds no segment");
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_time: 20_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn spans_never_overlap_and_are_zero_where_they_are_said_to_be(actions in actions()) {
        run(TestSource::new(), &actions);
    }

    #[test]
    fn the_same_holds_where_the_kernel_has_pages_of_16_kib(actions in actions()) {
        run(CoarseSource::<4>(TestSource::new()), &actions);
    }

    #[test]
    fn the_same_holds_where_the_kernel_has_pages_of_64_kib(actions in actions()) {
        run(CoarseSource::<16>(TestSource::new()), &actions);
    }
}
