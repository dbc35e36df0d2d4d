//! What threads meet at: atomics, fences, and waiting.
//!
//! The lock, the thread caches' handshake, their registry and the spans left take these from here, so
//! that their models (`loom_models`) run the same source on loom's. In every other build this room is
//! a list of names for what `core`, the kernel and crossbeam have, and costs nothing. Atomics that
//! are only counts, or whose order a lock gives, are taken from `core` where they are used.

#[cfg(all(test, loom))]
mod modelled;
#[cfg(all(test, loom))]
pub(crate) use modelled::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Backoff, compiler_fence,
    futex, membarrier, model, spawn,
};

#[cfg(not(all(test, loom)))]
pub(crate) use crate::os::{futex, membarrier};
#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, compiler_fence,
};
#[cfg(not(all(test, loom)))]
pub(crate) use crossbeam_utils::Backoff;
#[cfg(all(debug_assertions, test, loom))]
pub(crate) use modelled::thread_local;
#[cfg(all(debug_assertions, not(all(test, loom))))]
pub(crate) use std::thread_local;

/// Whether the owner of a thread cache says when it is at work, as reclaim has to know.
///
/// Always so, but for `--cfg capmalloc_without_handshake`: a build in which no other thread's cache
/// can be reclaimed, and whose instructions `ci/instructions.sh` counts to tell what the handshake
/// costs.
pub(crate) const HAS_HANDSHAKE: bool = !cfg!(capmalloc_without_handshake);
