//! A page of memory that a measured process shares with the one that watches it: what is live, how
//! far the load has come, and what its own children found.
//!
//! Live bytes are counted by the loads, block for block, on one of several counters each, so that
//! threads seldom meet on one.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

/// The variable that names the descriptor of the shared page.
pub(super) const VARIABLE: &str = "FRAGMENTATION_LEDGER";

const SHARDS: usize = 32;
pub(super) const CHILDREN_MAX: usize = 8;

/// How far a measured process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The load has not begun.
    Starting,
    /// The load is at work.
    Loading,
    /// It is over, and what it left is looked at.
    Over,
    /// Everything was measured: nothing from here on is of interest.
    Measured,
}

const PHASES: [Phase; 4] = [Phase::Starting, Phase::Loading, Phase::Over, Phase::Measured];

/// A counter on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Shard(AtomicUsize);

/// What a child of a measured process adds to the figures of its parent.
#[derive(Debug, Default)]
pub(super) struct ChildSums {
    pub(super) cpu_nanoseconds: AtomicU64,
    pub(super) minor_faults: AtomicU64,
    pub(super) madvise_calls: AtomicU64,
    /// The pages on which the blocks lie that the children allocated.
    pub(super) floor_bytes: AtomicU64,
    /// How many children have done their work.
    pub(super) ready: AtomicUsize,
}

/// The shared page. All counters stand for themselves, and are Relaxed where nothing else is said.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Ledger {
    phase: AtomicU32,
    children: [AtomicU32; CHILDREN_MAX],
    refused: AtomicU64,
    pub(super) child_sums: ChildSums,
    live: [Shard; SHARDS],
}

const _: () = assert!(size_of::<Ledger>() <= 4096);

/// What a process uses that nobody watches.
static UNSHARED: Ledger = Ledger {
    phase: AtomicU32::new(0),
    children: [const { AtomicU32::new(0) }; CHILDREN_MAX],
    refused: AtomicU64::new(0),
    child_sums: ChildSums {
        cpu_nanoseconds: AtomicU64::new(0),
        minor_faults: AtomicU64::new(0),
        madvise_calls: AtomicU64::new(0),
        floor_bytes: AtomicU64::new(0),
        ready: AtomicUsize::new(0),
    },
    live: [const { Shard(AtomicUsize::new(0)) }; SHARDS],
};

/// The page of this process; null for `UNSHARED`.
static CURRENT: AtomicPtr<Ledger> = AtomicPtr::new(std::ptr::null_mut());

/// The ledger of this process.
#[inline]
pub(super) fn current() -> &'static Ledger {
    // Acquire: pairs with the Release of `open`.
    match NonNull::new(CURRENT.load(Acquire)) {
        // SAFETY: `open` stored a mapping of a ledger, which is never taken away.
        Some(ledger) => unsafe { ledger.as_ref() },
        None => &UNSHARED,
    }
}

/// Begins to use the page that the environment names; without one, counts for itself.
pub(super) fn open() -> Result<(), String> {
    let Ok(value) = std::env::var(VARIABLE) else { return Ok(()) };
    let descriptor = value.parse().map_err(|_| format!("{VARIABLE}={value} is no descriptor"))?;
    let ledger = map(descriptor).map_err(|error| format!("{VARIABLE}={value}: {error}"))?;
    // Release: pairs with the Acquire of `current`.
    CURRENT.store(ledger.as_ptr(), Release);
    // A load that nobody watches any more is of no use, and disturbs what is measured next.
    end_with_parent();
    Ok(())
}

/// Has the kernel end this process when its parent ends, whatever way.
pub(super) fn end_with_parent() {
    // SAFETY: takes a number and no pointer.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn map(descriptor: i32) -> std::io::Result<NonNull<Ledger>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let bytes = size_of::<Ledger>();
    // SAFETY: a new mapping, wherever the kernel likes.
    let address =
        unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, descriptor, 0) };
    match NonNull::new(address.cast()) {
        Some(ledger) if address != libc::MAP_FAILED => Ok(ledger),
        _ => Err(std::io::Error::last_os_error()),
    }
}

impl Ledger {
    pub(super) fn phase(&self) -> Phase {
        // Acquire: pairs with the Release of `enter`, so that a phase's figures are there with it.
        PHASES.get(self.phase.load(Acquire) as usize).copied().unwrap_or(Phase::Measured)
    }

