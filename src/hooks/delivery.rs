//! Calling hooks: outside all locks, and never one within another on the same thread.

use core::cell::Cell;

use super::event::{Event, Response};
use super::notices::{self, Notices};
use super::registry::Registry;
use crate::os::ErrnoKept;
use crate::unwind;

std::thread_local! {
    /// Whether this thread is in a hook, or where none may run. Constant and without a destructor.
    static IS_IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

impl Registry {
    /// Tells hooks what waits now, unless this thread is in one; no lock is held.
    ///
    /// What hooks cause meanwhile waits for the next call, so that this one has an end.
    pub(crate) fn deliver(&self, notices: &Notices) {
        outside_hooks(|| {
            for _ in 0..notices.count() {
                // Another thread may tell some of it.
                let Some(event) = notices.take() else { return };
                self.tell(&event);
            }
        });
    }

    /// Tells hooks that an allocation fails; answers whether one of them asks for another try.
    ///
    /// What waits is told before. On a thread that is in a hook nobody is asked.
    pub(crate) fn ask_for_retry(&self, notices: &Notices, event: &Event) -> bool {
        self.deliver(notices);
        outside_hooks(|| self.tell(event)).unwrap_or(false)
    }

    /// Calls every hook; answers whether one of them wants a retry.
    fn tell(&self, event: &Event) -> bool {
        // For each event anew, so that a hook which removed itself is not called again. It may be
        // dropped here, by the last who has it.
        let list = self.list();
        let entries = list.as_deref().unwrap_or_default();
        entries.iter().fold(false, |wants_retry, entry| {
            let response = (entry.hook)(event);
            wants_retry | (response == Response::Retry)
        })
    }
}

/// Keeps hooks from running on this thread while it lives.
///
/// For calls out of a heap, into a page source: the thread has locks of that heap, and hooks are
/// promised none, so that they may use every heap, and fork.
#[derive(Debug)]
pub(crate) struct HooksAside {
    was_in_hook: bool,
}

impl HooksAside {
    #[inline]
    pub(crate) fn new() -> HooksAside {
        HooksAside { was_in_hook: IS_IN_HOOK.replace(true) }
    }
}

impl Drop for HooksAside {
    fn drop(&mut self) {
        IS_IN_HOOK.set(self.was_in_hook);
    }
}

/// Runs hooks, as `call` does; `None` on a thread that is in one already.
fn outside_hooks<T>(call: impl FnOnce() -> T) -> Option<T> {
    if IS_IN_HOOK.replace(true) {
        return None;
    }
    // A free or an allocation must not change it, whatever its hooks do.
    let _errno = ErrnoKept::new();
    let answer = notices::apart_from_request(|| unwind::or_abort("a hook panicked", call));
    IS_IN_HOOK.set(false);
    Some(answer)
}
