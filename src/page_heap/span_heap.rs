//! A heap of free spans ordered by address, threaded through their descriptors.
//!
//! A pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986): insertion is one comparison, taking
//! the lowest costs a logarithm amortised, and so does removing one from the middle, which
//! coalescing needs. It takes no memory beyond three links in each span.

use crate::span::Link::{Above, NextOrChild as Child, PreviousOrSibling as Sibling};
use crate::span::SpanPtr;

/// Joins two heaps, either of which may be empty, and answers with the root.
fn meld(one: Option<SpanPtr>, other: Option<SpanPtr>) -> Option<SpanPtr> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    let (root, below) = if one.order() < other.order() { (one, other) } else { (other, one) };
    let first_child = root.link(Child);
    below.set_link(Sibling, first_child);
    below.set_link(Above, Some(root));
    if let Some(child) = first_child {
        child.set_link(Above, Some(below));
    }
    root.set_link(Child, Some(below));
    Some(root)
}

/// Joins a list of siblings into one heap, in pairs from left to right and then all together.
fn meld_siblings(first: Option<SpanPtr>) -> Option<SpanPtr> {
    let mut rest = first;
    let mut pairs: Option<SpanPtr> = None;
    while let Some(left) = detach_first(&mut rest) {
        let right = detach_first(&mut rest);
        let pair = meld(Some(left), right);
        if let Some(pair) = pair {
            pair.set_link(Sibling, pairs);
            pairs = Some(pair);
        }
    }
    let mut root = None;
    while let Some(pair) = detach_first(&mut pairs) {
        root = meld(root, Some(pair));
    }
    root
}

fn detach_first(list: &mut Option<SpanPtr>) -> Option<SpanPtr> {
    let span = (*list)?;
    *list = span.link(Sibling);
    span.set_link(Sibling, None);
    span.set_link(Above, None);
    Some(span)
}

/// Puts a span into the heap under `root`, ordered by its `order`.
pub(super) fn insert(root: Option<SpanPtr>, span: SpanPtr) -> Option<SpanPtr> {
    span.set_link(Child, None);
    span.set_link(Sibling, None);
    span.set_link(Above, None);
    meld(root, Some(span))
}

/// Takes `span`, which is in the heap under `root`, out of it.
pub(super) fn remove(root: SpanPtr, span: SpanPtr) -> Option<SpanPtr> {
    let below = meld_siblings(span.link(Child));
    if span == root {
        return below;
    }
    let sibling = span.link(Sibling);
    if let Some(above) = span.link(Above) {
        if above.link(Child) == Some(span) {
            above.set_link(Child, sibling);
        } else {
            above.set_link(Sibling, sibling);
        }
    }
    if let Some(sibling) = sibling {
        sibling.set_link(Above, span.link(Above));
    }
    meld(Some(root), below)
}

/// The span after `span` in a walk over the whole heap: children first, then siblings.
pub(super) fn next_in_walk(span: SpanPtr) -> Option<SpanPtr> {
    if let Some(child) = span.link(Child) {
        return Some(child);
    }
    let mut span = span;
    loop {
        if let Some(sibling) = span.link(Sibling) {
            return Some(sibling);
        }
        // Back past the siblings before, to the parent whose children are now all visited.
        let mut above = span.link(Above)?;
        while above.link(Child) != Some(span) {
            span = above;
            above = span.link(Above)?;
        }
        span = above;
    }
}
