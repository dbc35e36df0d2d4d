//! A cap that changes while the program runs, and the arenas that a lower one closes.

use core::fmt;
use core::sync::atomic::Ordering::{Relaxed, Release};

use super::bin::BinContext;
use super::set::{ARENAS_MAX, Arenas};
use crate::budget::CacheBudget;
use crate::hooks::Event;
use crate::metadata::Metadata;
use crate::page_heap::PageHeap;
use crate::page_source::PageSource;
use crate::size_class::SizeClass;

/// A cap on arenas that is out of range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArenaMaxError {
    pub(crate) asked: usize,
}

impl fmt::Display for ArenaMaxError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} arenas asked for; 1 to {ARENAS_MAX} can be allowed", self.asked)
    }
}

impl core::error::Error for ArenaMaxError {}

impl Arenas {
    /// Changes the cap; arenas beyond a lower one close, and their slabs move to the others.
    ///
    /// Threads of a closed arena take another at their next refill. `give_back` puts a closed
    /// bin's stock of blocks back into its slabs.
    pub(crate) fn set_cap<S: PageSource>(
        &self,
        cap: usize,
        metadata: &Metadata,
        page_heap: &PageHeap<S>,
        budget: &CacheBudget,
        give_back: impl Fn(SizeClass, &mut [*mut u8]),
    ) -> Result<(), ArenaMaxError> {
        if cap == 0 || cap > ARENAS_MAX {
            return Err(ArenaMaxError { asked: cap });
        }
        let _change = self.change.lock();
        self.cap.store(cap, Relaxed);
        let open = self.open();
        if open <= cap {
            return Ok(());
        }
        self.open.store(cap, Release);
        for index in cap..open {
            for class in SizeClass::all() {
                let context = |index| self.context(index, class, page_heap, metadata, budget);
                if let (Some(from), Some(to)) = (context(index), context(index % cap)) {
                    close(&from, &to, &give_back);
                }
            }
            page_heap.source().notices().note(Event::ArenaDrained { arena: index });
        }
        Ok(())
    }
}

/// Closes one bin: first to refills and stock, then by moving its slabs.
fn close<S: PageSource>(
    from: &BinContext<'_, S>,
    to: &BinContext<'_, S>,
    give_back: &impl Fn(SizeClass, &mut [*mut u8]),
) {
    from.bin.lock(from.class).is_closed = true;
    let mut stock = [core::ptr::null_mut(); 256];
    loop {
        let count = from.drain_depot(&mut stock);
        give_back(from.class, &mut stock[..count]);
        if count < stock.len() {
            break;
        }
    }
    from.move_slabs_to(to);
}