    pub(super) fn enter(&self, phase: Phase) {
        // Release: pairs with the Acquire of `phase`.
        self.phase.store(phase as u32, Release);
    }

    #[inline]
    pub(super) fn add_live(&self, bytes: usize) {
        self.live[shard()].0.fetch_add(bytes, Relaxed);
    }

    #[inline]
    pub(super) fn subtract_live(&self, bytes: usize) {
        // Wraps where another thread than this one added; the sum of all is right.
        self.live[shard()].0.fetch_sub(bytes, Relaxed);
    }

    /// One of the counters of live bytes, for a load that counts by itself.
    pub(super) fn live_counter(&self) -> &AtomicUsize {
        &self.live[0].0
    }

    pub(super) fn live_bytes(&self) -> usize {
        let add = |sum: usize, shard: &Shard| sum.wrapping_add(shard.0.load(Relaxed));
        let sum = self.live.iter().fold(0, add);
        // The counters are not read all at once: a block may be seen to go before it came.
        if sum > isize::MAX as usize { 0 } else { sum }
    }

    /// Notes that an allocation was refused.
    #[cold]
    pub(super) fn note_refusal(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Has the memory of a child counted with that of its parent, from now on.
    pub(super) fn add_child(&self, process: u32) {
        let free = self.children.iter().find(|child| child.load(Relaxed) == 0);
        free.expect("few children").store(process, Relaxed);
    }

    pub(super) fn children(&self) -> impl Iterator<Item = u32> {
        self.children.iter().map(|child| child.load(Relaxed)).take_while(|child| *child != 0)
    }
}

/// The counter of this thread.
#[inline]
fn shard() -> usize {
    thread_local! {
        // No destructor and no first value to compute: it can be used within an allocation.
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Relaxed) % SHARDS);
        }
        shard.get()
    })
}

/// The page as the watching process has it; dropping it takes the page away.
#[derive(Debug)]
pub(super) struct WatchedLedger {
    /// Inherited by the processes that this one starts.
    file: File,
    ledger: NonNull<Ledger>,
}

// SAFETY: it is mapped until the drop, and has nothing but atomics.
unsafe impl Sync for WatchedLedger {}

impl WatchedLedger {
    pub(super) fn new() -> std::io::Result<Self> {
        // SAFETY: the name ends with a zero; without MFD_CLOEXEC, children have it too.
        let descriptor = unsafe { libc::memfd_create(c"fragmentation".as_ptr(), 0) };
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: a new descriptor, which is nobody else's.
        let file = unsafe { File::from_raw_fd(descriptor) };
        file.set_len(size_of::<Ledger>() as u64)?;
        let ledger = map(descriptor)?;
        Ok(Self { file, ledger })
    }

    /// The value of the variable [`VARIABLE`] for the process to be watched.
    pub(super) fn name(&self) -> String {
        self.file.as_raw_fd().to_string()
    }

    pub(super) fn ledger(&self) -> &Ledger {
        // SAFETY: mapped until the drop, of zeroes at first, which are a ledger.
        unsafe { self.ledger.as_ref() }
    }
}

impl Drop for WatchedLedger {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and given up.
        unsafe { libc::munmap(self.ledger.as_ptr().cast(), size_of::<Ledger>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_one_page() {
        let watched = WatchedLedger::new().expect("a page");
        let descriptor = watched.name().parse().expect("a number");
        let other = map(descriptor).expect("the page");
        // SAFETY: mapped just now, and kept to the end of the test.
        let other = unsafe { other.as_ref() };
        other.enter(Phase::Over);
        other.add_live(30);
        other.subtract_live(10);
        other.note_refusal();
        other.add_child(7);
        let ledger = watched.ledger();
        assert_eq!((ledger.phase(), ledger.live_bytes(), ledger.refused()), (Phase::Over, 20, 1));
        assert_eq!(ledger.children().collect::<Vec<u32>>(), [7]);
    }

    #[test]
    fn what_one_thread_adds_another_may_subtract() {
        let watched = WatchedLedger::new().expect("a page");
        let ledger = watched.ledger();
        ledger.add_live(1 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| ledger.subtract_live((1 << 20) - 5));
        });
        assert_eq!(ledger.live_bytes(), 5);
    }
}
