//! Decay: what was not needed for a while goes back by itself.
//!
//! Time is cut into periods of half the decay time. At the end of each, whoever comes by a slow
//! path next, or the background thread, gives back what lay unused for the whole of it: caches
//! whose owner did not come by or ended, depots and slabs of bins that nobody touched, blocks at the
//! bottom of the other depots, freed mappings, and free spans of the period before. So everything is
//! given back between one half and one decay time after its last use, in as few calls to the kernel
//! as there are gaps between used pages.
//!
//! A busy program frees pages faster than they age. Several times in a period, what is kept is
//! therefore held against what is in use: dirty pages beyond a part of it go back at once, and the
//! budget of the thread caches follows it. That is done at once where a great part of the memory is
//! freed in one go, after which there may be nobody to look at the clock.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use core::time::Duration;

use crate::allocator::Allocator;
use crate::arena::Settling;
use crate::os::{environment, membarrier};
use crate::page_source::PageSource;
use crate::reclaim;
use crate::size_class::SizeClass;

/// Milliseconds after which unused memory goes back, unless the program says otherwise.
pub(crate) const DEFAULT_DECAY_MILLISECONDS: i64 = 1000;

/// The shortest period: the coarse clock moves in steps of a few milliseconds.
const PERIOD_MIN_MILLISECONDS: u64 = 10;

/// Milliseconds between two looks at what is kept beside what is in use: rare enough that pages
/// which a program takes and frees in turn are not given back each time.
const BALANCE_MILLISECONDS: u64 = 50;

/// When memory decays.
#[derive(Debug)]
pub(crate) struct Decay {
    /// Milliseconds from last use to being given back; negative for never.
    ///
    /// Relaxed, as the times: numbers that guard no memory.
    milliseconds: AtomicI64,
    /// When the running period began.
    period_began_at: AtomicU64,
    /// When what is kept was last held against what is in use.
    balanced_at: AtomicU64,
    /// Whether a thread is giving back what a period left unused.
    is_ending: AtomicBool,
}

/// What stands for the beginning of a period before the first one.
const NEVER_BEGAN: u64 = 0;

impl Decay {
    pub(crate) const fn new(milliseconds: i64) -> Self {
        Decay {
            milliseconds: AtomicI64::new(milliseconds),
            period_began_at: AtomicU64::new(NEVER_BEGAN),
            balanced_at: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
        }
    }

    /// Notes, in a forked child, that whoever was ending a period stayed with the parent.
    pub(crate) fn note_child(&self) {
        self.is_ending.store(false, Relaxed);
    }

    pub(crate) fn set_milliseconds(&self, milliseconds: i64) {
        self.milliseconds.store(milliseconds, Relaxed);
    }

    pub(crate) fn milliseconds(&self) -> i64 {
        self.milliseconds.load(Relaxed)
    }

    /// The length of a period, or `None` where nothing decays.
    pub(crate) fn period_milliseconds(&self) -> Option<u64> {
        let milliseconds = u64::try_from(self.milliseconds()).ok()?;
        Some((milliseconds / 2).max(PERIOD_MIN_MILLISECONDS))
    }

    /// Whether the caller is the one to hold what is kept against what is in use now.
    fn is_time_to_balance(&self, now: u64) -> bool {
        let last = self.balanced_at.load(Relaxed);
        now >= last.saturating_add(BALANCE_MILLISECONDS)
            && self.balanced_at.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }

    /// Whether freed pages go back at once.
    pub(crate) fn is_immediate(&self) -> bool {
        self.milliseconds() == 0
    }

    /// Begins a period now, whether the last one's time is over or not; answers when that began.
    pub(crate) fn begin_period(&self, now: u64) -> u64 {
        self.period_began_at.swap(now, Relaxed)
    }

    /// Ends the period if its time is over and nobody else does; answers when it began.
    ///
    /// The first call of all only begins one: nothing can have lain unused before it.
    fn end_period(&self, now: u64) -> Option<u64> {
        let began_at = self.period_began_at.load(Relaxed);
        let period = self.period_milliseconds()?;
        let is_over = now >= began_at.saturating_add(period);
        let is_mine = is_over
            && self.period_began_at.compare_exchange(began_at, now, Relaxed, Relaxed).is_ok();
        (is_mine && began_at != NEVER_BEGAN).then_some(began_at)
    }
}

/// A setting as a time; `None` for never.
pub(crate) fn duration_of(milliseconds: i64) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

