//! The list of hooks.
//!
//! It is copied when it changes: whoever tells an event takes a reference to the list under the
//! lock, and calls hooks without it. Nothing is allocated, freed or called under the lock, so a
//! fork finds no one in the middle of anything, and hooks may do what they like.

use core::fmt;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use super::event::{Event, Response};
use super::notices::Notices;
use crate::lock::{Mutex, rank};

/// Which hook, for removing it; no other hook of the process ever has the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HookId(u64);

/// A hook as it is kept.
pub(crate) type Hook = Arc<dyn Fn(&Event) -> Response + Send + Sync>;

/// An entry of the list.
#[derive(Clone)]
pub(super) struct Entry {
    id: HookId,
    pub(super) hook: Hook,
}

/// The hooks in the order in which they were added; none, rather than an empty list.
pub(super) type List = Option<Arc<[Entry]>>;

/// All hooks of the process.
#[derive(Debug)]
pub(crate) struct Registry {
    list: Mutex<{ rank::HOOKS }, List>,
    /// Relaxed: a number that only has to be another each time.
    added: AtomicU64,
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(formatter)
    }
}

impl Registry {
    pub(crate) const fn new() -> Self {
        Registry { list: Mutex::new(None), added: AtomicU64::new(0) }
    }

    /// Adds a hook, behind all others; events are noted from now on.
    pub(crate) fn add(&self, hook: Hook, notices: &Notices) -> HookId {
        let id = HookId(self.added.fetch_add(1, Relaxed));
        let entry = Entry { id, hook };
        self.change(notices, |entries| {
            let one_more = entries.iter().chain([&entry]).cloned().collect();
            Some(one_more)
        });
        id
    }

    /// Removes a hook; `false` where there is none of this name.
    pub(crate) fn remove(&self, id: HookId, notices: &Notices) -> bool {
        self.change(notices, |entries| {
            let others = || entries.iter().filter(|entry| entry.id != id).cloned();
            (others().count() != entries.len()).then(|| others().collect())
        })
    }

    /// The hooks of this moment.
    pub(super) fn list(&self) -> List {
        self.list.lock().clone()
    }

    /// Puts what `make` makes of the list in its place, if it makes anything of it.
    ///
    /// The new list is made without the lock, and made again where somebody was faster.
    fn change(&self, notices: &Notices, make: impl Fn(&[Entry]) -> Option<Arc<[Entry]>>) -> bool {
        loop {
            let before = self.list();
            let Some(after) = make(before.as_deref().unwrap_or_default()) else { return false };
            // The list that is not used is dropped here, after the lock.
            let (is_changed, _unused) = self.exchange(&before, after, notices);
            if is_changed {
                return true;
            }
        }
    }

    /// Exchanges the list for another if it is still `before`; answers with the one not used.
    fn exchange(&self, before: &List, after: Arc<[Entry]>, notices: &Notices) -> (bool, List) {
        let after = Some(after).filter(|entries| !entries.is_empty());
        let mut list = self.list.lock();
        let is_same = match (&*list, before) {
            (Some(now), Some(before)) => Arc::ptr_eq(now, before),
            (now, before) => now.is_none() && before.is_none(),
        };
        if !is_same {
            return (false, after);
        }
        notices.set_wanted(after.is_some());
        (true, core::mem::replace(&mut *list, after))
    }

    /// Takes the lock for a fork.
    pub(crate) fn hold_for_fork(&self) {
        self.list.hold_for_fork();
    }

    /// # Safety
    ///
    /// As [`Mutex::release_after_fork`].
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.list.release_after_fork() };
    }
}
