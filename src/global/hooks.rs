//! The global heap's hooks: where they are kept, and where slow paths tell them.

use core::ptr::NonNull;
use std::sync::Arc;

use super::{DEFAULTS, HEAP, SLOT, poke_background, prepare};
use crate::hooks::{self, Event, HookId, Registry, Response};
use crate::thread_cache::{ThreadSlot, ThreadState};

static HOOKS: Registry = Registry::new();

/// Adds a hook, which is called for every event from now on, after the hooks added before it.
///
/// A hook that only looks answers nothing; one that may ask for a retry answers a [`Response`]. For
/// what a hook may do, see [the module](crate::hooks).
///
/// ```
/// use std::sync::Mutex;
///
/// use capmalloc::hooks::{self, Event, Response};
/// use capmalloc::{CapMalloc, Limit};
///
/// #[global_allocator]
/// static GLOBAL: CapMalloc = CapMalloc::new();
///
/// /// Memory to be given up when there is no other.
/// static BALLAST: Mutex<Option<Vec<u8>>> = Mutex::new(None);
///
/// # fn main() {
/// *BALLAST.lock().unwrap() = Some(vec![1; 32 << 20]);
/// hooks::add(|event: &Event| {
///     let is_failure = matches!(event, Event::AllocationFailed { .. });
///     let ballast = if is_failure { BALLAST.try_lock().ok() } else { None };
///     let given_up = ballast.and_then(|mut ballast| ballast.take());
///     if given_up.is_some() { Response::Retry } else { Response::Ignore }
/// });
/// capmalloc::set_limit(Limit::ResidentHard, Some(40 << 20));
/// assert!(Vec::<u8>::new().try_reserve(24 << 20).is_ok());
/// assert!(BALLAST.lock().unwrap().is_none());
/// # }
/// ```
pub fn add<R: Into<Response>>(hook: impl Fn(&Event) -> R + Send + Sync + 'static) -> HookId {
    // Before the first hook the handlers of forks must be there.
    SLOT.with(|slot| prepare(slot, DEFAULTS));
    HOOKS.add(Arc::new(move |event: &Event| hook(event).into()), HEAP.notices())
}

/// Removes a hook; `false` where it was removed before.
///
/// It is called for no event that is told after this returns. A call on another thread that began
/// before may still be running, so what the hook uses has to live on: it owns it. It is dropped
/// here, or by the last such call.
pub fn remove(hook: HookId) -> bool {
    HOOKS.remove(hook, HEAP.notices())
}

/// Runs an allocation's slow path with all that follows it; null where memory is refused.
#[inline]
pub(super) fn serve(
    slot: &ThreadSlot,
    size: usize,
    align: usize,
    attempt: impl Fn() -> Option<NonNull<u8>>,
) -> *mut u8 {
    let mut block = attempt();
    poke_background(slot);
    if block.is_none() && HEAP.notices().is_wanted() {
        block = retry_if_asked(slot, size, align, &attempt);
    }
    end_slow_path(slot);
    block.map_or(core::ptr::null_mut(), NonNull::as_ptr)
}

/// Tells hooks of an allocation that fails, and tries once more if one of them asks for it.
#[cold]
#[inline(never)]
fn retry_if_asked(
    slot: &ThreadSlot,
    size: usize,
    align: usize,
    attempt: &dyn Fn() -> Option<NonNull<u8>>,
) -> Option<NonNull<u8>> {
    if slot.state() == ThreadState::Uncached {
        return None;
    }
    let limits = HEAP.page_heap().source().limits();
    let (mapped_bytes, resident_bytes) = (limits.mapped_bytes(), limits.resident_bytes());
    let event = Event::AllocationFailed { size, align, mapped_bytes, resident_bytes };
    if HOOKS.ask_for_retry(HEAP.notices(), &event) { attempt() } else { None }
}

/// Tells hooks what happened; at the end of a slow path, with no lock held.
#[inline]
pub(super) fn end_slow_path(slot: &ThreadSlot) {
    hooks::end_request();
    // A thread within a policy, or about to end, leaves it to others.
    if HEAP.notices().are_waiting() && slot.state() != ThreadState::Uncached {
        deliver();
    }
}

/// Tells hooks what waits, with no lock held.
#[cold]
#[inline(never)]
pub(super) fn deliver() {
    HOOKS.deliver(HEAP.notices());
}

/// Takes the list's lock for a fork.
pub(super) fn hold_for_fork() {
    HOOKS.hold_for_fork();
}

/// # Safety
///
/// [`hold_for_fork`] was called, in this thread or the one it was copied from.
pub(super) unsafe fn release_after_fork() {
    // SAFETY: the caller's promise.
    unsafe { HOOKS.release_after_fork() };
}
