//! Who has which linear memories.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::resident;

/// Where a linear memory lies; of length zero once it is gone.
///
/// Whoever moves or frees the block holds the lock, so that under it the range is the memory's.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    pub(crate) address: usize,
    pub(crate) bytes: usize,
}

pub(crate) type SharedExtent = Arc<Mutex<Extent>>;

/// Locks, whatever a thread that panicked with the lock left: extents and lists are valid between
/// any two writes.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The linear memories of one owner, such as an instance, out of all those that a heap serves.
///
/// wasmtime does not say for whom it makes a memory, so that the owner is told by who is asking:
/// memories made on this thread while [`attribute`](Self::attribute) runs are this account's. They
/// stay so when they grow, on whichever thread.
///
/// Asking an account takes no lock that a guest's call holds while it runs, so that a hung guest's
/// footprint can be told as any other's.
#[derive(Debug, Default)]
pub struct MemoryAccount {
    extents: Mutex<Vec<Weak<Mutex<Extent>>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<MemoryAccount>>> = const { RefCell::new(None) };
}

/// Puts back which account is the thread's, also when what ran in between panicked.
struct Restore(Option<Arc<MemoryAccount>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

impl MemoryAccount {
    /// An account without memories.
    #[must_use]
    pub fn new() -> Arc<MemoryAccount> {
        Arc::default()
    }

    /// Calls `make`; linear memories that come to be meanwhile on this thread are this account's.
    pub fn attribute<T>(self: &Arc<Self>, make: impl FnOnce() -> T) -> T {
        let _restore = Restore(CURRENT.replace(Some(Arc::clone(self))));
        make()
    }

    /// Enters a memory into the account that is the thread's, if any is.
    pub(crate) fn enter_current(extent: &SharedExtent) {
        if let Some(account) = CURRENT.with_borrow(Clone::clone) {
            let mut extents = lock(&account.extents);
            extents.retain(|known| known.strong_count() > 0);
            extents.push(Arc::downgrade(extent));
        }
    }

    fn living(&self) -> Vec<SharedExtent> {
        lock(&self.extents).iter().filter_map(Weak::upgrade).collect()
    }

    /// How many memories the account has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.living().len()
    }

    /// Bytes of its memories, touched or not: what the guests' `memory.size` adds up to.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.living().iter().map(|extent| lock(extent).bytes).sum()
    }

    /// Bytes of its memories that the kernel has in memory.
    ///
    /// A linear memory may be far longer than what its guest has written to, and its length says
    /// nothing of that. What the kernel has swapped out is not counted.
    ///
    /// # Errors
    ///
    /// Where the kernel does not tell.
    pub fn resident_bytes(&self) -> io::Result<usize> {
        let of = |extent: &SharedExtent| {
            let extent = lock(extent);
            resident::resident_bytes(extent.address, extent.bytes)
        };
        self.living().iter().map(of).sum()
    }
}
