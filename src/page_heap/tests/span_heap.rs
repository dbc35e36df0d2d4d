//! The heap of spans against a sorted set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{TestSource, take, with_heap};
use crate::page_heap::span_heap;
use crate::segment::{SEGMENT_PAGES, SegmentPtr};
use crate::span::SpanPtr;

#[derive(Clone, Copy, Debug)]
enum Action {
    Insert(usize),
    Remove(usize),
    RemoveLowest,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    // Few distinct pages, so that most removals find theirs: roots, first children and siblings.
    let page = 0..200_usize;
    let action = prop_oneof![
        3 => page.clone().prop_map(Action::Insert),
        2 => page.prop_map(Action::Remove),
        1 => Just(Action::RemoveLowest),
    ];
    prop::collection::vec(action, 1..300)
}

/// The heap, and the set of page indices that it should hold.
struct Pair {
    segment: SegmentPtr,
    root: Option<SpanPtr>,
    model: BTreeSet<usize>,
}

impl Pair {
    fn apply(&mut self, action: Action) {
        match action {
            Action::Insert(page) if self.model.insert(page) => {
                let span = self.segment.span(page);
                span.set_order(span.base().addr().get());
                self.root = span_heap::insert(self.root, span);
            }
            Action::Remove(page) if self.model.remove(&page) => {
                let root = self.root.expect("the heap holds the page");
                self.root = span_heap::remove(root, self.segment.span(page));
            }
            Action::RemoveLowest => {
                self.model.pop_first();
                self.root = self.root.and_then(|root| span_heap::remove(root, root));
            }
            Action::Insert(_) | Action::Remove(_) => {}
        }
    }

    fn check(&self) {
        let lowest = self.root.map(SpanPtr::page_index);
        assert_eq!(lowest, self.model.first().copied(), "the lowest is on top");
        let walk = core::iter::successors(self.root, |span| span_heap::next_in_walk(*span));
        // A walk that went in circles would end here rather than never.
        let mut walked: Vec<_> = walk.take(SEGMENT_PAGES).map(SpanPtr::page_index).collect();
        walked.sort_unstable();
        assert!(walked.iter().eq(&self.model), "a walk visits each span once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        max_shrink_time: 20_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn a_heap_of_spans_is_a_sorted_set(actions in actions()) {
        with_heap(TestSource::new(), |heap| {
            // The pages inside of a span in use have descriptors that nobody else looks at.
            let segment = take(heap, SEGMENT_PAGES).segment();
            let mut pair = Pair { segment, root: None, model: BTreeSet::new() };
            for action in actions {
                pair.apply(action);
                pair.check();
            }
        });
    }
}