/// A time, cut to whole milliseconds, or with `None` never, as a setting.
pub(crate) fn milliseconds_of(time: Option<Duration>) -> i64 {
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    time.map_or(environment::NEVER_MILLISECONDS, milliseconds)
}

impl<S: PageSource> Allocator<S> {
    /// Gives back what is due, if a period is over; no lock is held.
    #[inline]
    pub(crate) fn tick(&self, now: u64) {
        if let Some(began_at) = self.decay().end_period(now) {
            self.give_back_unused(began_at);
        }
        if self.decay().is_time_to_balance(now) {
            self.balance(now);
        }
        self.give_back_excess(now);
    }

    /// Gives back what is not to wait for the clock; no lock is held.
    #[inline]
    pub(crate) fn give_back_excess(&self, now: u64) {
        if self.page_heap().has_excess() || self.decay().is_immediate() {
            self.give_back_excess_slow(now);
        }
    }

    #[cold]
    fn give_back_excess_slow(&self, now: u64) {
        // Taken also where nothing goes back by itself, or each slow path would come here.
        if self.page_heap().take_excess() && self.decay().period_milliseconds().is_some() {
            self.balance(now);
        }
        if self.decay().is_immediate() {
            self.release_huge_unless_others_do();
            self.page_heap().purge_dirty();
        }
    }

    /// Brings what is kept for reuse into proportion to what is in use.
    #[cold]
    fn balance(&self, now: u64) {
        let since = now.saturating_sub(reclaim::IDLE_MILLISECONDS);
        self.caches().lock().recount_used_since(since, self.budget());
        self.budget().follow(self.page_heap().source().limits().resident_bytes());
        if self.decay().period_milliseconds().is_some() {
            self.page_heap().purge_excess();
        }
    }

    #[cold]
    fn give_back_unused(&self, since: u64) {
        self.end_period(since);
    }

    /// Ends the period if its time is over; answers whether another will find more to give back.
    pub(crate) fn end_period_if_due(&self, now: u64) -> bool {
        match self.decay().end_period(now) {
            Some(began_at) => self.end_period(began_at),
            None => self.decay().period_milliseconds().is_some() && self.has_unreturned(),
        }
    }

    /// Gives back what nobody used since `since`; answers whether another period will find more.
    ///
    /// One thread at a time does so; another that comes meanwhile leaves it to that one.
    pub(crate) fn end_period(&self, since: u64) -> bool {
        // Acquire and Release make one end of a period follow the other.
        if self.decay().is_ending.swap(true, Acquire) {
            return true;
        }
        let is_more_due = self.end_period_alone(since);
        self.decay().is_ending.store(false, Release);
        is_more_due
    }

    fn end_period_alone(&self, since: u64) -> bool {
        self.reclaim_unused_since(since);
        let mut is_more_due = self.settle_cpu_caches();
        for arena in 0..self.arenas().open() {
            for class in SizeClass::all() {
                is_more_due |= self.settle_bin(arena, class);
            }
        }
        self.huge().age();
        // Those that waited through a whole period, and not those freed in the midst of it.
        self.release_huge(2);
        self.page_heap().end_period();
        self.metadata().release_empty(self.page_heap().source());
        is_more_due || self.has_unreturned()
    }

    /// Whether there are dirty pages, kept mappings, or caches that could be reclaimed.
    pub(crate) fn has_unreturned(&self) -> bool {
        self.page_heap().has_dirty()
            || self.huge().stats().cached_bytes > 0
            || self.cpu_caches().has_lent(self.budget())
            || self.has_reclaimable()
    }

    fn has_reclaimable(&self) -> bool {
        let caches = self.caches().lock();
        caches.parked_count() > 0 || (membarrier::is_available() && caches.warm_count() > 0)
    }

    /// Empties the depot and purges the slabs of a bin that nobody used during the period.
    ///
    /// Answers whether it was used, or has just been emptied into other bins.
    fn settle_bin(&self, arena: usize, class: SizeClass) -> bool {
        let Some(bin) = self.bin(arena, class) else { return false };
        match bin.settle() {
            Settling::Used => {
                self.empty_depot_of_surplus(arena, class);
                true
            }
            Settling::Settled => false,
            Settling::Due => {
                let emptied_bytes = self.empty_depot(arena, class);
                bin.purge_slabs();
                emptied_bytes > 0
            }
        }
    }
}
