//! The same names on loom, which runs a model in every order that the memory model allows.
//!
//! Three things are not as loom has them:
//!
//! - **Constructors are constant.** Loom's are not, and the lock, the caches and EMPTY have to be
//!   made in constants and statics. An atomic here is its first value, and becomes loom's at the
//!   first touch in each execution. Loom takes the toucher for the maker, and panics where another
//!   thread then comes without an order between them: so a model touches all it uses before it
//!   spawns. Forgetting that fails loudly.
//! - **The asymmetric fence is symmetric.** The handshake pairs a compiler's fence on the owner's
//!   side with a membarrier on the reclaimer's. Both are a `fence(SeqCst)` here. What a model needs
//!   is what the membarrier promises: it falls before or after the owner's fence. Before, and the
//!   owner's later loads see what the reclaimer stored earlier; after, and the reclaimer's later
//!   loads see what the owner stored earlier. Two such fences have one order and give just that.
//!   The real one falls at any instruction, but only its side of the compiler's fence matters,
//!   because the `busy` store is above it and the load of `cache` below. So no outcome of the
//!   handshake is lost. Too strong it is elsewhere: two owners' fences order them with each other,
//!   and a fence orders what the owner stores after it, where in truth there is neither.
//!   A fault that needs two owners to be out of order without a lock would not show. Nor can a
//!   model show that the compiler keeps its promise, or the kernel.
//! - **Waiting ends.** The kernel's queue is a list of sleeping threads, compared and entered
//!   without a switch in between, and a thread that spins does so once.

use core::any::Any;
use core::cell::{Cell, RefCell};
use core::sync::atomic::Ordering;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

/// Thread-local storage of a model's threads; loom's own macro knows no `const`.
#[cfg(debug_assertions)]
macro_rules! modelled_thread_local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const { $value:expr };) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $value; }
    };
}
#[cfg(debug_assertions)]
pub(crate) use modelled_thread_local as thread_local;

