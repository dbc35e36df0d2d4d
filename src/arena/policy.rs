//! Which arena a thread uses: the policies, and the trait for one's own.

use core::fmt;

use crate::os::affinity;

/// What a policy sees of the arenas.
#[derive(Clone, Copy)]
pub struct ArenaView<'arenas> {
    /// How many arenas are open; their indices are `0..open`.
    pub(crate) open: usize,
    /// How many may be.
    pub(crate) cap: usize,
    pub(crate) threads: &'arenas dyn Fn(usize) -> usize,
}

impl fmt::Debug for ArenaView<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ArenaView")
            .field("open", &self.open)
            .field("cap", &self.cap)
            .finish_non_exhaustive()
    }
}

impl ArenaView<'_> {
    /// How many arenas are open; their indices are `0..open()`.
    pub fn open(&self) -> usize {
        self.open
    }

    /// How many arenas may be open.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// How many threads use the arena with this index; 0 where it is not open.
    pub fn threads(&self, arena: usize) -> usize {
        if arena < self.open { (self.threads)(arena) } else { 0 }
    }

    /// The open arena with the fewest threads, of several the first.
    pub fn least_used(&self) -> usize {
        (0..self.open).min_by_key(|&arena| self.threads(arena)).unwrap_or(0)
    }
}

/// Decides which arena a thread takes its blocks from.
///
/// The answer is an index. One that is not open opens the next arena while the cap allows it, and
/// is brought into range by the remainder otherwise, so no answer can exceed the cap.
///
/// A policy is asked outside all locks. It may allocate, from an arena without a cache, but it
/// should be quick: `reassign` runs at every refill, also while a thread ends. It must not panic:
/// that ends the program.
///
/// ```
/// use capmalloc::{ArenaPolicy, ArenaView, CapMalloc, Config};
///
/// /// Everything in one arena, but the cap can still be raised for another policy.
/// struct First;
///
/// impl ArenaPolicy for First {
///     fn assign(&self, _arenas: &ArenaView<'_>) -> usize {
///         0
///     }
/// }
///
/// #[global_allocator]
/// static GLOBAL: CapMalloc = CapMalloc::with_config(Config::new().arena_policy(&First));
/// # fn main() {}
/// ```
pub trait ArenaPolicy: Sync {
    /// The arena for a thread that has none, or whose arena was closed.
    fn assign(&self, arenas: &ArenaView<'_>) -> usize;

    /// Another arena for a thread about to refill, or `None` to stay.
    ///
    /// `contended` tells whether the thread's last refill found its lock taken.
    fn reassign(&self, arenas: &ArenaView<'_>, current: usize, contended: bool) -> Option<usize> {
        let _ = (arenas, current, contended);
        None
    }
}

/// A new arena for each thread until the cap, then the one with the fewest threads; glibc's rule,
/// and the default.
///
/// A thread whose arena has more than 32 has none of its own in any sense. It goes by [`PerCpu`]
/// then, so that threads which run at the same time are not in each other's way.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerThread;

/// Threads of one arena above which each uses that of its processor.
const CROWD: usize = 32;

/// Whether so many threads use an arena that each is better off with that of its processor.
#[inline]
pub(crate) fn is_crowd(threads: usize) -> bool {
    threads > CROWD
}

impl ArenaPolicy for PerThread {
    fn assign(&self, arenas: &ArenaView<'_>) -> usize {
        if arenas.open() < arenas.cap() { arenas.open() } else { arenas.least_used() }
    }

    fn reassign(&self, arenas: &ArenaView<'_>, current: usize, contended: bool) -> Option<usize> {
        if !is_crowd(arenas.threads(current)) {
            return None;
        }
        PerCpu.reassign(arenas, current, contended)
    }
}

/// One arena for all, and another only when a thread finds a lock taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnContention;

impl ArenaPolicy for OnContention {
    fn assign(&self, arenas: &ArenaView<'_>) -> usize {
        arenas.least_used()
    }

    fn reassign(&self, arenas: &ArenaView<'_>, current: usize, contended: bool) -> Option<usize> {
        if !contended {
            return None;
        }
        let choice = PerThread.assign(arenas);
        (choice != current).then_some(choice)
    }
}

/// The arena of the processor that the thread runs on, looked up at each refill.
///
/// Processors are counted among those that the process may use, so that two of them have two
/// arenas whatever their numbers are.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerCpu;

impl ArenaPolicy for PerCpu {
    fn assign(&self, arenas: &ArenaView<'_>) -> usize {
        // Indices are opened one after the other, so a high processor may open a low arena first.
        (affinity::current_place() % arenas.cap()).min(arenas.open())
    }

    fn reassign(&self, arenas: &ArenaView<'_>, current: usize, _contended: bool) -> Option<usize> {
        let choice = self.assign(arenas);
        (choice != current).then_some(choice)
    }
}
