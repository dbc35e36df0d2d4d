//! Hooks: a program's own functions, told of what happens to the heap.
//!
//! A hook is called when an arena is opened or drained, a segment mapped or released, a trim done,
//! a limit reached, or an allocation about to fail. It may log or count; give up what the program
//! can do without; and where an allocation fails, ask for one more try.
//!
//! ```
//! use capmalloc::hooks::{self, Event};
//! use capmalloc::{CapMalloc, Limit};
//!
//! #[global_allocator]
//! static GLOBAL: CapMalloc = CapMalloc::new();
//!
//! # fn main() {
//! let hook = hooks::add(|event: &Event| {
//!     if let Event::LimitReached(reached) = event {
//!         eprintln!("{:?} passed by {} bytes", reached.limit, reached.over_bytes());
//!     }
//! });
//! capmalloc::set_limit(Limit::ResidentSoft, Some(8 << 20));
//! drop(vec![1_u8; 16 << 20]);
//! assert!(hooks::remove(hook));
//! # }
//! ```
//!
//! # When and where hooks run
//!
//! What happens under the heap's locks is noted there, and told later: by the first thread that
//! comes to the end of a slow path, which is a refill or a flush of its cache, whatever it does
//! with a large or huge block that the cache does not serve, a [`trim`](crate::trim), or a change of
//! a setting. That is most often the thread that caused the event, right after. Only
//! [`Event::AllocationFailed`] is told at once, by the thread whose request it is. One thread tells
//! events in their order; several threads may do so at the same time, so a hook may run on many
//! threads at once.
//!
//! So a hook runs in the middle of some allocation or free of the program's, and with no lock of
//! the allocator held.
//!
//! - It may allocate, free, trim, read statistics, fork, add hooks and remove them, itself too.
//! - It never runs within another hook on the same thread. Events that a hook causes wait for the
//!   next slow path; an allocation that fails in a hook just fails. A hook that causes an event
//!   each time it is called is called again at each slow path.
//! - It must not wait for a lock that may be held while the program allocates or frees: the holder
//!   may be its own thread. `try_lock` and atomics are safe, and so is [`eprintln!`]. [`println!`]
//!   is not before something was printed: it allocates its buffer then.
//! - It must not panic: that ends the program with a message.
//! - With [`Config::background`](crate::Config::background) it may run on the thread that this
//!   starts, which has a small stack of 256 KiB, a low priority and all signals blocked.
//! - Threads that are within an arena policy or a page source or about to end run no hooks, nor do
//!   those that go without a cache because the system has no more keys to tell of a thread's end.
//!   What they cause is told by others, or later, but for their failed allocations.
//!
//! While there are no hooks nothing is noted. At most 64 events wait to be told; where more happen,
//! the oldest are dropped, and [`Event::Missed`] says how many.
//!
//! A forked child keeps the hooks. Events that wait at the moment of the fork are told by both.

mod delivery;
mod event;
mod notices;
mod registry;

pub use crate::global::hooks::{add, remove};
pub use crate::limits::LimitReached;
pub(crate) use delivery::HooksAside;
pub use event::{Event, Response};
pub(crate) use notices::{Notices, end_request};
pub use registry::HookId;
pub(crate) use registry::Registry;

#[cfg(test)]
mod tests;