std::thread_local! {
    /// The execution that this thread of the test runner is in. Loom's own threads all run on it.
    static EXECUTION: Cell<u64> = const { Cell::new(0) };
    /// The atomics made in this execution, whatever their types.
    static ATOMICS: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// The executions of all models so far.
static EXECUTIONS: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// Threads that may be switched in one execution; a drain looks at three words of every class.
const BRANCHES_MAX: usize = 50_000;

/// Preemptions in one execution, unless `LOOM_MAX_PREEMPTIONS` says otherwise. Two find nearly all
/// faults, and all that were put in to try these models.
const PREEMPTIONS_MAX: usize = 2;

/// Bytes of stack of a model's threads; loom's own default is too small for a heap.
const STACK_BYTES: usize = 1 << 20;

/// Runs `execution` in every order of its threads.
///
/// One model runs at a time, because EMPTY is in all of them.
pub(crate) fn model(execution: impl Fn() + Sync + Send + 'static) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let execution = Arc::new(execution);
    let mut builder = loom::model::Builder::new();
    builder.max_branches = BRANCHES_MAX;
    builder.preemption_bound.get_or_insert(PREEMPTIONS_MAX);
    builder.check(move || {
        ATOMICS.take();
        futex::forget_sleepers();
        EXECUTION.set(EXECUTIONS.fetch_add(1, SeqCst) + 1);
        // On a thread of its own for the sake of its stack.
        let execution = Arc::clone(&execution);
        spawn(move || execution()).join().unwrap();
    });
}

/// Starts a thread of a model.
pub(crate) fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> loom::thread::JoinHandle<T> {
    let builder = loom::thread::Builder::new().stack_size(STACK_BYTES / size_of::<usize>());
    builder.spawn(work).expect("loom starts it")
}

/// Where an atomic's place in the running execution is; all zero before the first.
#[derive(Debug)]
struct Place {
    execution: core::sync::atomic::AtomicU64,
    atomic: core::sync::atomic::AtomicPtr<()>,
}

impl Place {
    const fn new() -> Self {
        Place {
            execution: core::sync::atomic::AtomicU64::new(0),
            atomic: core::sync::atomic::AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Loom's atomic, made if this is the first touch in this execution.
    fn of<A: 'static>(&self, make: impl FnOnce() -> A) -> &A {
        let execution = EXECUTION.get();
        if self.execution.load(Relaxed) != execution {
            let atomic = Box::new(make());
            self.atomic.store(core::ptr::from_ref(&*atomic).cast_mut().cast(), Relaxed);
            self.execution.store(execution, Relaxed);
            ATOMICS.with_borrow_mut(|atomics| atomics.push(atomic));
        }
        // SAFETY: made above as an `A` in this execution, and kept until the next begins.
        unsafe { &*self.atomic.load(Relaxed).cast::<A>() }
    }
}

macro_rules! atomics {
    ($($name:ident $(<$parameter:ident>)?: $value:ty;)+) => {
        $(
            /// An atomic of this name, on loom.
            #[derive(Debug)]
            pub(crate) struct $name $(<$parameter>)? {
                first: $value,
                place: Place,
            }

            #[allow(dead_code, reason = "each has the same methods")]
            impl $(<$parameter: 'static>)? $name $(<$parameter>)? {
                pub(crate) const fn new(first: $value) -> Self {
                    $name { first, place: Place::new() }
                }

                fn on_loom(&self) -> &loom::sync::atomic::$name $(<$parameter>)? {
                    self.place.of(|| loom::sync::atomic::$name::new(self.first))
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.on_loom().load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.on_loom().store(value, order);
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.on_loom().swap(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.on_loom().compare_exchange(current, new, success, failure)
                }
            }
        )+
    };
}

atomics! {
    AtomicBool: bool;
    AtomicU8: u8;
    AtomicU32: u32;
    AtomicU64: u64;
    AtomicUsize: usize;
    AtomicPtr<T>: *mut T;
}

// SAFETY: loom switches threads at its own calls alone, and all of them run on one thread of the
// test runner; `model` lets one such thread run at a time.
unsafe impl<T> Send for AtomicPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for AtomicPtr<T> {}

impl AtomicU32 {
    /// The newest value, as the kernel sees it; a plain load may answer with an older one.
    fn newest(&self) -> u32 {
        self.on_loom().fetch_add(0, Relaxed)
    }
}

impl AtomicUsize {
    pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
        self.on_loom().fetch_add(value, order)
    }

    pub(crate) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
        self.on_loom().fetch_sub(value, order)
    }
}

/// The owner's half of the asymmetric fence.
pub(crate) fn compiler_fence(order: Ordering) {
    loom::sync::atomic::fence(order);
}

/// A backoff that lets the other threads go on, for which loom waits in a thread that spins.
#[derive(Debug)]
pub(crate) struct Backoff;

impl Backoff {
    pub(crate) fn new() -> Self {
        Backoff
    }

    pub(crate) fn spin(&self) {
        loom::thread::yield_now();
    }
}

/// The reclaimer's half of the asymmetric fence.
pub(crate) mod membarrier {
    pub(crate) fn is_available() -> bool {
        true
    }

    pub(crate) fn everywhere() -> bool {
        loom::sync::atomic::fence(super::SeqCst);
        true
    }
}

/// Sleeping on a word.
pub(crate) mod futex {
    use super::{AtomicU32, RefCell};

    std::thread_local! {
        /// Who sleeps on which word, the longest asleep first.
        static SLEEPERS: RefCell<Vec<(usize, loom::thread::Thread)>> =
            const { RefCell::new(Vec::new()) };
    }

    fn address(word: &AtomicU32) -> usize {
        core::ptr::from_ref(word).addr()
    }

    pub(super) fn forget_sleepers() {
        SLEEPERS.take();
    }

    /// Sleeps while `word` holds `expected`. Loom ends the test where nobody wakes it.
    pub(crate) fn wait(word: &AtomicU32, expected: u32) {
        if word.newest() != expected {
            return;
        }
        // Loom switches nowhere between that look and `park`: to compare and to fall asleep are one
        // step, as in the kernel.
        let current = loom::thread::current();
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.push((address(word), current)));
        loom::thread::park();
    }

    /// Wakes all threads that sleep on `word`.
    pub(crate) fn wake_all(word: &AtomicU32) {
        // A look at the word, so that loom tries what others do between `unlock` and the wake.
        word.newest();
        SLEEPERS.with_borrow_mut(|sleepers| {
            sleepers.extract_if(.., |(on, _)| *on == address(word)).for_each(|(_, sleeper)| {
                sleeper.unpark();
            });
        });
    }

    /// Wakes one thread that sleeps on `word`.
    pub(crate) fn wake_one(word: &AtomicU32) {
        // A look at the word, so that loom tries what others do between `unlock` and the wake.
        word.newest();
        let sleeper = SLEEPERS.with_borrow_mut(|sleepers| {
            let index = sleepers.iter().position(|(on, _)| *on == address(word))?;
            Some(sleepers.remove(index).1)
        });
        if let Some(sleeper) = sleeper {
            sleeper.unpark();
        }
    }
}
