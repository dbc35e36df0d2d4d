//! The ranks that a thread holds, of which debug builds keep a note.

/// The debug build's note that the current thread holds a rank; nothing at all in release.
#[derive(Debug)]
pub(super) struct HeldRank {
    #[cfg(debug_assertions)]
    rank: u8,
}

#[cfg(not(debug_assertions))]
impl HeldRank {
    pub(super) const NONE: HeldRank = HeldRank {};

    #[inline(always)]
    pub(super) fn take(_rank: u8) -> HeldRank {
        HeldRank {}
    }
}

/// Sets the ranks that the thread holds aside while it lives.
///
/// For calls out of a heap, into a page source: what that uses, the global heap or another heap of
/// its own, has the same ranks and is further inside than any of this heap's.
#[derive(Debug)]
pub(crate) struct RanksAside {
    #[cfg(debug_assertions)]
    held: u128,
}

#[cfg(not(debug_assertions))]
impl RanksAside {
    #[inline(always)]
    pub(crate) fn new() -> RanksAside {
        RanksAside {}
    }
}

#[cfg(debug_assertions)]
mod held {
    use super::{HeldRank, RanksAside};
    use crate::sync::thread_local;
    use core::cell::Cell;

    thread_local! {
        /// One bit for each rank held. Constant and without a destructor, so that reading it
        /// neither allocates nor registers anything.
        static RANKS: Cell<u128> = const { Cell::new(0) };
    }

    impl HeldRank {
        pub(in crate::lock) const NONE: HeldRank = HeldRank { rank: u8::MAX };

        pub(in crate::lock) fn take(rank: u8) -> HeldRank {
            let held = RANKS.with(Cell::get);
            if held >> rank != 0 {
                crate::os::message::abort_with(format_args!(
                    "lock of rank {rank} taken while ranks {held:#b} are held"
                ));
            }
            RANKS.with(|ranks| ranks.set(held | 1 << rank));
            HeldRank { rank }
        }
    }

    impl RanksAside {
        pub(crate) fn new() -> RanksAside {
            RanksAside { held: RANKS.replace(0) }
        }
    }

    impl Drop for RanksAside {
        fn drop(&mut self) {
            RANKS.set(self.held);
        }
    }

    impl Drop for HeldRank {
        fn drop(&mut self) {
            if self.rank != u8::MAX {
                RANKS.with(|ranks| ranks.set(ranks.get() & !(1 << self.rank)));
            }
        }
    }
}
