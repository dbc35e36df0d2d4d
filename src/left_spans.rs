//! Spans left for whoever takes a lock next, by threads that do not wait for it.
//!
//! A stack that grows one span at a time and is taken as a whole, so that no thread ever looks at a
//! span in the midst of it: Treiber's, without the part of it that needs care.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::span::{Link, Span, SpanPtr};
use crate::sync::AtomicPtr;

/// The spans left, linked by their heads, the last one first; zeroed memory is none.
#[derive(Debug)]
pub(crate) struct LeftSpans(AtomicPtr<Span>);

impl LeftSpans {
    pub(crate) const fn new() -> Self {
        LeftSpans(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// Leaves a span, of which nobody else uses the first link.
    pub(crate) fn push(&self, span: SpanPtr) {
        let mut last = self.0.load(Relaxed);
        loop {
            // SAFETY: what is on the stack are heads of spans that are in use to all others, so their
            // segments stay; the link is only followed by who took the whole stack.
            let link = NonNull::new(last).map(|head| unsafe { SpanPtr::new(head) });
            span.set_link(Link::NextOrChild, link);
            let head = span.as_non_null().as_ptr();
            // Release pairs with the Acquire in `take_all_slow`: whoever takes this span sees its link,
            // and all that was done to it before.
            match self.0.compare_exchange(last, head, Release, Relaxed) {
                Ok(_) => return,
                Err(other) => last = other,
            }
        }
    }

    /// Takes all that was left, and calls `visit` with each span, the last one first.
    #[inline]
    pub(crate) fn take_all(&self, visit: impl FnMut(SpanPtr)) {
        // Relaxed: most of the time there is nothing, and what comes meanwhile waits for the next.
        if !self.0.load(Relaxed).is_null() {
            self.take_all_slow(visit);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_all_slow(&self, mut visit: impl FnMut(SpanPtr)) {
        // Acquire pairs with the Release in `push`; of all the pushes, for each read what the one
        // before it wrote.
        let mut next = NonNull::new(self.0.swap(core::ptr::null_mut(), Acquire));
        while let Some(head) = next {
            // SAFETY: as in `push`; the stack is this thread's alone now.
            let span = unsafe { SpanPtr::new(head) };
            next = span.link(Link::NextOrChild).map(SpanPtr::as_non_null);
            visit(span);
        }
    }
}
